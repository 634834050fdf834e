"""A version of a data set: what it holds, who says so and why, and which version it came from; never changed."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, SerializerFunctionWrapHandler, ValidationError, model_serializer, model_validator

from appliance.annotations.file_name import FileName
from appliance.annotations.pictures import Outline, read_text
from appliance.bundle.section import Section
from appliance.bundle.strict_json import dump, in_words
from appliance.bundle.whole_file import write_whole
from appliance.errors import ConfigError
from appliance.events import iso, utc_now
from trainer.datasets.sample import Dataset, Sample, plain
from trainer.files import make_folder
from trainer.progress import tracked

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Words = Annotated[str, Field(min_length=1)]


class LabelledBox(Section):
    """One defect: its class, x1 y1 x2 y2 in pixels of the picture, and its polygons; not written if nobody drew any."""

    label: str
    box: tuple[float, float, float, float]
    outlines: tuple[Outline, ...] = ()

    @model_serializer(mode="wrap")
    def _without_unknown_outlines(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without(write(self), "outlines")


class Entry(Section):
    """One picture: SHA-256 of its file, of its labels, and of its reference's file; size_bytes of its file.

    A good part's reference may be the picture itself. camera: what took it; origin: who labelled it, and from where it
    comes; empty, and not written, if nobody says so.
    """

    name: FileName
    sha256: Digest
    size_bytes: Annotated[int, Field(ge=0)]
    labels: tuple[LabelledBox, ...]
    labels_sha256: Digest
    group: str
    reference: FileName | None
    reference_sha256: Digest | None
    reference_size_bytes: Annotated[int, Field(ge=0)] | None
    camera: str = ""
    origin: dict[str, JsonValue] | None = None

    @model_serializer(mode="wrap")
    def _without_what_nobody_says(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without(write(self), "camera", "origin")

    @property
    def told_origin(self) -> str:
        """The origin as one text, in which 1, 1.0 and true are not the same."""
        return json.dumps(self.origin, sort_keys=True)

    @property
    def boxes(self) -> dict[str, int]:
        """Class -> how many."""
        return dict(sorted(Counter(item.label for item in self.labels).items()))


class Version(Section):
    """A data set at one moment.

    layout: "deeppcb" if the pictures are binarised copper, whose defects can be painted. data_digest: over pictures,
    labels, classes, groups, cameras, origins and references; the same data has the same one wherever it lies. parent:
    digest of the version before, None for the first. digest: over all the rest of this file.
    """

    schema_: Literal["vi.dataset/2"] = Field(alias="schema")
    why: Words
    who: Words
    when: str
    parent: Digest | None
    layout: Literal["coco", "deeppcb"]
    classes: tuple[str, ...]
    pictures: tuple[Entry, ...]
    data_digest: Digest
    digest: Digest

    @model_validator(mode="after")
    def _labels_are_of_its_classes(self) -> Version:
        unknown = sorted({box.label for entry in self.pictures for box in entry.labels} - set(self.classes))
        if unknown:
            raise ValueError(f"labels of no class: {', '.join(unknown)}")
        return self

    @property
    def name(self) -> str:
        """What it is called in its folder: the beginning of its data's digest."""
        return self.data_digest[:16]

    def files(self) -> dict[str, tuple[str, int]]:
        """Return what it needs: SHA-256 of each file -> a name of it, and its size in bytes."""
        found = {}
        for entry in self.pictures:
            if entry.reference_sha256 and entry.reference:
                found[entry.reference_sha256] = (entry.reference, entry.reference_size_bytes or 0)
        return found | {entry.sha256: (entry.name, entry.size_bytes) for entry in self.pictures}


def root_of(dataset: Dataset, folder: Path) -> Path:
    """Return the innermost folder that holds a data set's folder and all of its pictures.

    Args:
        dataset: what was read.
        folder: where it was said to lie; an imported one names pictures elsewhere.
    """
    files = [path for sample in dataset.samples for path in (sample.image, sample.reference) if path]
    return Path(os.path.commonpath([plain(path) for path in (folder / "file", *files)]))


