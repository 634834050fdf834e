"""A bundle comes back as it was written, and anything else is refused with what, where and a remedy."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.bundle import golden as golden_module
from appliance.bundle.archive import Bundle, read_bundle, write_bundle
from appliance.bundle.baseline import make_baseline
from appliance.bundle.container import pack, unpack
from appliance.bundle.golden import GoldenImage, encode_png
from appliance.bundle.manifest import Geometry, Lineage, Manifest, Outputs, Tolerance
from appliance.errors import BundleDigestError, BundleError, BundleFormatError, StorageError
from appliance.events import Detection
from appliance.optics.statistics import measure
from tests.models import spot_picture, tiny_baseline, tiny_bundle, tiny_manifest


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny.bundle").read_bytes()


def forge(data: bytes, changes: dict[str, bytes | None], *, digests: bool = True) -> bytes:
    """A bundle with other files (None takes one out); the manifest names the new ones if digests."""
    files = {**unpack(data, "x"), **{name: new for name, new in changes.items() if new is not None}}
    for name in [name for name, new in changes.items() if new is None]:
        del files[name]
    if digests and "manifest.json" not in changes:
        manifest = json.loads(files["manifest.json"])
        manifest["digests"] = {
            name: hashlib.sha256(content).hexdigest() for name, content in files.items() if name != "manifest.json"
        }
        files["manifest.json"] = json.dumps(manifest).encode()
    return pack(files)


def edit(data: bytes, name: str, change: Callable[[Any], None]) -> bytes:
    document = json.loads(unpack(data, "x")[name])
    change(document)
    return forge(data, {name: json.dumps(document).encode()})


def refuse(data: bytes, words: str, kind: type[BundleError] = BundleFormatError) -> None:
    with pytest.raises(kind, match=words) as caught:
        read_bundle(data)
    assert type(caught.value) is kind


def test_a_bundle_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "tiny.bundle", 96, 64, 3, revision=7)
    bundle = read_bundle(path)
    assert bundle == read_bundle(path.read_bytes())
    assert bundle.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (bundle.manifest.name, bundle.manifest.revision, bundle.model_card) == ("tiny", 7, "# tiny\n")
    assert bundle.baseline == tiny_baseline()
    spots = bundle.golden[2]
    assert np.array_equal(spots.pixels(), spot_picture(96, 64, [(0, 0, 150), (2, 1, 255)], channels=3))
    assert spots.detections[0] == Detection("spot", 150 / 255, (0.0, 0.0, 16.0, 16.0))
    assert set(bundle.manifest.digests) == set(unpack(path.read_bytes(), "x")) - {"manifest.json"}


def test_what_a_golden_image_is_there_for_is_said_or_not(data: bytes) -> None:
    listing = json.loads(unpack(data, "x")["golden/detections.json"])
    assert all("kind" not in image for image in listing["images"])  # so that what nobody said changes no byte
    assert {image.kind for image in read_bundle(data).golden} == {None}
    said = edit(data, "golden/detections.json", lambda it: it["images"][1].update(kind="near_limit"))
    assert [image.kind for image in read_bundle(said).golden] == [None, "near_limit", None]
    refuse(edit(data, "golden/detections.json", lambda it: it["images"][1].update(kind="nice")), "images.1.kind")


def test_colours_keep_their_order() -> None:
    red = np.zeros((8, 8, 3), np.uint8)
    red[:, :, 0] = 200
    assert GoldenImage.from_pixels(red, ()).pixels()[0, 0].tolist() == [200, 0, 0]


def test_equal_contents_give_equal_bytes_and_no_partial_file_stays(tmp_path: Path) -> None:
    first, second = tiny_bundle(tmp_path / "a.bundle"), tiny_bundle(tmp_path / "b.bundle")
    assert first.read_bytes() == second.read_bytes()
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a.bundle", "b.bundle"]


def test_a_bundle_that_no_device_would_take_is_not_written(tmp_path: Path) -> None:
    picture = spot_picture(64, 64)
    for found in (
        Detection("spot", 0.5, (0.0, 0.0, 65.0, 10.0)),
        Detection("spot", 0.5, (10.0, 0.0, 10.0, 10.0)),
        Detection("spot", 0.5, (0.0, float("nan"), 10.0, 10.0)),
        Detection("spot", float("nan"), (0.0, 0.0, 10.0, 10.0)),
        Detection("dent", 0.5, (0.0, 0.0, 10.0, 10.0)),
    ):
        with pytest.raises(BundleFormatError):
            _write(tmp_path, [GoldenImage.from_pixels(picture, (found,))])
    with pytest.raises(BundleFormatError, match="without golden images"):
        _write(tmp_path, [])
    with pytest.raises(BundleFormatError, match="images"):
        _write(tmp_path, [GoldenImage.from_pixels(picture, ())] * 501)
    assert list(tmp_path.iterdir()) == []


def _write(folder: Path, images: list[GoldenImage]) -> Bundle:
    return write_bundle(
        folder / "x.bundle",
        tiny_manifest(),
        model_onnx=b"model",
        golden=images,
        baseline=make_baseline([measure(spot_picture(64, 64))]),
        model_card="",
    )


def test_a_disk_that_refuses_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        tiny_bundle(tmp_path / "absent" / "x.bundle")


def test_a_missing_file_is_said_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(BundleFormatError, match=r"nothing.bundle cannot be read: No such file"):
        read_bundle(tmp_path / "nothing.bundle")


@settings(deadline=None, max_examples=300)
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255), truncate=st.booleans())
def test_any_changed_byte_or_truncation_is_a_bundle_error(data: bytes, place: float, flip: int, truncate: bool) -> None:
    at = int(place * len(data))
    damaged = bytearray(data[:at] if truncate else data)
    if not truncate:
        damaged[at] ^= flip
    with pytest.raises(BundleFormatError, match="not an acceptable bundle"):
        read_bundle(bytes(damaged))


@settings(deadline=None, max_examples=300)
@given(
    name=st.sampled_from(["manifest.json", "baseline.json", "golden/detections.json", "golden/000.png"]),
    place=st.floats(0, 1, exclude_max=True),
    new=st.binary(max_size=4),
)
def test_any_forged_file_is_read_or_a_bundle_error(data: bytes, name: str, place: float, new: bytes) -> None:
    content = unpack(data, "x")[name]
    at = int(place * len(content))
    forged = forge(data, {name: content[:at] + new + content[at + len(new) :]})
    try:
        read_bundle(forged)
    except BundleError as error:
        assert str(error).startswith("bundle")
        assert "; " in str(error)


def test_a_newer_format_says_update_the_software(data: bytes) -> None:
    newer = edit(data, "manifest.json", lambda it: it.update(schema="vi.bundle/3"))
    refuse(newer, r"manifest.json is of format vi.bundle/3 .* reads vi.bundle/2; update the software")
    refuse(edit(data, "manifest.json", lambda it: it.update(schema="x.y/9")), "does not say schema 'vi.bundle/2'")
    refuse(edit(data, "manifest.json", lambda it: it.pop("schema")), "does not say schema")
    refuse(edit(data, "baseline.json", lambda it: it.update(schema="vi.baseline/3")), "baseline.json .* update")


def test_files_must_be_those_of_a_bundle(data: bytes) -> None:
    refuse(forge(data, {"model.onnx": None}), "model.onnx missing")
    refuse(forge(data, {"code.py": b"import os"}), "'code.py', which has no place")
    refuse(forge(data, {"golden/0001.png": b""}), "no place")
    refuse(forge(data, {"golden/003.png": unpack(data, "x")["golden/000.png"]}), r"differ: \['golden/003.png'\]")
    refuse(forge(data, {"golden/001.png": None}), r"differ: \['golden/001.png'\]")
    refuse(forge(data, {"baseline.json": b" " * (2**20 + 1)}), "may have 1048576; make it smaller")


def test_digests_must_name_exactly_the_files_that_are_there(data: bytes) -> None:
    refuse(forge(data, {"model.onnx": b"other"}, digests=False), "model.onnx is not the file", BundleDigestError)
    unlisted = json.loads(unpack(data, "x")["manifest.json"])
    del unlisted["digests"]["model.onnx"]
    refuse(forge(data, {"manifest.json": json.dumps(unlisted).encode()}), "model.onnx", BundleDigestError)
    unlisted["digests"].update({"model.onnx": "0" * 64, "extra": "0" * 64})
    refuse(forge(data, {"manifest.json": json.dumps(unlisted).encode()}), "extra", BundleDigestError)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'{"schema": "vi.baseline/1", "count": 1, "count": 2, "statistics": {}}', "'count' comes twice"),
        (b'{"schema": "vi.baseline/1", "count": NaN, "statistics": {}}', "NaN is no number"),
        (b'{"schema": "vi.baseline/1", "count": -Infinity, "statistics": {}}', "-Infinity is no number"),
        (b'{"schema": "vi.baseline/1", "count": ' + b"9" * 5000 + b', "statistics": {}}', "digit|int"),
        (b'{"schema": "vi.baseline/1", "count": 1.5, "statistics": {}}', "count: "),
        (b'{"schema": "vi.baseline/1", "count": 0, "statistics": {}}', "count: "),
        (b'{"schema": "vi.baseline/1", "count": 1, "statistics": {}, "more": 1}', "more: "),
        (b'{"schema": "vi.baseline/1", "count": 1, "statistics": {"smell": {"mean": 1, "spread": 1}}}', "smell"),
        (
            b'{"schema": "vi.baseline/1", "count": 1, "statistics": {"contrast": {"mean": 1e999, "spread": 1}}}',
            "contrast.mean",
        ),
        (b"[" * 100_000, "100000 brackets deep"),
        (b'{"schema": "' + b'\\"[' * 50 + b'"}', "does not say schema"),
        (b"\xff\xfe", "not strict JSON"),
        (b"", "not strict JSON"),
        (b"[]", "does not say schema"),
        (b'"vi.baseline/1"', "does not say schema"),
    ],
)
def test_json_must_be_strict(data: bytes, text: bytes, words: str) -> None:
    refuse(forge(data, {"baseline.json": text}), f"baseline.json .*{words}")


SECTIONS = {
    "geometry": Geometry.model_fields,
    "outputs": Outputs.model_fields,
    "tolerance": Tolerance.model_fields,
    "lineage": Lineage.model_fields,
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda it: it["classes"].append(it["classes"][0]), "repeat"),
        (lambda it: it.update(classes=[]), "classes"),
        (lambda it: it["geometry"].update(width=31), "geometry.width"),
        (lambda it: it["geometry"].update(width="64"), "geometry.width"),
        (lambda it: it["geometry"].update(mean=[1, 2, 3]), "geometry.mean"),
        *(
            (lambda it, section=section, key=key: it[section].pop(key), rf"{section}.{key}: Field required")
            for section, keys in SECTIONS.items()
            for key, field in keys.items()
            if field.is_required()
        ),
        (lambda it: it.update(revision=0), "revision"),
        (lambda it: it.update(revision=True), "revision"),
        (lambda it: it.update(name="../x"), "name"),
    ],
)
def test_the_manifest_is_strict(data: bytes, change: Callable[[Any], None], words: str) -> None:
    refuse(edit(data, "manifest.json", change), words)


def test_the_documentation_names_every_key_of_the_manifest() -> None:
    page = (Path(__file__).parents[2] / "docs" / "bundle.md").read_text(encoding="utf-8")
    table = page.partition("### manifest.json")[2].partition("###")[0]
    keys = {*Manifest.model_json_schema()["properties"], *(key for keys in SECTIONS.values() for key in keys)}
    assert {key for key in keys if f"`{key}`" not in table} == set()


def _png_claiming(width: int, height: int, depth: int = 8, colour: int = 0) -> bytes:
    png = bytearray(encode_png(spot_picture(64, 64)))
    png[16:20], png[20:24] = width.to_bytes(4, "big"), height.to_bytes(4, "big")
    png[24], png[25] = depth, colour
    return bytes(png)


@pytest.mark.parametrize(
    ("png", "words"),
    [
        (b"GIF89a", "not a PNG"),
        (b"", "not a PNG"),
        (_png_claiming(2**31 - 1, 2**31 - 1), "claims 2147483647x2147483647 pixels"),
        (_png_claiming(0, 64), "claims 0x64"),
        (_png_claiming(64, 64, depth=16), "bit depth 16"),
        (_png_claiming(64, 64, colour=3), "colour type 3"),
        (_png_claiming(65, 64), "cannot be decoded"),
        (encode_png(spot_picture(64, 64))[:40], "cannot be decoded"),
        (encode_png(spot_picture(64, 64))[:-30], "cannot be decoded"),
    ],
)
def test_a_golden_picture_must_be_what_it_says(data: bytes, png: bytes, words: str) -> None:
    refuse(forge(data, {"golden/000.png": png}), f"golden/000.png .*{words}")


def test_golden_images_are_few_and_small(data: bytes) -> None:
    many = [{"file": "000.png", "detections": []}] * 10**6
    refuse(edit(data, "golden/detections.json", lambda it: it.update(images=many)), "has 39.* bytes and may have")
    some = [{"file": "000.png", "detections": []}] * 501
    refuse(edit(data, "golden/detections.json", lambda it: it.update(images=some)), "images: .*500")
    twice = [{"file": f"00{number}.png", "detections": []} for number in (0, 1, 2, 2)]
    refuse(edit(data, "golden/detections.json", lambda it: it.update(images=twice)), "picture twice")
    side = golden_module.MAX_SIDE_PX
    _, encoded = cv2.imencode(".png", np.zeros((side, side), np.uint8))
    huge = {f"golden/00{number}.png": encoded.tobytes() for number in range(5)}
    listing = {
        "schema": "vi.golden/1",
        "images": [{"file": f"00{number}.png", "detections": []} for number in range(5)],
    }
    huge["golden/detections.json"] = json.dumps(listing).encode()
    refuse(forge(data, dict(huge)), "golden/004.png: the golden images take more than")


@pytest.mark.parametrize(
    "box", [[0, 0, float("nan"), 5], [0, 0, 5], [0, 0, -1, 5], [0, 0, 1e9, 5], [5, 0, 5, 5], [0, 0, 64.5, 5]]
)
def test_a_golden_box_must_lie_in_its_picture(data: bytes, box: list[float]) -> None:
    def change(document: Any) -> None:
        document["images"][1]["detections"][0]["box_px"] = box

    refuse(edit(data, "golden/detections.json", change), "golden/")
