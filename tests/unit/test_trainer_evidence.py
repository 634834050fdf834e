"""Counts and bounds behind the figures, against published values and hand-made cases."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.calibration_error import calibration_error, error_without_chance
from trainer.coco_figures import coco_figures, coco_rankings
from trainer.confusion import confusion
from trainer.evidence import gather
from trainer.intervals import Interval, resampled, resampled_detections, resampled_each, resampled_loss, share
from trainer.metrics import Judged, average_precision, best_limit, interpolated_precision, rank, rank_classes
from trainer.rankings import Rankings
from trainer.score_calibration import ScoreMap

NAMES = ("open", "short")


def judged(found: list[tuple[int, float, int]], truth: list[tuple[int, int]], side: int = 10) -> Judged:
    """A picture whose boxes are squares on a line: (place, score, label) found, (place, label) true."""
    return Judged(
        np.array([(100 * at, 0, 100 * at + side, side) for at, _, _ in found], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in found], np.float32),
        np.array([label for _, _, label in found], np.int64),
        np.array([(100 * at, 0, 100 * at + side, side) for at, _ in truth], np.float32).reshape(-1, 4),
        np.array([label for _, label in truth], np.int64),
    )


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    [(0, 48, 0.0, 0.0740), (0, 149, 0.0, 0.0245), (10, 100, 0.0490, 0.1762), (5, 5, 0.4782, 1.0)],
)
def test_bounds_are_those_of_the_published_tables(count: int, of: int, low: float, high: float) -> None:
    found = share(count, of)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)


@given(st.integers(0, 60), st.integers(0, 60))
def test_a_share_lies_within_its_bounds_and_complements_mirror(count: int, rest: int) -> None:
    found, other = share(count, count + rest), share(rest, count + rest)
    if not count + rest:
        assert np.isnan([found.low, found.high]).all()
        return
    assert 0.0 <= found.low <= found.high <= 1.0
    assert found.low <= count / (count + rest) <= found.high
    assert (found.low, found.high) == pytest.approx((1 - other.high, 1 - other.low), abs=1e-9)


def test_what_was_taken_for_what_is_counted_once() -> None:
    parts = [
        judged([(0, 0.9, 1), (1, 0.8, 1), (5, 0.7, 0)], [(0, 0), (1, 1), (2, 1)]),
        judged([(0, 0.9, 0), (0, 0.6, 1)], [(0, 0)]),
    ]
    assert confusion(parts, NAMES) == {
        "open": {"open": 1, "short": 1, "background": 0},
        "short": {"open": 0, "short": 1, "background": 1},
        "background": {"open": 1, "short": 1, "background": 0},
    }


def test_evidence_counts_parts_boxes_and_sizes_at_the_limits() -> None:
    parts = [
        judged([(0, 0.9, 0), (1, 0.2, 1)], [(0, 0), (1, 1)]),
        judged([(0, 0.4, 0)], [(0, 0)], side=50),
        judged([(0, 0.6, 1)], []),
        judged([], []),
    ]
    found = gather(Rankings.of(parts, NAMES, np.array([0.5, 0.5])))
    assert found.boxes == {"open": 2, "short": 1}
    assert (found.recall.count, found.recall.of, found.precision.of) == (1, 3, 1)
    assert found.ap_classes["open"].high > 0
    assert (found.escapes.count, found.escapes.of, found.overkill.count, found.overkill.of) == (1, 2, 1, 2)
    assert found.separation is not None
    assert found.separation.gap == pytest.approx(0.4 - 0.6)
    sizes = {name: (it.count, it.of) for name, it in found.recall_by_size.items()}
    assert sizes == {"small": (1, 2), "medium": (0, 1), "large": (0, 0)}


def test_one_box_over_two_neighbouring_defects_finds_one_of_them_in_every_table() -> None:
    over_both = Judged(
        np.array([[0, 0, 20, 10]], np.float32),
        np.array([0.9], np.float32),
        np.array([0]),
        np.array([[0, 0, 10, 10], [10, 0, 20, 10]], np.float32),
        np.array([0, 0]),
    )
    found = gather(Rankings.of([over_both] * 3, NAMES, np.array([0.5, 0.5])))
    assert (found.recall.count, found.recall.of) == (3, 6)
    assert (found.recall_by_class["open"].count, found.recall_by_size["small"].count) == (3, 3)


def test_by_size_a_detection_counts_where_its_truth_is_and_a_wrong_one_where_it_is_itself() -> None:
    part = Judged(
        np.array([[0, 0, 34, 34], [100, 0, 110, 10], [200, 0, 240, 40], [300, 0, 310, 10]], np.float32),
        np.array([0.6, 0.7, 0.8, 0.9], np.float32),
        np.array([0, 0, 1, 1]),
        np.array([[0, 0, 30, 30], [100, 0, 110, 10], [200, 0, 240, 40]], np.float32),
        np.array([0, 0, 0]),
    )
    by_size = Rankings.of([part], NAMES, np.array([0.5, 0.5])).by_size
    told = {name: (its.scores.round(1).tolist(), its.right.tolist(), its.truths) for name, its in by_size.items()}
    assert told == {
        "small": ([0.9, 0.7, 0.6], [False, True, True], 2),  # the one of 34 x 34 takes the truth of 30 x 30
        "medium": ([0.8], [False], 1),
        "large": ([], [], 0),
    }


def test_bounds_of_each_name_are_those_that_it_has_by_itself() -> None:
    mixed = [judged([(0, 0.9, 0), (1, 0.8, 1)], [(0, 0), (2, 1)]), judged([(3, 0.8, 0)], [(0, 0)])]
    by_class = rank_classes([*mixed, *mixed, mixed[1]], 2)
    mean, each = resampled_each({"open": by_class[:1], "short": by_class[1:]}, average_precision)
    assert mean == resampled(by_class, average_precision)
    assert each == {"open": resampled(by_class[:1], average_precision), "short": Interval(0.0, 0.0)}
    rare = rank_classes([mixed[0], *[mixed[1]] * 4], 2)
    alone = resampled_each({"open": rare[:1], "short": rare[1:]}, average_precision)
    assert np.isnan(alone[1]["short"].low)  # a single picture shows it


def test_more_pictures_narrow_the_bounds_and_perfect_ones_have_none() -> None:
    mixed = [judged([(0, 0.9, 0)], [(0, 0)]), judged([(3, 0.8, 0)], [(0, 0)])]
    few, many = (resampled([rank(mixed * times)], average_precision) for times in (5, 100))
    assert few.high - few.low > 2 * (many.high - many.low) > 0
    perfect = resampled([rank([mixed[0]] * 5)], average_precision)
    assert perfect == Interval(1.0, 1.0)
    assert np.isnan(resampled([], average_precision).low)


PICTURES = st.lists(
    st.tuples(
        st.lists(st.tuples(st.integers(0, 5), st.floats(0.01, 0.99), st.integers(0, 1)), max_size=6),
        st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1)), max_size=4, unique_by=lambda at: at[0]),
    ),
    min_size=1,
    max_size=6,
)


@settings(deadline=None)
@given(PICTURES)
def test_the_curve_that_bounds_are_drawn_from_is_cocos(
    pictures: list[tuple[list[tuple[int, float, int]], list[tuple[int, int]]]],
) -> None:
    parts = [judged(sorted(found, key=lambda it: -it[1]), truth) for found, truth in pictures]
    by_class = [interpolated_precision(its) for its in coco_rankings(parts, len(NAMES), 0.5)]
    measured = [value for value in by_class if not np.isnan(value)]
    expected = coco_figures(parts, NAMES)
    assert np.isnan(expected.ap50) if not measured else np.mean(measured) == pytest.approx(expected.ap50, abs=1e-6)
    assert list(expected.ap50_classes.values()) == pytest.approx(by_class, abs=1e-6, nan_ok=True)


@given(PICTURES, st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_what_is_matched_once_is_ranked_as_if_each_part_of_it_was_matched_by_itself(
    pictures: list[tuple[list[tuple[int, float, int]], list[tuple[int, int]]]], one: float, other: float
) -> None:
    parts, limits = [judged(found, truth) for found, truth in pictures], np.array([one, other])
    ranked = Rankings.of(parts, NAMES, limits)
    bad = [part for part in parts if len(part.true_labels)]
    counting = rank([part.take(part.scores >= limits[part.labels]) for part in bad])
    pairs = zip(
        (ranked.bad, ranked.at_limits, *ranked.by_class), (rank(bad), counting, *rank_classes(bad, 2)), strict=True
    )
    for mine, expected in pairs:
        for name in ("scores", "right", "pictures", "boxes"):
            assert getattr(mine, name).tolist() == getattr(expected, name).tolist(), name


@settings(deadline=None, max_examples=20)
@given(PICTURES, st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_what_is_found_by_class_and_by_size_adds_up_to_what_is_found(
    pictures: list[tuple[list[tuple[int, float, int]], list[tuple[int, int]]]], one: float, other: float
) -> None:
    ranked = Rankings.of([judged(*each) for each in pictures], NAMES, np.array([one, other]))
    found = gather(ranked)
    claims = sum(row.of for row in found.precision_by_class.values())
    assert (claims, sum(len(its.scores) for its in ranked.by_size.values())) == (
        found.precision.of, len(ranked.bad.scores)
    )  # fmt: skip
    assert sum(row.count for row in found.precision_by_class.values()) == found.precision.count
    for table in (found.recall_by_class, found.recall_by_size):
        assert sum(row.count for row in table.values()) == found.recall.count
        assert sum(row.of for row in table.values()) == found.recall.of


@given(PICTURES, st.integers(1, 3))
def test_drawing_each_picture_as_often_changes_no_figure(
    pictures: list[tuple[list[tuple[int, float, int]], list[tuple[int, int]]]], times: int
) -> None:
    ranking = rank([judged(found, truth) for found, truth in pictures])
    drawn = ranking.drawn(np.full(len(pictures), times))
    assert drawn.truths == times * ranking.truths
    assert (len(drawn.scores), drawn.right.sum()) == (times * len(ranking.scores), times * ranking.right.sum())
    none = ranking.drawn(np.zeros(len(pictures), np.int64))
    assert (len(none.scores), none.truths) == (0, 0)


def test_a_worse_model_on_the_same_pictures_has_a_loss_beyond_chance() -> None:
    sound = [judged([(0, 0.9, 0)], [(0, 0)]) for _ in range(40)]
    worse = [judged([(0, 0.9, 0)] if at % 4 else [], [(0, 0)]) for at in range(40)]
    assert resampled_loss(rank(sound), rank(sound), average_precision) == Interval(0.0, 0.0)
    loss = resampled_loss(rank(sound), rank(worse), average_precision)
    assert 0.0 < loss.low < 0.25 < loss.high


def test_one_picture_has_no_bounds() -> None:
    assert np.isnan(resampled([rank([judged([(0, 0.9, 0)], [(0, 0)]), judged([], [])])], average_precision).high)


def test_what_overlaps_by_just_half_is_right_for_coco_and_for_its_bounds() -> None:
    half = Judged(
        np.array([[0, 0, 10, 20]], np.float32),
        np.array([0.9], np.float32),
        np.array([0]),
        np.array([[0, 0, 10, 10]], np.float32),
        np.array([0]),
    )
    assert coco_figures([half] * 4, ("open",)).ap50 == pytest.approx(1.0)
    found = gather(Rankings.of([half] * 4, ("open",), np.array([0.5])))
    assert (found.ap50.low, found.ap50.high) == pytest.approx((1.0, 1.0))
    assert found.ap50_95.high == pytest.approx(coco_figures([half] * 4, ("open",)).ap50_95)


SHY = 0.05
"""So much more often than the scores say are the detections of `shy_parts` right."""


def shy_parts(pictures: int, seed: int) -> list[Judged]:
    """Pictures with three detections each, whose scores are too low by 0.05."""
    rng = np.random.default_rng(seed)
    parts = []
    for _ in range(pictures):
        scores = rng.uniform(0.05, 0.95, 3)
        right = rng.uniform(0, 1, 3) < scores + SHY
        truth = [(at, 0) for at in range(3) if right[at]]
        parts.append(judged([(at, float(scores[at]), 0) for at in range(3)], truth))
    return parts


def test_chance_is_taken_off_the_calibration_error_of_few_and_changes_nothing_for_many() -> None:
    few = [rank(shy_parts(60, seed)) for seed in range(40)]
    measured = np.mean([calibration_error(its.scores, its.right) for its in few])
    freed = np.mean([error_without_chance(its.scores, its.right) for its in few])
    assert abs(freed - SHY) < 0.6 * abs(measured - SHY)
    many = rank(shy_parts(20_000, 0))
    assert error_without_chance(many.scores, many.right) == pytest.approx(SHY, abs=0.005)
    assert np.isnan(error_without_chance(np.zeros(0), np.zeros(0, bool)))


def test_the_bounds_of_the_calibration_error_hold_the_true_one_and_not_what_chance_adds() -> None:
    found = [gather(Rankings.of(shy_parts(60, seed), NAMES, np.array([0.5, 0.5]))) for seed in range(12)]
    held = [each.calibration_error.low <= SHY <= each.calibration_error.high for each in found]
    assert np.mean(held) >= 0.9
    above = [each.calibration_error.low > SHY for each in found]
    assert not any(above)


def test_the_error_before_calibration_has_bounds_where_the_bundle_tells_the_calibration() -> None:
    ranked = Rankings.of(shy_parts(60, 0), NAMES, np.array([0.5, 0.5]))
    assert np.isnan(gather(ranked).calibration_error_before.low)
    same, other = (gather(ranked, scores) for scores in (ScoreMap(), ScoreMap(1.0, 2.0)))
    assert same.calibration_error_before == same.calibration_error
    assert other.calibration_error_before.high < same.calibration_error.low or (
        other.calibration_error_before.low > same.calibration_error.high
    )


def test_what_no_limit_can_reach_adds_nothing_to_the_calibration_error_and_counts_for_ap() -> None:
    parts, noise = shy_parts(60, 0), [(at, 0.005, 0) for at in range(40, 60)]
    faint = judged([*noise, (70, 0.004, 0)], [(70, 0)])
    plain, noisy = (
        gather(Rankings.of([*parts, its], NAMES, np.array([0.5, 0.5]))) for its in (judged([], [(70, 0)]), faint)
    )
    assert (noisy.detections, noisy.calibration_error) == (plain.detections, plain.calibration_error)
    assert noisy.ap_pooled.high > plain.ap_pooled.high


def test_the_calibration_error_of_good_parts_has_bounds_too() -> None:
    good = [judged([(0, 0.3 + at / 100, 0)], []) for at in range(20)]
    found = resampled_detections(rank(good), lambda its: calibration_error(its.scores, its.right))
    assert 0.3 < found.low < found.high < 0.5
    assert np.isnan(resampled_detections(rank([*good[:1], judged([], [])]), lambda its: 0.0).low)


def test_precision_and_recall_at_the_best_limit_have_bounds_that_hold_them() -> None:
    parts = shy_parts(60, 1)
    ranked = Rankings.of(parts, NAMES, np.array([0.5, 0.5]))
    found, best = gather(ranked), best_limit(ranked.bad)
    for bounds, value in ((found.precision_best, best.precision), (found.recall_best, best.recall)):
        assert bounds.low < value < bounds.high
        assert bounds.high - bounds.low < 0.5
    assert found.right_best / found.detections_best == pytest.approx(best.precision)
    assert found.right_best / sum(found.boxes.values()) == pytest.approx(best.recall)


def test_of_more_than_a_hundred_detections_of_a_class_the_best_count_for_coco_and_for_its_bounds() -> None:
    rng = np.random.default_rng(0)
    parts = []
    for _ in range(4):
        found = [(at, float(score), at % 2) for at, score in enumerate(rng.permutation(np.linspace(0.1, 0.9, 260)))]
        parts.append(judged(found, [(at, at % 2) for at in range(0, 260, 3)]))
    for iou, expected in ((0.5, coco_figures(parts, NAMES).ap50), (0.95, coco_figures(parts, NAMES).ap50_95)):
        by_class = [interpolated_precision(its) for its in coco_rankings(parts, len(NAMES), iou)]
        assert np.mean(by_class) == pytest.approx(expected, abs=1e-6)
    bounds = gather(Rankings.of(parts, NAMES, np.array([0.5, 0.5]))).ap50
    assert bounds.low <= coco_figures(parts, NAMES).ap50 <= bounds.high
