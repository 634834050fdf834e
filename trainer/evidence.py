"""How much a report's figures can be believed: counts, 95 % bounds, and what was taken for what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from appliance.optics.detections import ious
from trainer.metrics import PROTOCOL_IOU, Judged, Ranking, average_precision, best_limit, judge_parts, rank

CONFIDENCE = 0.95
RESAMPLES = 200
SIZES_PX2 = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, float("inf"))}
"""COCO's classes of box area."""

BACKGROUND = "background"


@dataclass(frozen=True, slots=True)
class Share:
    """count of `of`, with the bounds between which the true share lies 95 times in a hundred (0..1)."""

    count: int
    of: int
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Interval:
    """Bounds of a figure between which 95 of 100 resampled sets of pictures put it."""

    low: float
    high: float


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
        f_best: bounds of the best F.
        escapes: bad parts accepted at the manifest's limits.
        overkill: good parts rejected at them.
        separation: None without parts of both kinds.
        recall_by_size: found at the limits, by box area.
        confusion: truth -> found -> count at the limits, "background" for nothing on either side.
    """

    boxes: dict[str, int]
    ap_pooled: Interval
    f_best: Interval
    escapes: Share
    overkill: Share
    separation: Separation | None
    recall_by_size: dict[str, Share]
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
    rankings = [rank([part]) for part in bad]
    labels = np.concatenate([np.zeros(0, np.int64), *(part.true_labels for part in bad)])
    at_limits = [part.take(part.scores >= limits[part.labels]) for part in judged]
    return Evidence(
        boxes={name: int((labels == index).sum()) for index, name in enumerate(names)},
        ap_pooled=resampled(rankings, average_precision),
        f_best=resampled(rankings, lambda ranking: best_limit(ranking).f),
        escapes=share(parts.escapes, parts.bad),
        overkill=share(parts.overkill, parts.good),
        separation=_separation(judged),
        recall_by_size=_recall_by_size(at_limits),
        confusion=confusion(at_limits, names),
    )


def share(count: int, of: int) -> Share:
    """Return a share with its exact bounds; 0 and 1 where nothing was counted.

    Args:
        count: of what was counted, 0..of.
        of: how many there were.

    Source:
        Clopper and Pearson, The use of confidence or fiducial limits (1934).
    """
    tail = (1 - CONFIDENCE) / 2
    low = float(beta.ppf(tail, count, of - count + 1)) if count else 0.0
    high = float(beta.ppf(1 - tail, count + 1, of - count)) if count < of else 1.0
    return Share(count, of, low, high)


def resampled(rankings: list[Ranking], figure: Callable[[Ranking], float]) -> Interval:
    """Return the bounds of a figure when the pictures are drawn anew, with replacement.

    Pictures are drawn and not boxes, because the boxes of one picture stand or fall together.

    Args:
        rankings: one for each picture.
        figure: of a ranking over all.

    Source:
        Efron, Bootstrap methods (1979), percentile interval.
    """
    if not rankings:
        return Interval(float("nan"), float("nan"))
    rng = np.random.default_rng(0)
    found = []
    for _ in range(RESAMPLES):
        drawn = [rankings[index] for index in rng.integers(0, len(rankings), len(rankings))]
        scores = np.concatenate([one.scores for one in drawn])
        order = np.argsort(-scores, kind="stable")
        right = np.concatenate([one.right for one in drawn])[order]
        found.append(figure(Ranking(scores[order], right, sum(one.truths for one in drawn))))
    low, high = np.quantile(found, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(low), float(high))


def confusion(judged: list[Judged], names: tuple[str, ...]) -> dict[str, dict[str, int]]:
    """Count what was taken for what: boxes are paired by overlap whatever their class, the best overlaps first.

    Args:
        judged: the pictures, with the detections that count.
        names: of the classes, in the order of the labels.

    Returns:
        Truth -> found -> count; "background" is what is not there, or was not found.
    """
    counts = np.zeros((len(names) + 1, len(names) + 1), np.int64)
    for part in judged:
        overlap = ious(part.boxes, part.true_boxes)
        free_found, free_true = set(range(len(part.labels))), set(range(len(part.true_labels)))
        for place in np.argsort(-overlap, axis=None, kind="stable"):
            found, true = (int(index) for index in np.unravel_index(place, overlap.shape))
            if overlap[found, true] <= PROTOCOL_IOU:
                break
            if found in free_found and true in free_true:
                counts[part.true_labels[true], part.labels[found]] += 1
                free_found.discard(found)
                free_true.discard(true)
        for true in free_true:
            counts[part.true_labels[true], -1] += 1
        for found in free_found:
            counts[-1, part.labels[found]] += 1
    whole = (*names, BACKGROUND)
    return {true: dict(zip(whole, row, strict=True)) for true, row in zip(whole, counts.tolist(), strict=True)}


def _separation(judged: list[Judged]) -> Separation | None:
    good, bad = (
        [float(part.scores.max(initial=0.0)) for part in judged if bool(len(part.true_labels)) is is_bad]
        for is_bad in (False, True)
    )
    if not good or not bad:
        return None
    return Separation(max(good), min(bad), min(bad) - max(good))


def _recall_by_size(judged: list[Judged]) -> dict[str, Share]:
    found, of = dict.fromkeys(SIZES_PX2, 0), dict.fromkeys(SIZES_PX2, 0)
    for part in judged:
        overlap = ious(part.boxes, part.true_boxes)
        overlap[part.labels[:, None] != part.true_labels[None, :]] = 0.0
        hit = overlap.max(axis=0, initial=0.0) > PROTOCOL_IOU
        areas = np.prod(part.true_boxes[:, 2:] - part.true_boxes[:, :2], axis=1)
        for name, (low, high) in SIZES_PX2.items():
            mine = (areas >= low) & (areas < high)
            found[name] += int((hit & mine).sum())
            of[name] += int(mine.sum())
    return {name: share(found[name], of[name]) for name in SIZES_PX2}
