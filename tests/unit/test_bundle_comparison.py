"""A model with 8 bits may differ more where nothing is decided; what decides a verdict is held to the stricter form."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.bundle.archive import Bundle, read_bundle
from appliance.bundle.comparison import Comparison, compare
from appliance.bundle.limits import Limits
from appliance.bundle.manifest import Geometry, Tolerance
from appliance.bundle.tolerance import DECIDING_EDGE_PX, DECIDING_IOU, DECIDING_SCORE, Tolerated, tolerated
from appliance.config import RuntimeSection
from appliance.demo.station import SHIPPED_BUNDLE
from appliance.engine import make_runtime
from appliance.errors import BundleProofError
from appliance.events import Detection, Pixels
from appliance.optics.detector import Detector
from appliance.processor import multiplies_int8
from tests.models import tiny_bundle, tiny_model

RATIOS = st.floats(0.0, 1.0)
SURE, FAINT = 1, 0
"""Places in the third golden image's detections: scores 1.0 and 0.59."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle whose model with 8 bits may be off by 0.8 in overlap and by 0.1 in score."""
    path = tmp_path_factory.mktemp("bundle") / "tiny.bundle"
    return read_bundle(tiny_bundle(path, variants={"int8": tiny_model(64, 64, candidates=100)}))


def found_by_8_bits(bundle: Bundle, changed: dict[int, Detection | None], limit: float = 0.9) -> Comparison:
    """Compare a device that finds what the trainer found, but for these changes to the image with two spots."""
    answers = {image.pixels().tobytes(): image.detections for image in bundle.golden}
    image = bundle.golden[2]
    wanted = [changed.get(place, found) for place, found in enumerate(image.detections)]
    answers[image.pixels().tobytes()] = tuple(found for found in wanted if found is not None)

    def detect(pixels: Pixels) -> tuple[Detection, ...]:
        return answers[pixels.tobytes()]

    limits = {"spot": limit}
    return compare(bundle, detect, precision="int8", limits=Limits(limits, limits))


def wider(found: Detection, by_px: float) -> Detection:
    x1, y1, x2, y2 = found.box
    return replace(found, box=(x1, y1, x2 + by_px, y2))


def less(found: Detection, by: float) -> Detection:
    return replace(found, score=found.score - by)


def spots(bundle: Bundle) -> dict[int, Detection]:
    both = dict(enumerate(bundle.golden[2].detections))
    assert both[SURE].score == pytest.approx(1.0)
    assert 0.5 < both[FAINT].score < 0.6
    return both


def test_what_decides_may_be_off_by_two_pixels_at_an_edge_and_no_more(bundle: Bundle) -> None:
    spot = spots(bundle)[SURE]
    near = found_by_8_bits(bundle, {SURE: wider(spot, 1.9)}).deciding
    assert (near.detections, near.displaced, near.worst_edge_px) == (1, 1, pytest.approx(1.9))
    assert near.worst_iou == pytest.approx(16 / 17.9)
    words = r"IoU 0\.879 \(at least 0\.9 where it decides, or no edge more than 2 pixels off\)"
    with pytest.raises(BundleProofError, match=words):
        found_by_8_bits(bundle, {SURE: wider(spot, 2.2)})


def test_a_box_with_overlap_enough_is_not_displaced_however_large(bundle: Bundle) -> None:
    kept = found_by_8_bits(bundle, {SURE: wider(spots(bundle)[SURE], 1.7)}).deciding
    assert (kept.displaced, kept.worst_edge_px) == (0, 0.0)
    assert DECIDING_IOU < kept.worst_iou < 1.0


def test_what_decides_nothing_has_the_tolerance_that_the_trainer_measured(bundle: Bundle) -> None:
    spot = spots(bundle)[FAINT]
    found = found_by_8_bits(bundle, {FAINT: less(wider(spot, 2.2), 0.09)})
    assert found.worst_iou == pytest.approx(16 / 18.2)
    assert found.worst_score_difference == pytest.approx(0.09)
    assert (found.deciding.worst_iou, found.deciding.worst_score_difference) == (1.0, 0.0)
    for changed in (wider(spot, 4.5), less(spot, 0.11)):
        with pytest.raises(BundleProofError, match=r"at least 0\.8\)|at most 0\.1 off"):
            found_by_8_bits(bundle, {FAINT: changed})


