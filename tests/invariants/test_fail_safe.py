"""Invariant 2: ACCEPT needs a complete inspection; everything else makes the line divert the part."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from appliance.events import (
    Box,
    Detection,
    ImageStatistics,
    PartAlignment,
    Pixels,
    Reason,
    Verdict,
    ViewResult,
)
from appliance.inspection import PartInspection
from appliance.ports import RawDetections
from appliance.recipe import BoundRecipe
from appliance.stages.decide import MILDEST_FIRST, decide
from appliance.stages.infer import Inference
from tests.inspections import GOOD, SIDE_PX, bind, make_frame, make_manifest, view_document
from tests.references import board, laid_down, reference_section

IGNORE = {"name": "hole", "kind": "ignore", "points_px": [[20, 20], [44, 20], [44, 44], [20, 44]]}
INSPECT = {"name": "board", "kind": "inspect", "points_px": [[4, 4], [60, 8], [56, 60], [30, 40], [8, 56]]}
RECIPE = bind(
    view_document("top", zones=[IGNORE]),
    view_document("side", zones=[IGNORE, INSPECT]),
    classes={"short": {"accept_limit": 0.3}, "scratch": {"min_width_px": 4, "min_height_px": 4}},
)
VIEWS = ("top", "side")

edges = st.integers(0, SIDE_PX)
boxes = st.tuples(edges, edges, edges, edges).map(
    lambda e: (float(min(e[0], e[2])), float(min(e[1], e[3])), float(max(e[0], e[2])), float(max(e[1], e[3])))
)
scores = st.one_of(st.sampled_from([0.0, 0.29, 0.3, 0.5, 0.59, 0.6, 0.9, 1.0]), st.floats(0.0, 1.0))
detections = st.builds(Detection, st.sampled_from(["short", "scratch"]), scores, boxes)
detection_lists = st.lists(detections, max_size=5).map(tuple)
any_number = st.floats(allow_nan=True, allow_infinity=True)
any_detection = st.builds(
    Detection, st.sampled_from(["short", "scratch", "unknown"]), any_number, st.tuples(*[any_number] * 4)
)
any_statistics = st.builds(ImageStatistics, any_number, any_number, any_number, any_number, any_number, any_number)


def inspected(view: str, found: tuple[Detection, ...], statistics: ImageStatistics = GOOD) -> ViewResult:
    return ViewResult(view, make_frame(view), statistics, found)


def badness(results: list[ViewResult]) -> int:
    return MILDEST_FIRST.index(decide(results, RECIPE).verdict)


few = st.lists(detections, max_size=1).map(tuple)
pairs = st.one_of(st.tuples(few, few), st.tuples(detection_lists, detection_lists)).map(
    lambda found: [inspected(view, own) for view, own in zip(VIEWS, found, strict=True)]
)
any_result = st.builds(
    ViewResult,
    st.sampled_from(["top", "side", "other"]),
    st.one_of(st.none(), st.builds(make_frame, st.sampled_from(VIEWS), st.sampled_from([SIDE_PX, 32]))),
    st.one_of(st.none(), st.just(GOOD), any_statistics),
    st.lists(st.one_of(detections, any_detection), max_size=3).map(tuple),
    st.one_of(st.none(), st.tuples(any_number, any_number)),
)


@given(pairs, st.sampled_from([0, 1]), st.one_of(detections, any_detection))
def test_one_more_detection_never_makes_the_verdict_milder(results: list[ViewResult], at: int, more: Detection) -> None:
    worse = list(results)
    worse[at] = replace(results[at], detections=(*results[at].detections, more))
    assert badness(worse) >= badness(results)


@given(pairs, st.sampled_from([0, 1]), detections, scores)
def test_a_higher_score_never_makes_the_verdict_milder(
    results: list[ViewResult], at: int, detection: Detection, other: float
) -> None:
    low, high = sorted((detection.score, other))
    before, after = list(results), list(results)
    before[at] = replace(results[at], detections=(*results[at].detections, replace(detection, score=low)))
    after[at] = replace(results[at], detections=(*results[at].detections, replace(detection, score=high)))
    assert badness(after) >= badness(before)


@given(detections, boxes)
def test_a_larger_box_never_makes_the_verdict_milder(detection: Detection, other: Box) -> None:
    a, b = detection.box, other
    assume(a[0] < a[2] and a[1] < a[3])  # on a zone's border, one without an area has no inside
    around = (min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3]))
    for view, rest in (VIEWS, VIEWS[::-1]):
        small = [inspected(view, (detection,)), inspected(rest, ())]
        large = [inspected(view, (replace(detection, box=around),)), inspected(rest, ())]
        assert badness(large) >= badness(small)


@given(pairs)
def test_the_order_of_views_does_not_change_the_verdict(results: list[ViewResult]) -> None:
    assert badness(results[::-1]) == badness(results)


@given(st.lists(any_result, max_size=3))
def test_a_missing_view_is_never_accepted(results: list[ViewResult]) -> None:
    for missing in VIEWS:
        rest = [item for item in results if item.view != missing]
        assert decide(rest, RECIPE).verdict is Verdict.FAULT


@given(st.lists(any_result, max_size=4))
def test_whatever_comes_gets_a_verdict_and_accept_only_if_complete(results: list[ViewResult]) -> None:
    decision = decide(results, RECIPE)
    if decision.verdict is not Verdict.ACCEPT:
        return
    assert sorted(item.view for item in results) == sorted(VIEWS)
    for item in results:
        assert item.frame is not None
        assert item.frame.view == item.view
        assert item.frame.pixels.shape == (SIDE_PX, SIDE_PX, 1)
        assert item.statistics is not None
        assert 40 <= item.statistics.brightness_mean <= 200
        assert item.statistics.sharpness >= 50
        assert item.statistics.clipped_low_ratio <= 0.2
        assert item.statistics.clipped_high_ratio <= 0.2
        assert all(0 <= found.score <= 1 and found.label in RECIPE.limits for found in item.detections)


BROKEN = st.one_of(
    st.tuples(st.just("brightness_mean"), st.one_of(st.floats(max_value=39.99), st.floats(min_value=200.01))),
    st.tuples(st.just("sharpness"), st.floats(max_value=49.99)),
    st.tuples(st.sampled_from(["clipped_low_ratio", "clipped_high_ratio"]), st.floats(min_value=0.201)),
    st.tuples(
        st.sampled_from(["brightness_mean", "sharpness", "clipped_low_ratio", "clipped_high_ratio"]),
        st.just(float("nan")),
    ),
)


@given(pairs, st.sampled_from([0, 1]), BROKEN)
def test_a_picture_outside_any_limit_is_never_accepted(
    results: list[ViewResult], at: int, broken: tuple[str, float]
) -> None:
    name, value = broken
    results[at] = replace(results[at], statistics=replace(GOOD, **{name: value}))
    assert decide(results, RECIPE).verdict is Verdict.FAULT


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_that_was_never_measured_is_never_accepted(view: str) -> None:
    results = [replace(inspected(name, ()), statistics=None if name == view else GOOD) for name in VIEWS]
    assert decide(results, RECIPE).verdict is Verdict.FAULT


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> BoundRecipe:
    """One view of 320 pixels that is compared with two good parts, within 8 pixels and half a degree."""
    section = reference_section(
        tmp_path_factory.mktemp("good"), board(1, 320), board(2, 320), max_shift_px=8, max_rotation_deg=0.5
    )
    return bind(view_document(width_px=320, height_px=320, reference=section), geometry=COMPARING)


COMPARING = {"width": 320, "height": 320, "channels": 2, "fit": "exact", "pad_value": 114}


@given(st.one_of(st.none(), st.builds(PartAlignment, st.just("a.png"), st.tuples(any_number, any_number), any_number,
                                      st.tuples(any_number, any_number), any_number)))  # fmt: skip
def test_a_part_is_accepted_only_where_it_lies_against_its_reference_as_agreed(
    compared: BoundRecipe, alignment: PartAlignment | None
) -> None:
    frame = make_frame(width=320, height=320)
    decision = decide([ViewResult("top", frame, GOOD, (), alignment=alignment)], compared)
    if decision.verdict is Verdict.ACCEPT:
        assert alignment is not None
        assert np.hypot(*alignment.shift_px) <= 8
        assert -0.5 <= alignment.rotation_deg <= 0.5
        assert all(-1 <= percent <= 1 for percent in alignment.stretch_percent)
        assert alignment.match >= 0.7
    else:
        assert (decision.verdict, decision.reason) == (Verdict.FAULT, Reason.MISPLACED)


class BlindRuntime:
    """Finds nothing, as a model would that looks at the wrong place; counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def infer(self, images: Pixels) -> RawDetections:
        self.asked += len(images)
        empty = np.zeros((len(images), 1), np.float32)
        return RawDetections(np.zeros((len(images), 1, 4), np.float32), empty, empty.astype(np.int64))

    def describe(self) -> str:
        return "blind"

    def close(self) -> None:
        return None


