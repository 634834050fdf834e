"""From a model's candidates to detections: score floor, and one box for one object."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from appliance.bundle.manifest import Manifest
from appliance.events import Box, Detection

Boxes: TypeAlias = NDArray[np.float32]
"""float32, shape (N, 4), x1 y1 x2 y2 in pixels."""

MAX_CANDIDATES = 1000
"""So many candidates of one view are looked at, those with the highest scores; the part is long rejected by then."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Boxes float32 (N, 4), scores float32 (N,) 0..1, labels int64 (N,); not yet one for one object."""

    boxes: Boxes
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> "Candidates":
        """Return the candidates at these places, or where the mask is true."""
        return Candidates(self.boxes[index], self.scores[index], self.labels[index])


def join(parts: list[Candidates]) -> Candidates:
    """Put candidates behind one another, in order; at least one part."""
    return Candidates(
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.labels for part in parts]),
    )


def areas(boxes: Boxes) -> NDArray[np.float32]:
    """Return the areas of boxes in square pixels, 0 for an inverted one, float32 (N,)."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0)
    return np.asarray(sides[:, 0] * sides[:, 1], dtype=np.float32)


def intersections(boxes: Boxes, others: Boxes) -> NDArray[np.float32]:
    """Return the common area of each box with each other one, in square pixels, float32 (N, M)."""
    top_left = np.maximum(boxes[:, None, :2], others[None, :, :2])
    bottom_right = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    sides = np.maximum(bottom_right - top_left, 0.0)
    return np.asarray(sides[..., 0] * sides[..., 1], dtype=np.float32)


def ious(boxes: Boxes, others: Boxes) -> NDArray[np.float32]:
    """Return intersection over union of each box with each other one, 0..1, float32 (N, M)."""
    common = intersections(boxes, others)
    sizes = areas(boxes)
    union = sizes[:, None] + (sizes if others is boxes else areas(others))[None, :] - common
    return np.asarray(common / np.maximum(union, np.float32(1e-6)), dtype=np.float32)


def suppress(found: Candidates, iou: float) -> Candidates:
    """Keep the best of each heap of overlapping boxes of one class (non-maximum suppression).

    Args:
        found: candidates, in any order.
        iou: boxes of one class that overlap by more than this are one object.

    Returns:
        What is left, highest score first; equal scores keep their order.
    """
    if len(found) < 2:
        return found
    if (found.scores[1:] > found.scores[:-1]).any():  # a model's top-K are in order already
        found = found.take(np.argsort(-found.scores, kind="stable"))
    is_same = (ious(found.boxes, found.boxes) > iou) & (found.labels[:, None] == found.labels[None, :])
    better = np.triu(is_same, 1).any(axis=1)
    if not better.any():
        return found
    keep = np.ones(len(found), dtype=np.bool_)
    for place in np.flatnonzero(better):
        if keep[place]:
            keep[place + 1 :] &= ~is_same[place, place + 1 :]
    return found.take(keep)


def above_floor(boxes: Boxes, scores: NDArray[np.float32], labels: NDArray[np.int64], floor: float) -> Candidates:
    """Drop what the manifest calls noise.

    Args:
        boxes: float32 (K, 4).
        scores: float32 (K,), 0..1.
        labels: int64 (K,).
        floor: lowest score that counts.

    Returns:
        The candidates with score >= floor, in order.
    """
    index = np.flatnonzero(scores >= floor)
    return Candidates(boxes[index], scores[index], labels[index])


def to_detections(found: Candidates, manifest: Manifest) -> tuple[Detection, ...]:
    """Turn candidates into the values that the rest of the appliance knows.

    Args:
        found: labels are indices of the manifest's classes; boxes in pixels of the view's frame.
        manifest: names the classes.

    Returns:
        One detection a candidate, in order; a box without area is left out.
    """
    rows = zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True)
    return tuple(
        Detection(manifest.classes[label].name, score, _box(box))
        for box, score, label in rows
        if box[0] < box[2] and box[1] < box[3]
    )


def _box(edges: list[float]) -> Box:
    x1, y1, x2, y2 = edges
    return (x1, y1, x2, y2)
