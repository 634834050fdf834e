"""Figures of merit, computed from detections and truth; nothing here knows where either came from.

DeepPCB's protocol: a detection is right if its class is right and its IoU with a box of the truth, which no better
detection has taken, is above 0.33; one average precision is pooled over all classes. The published script cannot
read its own truth under Python 3, so the protocol is implemented anew from the data set's README.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from appliance.optics.detections import areas, ious
from trainer.datasets.sample import Boxes, Labels

Floats = NDArray[np.float64]
Key = TypeVar("Key")

PROTOCOL_IOU = 0.33
"""DeepPCB counts a detection as right above this overlap."""


COCO_RECALLS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """What was found on one picture, beside what is there.

    Args:
        boxes: float32 [D, 4], x1 y1 x2 y2 in pixels, after suppression.
        scores: float32 [D], 0..1.
        labels: int64 [D].
        true_boxes: float32 [N, 4].
        true_labels: int64 [N].
        group: group of the picture.
        camera: what took it; empty if nobody says so.
        is_misplaced: whether it lies against its reference as hardly any station allows; None if it was not compared
            with another picture.
    """

    boxes: Boxes
    scores: NDArray[np.float32]
    labels: Labels
    true_boxes: Boxes
    true_labels: Labels
    group: str = ""
    camera: str = ""
    is_misplaced: bool | None = None

    def take(self, kept: NDArray[np.bool_]) -> Judged:
        """Return the picture with some of its detections only; kept is bool [D]."""
        return replace(self, boxes=self.boxes[kept], scores=self.scores[kept], labels=self.labels[kept])


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """All detections of a data set, best score first, each marked right or wrong.

    Args:
        scores: float64 [D], falling.
        right: bool [D].
        pictures: int64 [D], the picture that each detection is on.
        boxes: int64 [pictures], boxes that there are to find on each.
    """

    scores: Floats
    right: NDArray[np.bool_]
    pictures: NDArray[np.int64]
    boxes: NDArray[np.int64]

    @property
    def truths(self) -> int:
        """Number of boxes that there are to find."""
        return int(self.boxes.sum())

    def drawn(self, times: NDArray[np.int64]) -> Ranking:
        """Return the ranking as if each picture were there so many times.

        Args:
            times: int64 [pictures].
        """
        again = times[self.pictures]
        return Ranking(
            np.repeat(self.scores, again),
            np.repeat(self.right, again),
            np.repeat(self.pictures, again),
            self.boxes * times,
        )


@dataclass(frozen=True, slots=True)
class AtLimit:
    """Precision, recall and their harmonic mean when only scores at or above a limit count (0..1; nan if not known)."""

    limit: float
    precision: float
    recall: float
    f: float


@dataclass(frozen=True, slots=True)
class Parts:
    """Parts judged as a whole: bad if any score is at or above the limit.

    escapes: bad parts accepted; overkill: good parts rejected.
    """

    bad: int
    good: int
    escapes: int
    overkill: int


@dataclass(frozen=True, slots=True, eq=False)
class Matched:
    """Pictures whose detections are held against the truth once, to be ranked in many ways.

    Args:
        judged: the pictures.
        found: of each the order of its detections, best first, int64 [D], and which box of the truth each of them
            takes, int64 [D]; -1 for one that is wrong.
    """

    judged: list[Judged]
    found: list[tuple[NDArray[np.int64], NDArray[np.int64]]]

    @classmethod
    def of(cls, judged: list[Judged], min_iou: float = PROTOCOL_IOU) -> Matched:
        """Match detections to truth, best score first; each box of the truth is given once.

        Args:
            judged: the pictures.
            min_iou: overlap that must be exceeded, 0..1.

        Returns:
            The pictures, each with what was found on it.
        """
        found = []
        for picture in judged:
            order = np.argsort(-picture.scores, kind="stable")
            mine, truth = (picture.boxes[order], picture.labels[order]), (picture.true_boxes, picture.true_labels)
            found.append((order, match(mine, truth, min_iou)))
        return cls(judged, found)

    def by(self, key: Callable[[Judged], Key]) -> dict[Key, Matched]:
        """Return the pictures of each key by themselves, in the order in which a key comes first."""
        found: dict[Key, Matched] = {}
        for part, its in zip(self.judged, self.found, strict=True):
            mine = found.setdefault(key(part), Matched([], []))
            mine.judged.append(part)
            mine.found.append(its)
        return found

    def defective(self) -> Matched:
        """Return the pictures that have something to find."""
        return self.by(lambda part: len(part.true_labels) > 0).get(True, Matched([], []))

    def ranking(
        self,
        label: int | None = None,
        limits: Floats | None = None,
        within: tuple[float, float] | None = None,
    ) -> Ranking:
        """Rank the detections over all pictures.

        Args:
            label: of the class that is ranked by itself; None pools all classes.
            limits: float64 [classes], below which a score does not count; a detection never takes the truth of a better
                one of its class, so that this needs no matching anew.
            within: area of the boxes of the truth that are looked for, in square pixels, from the first to below the
                second; a detection is of the size of the box that it takes, and a wrong one of its own.

        Returns:
            The ranking over all pictures.
        """
        scores, right, pictures = [np.zeros(0)], [np.zeros(0, bool)], [np.zeros(0, np.int64)]
        boxes = np.zeros(len(self.judged), np.int64)
        for index, (picture, (order, taken)) in enumerate(zip(self.judged, self.found, strict=True)):
            labels, its_scores = picture.labels[order], picture.scores[order]
            mine = np.ones(len(order), bool) if label is None else labels == label
            if limits is not None:
                mine &= its_scores >= limits[labels]
            is_sought = np.ones(len(picture.true_labels), bool) if label is None else picture.true_labels == label
            if within is not None:
                of_truth = areas(picture.true_boxes)
                of_found = np.where(taken >= 0, np.append(of_truth, 0.0)[taken], areas(picture.boxes[order]))
                is_sought &= (of_truth >= within[0]) & (of_truth < within[1])
                mine &= (of_found >= within[0]) & (of_found < within[1])
            boxes[index] = int(is_sought.sum())
            scores.append(its_scores[mine].astype(np.float64))
            right.append(taken[mine] >= 0)
            pictures.append(np.full(int(mine.sum()), index, np.int64))
        falling = np.argsort(-np.concatenate(scores), kind="stable")
        return Ranking(
            np.concatenate(scores)[falling], np.concatenate(right)[falling], np.concatenate(pictures)[falling], boxes
        )

    def hits(self, limits: Floats) -> list[NDArray[np.bool_]]:
        """Mark of each picture which boxes of the truth were found.

        Args:
            limits: float64 [classes], below which a score does not count.

        Returns:
            bool [N] for each picture; as many are found as detections are right at these limits.
        """
        found = []
        for picture, (order, taken) in zip(self.judged, self.found, strict=True):
            counts = picture.scores[order] >= limits[picture.labels[order]]
            its = np.zeros(len(picture.true_labels), bool)
            its[taken[counts & (taken >= 0)]] = True
            found.append(its)
        return found


def rank(judged: list[Judged], min_iou: float = PROTOCOL_IOU) -> Ranking:
    """Match detections to truth and rank them, pooled over the classes.

    Args:
        judged: the pictures.
        min_iou: overlap that must be exceeded, 0..1.

    Returns:
        The ranking over all pictures.
    """
    return Matched.of(judged, min_iou).ranking()


def rank_classes(judged: list[Judged], classes: int, min_iou: float = PROTOCOL_IOU) -> list[Ranking]:
    """Rank as `rank` does, the detections of each class by themselves.

    Args:
        judged: the pictures.
        classes: how many there are.
        min_iou: overlap that must be exceeded, 0..1.

    Returns:
        One ranking per class.
    """
    matched = Matched.of(judged, min_iou)
    return [matched.ranking(label) for label in range(classes)]


def match(found: tuple[Boxes, Labels], truth: tuple[Boxes, Labels], min_iou: float) -> NDArray[np.int64]:
    """Give each detection of one picture the box of the truth that it overlaps most, if none before took that.

    Args:
        found: boxes and labels, best score first.
        truth: boxes and labels.
        min_iou: overlap that must be exceeded.

    Returns:
        The number of the box, one per detection; -1 for one that is wrong.
    """
    overlap = ious(found[0], truth[0])
    overlap[found[1][:, None] != truth[1][None, :]] = 0.0
    taken = np.full(len(found[1]), -1, np.int64)
    for index in range(len(taken)):
        if overlap.shape[1] == 0:
            break
        best = int(overlap[index].argmax())
        if overlap[index, best] > min_iou:
            taken[index] = best
            overlap[:, best] = 0.0
    return taken


def average_precision(ranking: Ranking) -> float:
    """Return the area under the precision-recall curve (all points, precision made monotonic), 0..1.

    Without any truth the answer is not a number.
    """
    if ranking.truths == 0:
        return float("nan")
    hits = np.cumsum(ranking.right)
    precision = hits / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(envelope[ranking.right].sum() / ranking.truths)


def interpolated_precision(ranking: Ranking) -> float:
    """Return the average precision as COCO reads it off the curve: at 101 recalls, 0..1; nan without any truth.

    Source:
        cocodataset.org/#detection-eval.
    """
    if ranking.truths == 0:
        return float("nan")
    hits = np.cumsum(ranking.right)
    precision = hits / np.arange(1, len(hits) + 1)
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    at = np.searchsorted(hits / ranking.truths, COCO_RECALLS)
    return float(envelope[at].mean())


def at_limit(ranking: Ranking, limit: float) -> AtLimit:
    """Return precision, recall and F when scores at or above the limit count.

    Args:
        ranking: of the detections.
        limit: reject score, 0..1.

    Returns:
        The figures; the precision is nan where nothing counts, recall and F are nan where there is nothing to find.
    """
    counted = ranking.scores >= limit
    hits, claims = int(ranking.right[counted].sum()), int(counted.sum())
    precision = hits / claims if claims else math.nan
    if not ranking.truths:
        return AtLimit(limit, precision, math.nan, math.nan)
    return AtLimit(limit, precision, hits / ranking.truths, 2 * hits / (claims + ranking.truths))


def all_counted(ranking: Ranking, limit: float = 0.0) -> AtLimit:
    """Return the figures of a ranking that holds nothing below its classes' limits.

    Args:
        ranking: all of its detections count.
        limit: the one that is told.
    """
    return replace(at_limit(ranking, 0.0), limit=float(limit))


def best_limit(ranking: Ranking) -> AtLimit:
    """Return the limit with the best F; of equals the highest limit.

    Args:
        ranking: of the detections.

    Returns:
        The figures there; the limit is nan where nothing is found, for then none is better than another.
    """
    if not len(ranking.scores):
        return at_limit(ranking, math.nan)
    hits = np.cumsum(ranking.right)
    f = 2 * hits / (np.arange(1, len(hits) + 1) + ranking.truths)
    is_last = np.append(np.diff(ranking.scores) != 0, True)  # a limit takes all detections of one score
    return at_limit(ranking, float(ranking.scores[int(np.where(is_last, f, -1.0).argmax())]))


def judge_parts(judged: list[Judged], limits: float | NDArray[np.float64]) -> Parts:
    """Count escapes and overkill over whole parts.

    Args:
        judged: the parts; one without truth is good.
        limits: reject score, one for all classes or float64 [classes].

    Returns:
        The counts.
    """
    bad = good = escapes = overkill = 0
    for part in judged:
        is_rejected = rejected(part, limits)
        if len(part.true_labels):
            bad, escapes = bad + 1, escapes + (not is_rejected)
        else:
            good, overkill = good + 1, overkill + is_rejected
    return Parts(bad, good, escapes, overkill)


def rejected(part: Judged, limits: float | NDArray[np.float64]) -> bool:
    """Tell whether a part is rejected at limits, one for all classes or float64 [classes]."""
    limit = limits[part.labels] if isinstance(limits, np.ndarray) else limits
    return bool(np.any(part.scores >= limit))