def test_a_score_that_decides_may_be_off_by_no_more_than_golden_images_keep_from_the_limit(bundle: Bundle) -> None:
    spot = spots(bundle)[SURE]
    assert found_by_8_bits(bundle, {SURE: less(spot, 0.045)}).deciding.worst_score_difference == pytest.approx(0.045)
    with pytest.raises(BundleProofError, match=r"is found with score 0\.940 \(at most 0\.05 off\)"):
        found_by_8_bits(bundle, {SURE: less(spot, 0.06)})


def test_what_decides_is_never_missing_even_near_the_score_floor(bundle: Bundle) -> None:
    faint = Detection("spot", 0.05, (40.0, 40.0, 56.0, 56.0))
    added = replace(bundle.golden[2], detections=(*bundle.golden[2].detections, faint))
    other = replace(bundle, golden=(*bundle.golden[:2], added))
    assert found_by_8_bits(other, {2: None}, limit=0.5).detections == 3
    with pytest.raises(BundleProofError, match=r"spot 0\.050 at .* is not found"):
        found_by_8_bits(other, {2: None}, limit=0.04)


@pytest.mark.parametrize(("width", "side"), [(64, 30), (32, 40)])
def test_pixels_are_those_of_the_models_input(bundle: Bundle, width: int, side: int) -> None:
    """A golden image of 64 pixels, whose model takes as many or, scaled, half as many."""
    geometry = Geometry(width=width, height=width, channels=1, fit="letterbox", pad_value=0)
    box = Detection("spot", 1.0, (8.0, 8.0, 8.0 + side, 8.0 + side))
    image = replace(bundle.golden[2], detections=(spots(bundle)[FAINT], box))
    manifest = bundle.manifest.model_copy(update={"geometry": geometry})
    scaled = replace(bundle, manifest=manifest, golden=(*bundle.golden[:2], image))

    def grown(by_input_px: float) -> dict[int, Detection | None]:
        edge = 8.0 + side + by_input_px * 64 / width
        return {SURE: replace(box, box=(8.0, 8.0, edge, edge))}

    assert found_by_8_bits(scaled, grown(1.9)).deciding.worst_edge_px == pytest.approx(1.9)
    with pytest.raises(BundleProofError, match="no edge more than 2 pixels off"):
        found_by_8_bits(scaled, grown(2.1))


@given(RATIOS, RATIOS)
def test_the_stricter_form_is_never_looser_than_what_the_bundle_says(min_iou: float, difference: float) -> None:
    strict = tolerated(Tolerance(min_iou=min_iou, max_score_difference=difference))
    assert strict.deciding_min_iou >= max(min_iou, DECIDING_IOU)
    assert strict.deciding_max_score_difference <= min(difference, DECIDING_SCORE)
    assert strict.deciding_max_edge_px == (DECIDING_EDGE_PX if min_iou < DECIDING_IOU else 0.0)


def test_32_bits_have_no_exception() -> None:
    usual = tolerated(Tolerance(min_iou=0.9, max_score_difference=0.02))
    assert usual == Tolerated(
        min_iou=0.9, max_score_difference=0.02, deciding_min_iou=0.9, deciding_max_edge_px=0.0,
        deciding_max_score_difference=0.02,
    )  # fmt: skip


@pytest.mark.skipif(not multiplies_int8(), reason="the processor does not multiply 8-bit numbers in hardware")
def test_the_shipped_model_with_8_bits_keeps_the_stricter_form() -> None:
    shipped = read_bundle(SHIPPED_BUNDLE)
    runtime = make_runtime(RuntimeSection(kind="openvino", precision="int8", threads=1), shipped)
    found = compare(shipped, Detector(runtime, shipped.manifest).detect, precision="int8")
    runtime.close()
    words = (Path(__file__).parents[2] / "docs" / "certificate.md").read_text(encoding="utf-8")
    assert f"{found.deciding.displaced} of {found.deciding.detections}" in words
    assert found.deciding.displaced < 0.03 * found.deciding.detections