@pytest.mark.parametrize(
    ("pixels", "is_in_place"),
    [
        (board(1, 320), True),
        (laid_down(board(2, 320), (-5, 4), 0.3), True),
        (laid_down(board(1, 320), (9.5, 0)), False),  # measured: the search goes a little farther than the limit
        (laid_down(board(1, 320), (40, 0)), False),  # out of reach
        (laid_down(board(1, 320), (0, 0), 0.8), False),
        (laid_down(board(1, 320), (0, 0), 180), False),
        (board(3, 320), False),  # another product
        (np.full((320, 320, 1), 120, np.uint8), False),  # no part
        (board(1, 320)[:, :, [0, 0, 0]], False),  # in colour
        (board(1, 300), False),
    ],
)
def test_a_part_that_is_not_in_its_place_is_a_fault_that_the_model_never_sees(
    compared: BoundRecipe, pixels: Pixels, is_in_place: bool
) -> None:
    runtime = BlindRuntime()
    inspect = PartInspection(compared, Inference(compared, make_manifest(geometry=COMPARING), runtime))
    decision, views = inspect({"top": replace(make_frame(), pixels=pixels)}, {})
    inspect.close()
    assert runtime.asked == is_in_place
    assert (decision.verdict is Verdict.ACCEPT) == is_in_place
    assert is_in_place or decision.verdict is Verdict.FAULT
    assert (views[0].alignment is not None) == (pixels.shape == (320, 320, 1))


