import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.calibration_error import calibration_error
from trainer.coco_figures import coco_figures
from trainer.metrics import (
    Judged,
    at_limit,
    average_precision,
    best_limit,
    judge_parts,
    rank,
    rank_classes,
)
from trainer.score_calibration import calibrate_scores, fit_score_map

Row = tuple[float, float, float, float]


def _judged(found: list[tuple[Row, float, int]], truth: list[tuple[Row, int]]) -> Judged:
    return Judged(
        np.array([box for box, _, _ in found], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in found], np.float32),
        np.array([label for _, _, label in found], np.int64),
        np.array([box for box, _ in truth], np.float32).reshape(-1, 4),
        np.array([label for _, label in truth], np.int64),
    )


A: Row = (0, 0, 10, 10)
B: Row = (50, 50, 60, 60)
FAR: Row = (90, 90, 99, 99)


def test_all_found_is_one_and_nothing_found_is_zero() -> None:
    truth = [(A, 0), (B, 1)]
    assert average_precision(rank([_judged([(A, 0.9, 0), (B, 0.8, 1)], truth)])) == 1.0
    assert average_precision(rank([_judged([], truth)])) == 0.0
    assert np.isnan(average_precision(rank([_judged([(A, 0.9, 0)], [])])))


def test_a_wrong_detection_between_two_right_ones_costs_what_the_curve_says() -> None:
    # recall 1/2 at precision 1, then recall 1 at precision 2/3
    judged = _judged([(A, 0.9, 0), (FAR, 0.8, 0), (B, 0.7, 0)], [(A, 0), (B, 0)])
    assert average_precision(rank([judged])) == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_precision_is_made_monotonic() -> None:
    # wrong, right, right of two: precision 0, 1/2, 2/3 -> both hits count 2/3
    judged = _judged([(FAR, 0.9, 0), (A, 0.8, 0), (B, 0.7, 0)], [(A, 0), (B, 0)])
    assert average_precision(rank([judged])) == pytest.approx(2 / 3)


def test_a_truth_is_given_once_and_the_double_is_wrong() -> None:
    ranking = rank([_judged([(A, 0.9, 0), (A, 0.8, 0)], [(A, 0)])])
    assert ranking.right.tolist() == [True, False]


def test_a_right_box_of_the_wrong_class_is_wrong() -> None:
    assert rank([_judged([(A, 0.9, 1)], [(A, 0)])]).right.tolist() == [False]


def test_overlap_must_exceed_a_third() -> None:
    half: Row = (0, 5, 10, 15)  # IoU 1/3 with A
    more: Row = (0, 4, 10, 14)  # IoU 6/14
    assert rank([_judged([(half, 0.9, 0)], [(A, 0)])], min_iou=1 / 3 + 1e-6).right.tolist() == [False]
    assert rank([_judged([(half, 0.9, 0)], [(A, 0)])]).right.tolist() == [True]
    assert rank([_judged([(more, 0.9, 0)], [(A, 0)])], min_iou=0.43).right.tolist() == [False]


def test_a_picture_cannot_use_the_truth_of_another() -> None:
    first, second = _judged([(A, 0.9, 0)], []), _judged([], [(A, 0)])
    assert rank([first, second]).right.tolist() == [False]


def test_one_ap_is_pooled_over_the_classes() -> None:
    # class 0 is perfect at low scores, class 1 has only a confident mistake: pooling lets it hurt
    judged = _judged([(FAR, 0.9, 1), (A, 0.5, 0)], [(A, 0)])
    assert average_precision(rank([judged])) == pytest.approx(0.5)
    assert average_precision(rank_classes([judged], 2)[0]) == 1.0


def test_the_better_placed_detection_does_not_steal_its_neighbours_truth() -> None:
    left, right = (0.0, 0.0, 10.0, 10.0), (4.0, 0.0, 14.0, 10.0)
    ranking = rank([_judged([(right, 0.9, 0), (left, 0.8, 0)], [(left, 0), (right, 0)])])
    assert ranking.right.tolist() == [True, True]


def test_f_at_a_limit_and_the_best_limit() -> None:
    ranking = rank([_judged([(A, 0.9, 0), (B, 0.7, 0), (FAR, 0.5, 0)], [(A, 0), (B, 0)])])
    low = at_limit(ranking, 0.5)
    assert (low.precision, low.recall, low.f) == pytest.approx((2 / 3, 1.0, 0.8))
    assert best_limit(ranking).limit == pytest.approx(0.7)
    assert best_limit(ranking).f == 1.0


def test_detections_of_one_score_count_together_at_the_best_limit() -> None:
    wrong = [(FAR, 0.5, 0)] * 3
    ranking = rank([_judged([(A, 0.9, 0), (B, 0.5, 0), *wrong], [(A, 0), (B, 0)])])
    assert at_limit(ranking, 0.5).f == pytest.approx(4 / 7)
    assert (best_limit(ranking).limit, best_limit(ranking).f) == pytest.approx((0.9, 2 / 3))


