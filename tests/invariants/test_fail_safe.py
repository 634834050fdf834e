"""Invariant 2: ACCEPT needs a complete inspection; everything else makes the line divert the part."""

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from appliance.events import Box, Detection, ImageStatistics, Verdict, ViewResult
from appliance.stages.decide import MILDEST_FIRST, decide
from tests.inspections import GOOD, SIDE_PX, bind, make_frame, view_document

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
