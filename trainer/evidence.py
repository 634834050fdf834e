"""How much a report's figures can be believed: counts, 95 % bounds, and what was taken for what."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from trainer.calibration_error import error_without_chance
from trainer.coco_figures import COCO_IOUS, coco_rankings
from trainer.confusion import confusion
from trainer.intervals import (
    Interval,
    Share,
    resampled,
    resampled_detections,
    resampled_each,
    resampled_losses,
    share,
)
from trainer.metrics import (
    Judged,
    Ranking,
    all_counted,
    average_precision,
    best_limit,
    interpolated_precision,
    judge_parts,
)
from trainer.operating_point import Point, roc
from trainer.rankings import Rankings
from trainer.score_calibration import ScoreMap


@dataclass(frozen=True, slots=True)
class Separation:
    """How far good and bad parts lie apart; above 0 one limit judges every part rightly."""

    highest_good: float
    lowest_bad: float
    gap: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """What stands behind a report.

    Args:
        boxes: boxes of the truth, by class.
        ap_pooled: bounds of the pooled AP at IoU 0.33.
        ap_pooled_all: the same with the good parts among the pictures.
        ap_class_mean: the same of the mean over the classes.
        ap_classes: the same by class.
        ap_sizes: the same by box area.
        ap_lost: the same of what AP is lost by each kind of mistake.
        mistakes: mistake -> how often it is made at the limits.
        ap50, ap50_95: bounds of COCO's figures.
        ap50_classes, ap50_95_classes: the same by class.
        precision: right detections among those that count, on defective parts at the limits.
        recall: boxes of the truth that were found.
        f_at_limits: bounds of F at the limits.
        f_classes: the same by class.
        precision_best, recall_best, f_best: bounds at the limit with the best F, which is chosen anew in each draw.
        detections_best, right_best: how many detections count at that limit, and how many of them are right.
        detections: of all pictures, from LEAST_LIMIT up: those that the calibration error is measured on.
        calibration_error: bounds of it, without what chance adds.
        calibration_error_before: the same without the calibration that is folded into the model.
        escapes: bad parts accepted at the manifest's limits.
        overkill: good parts rejected at them.
        misplaced: parts that a station would show to no model: of those compared with another picture, how many lie
            against it as hardly any station allows; of none where the model has no reference.
        separation: None without parts of both kinds.
        recall_by_size: `recall` by box area.
        recall_by_class: `recall` by class.
        precision_by_class: `precision` by class.
        roc: escapes and overkill in parts at every limit, one for all classes.
        confusion: truth -> found -> count at the limits, "background" for nothing on either side.
    """

    boxes: dict[str, int]
    ap_pooled: Interval
    ap_pooled_all: Interval
    ap_class_mean: Interval
    ap_classes: dict[str, Interval]
    ap_sizes: dict[str, Interval]
    ap_lost: dict[str, Interval]
    mistakes: dict[str, int]
    ap50: Interval
    ap50_95: Interval
    ap50_classes: dict[str, Interval]
    ap50_95_classes: dict[str, Interval]
    precision: Share
    recall: Share
    f_at_limits: Interval
    f_classes: dict[str, Interval]
    precision_best: Interval
    recall_best: Interval
    f_best: Interval
    detections_best: int
    right_best: int
    detections: int
    calibration_error: Interval
    calibration_error_before: Interval
    escapes: Share
    overkill: Share
    misplaced: Share
    separation: Separation | None
    recall_by_size: dict[str, Share]
    recall_by_class: dict[str, Share]
    precision_by_class: dict[str, Share]
    roc: tuple[Point, ...]
    confusion: dict[str, dict[str, int]]


def gather(ranked: Rankings, scores: ScoreMap | None = None) -> Evidence:
    """Gather what stands behind the figures of a set of pictures.

    Args:
        ranked: the pictures and what is ranked of them.
        scores: the calibration that is folded into the model; None if nobody tells it.

    Returns:
        The counts, and a bound for each figure.
    """
    judged, names, limits = ranked.judged, ranked.names, ranked.limits
    parts = judge_parts(judged, limits)
    at_each_iou = [coco_rankings(judged, len(names), iou) for iou in COCO_IOUS]
    coco = {name: [its[index] for its in at_each_iou] for index, name in enumerate(names)}
    class_mean, by_class = resampled_each(_each(names, ranked.by_class), average_precision)
    ap50, ap50_classes = resampled_each({name: its[:1] for name, its in coco.items()}, interpolated_precision)
    ap50_95, ap50_95_classes = resampled_each(coco, interpolated_precision)
    labels = np.concatenate([np.zeros(0, np.int64), *(part.true_labels for part in judged)])
    at_limits = [part.take(part.scores >= limits[part.labels]) for part in judged]
    counted = dict(zip(names, ranked.at_limits_by_class, strict=True))
    calibrated = ranked.calibrated
    count_at_best = ranked.bad.scores >= best_limit(ranked.bad).limit  # none where no limit is the best
    return Evidence(
        boxes={name: int((labels == index).sum()) for index, name in enumerate(names)},
        ap_pooled=resampled([ranked.bad], average_precision),
        ap_pooled_all=resampled([ranked.everything], average_precision),
        ap_class_mean=class_mean,
        ap_classes=by_class,
        ap_sizes={name: resampled([its], average_precision) for name, its in ranked.by_size.items()},
        ap_lost=resampled_losses(ranked.without, ranked.bad, average_precision),
        mistakes=ranked.mistakes,
        ap50=ap50,
        ap50_95=ap50_95,
        ap50_classes=ap50_classes,
        ap50_95_classes=ap50_95_classes,
        precision=precision_share(ranked.at_limits),
        recall=recall_share(ranked.at_limits),
        f_at_limits=resampled([ranked.at_limits], _f),
        f_classes=resampled_each(_each(names, ranked.at_limits_by_class), _f)[1],
        precision_best=resampled([ranked.bad], lambda its: best_limit(its).precision),
        recall_best=resampled([ranked.bad], lambda its: best_limit(its).recall),
        f_best=resampled([ranked.bad], lambda its: best_limit(its).f),
        detections_best=int(count_at_best.sum()),
        right_best=int(ranked.bad.right[count_at_best].sum()),
        detections=len(calibrated.scores),
        calibration_error=_calibration(calibrated),
        calibration_error_before=_calibration_before(calibrated, scores),
        escapes=share(parts.escapes, parts.bad),
        overkill=share(parts.overkill, parts.good),
        misplaced=misplaced_share(judged),
        separation=_separation(judged),
        recall_by_size={name: recall_share(its) for name, its in ranked.at_limits_by_size.items()},
        recall_by_class={name: recall_share(its) for name, its in counted.items()},
        precision_by_class={name: precision_share(its) for name, its in counted.items()},
        roc=roc(judged),
        confusion=confusion(at_limits, names),
    )


def _each(names: tuple[str, ...], rankings: list[Ranking]) -> dict[str, list[Ranking]]:
    return {name: [its] for name, its in zip(names, rankings, strict=True)}


def precision_share(at_limits: Ranking) -> Share:
    """Return which share of the detections that count is right."""
    return share(int(at_limits.right.sum()), len(at_limits.right))


def recall_share(at_limits: Ranking) -> Share:
    """Return which share of the truth's boxes is found by the detections that count."""
    return share(int(at_limits.right.sum()), at_limits.truths)


def misplaced_share(judged: Sequence[Judged]) -> Share:
    """Return which share of the parts that were compared with another picture lies otherwise than a station allows."""
    compared = [part.is_misplaced for part in judged if part.is_misplaced is not None]
    return share(sum(compared), len(compared))


def _f(at_limits: Ranking) -> float:
    return all_counted(at_limits).f


def _calibration(ranking: Ranking) -> Interval:
    """Return the bounds of the calibration error: chance is in a draw twice, as it is drawn from what chance gave."""
    return resampled_detections(ranking, lambda its: error_without_chance(its.scores, its.right, times=2))


def _calibration_before(ranking: Ranking, scores: ScoreMap | None) -> Interval:
    if scores is None:
        return Interval(math.nan, math.nan)
    return _calibration(replace(ranking, scores=scores.raw(ranking.scores)))


def _separation(judged: list[Judged]) -> Separation | None:
    good, bad = (
        [float(part.scores.max(initial=0.0)) for part in judged if bool(len(part.true_labels)) is is_bad]
        for is_bad in (False, True)
    )
    if not good or not bad:
        return None
    return Separation(max(good), min(bad), min(bad) - max(good))
