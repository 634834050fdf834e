"""A bundle may hold models of other precisions: they come back, are checked, and old bundles stay as they are."""

import json
from pathlib import Path

import pytest

from appliance.bundle.archive import read_bundle
from appliance.bundle.container import pack, unpack
from appliance.bundle.limits import Limits
from appliance.bundle.manifest import Manifest, Variant
from appliance.bundle.proof import prove
from appliance.errors import BundleDigestError, BundleFormatError, BundleProofError
from appliance.events import Detection, Pixels
from appliance.optics.detector import Detector
from appliance.runtimes.onnx import OnnxRuntime
from tests.models import spot_detection, tiny_bundle, tiny_manifest, tiny_model, tiny_variant
from tests.unit.test_bundle_archive import edit, forge, refuse


@pytest.fixture
def both(tmp_path: Path) -> bytes:
    models = {"int8": tiny_model(64, 64), "fp16": tiny_model(64, 64, candidates=100)}
    return tiny_bundle(tmp_path / "tiny.bundle", variants=models).read_bytes()  # type: ignore[arg-type]


def test_models_of_other_precisions_come_back_with_what_is_said_of_them(both: bytes) -> None:
    bundle = read_bundle(both)
    assert bundle.holds() == ("f32", "fp16", "int8")
    assert bundle.model("int8") == unpack(both, "x")["model_int8.onnx"]
    assert bundle.model("f32") == bundle.model_onnx
    assert bundle.manifest.variants["int8"] == tiny_variant()
    assert bundle.manifest.schema_ == "vi.bundle/2"
    assert bundle.manifest.tolerance_of("int8").max_score_difference == 0.1
    assert bundle.manifest.tolerance_of("f32").max_score_difference == 0.02


def test_a_bundle_with_one_model_is_what_it_always_was(tmp_path: Path) -> None:
    data = tiny_bundle(tmp_path / "tiny.bundle").read_bytes()
    manifest = json.loads(unpack(data, "x")["manifest.json"])
    assert manifest["schema"] == "vi.bundle/1"
    assert "variants" not in manifest
    assert read_bundle(data).holds() == ("f32",)


def test_a_damaged_model_of_another_precision_is_refused(both: bytes) -> None:
    model = bytearray(unpack(both, "x")["model_int8.onnx"])
    model[len(model) // 2] ^= 1
    damaged = forge(both, {"model_int8.onnx": bytes(model)}, digests=False)
    refuse(damaged, r"model_int8.onnx is not the file that manifest.json names", BundleDigestError)


def test_files_and_what_is_said_of_them_are_the_same(both: bytes) -> None:
    refuse(forge(both, {"model_int8.onnx": None}), "manifest.json says of int8 what the files do not")
    refuse(edit(both, "manifest.json", lambda it: it["variants"].pop("int8")), "says of int8 what the files do not")
    refuse(edit(both, "manifest.json", lambda it: it.update(schema="vi.bundle/1")), "and in no other format")
    files = unpack(both, "x")
    refuse(pack(files | {"model_int4.onnx": b""}), "'model_int4.onnx', which has no place in a bundle")


@pytest.mark.parametrize("change", [{"parts": 0}, {"ap": 1.5}, {"ap_drop": float("nan")}, {"calibration": ["x"]}])
def test_impossible_figures_are_refused(both: bytes, change: dict[str, object]) -> None:
    forged = edit(both, "manifest.json", lambda it: it["variants"]["int8"].update(change))
    with pytest.raises(BundleFormatError, match=r"manifest.json is not"):
        read_bundle(forged)


def test_the_proof_takes_the_tolerance_of_the_model_that_runs(tmp_path: Path) -> None:
    bundle = read_bundle(tiny_bundle(tmp_path / "t.bundle", variants={"int8": tiny_model(64, 64)}))
    detect = Detector(OnnxRuntime(bundle.model("int8"), bundle.manifest), bundle.manifest).detect

    def less_sure(pixels: Pixels) -> tuple[Detection, ...]:
        return tuple(Detection(it.label, it.score - 0.04, it.box) for it in detect(pixels))

    assert prove(bundle, less_sure, latency_budget_ms=1000, precision="int8").comparison.detections == 3
    with pytest.raises(BundleProofError, match=r"at most 0.02 off"):
        prove(bundle, less_sure, latency_budget_ms=1000)


def test_a_wide_tolerance_does_not_hide_another_verdict(tmp_path: Path) -> None:
    near = tiny_manifest().classes[0].model_copy(update={"limit": 200 / 255 - 0.01})
    bundle = read_bundle(tiny_bundle(tmp_path / "t.bundle", variants={"int8": tiny_model(64, 64)}, classes=(near,)))

    def less_sure(pixels: Pixels) -> tuple[Detection, ...]:
        found = {150: (spot_detection(0, 0, 150), spot_detection(2, 1, 255)), 200: (spot_detection(1, 1, 195),)}
        return found.get(150 if pixels[0, 0, 0] == 150 else int(pixels.max()), ())

    with pytest.raises(BundleProofError, match="the part gets ACCEPT here and got REJECT there"):
        prove(bundle, less_sure, latency_budget_ms=1000, precision="int8")


def test_the_verdict_is_compared_at_the_limits_of_the_line(tmp_path: Path) -> None:
    bundle = read_bundle(tiny_bundle(tmp_path / "t.bundle", variants={"int8": tiny_model(64, 64)}))

    def less_sure(pixels: Pixels) -> tuple[Detection, ...]:
        found = {150: (spot_detection(0, 0, 150), spot_detection(2, 1, 255)), 200: (spot_detection(1, 1, 195),)}
        return found.get(150 if pixels[0, 0, 0] == 150 else int(pixels.max()), ())

    assert prove(bundle, less_sure, latency_budget_ms=1000, precision="int8").comparison.detections == 3
    limits = {item.name: 200 / 255 - 0.01 for item in bundle.manifest.classes}
    with pytest.raises(BundleProofError, match="the part gets ACCEPT here and got REJECT there"):
        prove(bundle, less_sure, latency_budget_ms=1000, precision="int8", limits=Limits(limits, limits))


@pytest.mark.parametrize(
    ("grey", "reject", "words"),
    [(0.70, 0.9, "ACCEPT here and got REVIEW"), (0.5, 0.70, "REVIEW here and got REJECT")],
)
def test_a_part_that_a_person_should_see_is_not_passed_over(
    tmp_path: Path, grey: float, reject: float, words: str
) -> None:
    bundle = read_bundle(tiny_bundle(tmp_path / "t.bundle", variants={"int8": tiny_model(64, 64)}))

    def less_sure(pixels: Pixels) -> tuple[Detection, ...]:
        found = {150: (spot_detection(0, 0, 150), spot_detection(2, 1, 255)), 200: (spot_detection(1, 1, 176),)}
        return found.get(150 if pixels[0, 0, 0] == 150 else int(pixels.max()), ())

    limits = Limits(reject={"spot": reject}, accept={"spot": grey})
    with pytest.raises(BundleProofError, match=f"the part gets {words} there"):
        prove(bundle, less_sure, latency_budget_ms=1000, precision="int8", limits=limits)


def test_the_documentation_names_every_key_of_a_variant() -> None:
    words = (Path(__file__).parents[2] / "docs" / "bundle.md").read_text(encoding="utf-8")
    assert not [name for name in Variant.model_fields if f"`{name}`" not in words]
    assert "`variants`" in words
    assert "variants" in Manifest.model_fields
