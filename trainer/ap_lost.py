"""What AP is lost by: each kind of mistake, and what AP would be if none of it was made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from appliance.optics.detections import ious
from trainer.metrics import PROTOCOL_IOU, Floats, Judged, Matched, Ranking

NEAR_IOU = 0.1
"""What overlaps no box of the truth by more has found nothing."""

MISTAKES = {
    "kind": "a defect of another kind is there",
    "box": f"the kind is right, its box is not (IoU {NEAR_IOU} to {PROTOCOL_IOU})",
    "kind_and_box": "neither kind nor box is right",
    "twice": "a surer detection has found it",
    "nothing_there": "nothing is marked there",
    "missed": "marked, and found in none of these ways",
}
"""Mistakes by their names in the evaluation's file, in words."""

_KIND, _BOX, _KIND_AND_BOX, _TWICE, _NOTHING_THERE, _MISSED = range(len(MISTAKES))
_NONE = -1

_Numbers = NDArray[np.int64]


def without_each(matched: Matched) -> dict[str, Ranking]:
    """Rank detections as if nobody made mistakes of one kind.

    A detection whose kind or box is wrong becomes right if no other has found the defect that it means, else it is
    left out. So are those that found something twice, or nothing, or are wrong in both. A missed defect is not looked
    for.

    Args:
        matched: defective parts.

    Returns:
        Mistake -> the ranking without it. What AP gains by each does not add up to what it lacks of 1.

    Source:
        TIDE (arXiv 2008.08115); but a wrong detection means the box that it overlaps most, whatever its class, and is
        mended whatever other mistakes mean the same box.
    """
    told = [_told_apart(part, *its) for part, its in zip(matched.judged, matched.found, strict=True)]
    rankings = {}
    for number, name in enumerate(MISTAKES):
        found = []
        for (order, taken), (causes, meant) in zip(matched.found, told, strict=True):
            is_mended = _first_of_each(np.where(causes == number, meant, _NONE), taken)
            kept = (causes != number) | is_mended
            found.append((order[kept], np.where(is_mended, meant, taken)[kept]))
        rankings[name] = Matched(matched.judged, found).ranking()
    each = zip(matched.judged, matched.found, told, strict=True)
    seen = [int(_is_seen(part, taken, meant).sum()) for part, (_, taken), (_, meant) in each]
    rankings["missed"] = replace(rankings["missed"], boxes=np.array(seen, np.int64))
    return rankings


def count_each(matched: Matched, limits: Floats) -> dict[str, int]:
    """Count the mistakes that are made at limits.

    Args:
        matched: defective parts.
        limits: float64 [classes], below which a score does not count.

    Returns:
        Mistake -> how many detections, or missed boxes.
    """
    counts = np.zeros(len(MISTAKES), np.int64)
    for part, (order, taken) in zip(matched.judged, matched.found, strict=True):
        count = part.scores[order] >= limits[part.labels[order]]
        causes, meant = _told_apart(part, order[count], taken[count])
        counts += np.bincount(causes[causes != _NONE], minlength=len(MISTAKES))
        counts[_MISSED] += int((~_is_seen(part, taken[count], meant)).sum())
    return dict(zip(MISTAKES, counts.tolist(), strict=True))


def _told_apart(part: Judged, order: _Numbers, taken: _Numbers) -> tuple[_Numbers, _Numbers]:
    """Return of each detection its mistake, and which box it means although kind or box is wrong; -1 is none of them.

    Args:
        part: a picture with a defect.
        order: int64 [D], its detections that count, best first.
        taken: int64 [D], which box of the truth each of them takes; -1 for one that is wrong.
    """
    overlaps = ious(part.boxes[order], part.true_boxes)
    iou = overlaps.max(axis=1)
    is_nearest, is_its_kind = overlaps == iou[:, None], part.true_labels == part.labels[order, None]
    nearest = (is_nearest * (1 + is_its_kind)).argmax(axis=1)  # of two that are as near, that of its kind
    is_its_kind = is_its_kind[np.arange(len(order)), nearest]
    over = np.where(is_its_kind, _TWICE, _KIND)
    beside = np.where(is_its_kind, _BOX, _KIND_AND_BOX)
    causes = np.where(iou > PROTOCOL_IOU, over, np.where(iou > NEAR_IOU, beside, _NOTHING_THERE))
    causes[taken >= 0] = _NONE
    return causes, np.where(np.isin(causes, (_KIND, _BOX)), nearest, _NONE)


def _first_of_each(meant: _Numbers, taken: _Numbers) -> NDArray[np.bool_]:
    """Mark the surest detection that means a box, of each box that none takes."""
    is_first = np.zeros(len(meant), bool)
    boxes, firsts = np.unique(meant, return_index=True)
    is_first[firsts] = ~np.isin(boxes, taken) & (boxes != _NONE)
    return is_first


def _is_seen(part: Judged, taken: _Numbers, meant: _Numbers) -> NDArray[np.bool_]:
    """Mark the boxes of the truth that are taken or meant."""
    return np.isin(np.arange(len(part.true_labels)), np.concatenate((taken, meant)))