def version_of(dataset: Dataset, root: Path, why: str, who: str, parent: Version | None) -> Version:
    """Take down what a data set holds now.

    Args:
        dataset: what was read; the order of its pictures does not matter.
        root: folder that the pictures are named from, above all of them.
        why: what this version is for.
        who: who answers for it.
        parent: the version before, if there was one.

    Raises:
        ConfigError: A picture cannot be read.
    """
    entries = [_entry(sample, dataset.classes, root) for sample in tracked(dataset.samples, "digests")]
    entries.sort(key=lambda entry: (entry["sha256"], entry["name"]))
    content: dict[str, Any] = {
        "schema": "vi.dataset/2",
        "why": why,
        "who": who,
        "when": iso(utc_now(), "seconds"),
        "parent": parent and parent.digest,
        "layout": "deeppcb" if dataset.copper else "coco",
        "classes": dataset.classes,
        "pictures": entries,
    }
    content["data_digest"] = _data_digest(content)
    return Version.model_validate_json(json.dumps({**content, "digest": _digest(content)}))


def write_version(version: Version, folder: Path) -> Path:
    """Write a version under a name that is made of its data's digest.

    Args:
        version: what was taken down.
        folder: made if it is not there.

    Returns:
        The file, which nobody may write to.

    Raises:
        ConfigError: This data has a version there already.
        StorageError: The disk is full or refuses.
    """
    make_folder(folder)
    path = folder / f"{version.name}.json"
    if path.exists():
        raise ConfigError(f"{path}: this data has this version already, which stays as it is; name another folder")
    write_whole(path, dump(version))
    path.chmod(0o444)
    return path


def read_version(path: Path) -> Version:
    """Read a version, and find out whether it is as it was written.

    Args:
        path: what write_version wrote.

    Raises:
        ConfigError: It cannot be read, is something else, or was changed.
    """
    return parse_version(read_text(path), str(path))


def parse_version(text: str, where: str) -> Version:
    """Take a version from its text, and find out whether it is as it was written.

    Args:
        text: of the file.
        where: names it in messages.

    Raises:
        ConfigError: It is something else, or was changed.
    """
    try:
        version = Version.model_validate_json(text)
    except ValidationError as error:
        raise ConfigError(
            f"{where}: no version of a data set: {in_words(error)}; take what `data version` wrote"
        ) from error
    content = json.loads(text)
    if content.pop("digest") != _digest(content) or content["data_digest"] != _data_digest(content):
        raise ConfigError(f"{where}: was changed after it was written; restore the file")
    return version


def _entry(sample: Sample, classes: tuple[str, ...], root: Path) -> dict[str, Any]:
    outlines = sample.outlines or ((),) * len(sample.labels)
    names = [classes[label] for label in sample.labels.tolist()]
    labels = sorted(zip(names, sample.boxes.tolist(), outlines, strict=True))
    reference = _file(sample.reference, root) if sample.reference else (None, None, None)
    name, digest, size_bytes = _file(sample.image, root)
    told = {"camera": sample.camera, "origin": sample.origin}
    return {
        "name": name,
        "sha256": digest,
        "size_bytes": size_bytes,
        "labels": [
            _without({"label": label, "box": box, "outlines": drawn}, "outlines") for label, box, drawn in labels
        ],
        "labels_sha256": _digest([(label, box, drawn) if drawn else (label, box) for label, box, drawn in labels]),
        "group": sample.group,
        "reference": reference[0],
        "reference_sha256": reference[1],
        "reference_size_bytes": reference[2],
        **_without(told, *told),
    }


def _without(content: dict[str, Any], *names: str) -> dict[str, Any]:
    """Leave out those of the named values that are empty, so that what says nothing more has the digest of before."""
    return {key: value for key, value in content.items() if value or key not in names}


def _file(path: Path, root: Path) -> tuple[str, str, int]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; restore or unlist it") from error
    name = plain(path).relative_to(plain(root)).as_posix()
    return name, hashlib.sha256(content).hexdigest(), len(content)


def _data_digest(content: dict[str, Any]) -> str:
    nameless = [{**entry, "name": "", "reference": ""} for entry in content["pictures"]]
    return _digest([content["layout"], content["classes"], sorted(map(_digest, nameless))])


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
