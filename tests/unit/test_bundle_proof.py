"""A device that does not get the trainer's detections does not run the bundle."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.bundle.archive import Bundle, read_bundle
from appliance.bundle.comparison import compare
from appliance.bundle.limits import Limits
from appliance.bundle.matching import iou
from appliance.bundle.proof import prove
from appliance.errors import BundleProofError, BundleSlowError
from appliance.events import Detection, Pixels
from appliance.optics.detector import Detector
from appliance.runtimes.onnx import OnnxRuntime
from tests.models import tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return read_bundle(tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny.bundle"))


class Device:
    """A device that finds what the trainer found, but for one change to the golden image with two spots."""

    def __init__(self, bundle: Bundle, changed: tuple[Detection, ...]) -> None:
        self._answers = {image.pixels().tobytes(): image.detections for image in bundle.golden}
        self._answers[bundle.golden[2].pixels().tobytes()] = changed

    def detect(self, pixels: Pixels) -> tuple[Detection, ...]:
        return self._answers[pixels.tobytes()]


def test_the_real_engine_proves_the_bundle(bundle: Bundle) -> None:
    runtime = OnnxRuntime(bundle.model_onnx, bundle.manifest)
    proof = prove(bundle, Detector(runtime, bundle.manifest).detect, latency_budget_ms=1000)
    assert (proof.comparison.images, proof.comparison.detections, proof.bundle_digest) == (3, 3, bundle.digest)
    assert proof.comparison.worst_iou == pytest.approx(1.0)
    assert proof.comparison.worst_score_difference < 1e-6
    assert 0 < proof.timing.p50_ms <= proof.timing.p99_ms <= proof.timing.max_ms
    assert (proof.timing.runs, proof.comparison.agreement_ap) == (200, 1.0)


def test_a_bundle_of_another_model_is_refused(tmp_path: Path, bundle: Bundle) -> None:
    other = replace(bundle, golden=(replace(bundle.golden[0], png=bundle.golden[1].png), *bundle.golden[1:]))
    detect = Detector(OnnxRuntime(bundle.model_onnx, bundle.manifest), bundle.manifest).detect
    with pytest.raises(BundleProofError, match=r"golden/000.png: spot 0.784 at \(16.0.*is found besides"):
        prove(other, detect, latency_budget_ms=1000)


def test_a_second_round_is_told_as_what_it_is(bundle: Bundle) -> None:
    told: list[float] = []
    late, device = iter([False] * 3 + [True] * 3), Device(bundle, bundle.golden[2].detections)

    def detect(pixels: Pixels) -> tuple[Detection, ...]:
        if next(late, False):
            threading.Event().wait(0.3)
        return device.detect(pixels)

    assert prove(bundle, detect, latency_budget_ms=250.0, on_progress=told.append).timing.attempts == 2
    assert told[:3] == [3 / 203, 4 / 203, 5 / 203], "three slow ones end the first round"
    assert told[3:] == [*((3 + number) / 203 for number in range(200)), 1.0]


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits({"spot": 0.79}, {"spot": 0.79}), "REJECT here and got ACCEPT"),
        (Limits({"spot": 0.9}, {"spot": 0.79}), "REVIEW here and got ACCEPT"),
        (Limits({"spot": 0.79}, {"spot": 0.5}), "REJECT here and got REVIEW"),
    ],
)
def test_a_score_that_crosses_a_limit_within_tolerance_is_refused_and_the_limit_is_named(
    bundle: Bundle, limits: Limits, words: str
) -> None:
    def surer(pixels: Pixels) -> tuple[Detection, ...]:
        honest = Device(bundle, bundle.golden[2].detections).detect(pixels)
        return tuple(replace(it, score=it.score + 0.01) if it.score < 0.8 else it for it in honest)

    told = (
        rf"golden/001\.png: the part gets {words} there, where spot scores 0\.7943 here and 0\.7843 there, "
        r"within 0\.02 of the recipe's limit 0\.79\. The running bundle stays; move the limit in the recipe$"
    )
    with pytest.raises(BundleProofError, match=told):
        compare(bundle, surer, limits=limits)


def test_a_score_that_is_far_from_the_limit_that_it_crosses_is_no_matter_of_the_limit(bundle: Bundle) -> None:
    limits = Limits({"spot": 0.7}, {"spot": 0.7})
    with pytest.raises(BundleProofError, match=r"the part gets ACCEPT here and got REJECT there.*export again"):
        compare(bundle, lambda _: (), limits=limits)


def _shifted(found: Detection, pixels: float) -> Detection:
    x1, y1, x2, y2 = found.box
    return replace(found, box=(x1 + pixels, y1, x2 + pixels, y2))


def test_small_differences_are_within_tolerance(bundle: Bundle) -> None:
    first, second = bundle.golden[2].detections
    near = (_shifted(replace(second, score=second.score - 0.019), 0.5), first)
    proof = prove(bundle, Device(bundle, near).detect, latency_budget_ms=1000)
    assert proof.comparison.worst_iou == pytest.approx(15.5 / 16.5)
    assert proof.comparison.worst_score_difference == pytest.approx(0.019)


def test_each_kind_of_difference_is_said_in_words(bundle: Bundle) -> None:
    first, second = bundle.golden[2].detections
    extra = Detection("spot", 0.9, (40.0, 40.0, 50.0, 50.0))
    for changed, words in (
        ((first,), "spot 1.000 at .* is not found"),
        ((first, second, extra), "spot 0.900 at .* is found besides"),
        ((first, second, replace(extra, score=float("nan"))), "spot nan at .* is found besides"),
        ((first, replace(second, label="dent")), "is not found.*dent"),
        ((first, _shifted(second, 2)), "IoU 0.778"),
        ((first, replace(second, score=0.97)), "score 0.970"),
        ((first, replace(second, score=float("nan"))), "score nan"),
        ((), "not found.*not found"),
    ):
        with pytest.raises(BundleProofError, match=f"(?s)golden/002.png: .*{words}"):
            prove(bundle, Device(bundle, changed).detect, latency_budget_ms=1000)


def test_a_detection_at_the_score_floor_may_come_and_go(bundle: Bundle) -> None:
    faint = Detection("spot", 0.06, (40.0, 40.0, 50.0, 50.0))
    device = Device(bundle, (*bundle.golden[2].detections, faint))
    assert prove(bundle, device.detect, latency_budget_ms=1000).comparison.detections == 3


def test_a_slow_device_does_not_run_the_bundle(bundle: Bundle) -> None:
    device = Device(bundle, bundle.golden[2].detections)
    never = threading.Event()

    def slow(pixels: Pixels) -> tuple[Detection, ...]:
        never.wait(0.003)
        return device.detect(pixels)

    with pytest.raises(BundleSlowError, match=r"may take 1.0 ms"):
        prove(bundle, slow, latency_budget_ms=1.0)


BOXES = st.tuples(*[st.integers(0, 30)] * 2, *[st.integers(31, 60)] * 2)


@given(BOXES, BOXES)
def test_overlap_is_symmetric_and_one_only_with_itself(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    a = (float(first[0]), float(first[1]), float(first[2]), float(first[3]))
    b = (float(second[0]), float(second[1]), float(second[2]), float(second[3]))
    assert iou(a, b) == iou(b, a)
    assert 0.0 <= iou(a, b) <= 1.0
    assert (iou(a, b) == 1.0) == (a == b)


def test_each_copy_of_the_engine_looks_at_the_golden_images_and_the_worst_counts(bundle: Bundle) -> None:
    first, second = bundle.golden[2].detections
    near = (replace(first, score=first.score - 0.015), second)
    same, off = Device(bundle, bundle.golden[2].detections), Device(bundle, near)
    for one, other in ((same, off), (off, same)):
        found = prove(bundle, one.detect, latency_budget_ms=1000, beside=[other.detect]).comparison
        assert found.worst_score_difference == pytest.approx(0.015)
        assert found.detections == 3


def test_a_copy_that_finds_other_things_is_refused_and_named(bundle: Bundle) -> None:
    same, blind = Device(bundle, bundle.golden[2].detections), Device(bundle, ())
    with pytest.raises(BundleProofError, match=r"^copy 2 of bundle tiny revision 1 does not do here .* is not found"):
        prove(bundle, same.detect, latency_budget_ms=1000, beside=[blind.detect])
