"""What AP is lost by: each mistake is told from the others, and what it costs is what the curve says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.ap_lost import MISTAKES, count_each, without_each
from trainer.metrics import Judged, Matched, average_precision

NO_LIMITS = np.zeros(2)


def judged(found: list[tuple[float, float, int]], truth: list[tuple[float, int]]) -> Judged:
    """A picture whose boxes are squares of 10 pixels on a line: (left, score, label) found, (left, label) true."""
    return Judged(
        np.array([(left, 0, left + 10, 10) for left, _, _ in found], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in found], np.float32),
        np.array([label for _, _, label in found], np.int64),
        np.array([(left, 0, left + 10, 10) for left, _ in truth], np.float32).reshape(-1, 4),
        np.array([label for _, label in truth], np.int64),
    )


def gains(*parts: Judged) -> dict[str, float]:
    """What AP gains without each mistake that costs anything."""
    matched = Matched.of(list(parts))
    whole = average_precision(matched.ranking())
    each = {name: average_precision(its) - whole for name, its in without_each(matched).items()}
    return {name: gain for name, gain in each.items() if gain != 0.0}


@pytest.mark.parametrize(
    ("wrong", "mistake", "gain"),
    [
        ((100, 0.9, 1), "kind", 0.75),  # one of two found, at half the precision -> both found
        ((106, 0.9, 0), "box", 0.75),  # IoU 1/4
        ((106, 0.9, 1), "kind_and_box", 0.25),  # one of two found, at half the precision -> at the whole
        ((2, 0.7, 0), "twice", 0.0),
        ((50, 0.9, 0), "nothing_there", 0.25),
        ((9, 0.9, 0), "nothing_there", 0.25),  # IoU 1/19
    ],
)
def test_each_mistake_is_told_from_the_others_and_costs_what_the_curve_says(
    wrong: tuple[float, float, int], mistake: str, gain: float
) -> None:
    part = judged([(0, 0.8, 0), wrong], [(0, 0), (100, 0)])
    counts = {name: count for name, count in count_each(Matched.of([part]), NO_LIMITS).items() if count}
    is_found_somehow = mistake in ("kind", "box")
    assert counts == {mistake: 1} | ({} if is_found_somehow else {"missed": 1})
    found = gains(part)
    assert found.get(mistake, 0.0) == pytest.approx(gain)
    assert ("missed" in found) is not is_found_somehow


def test_a_second_name_is_taken_away_and_does_not_find_the_defect_once_more() -> None:
    second_name = judged([(0, 0.9, 1), (0, 0.8, 0)], [(0, 0)])
    assert gains(second_name) == {"kind": pytest.approx(0.5)}
    two_other_names = judged([(0, 0.9, 1), (2, 0.8, 1)], [(0, 0)])
    assert gains(two_other_names) == {"kind": pytest.approx(1.0)}
    assert count_each(Matched.of([two_other_names]), NO_LIMITS)["kind"] == 2


@pytest.mark.parametrize(("box_score", "kind_score"), [(0.9, 0.8), (0.8, 0.9)])
def test_mistakes_of_two_kinds_at_one_box_are_each_mended_by_themselves(box_score: float, kind_score: float) -> None:
    part = judged([(6, box_score, 0), (0, kind_score, 1)], [(0, 0)])
    assert set(gains(part)) == {"kind", "box"}


@pytest.mark.parametrize("truth", [[(0, 0), (0, 1)], [(0, 1), (0, 0)]])
def test_of_two_boxes_that_are_as_near_a_detection_means_that_of_its_kind(truth: list[tuple[float, int]]) -> None:
    part = judged([(0, 0.9, 0), (0, 0.8, 0)], truth)
    counts = {name: count for name, count in count_each(Matched.of([part]), NO_LIMITS).items() if count}
    assert counts == {"twice": 1, "missed": 1}


def test_what_is_missed_is_not_looked_for_and_each_class_has_its_limit() -> None:
    part = judged([(0, 0.6, 0), (100, 0.6, 1)], [(0, 0), (100, 1), (200, 1), (300, 1)])
    assert gains(part) == {"missed": pytest.approx(0.5)}
    assert [count_each(Matched.of([part]), np.array(limits))["missed"] for limits in ([0.5, 0.5], [0.5, 0.7])] == [2, 3]


def test_where_nothing_is_found_every_box_is_missed_and_ap_without_that_is_not_known() -> None:
    matched = Matched.of([judged([], [(0, 0)])])
    assert count_each(matched, NO_LIMITS)["missed"] == 1
    aps = {name: average_precision(its) for name, its in without_each(matched).items()}
    assert np.isnan(aps.pop("missed"))
    assert set(aps.values()) == {0.0}


PLACES = st.integers(0, 30).map(float)
PARTS = st.builds(
    judged,
    st.lists(st.tuples(PLACES, st.integers(1, 100).map(lambda percent: percent / 100), st.integers(0, 1)), max_size=8),
    st.lists(st.tuples(PLACES, st.integers(0, 1)), min_size=1, max_size=5),
)


@given(st.lists(PARTS, min_size=1, max_size=3), st.floats(0, 1))
def test_every_wrong_detection_is_one_mistake_and_ap_never_falls_without_one(parts: list[Judged], limit: float) -> None:
    matched, limits = Matched.of(parts), np.full(2, limit)
    counts, at_limits = count_each(matched, limits), matched.ranking(limits=limits)
    assert sum(counts.values()) - counts["missed"] == int((~at_limits.right).sum())
    assert counts["missed"] <= at_limits.truths - int(at_limits.right.sum())
    whole = average_precision(matched.ranking())
    for name in MISTAKES:
        without = average_precision(without_each(matched)[name])
        assert np.isnan(without) or without >= whole - 1e-12, name
