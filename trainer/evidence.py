"""How much a report's figures can be believed: counts, 95 % bounds, and what was taken for what."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from appliance.optics.detections import ious
from trainer.calibration_error import calibration_error
from trainer.confusion import confusion
from trainer.datasets.sample import SIZES_PX2
from trainer.intervals import Interval, Share, resampled, share
from trainer.metrics import (
    PROTOCOL_IOU,
    Judged,
    at_limit,
    average_precision,
    best_limit,
    interpolated_precision,
    judge_parts,
    rank,
    rank_classes,
)
from trainer.operating_point import Point, roc

COCO_IOUS = tuple(0.5 + 0.05 * step - 1e-6 for step in range(10))
"""COCO takes what overlaps by just so much, too; overlaps are float32."""


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
        ap50, ap50_95: bounds of COCO's figures.
        precision: right detections among those that count, on defective parts at the limits.
        recall: boxes of the truth that were found.
        f_at_limits: bounds of F at the limits.
        f_best: bounds of the best F.
        detections: of all pictures, whose scores the calibration error is measured on.
        calibration_error: its bounds.
        escapes: bad parts accepted at the manifest's limits.
        overkill: good parts rejected at them.
        separation: None without parts of both kinds.
        recall_by_size: found at the limits, by box area.
        recall_by_class: the same, by class.
        roc: escapes and overkill in parts at every limit, one for all classes.
        confusion: truth -> found -> count at the limits, "background" for nothing on either side.
    """

    boxes: dict[str, int]
    ap_pooled: Interval
    ap_pooled_all: Interval
    ap_class_mean: Interval
    ap_classes: dict[str, Interval]
    ap50: Interval
    ap50_95: Interval
    precision: Share
    recall: Share
    f_at_limits: Interval
    f_best: Interval
    detections: int
    calibration_error: Interval
    escapes: Share
    overkill: Share
    separation: Separation | None
    recall_by_size: dict[str, Share]
    recall_by_class: dict[str, Share]
    roc: tuple[Point, ...]
    confusion: dict[str, dict[str, int]]


def gather(judged: list[Judged], names: tuple[str, ...], limits: NDArray[np.float64]) -> Evidence:
    """Gather what stands behind the figures of a set of pictures.

    Args:
        judged: the pictures.
        names: of the classes, in the order of the labels.
        limits: float64 [classes], reject scores.
    """
    bad = [part for part in judged if len(part.true_labels)]
    parts = judge_parts(judged, limits)
    ranking, everything = rank(bad), rank(judged)
    by_class = rank_classes(bad, len(names))
    coco = [rank_classes(judged, len(names), iou) for iou in COCO_IOUS]
    labels = np.concatenate([np.zeros(0, np.int64), *(part.true_labels for part in bad)])
    counting = rank([part.take(part.scores >= limits[part.labels]) for part in bad])
    at_limits = [part.take(part.scores >= limits[part.labels]) for part in judged]
    return Evidence(
        boxes={name: int((labels == index).sum()) for index, name in enumerate(names)},
        ap_pooled=resampled([ranking], average_precision),
        ap_pooled_all=resampled([everything], average_precision),
        ap_class_mean=resampled(by_class, average_precision),
        ap_classes={name: resampled([its], average_precision) for name, its in zip(names, by_class, strict=True)},
        ap50=resampled(coco[0], interpolated_precision),
        ap50_95=resampled([its for rankings in coco for its in rankings], interpolated_precision),
        precision=share(int(counting.right.sum()), len(counting.right)),
        recall=share(int(counting.right.sum()), counting.truths),
        f_at_limits=resampled([counting], lambda its: at_limit(its, 0.0).f),
        f_best=resampled([ranking], lambda its: best_limit(its).f),
        detections=len(everything.scores),
        calibration_error=resampled([everything], lambda its: calibration_error(its.scores, its.right)),
        escapes=share(parts.escapes, parts.bad),
        overkill=share(parts.overkill, parts.good),
        separation=_separation(judged),
        recall_by_size=_recall_by_size(at_limits),
        recall_by_class=_recall_by_class(at_limits, names),
        roc=roc(judged),
        confusion=confusion(at_limits, names),
    )


def _separation(judged: list[Judged]) -> Separation | None:
    good, bad = (
        [float(part.scores.max(initial=0.0)) for part in judged if bool(len(part.true_labels)) is is_bad]
        for is_bad in (False, True)
    )
    if not good or not bad:
        return None
    return Separation(max(good), min(bad), min(bad) - max(good))


def _hits(part: Judged) -> NDArray[np.bool_]:
    """Mark which boxes of the truth were found."""
    overlap = ious(part.boxes, part.true_boxes)
    overlap[part.labels[:, None] != part.true_labels[None, :]] = 0.0
    return np.asarray(overlap.max(axis=0, initial=0.0) > PROTOCOL_IOU)


def _recall_by_class(judged: list[Judged], names: tuple[str, ...]) -> dict[str, Share]:
    hits = np.concatenate([np.zeros(0, np.bool_), *(_hits(part) for part in judged)])
    labels = np.concatenate([np.zeros(0, np.int64), *(part.true_labels for part in judged)])
    return {
        name: share(int(hits[labels == index].sum()), int((labels == index).sum())) for index, name in enumerate(names)
    }


def _recall_by_size(judged: list[Judged]) -> dict[str, Share]:
    found, of = dict.fromkeys(SIZES_PX2, 0), dict.fromkeys(SIZES_PX2, 0)
    for part in judged:
        hit = _hits(part)
        areas = np.prod(part.true_boxes[:, 2:] - part.true_boxes[:, :2], axis=1)
        for name, (low, high) in SIZES_PX2.items():
            mine = (areas >= low) & (areas < high)
            found[name] += int((hit & mine).sum())
            of[name] += int(mine.sum())
    return {name: share(found[name], of[name]) for name in SIZES_PX2}