@given(st.lists(st.tuples(st.sampled_from([0.25, 0.5, 0.75]), st.booleans()), min_size=1, max_size=12))
def test_no_limit_is_better_than_the_best(found: list[tuple[float, bool]]) -> None:
    boxes: list[Row] = [(20.0 * i, 0, 20.0 * i + 10, 10) for i in range(len(found))]
    truth = [(box, 0) for box, (_, is_right) in zip(boxes, found, strict=True) if is_right] + [(FAR, 0)]
    ranking = rank([_judged([(box, score, 0) for box, (score, _) in zip(boxes, found, strict=True)], truth)])
    best = max((at_limit(ranking, score) for score in (0.75, 0.5, 0.25)), key=lambda its: its.f)
    assert best_limit(ranking).f == best.f


def test_what_no_detection_tells_is_no_figure() -> None:
    nothing_found = best_limit(rank([_judged([], [(A, 0)])]))
    assert (nothing_found.recall, nothing_found.f) == (0.0, 0.0)
    assert np.isnan([nothing_found.limit, nothing_found.precision]).all()
    nothing_there = at_limit(rank([_judged([(A, 0.9, 0)], [])]), 0.5)
    assert nothing_there.precision == 0.0
    assert np.isnan([nothing_there.recall, nothing_there.f]).all()
    assert np.isnan(calibration_error(np.zeros(0), np.zeros(0, bool)))


def test_a_part_is_bad_by_its_worst_detection() -> None:
    judged = [
        _judged([(A, 0.9, 0), (B, 0.1, 0)], [(A, 0)]),  # bad, rejected
        _judged([(A, 0.4, 0)], [(A, 0)]),  # bad, escapes
        _judged([(A, 0.5, 1)], []),  # good, rejected at the limit itself
        _judged([], []),  # good
    ]
    parts = judge_parts(judged, 0.5)
    assert (parts.bad, parts.good, parts.escapes, parts.overkill) == (2, 2, 1, 1)
    parts = judge_parts(judged, np.array([0.3, 0.6]))
    assert (parts.escapes, parts.overkill) == (0, 0)


def test_coco_figures_know_how_well_a_box_lies() -> None:
    half: Row = (0, 2, 10, 12)  # IoU 8/12 with A: right at 0.50 to 0.65, wrong above
    figures = coco_figures([_judged([(half, 0.9, 0)], [(A, 0)])], ("only",))
    assert figures.ap50 == pytest.approx(1.0)
    assert figures.ap50_95 == pytest.approx(0.4)
    assert coco_figures([_judged([], [(A, 0)])], ("only",)).ap50 == 0.0
    assert np.isnan(coco_figures([_judged([], [])], ("only",)).ap50)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0.01, 1.0), st.booleans()), min_size=1, max_size=30))
def test_the_ap_is_the_area_under_the_curve(found: list[tuple[float, bool]]) -> None:
    boxes: list[Row] = [(20.0 * i, 0, 20.0 * i + 10, 10) for i in range(len(found))]
    truth = [(box, 0) for box, (_, is_right) in zip(boxes, found, strict=True) if is_right]
    if not truth:
        return
    judged = _judged([(box, score, 0) for box, (score, _) in zip(boxes, found, strict=True)], truth)
    ranking = rank([judged])
    expected, best = 0.0, 0.0
    for last in range(len(ranking.right) - 1, -1, -1):
        best = max(best, ranking.right[: last + 1].mean())
        expected += best * ranking.right[last] / ranking.truths
    assert average_precision(ranking) == pytest.approx(expected)


def test_honest_scores_have_no_calibration_error_and_boasting_has() -> None:
    rng = np.random.default_rng(0)
    scores = rng.uniform(0, 1, 20_000)
    right = rng.uniform(0, 1, 20_000) < scores
    assert calibration_error(scores, right) < 0.02
    assert calibration_error(scores, rng.uniform(0, 1, 20_000) < scores**3) > 0.2


def test_calibration_makes_shy_scores_honest_on_groups_it_has_not_seen() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.02, 0.98, 4000)
    right = rng.uniform(0, 1, 4000) < truth
    logit = np.log(truth / (1 - truth))
    shy = 1 / (1 + np.exp(-(0.4 * logit - 1.0)))
    result = calibrate_scores(shy, right, np.array(["a", "b", "c", "d"] * 1000))
    assert result.error_before > 0.15
    assert result.error_after < 0.03
    assert result.scores.slope == pytest.approx(2.5, rel=0.1)


def test_a_heap_of_certain_noise_does_not_hide_the_calibration_error() -> None:
    scores = np.concatenate((np.full(5000, 0.001), np.full(100, 0.5)))
    right = np.concatenate((np.zeros(5000, bool), np.ones(100, bool)))
    groups = np.array(["a", "b"] * 2550)
    assert calibrate_scores(scores, right, groups).error_before < 0.02
    assert calibrate_scores(scores, right, groups, floor=0.02).error_before == pytest.approx(0.5)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0.0, 1.0), st.booleans()), max_size=40))
def test_calibrated_scores_keep_their_order(found: list[tuple[float, bool]]) -> None:
    scores = np.array([score for score, _ in found])
    mapped = fit_score_map(scores, np.array([is_right for _, is_right in found], bool))(np.sort(scores))
    assert np.all(np.diff(mapped) >= 0)
    assert np.all((mapped >= 0) & (mapped <= 1))
