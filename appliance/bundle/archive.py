"""A bundle as one file: written with its digests, and read back only if every byte of it is accounted for."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from appliance.bundle import strict_json
from appliance.bundle.baseline import SCHEMA as BASELINE_SCHEMA
from appliance.bundle.baseline import Baseline
from appliance.bundle.container import pack, read_file, unpack
from appliance.bundle.golden import GoldenImage, describe, file_name, read_golden, reference_name
from appliance.bundle.manifest import SCHEMAS, Manifest, Precision, VariantName, file_of
from appliance.bundle.whole_file import write_whole
from appliance.errors import BundleDigestError, BundleFormatError

_MIB = 2**20
_MAX_BYTES = {
    "manifest.json": _MIB,
    "model.onnx": 200 * _MIB,
    "golden/detections.json": 16 * _MIB,
    "baseline.json": _MIB,
    "MODEL_CARD.md": _MIB,
}
"""The files that every bundle has, and how big each may be."""

_VARIANT_FILES: dict[str, VariantName] = {file_of(name): name for name in VariantName.__args__}  # type: ignore[attr-defined]
"""The files that a bundle may have besides, each as big as the model."""

_GOLDEN_PICTURE = re.compile(r"golden/\d{3}(\.reference)?\.png", re.ASCII)
_MAX_PICTURE_BYTES = 32 * _MIB


@dataclass(frozen=True, slots=True)
class Bundle:
    """A release that was read and checked; digest is the SHA-256 (hex) of the whole file.

    variants: models of other precisions, those of the manifest.
    """

    manifest: Manifest
    model_onnx: bytes
    golden: tuple[GoldenImage, ...]
    baseline: Baseline
    model_card: str
    digest: str
    variants: Mapping[VariantName, bytes] = field(default_factory=dict)

    def model(self, precision: Precision) -> bytes:
        """Return the model file of a precision that the bundle holds."""
        return self.model_onnx if precision == "f32" else self.variants[precision]

    def holds(self) -> tuple[Precision, ...]:
        """Return the precisions that the bundle holds a model of, f32 first."""
        return ("f32", *sorted(self.variants))


def write_bundle(
    path: Path,
    manifest: Manifest,
    *,
    model_onnx: bytes,
    golden: Sequence[GoldenImage],
    baseline: Baseline,
    model_card: str,
    variants: Mapping[VariantName, bytes] | None = None,
) -> Bundle:
    """Write a bundle; equal contents give equal bytes, and the file is whole or not there.

    Args:
        path: where to; a file of that name is replaced.
        manifest: its digests are computed here, whatever they hold.
        model_onnx: the model file.
        golden: 1..500 golden images with the trainer's detections.
        baseline: statistics of in-control pictures.
        model_card: Markdown.
        variants: models of other precisions, those that the manifest names.

    Returns:
        The bundle as any device will read it.

    Raises:
        BundleFormatError: the contents would be refused by `read_bundle`; the exporter must mend them.
        StorageError: the disk said no.
    """
    images = tuple(golden)
    if not images:
        raise BundleFormatError(f"{path.name}: a bundle without golden images cannot be proved; add some")
    files = {
        "model.onnx": model_onnx,
        "golden/detections.json": strict_json.dump(describe(images)),
        "baseline.json": strict_json.dump(baseline),
        "MODEL_CARD.md": model_card.encode("utf-8"),
        **{f"golden/{file_name(index)}": image.png for index, image in enumerate(images)},
        **{file_of(precision): content for precision, content in (variants or {}).items()},
    }
    for index, image in enumerate(images):
        if image.reference_png is not None:
            files[f"golden/{reference_name(file_name(index))}"] = image.reference_png
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    files["manifest.json"] = strict_json.dump(manifest.model_copy(update={"digests": digests}))
    data = pack(files)
    bundle = _read(data, path.name)
    write_whole(path, data)
    return bundle


def read_bundle(source: Path | bytes, origin: str = "bundle") -> Bundle:
    """Read a bundle and refuse everything that is not one.

    Args:
        source: the file, or its bytes.
        origin: names bytes in messages.

    Returns:
        The bundle; it is well-formed, but neither signed nor proved on this device by that.

    Raises:
        BundleFormatError: damaged, foreign, of a newer format, or too big; says why and what to do.
        BundleDigestError: a file is not the one that the manifest names.
    """
    return _read(source, origin) if isinstance(source, bytes) else _read(read_file(source), str(source))


def _read(data: bytes, origin: str) -> Bundle:
    files = unpack(data, origin)
    _check_names(files, origin)
    manifest = strict_json.parse(
        files["manifest.json"],
        Manifest,
        schema=SCHEMAS,
        origin=f"{origin}: manifest.json",
        max_bytes=_MAX_BYTES["manifest.json"],
    )
    _check_digests(files, manifest, origin)
    baseline = strict_json.parse(
        files["baseline.json"],
        Baseline,
        schema=BASELINE_SCHEMA,
        origin=f"{origin}: baseline.json",
        max_bytes=_MAX_BYTES["baseline.json"],
    )
    try:
        model_card = files["MODEL_CARD.md"].decode("utf-8")
    except UnicodeDecodeError as error:
        raise BundleFormatError(f"{origin}: MODEL_CARD.md is not UTF-8 text; export the bundle again") from error
    return Bundle(
        manifest=manifest,
        model_onnx=files["model.onnx"],
        golden=read_golden(files, manifest, origin),
        baseline=baseline,
        model_card=model_card,
        digest=hashlib.sha256(data).hexdigest(),
        variants={precision: files[file_of(precision)] for precision in manifest.variants},
    )


def _check_names(files: Mapping[str, bytes], origin: str) -> None:
    if missing := sorted(_MAX_BYTES.keys() - files.keys()):
        raise BundleFormatError(f"{origin} is not a bundle: {', '.join(missing)} missing; export it again")
    for name, content in files.items():
        usual = _MAX_BYTES["model.onnx"] if name in _VARIANT_FILES else _MAX_BYTES.get(name)
        limit = _MAX_PICTURE_BYTES if _GOLDEN_PICTURE.fullmatch(name) else usual
        if limit is None:
            raise BundleFormatError(f"{origin} holds {name!r}, which has no place in a bundle; export it again")
        if len(content) > limit:
            raise BundleFormatError(f"{origin}: {name} has {len(content)} bytes and may have {limit}; make it smaller")


def _check_digests(files: Mapping[str, bytes], manifest: Manifest, origin: str) -> None:
    expected = files.keys() - {"manifest.json"}
    if odd := sorted(expected.symmetric_difference(manifest.digests)):
        raise BundleDigestError(
            f"{origin}: manifest.json and the bundle do not have the same files: {odd[:5]}; get the bundle again"
        )
    models = {_VARIANT_FILES[name] for name in expected if name in _VARIANT_FILES}
    if odd := sorted(models.symmetric_difference(manifest.variants)):
        raise BundleFormatError(
            f"{origin}: manifest.json says of {', '.join(odd)} what the files do not; export the bundle again"
        )
    for name in sorted(expected):
        if hashlib.sha256(files[name]).hexdigest() != manifest.digests[name]:
            raise BundleDigestError(f"{origin}: {name} is not the file that manifest.json names; get the bundle again")