def plate() -> Pixels:
    """A bright square plate with four holes on a dark ground: its outline says nothing of which way it lies."""
    pixels = np.full((640, 640, 1), 45, np.uint8)
    pixels[110:530, 110:530] = 160
    for centre in ((170, 180), (430, 210), (210, 440), (400, 380)):
        cv2.circle(pixels, centre, 22, (50,), -1)
    return cv2.GaussianBlur(pixels, (0, 0), 1.2).reshape(640, 640, 1)


def disc() -> Pixels:
    """A bright disc with four holes and a mark."""
    pixels = np.full((640, 640, 1), 45, np.uint8)
    cv2.circle(pixels, (320, 320), 240, (160,), -1)
    for centre in ((480, 320), (320, 480), (170, 265), (375, 170)):
        cv2.circle(pixels, centre, 16, (60,), -1)
    cv2.putText(pixels, "A17", (280, 330), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (90,), 3)
    return cv2.GaussianBlur(pixels, (0, 0), 1.2).reshape(640, 640, 1)


@pytest.mark.parametrize("good", [plate(), disc()], ids=["plate", "disc"])
@pytest.mark.parametrize(
    ("shift", "turn_deg", "stretch", "is_in_place"),
    [
        ((0, 0), 0, (0, 0), True),
        ((12, -7), 0.5, (0, 0), True),
        ((18, 0), 0, (0, 0), True),
        ((12, -7), 0.5, (0.8, -0.8), True),
        *(((shift, 0), 0, (0, 0), False) for shift in (23, 26, 40, 60, 80, 120)),
        ((0, -60), 0, (0, 0), False),
        ((30, 30), 0, (0, 0), False),
        *(((0, 0), turn, (0, 0), False) for turn in (1.5, 4, 6, 8, 10, -10, 15, 20, 45, 90, 180, 270)),
        ((26, 8), 20, (0, 0), False),
        *(((0, 0), 0, (wide, 0), False) for wide in (1.3, -1.3, 2.3, 3.5, 5, -5, 10)),
        *(((0, 0), 0, (longer, longer), False) for longer in (1.3, -2.3, 3.5, 10)),
        ((15, 10), 0.8, (0, 2.3), False),
    ],
)
def test_a_part_out_of_reach_turned_or_longer_is_never_accepted_for_its_outline(
    good: Pixels,
    shift: tuple[float, float],
    turn_deg: float,
    stretch: tuple[float, float],
    is_in_place: bool,
    tmp_path: Path,
) -> None:
    assert_accepted_in_place_alone(good, laid_down(good, shift, turn_deg, stretch), is_in_place, tmp_path)


@pytest.mark.parametrize("left", [60, 500])
@pytest.mark.parametrize(("width", "height", "frame_px"), [(40, 640, 0), (100, 640, 20), (100, 100, 0), (60, 60, 0)])
@pytest.mark.parametrize("shift", [(21.5, 0), (-20.6, 0), (0, 21.5), (0, -21.5)])
def test_a_reference_that_shows_only_a_part_of_its_picture_moves_no_part_into_its_limits(
    left: int, width: int, height: int, frame_px: int, shift: tuple[float, float], tmp_path: Path
) -> None:
    good = np.full((640, 640, 1), 60, np.uint8)
    top = (640 - height) // 2
    good[top : top + height, left : left + width] = board(4, 640)[:height, :width]
    part = laid_down(good, shift)
    cv2.circle(part, (round(left + width - 5 + shift[0]), round(320 + shift[1])), 10, (250,), -1)
    for picture in (good, part):
        picture[:, :frame_px] = 20
    assert_accepted_in_place_alone(good, part, False, tmp_path)


def assert_accepted_in_place_alone(good: Pixels, part: Pixels, is_in_place: bool, tmp_path: Path) -> None:
    """Inspect a part beside a good one with the usual limits, by a model that finds nothing."""
    geometry = COMPARING | {"width": 640, "height": 640}
    view = view_document(width_px=640, height_px=640, reference=reference_section(tmp_path, good))
    recipe, runtime = bind(view, geometry=geometry), BlindRuntime()
    inspect = PartInspection(recipe, Inference(recipe, make_manifest(geometry=geometry), runtime))
    noise = np.random.default_rng(1).normal(0, 2, good.shape)
    noisy = np.clip(part + noise, 0, 255).astype(np.uint8)
    decision, views = inspect({"top": replace(make_frame(), pixels=noisy)}, {})
    inspect.close()
    assert runtime.asked == is_in_place
    assert (decision.verdict is Verdict.ACCEPT) == is_in_place, decision.detail
    assert is_in_place or (decision.verdict, decision.reason) == (Verdict.FAULT, Reason.MISPLACED)
    laid = views[0].alignment
    assert laid is not None
    assert np.isfinite([*laid.shift_px, laid.rotation_deg, *laid.stretch_percent, laid.match]).all()
