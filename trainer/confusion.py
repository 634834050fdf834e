"""What was taken for what."""

from __future__ import annotations

import numpy as np

from appliance.optics.detections import ious
from trainer.metrics import PROTOCOL_IOU, Judged

BACKGROUND = "background"


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
