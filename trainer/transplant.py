"""Defects of training pictures, set into other places: what little data shows once is shown in many places.

Only what a defect changes is carried over, the difference to the sound surface: to the reference where there is one,
else to what the rim of the box lets expect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.datasets.sample import Boxes, Labels, Sample, spread
from trainer.paint import overlaps

RIM = 0.25
"""Of a box's longer side, taken along around it; the change fades out over this rim."""

LARGEST_SHARE = 0.5
"""Of a crop's side; larger defects are shaped by their part and stay there."""

MOST_OF_A_CLASS = 100
"""Evenly spread over the pictures."""

FAINTEST, STRONGEST = 0.7, 1.3
_TRIES = 5


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """What a defect changes.

    Args:
        levels: float32 [h, w, channels], grey levels added, faded out to its rim.
        box: where the defect is in it, x1 y1 x2 y2.
        label: its class.
    """

    levels: NDArray[np.float32]
    box: tuple[float, float, float, float]
    label: int


class Transplants:
    """The defects of the training pictures, ready to be set elsewhere.

    Args:
        samples: the training half.
        pixels: of each, uint8 [height, width, channels], with the reference behind it if there is one.
        side_px: of the crops.
        has_reference: whether the second half of the channels is a reference.
    """

    def __init__(
        self, samples: Sequence[Sample], pixels: Sequence[NDArray[np.uint8]], side_px: int, has_reference: bool
    ) -> None:
        found: dict[int, list[tuple[NDArray[np.uint8], NDArray[np.float32]]]] = {}
        for sample, picture in zip(samples, pixels, strict=True):
            for box, label in zip(sample.boxes, sample.labels, strict=True):
                fits = (box[2:] - box[:2]).max() <= LARGEST_SHARE * side_px
                if fits and (has_reference or _has_surroundings(box, picture)):
                    found.setdefault(int(label), []).append((picture, box))
        self._by_class = {
            label: [_change(picture, box, label, has_reference) for picture, box in spread(places, MOST_OF_A_CLASS)]
            for label, places in found.items()
        }

    def __call__(
        self, piece: NDArray[np.uint8], boxes: Boxes, labels: Labels, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], Boxes, Labels]:
        """Set one defect into a piece of a picture, its class drawn evenly, if there is room for it.

        Args:
            piece: uint8 [height, width, channels].
            boxes: float32 [N, 4] of the defects that are there.
            labels: int64 [N].
            rng: the crop's own generator.

        Returns:
            A new piece with boxes and labels, the new one last.
        """
        if not self._by_class:
            return piece, boxes, labels
        known = self._by_class[int(rng.choice(sorted(self._by_class)))]
        change = known[rng.integers(len(known))]
        levels, box = _turned(change, int(rng.integers(8)))
        height, width, channels = levels.shape
        room_y, room_x = piece.shape[0] - height, piece.shape[1] - width
        for _ in range(_TRIES if min(room_y, room_x) >= 0 else 0):
            left, top = int(rng.integers(room_x + 1)), int(rng.integers(room_y + 1))
            place = box + np.array([left, top, left, top], np.float32)
            if overlaps(place, boxes):
                continue
            piece = piece.copy()
            under = piece[top : top + height, left : left + width, :channels]
            strength = np.float32(rng.uniform(FAINTEST, STRONGEST))
            under[...] = np.clip(under + strength * levels, 0, 255)
            return piece, np.concatenate((boxes, place[None])), np.append(labels, change.label)
        return piece, boxes, labels


def _has_surroundings(box: NDArray[np.float32], picture: NDArray[np.uint8]) -> bool:
    """Whether anything tells how the surface would look without the defect."""
    height, width = picture.shape[:2]
    return bool(box[0] >= 1 or box[1] >= 1 or box[2] <= width - 1 or box[3] <= height - 1)


def _change(picture: NDArray[np.uint8], box: NDArray[np.float32], label: int, has_reference: bool) -> Change:
    height, width, channels = picture.shape
    rim = max(3, round(RIM * float((box[2:] - box[:2]).max())))
    left, top = max(0, int(box[0]) - rim), max(0, int(box[1]) - rim)
    right, bottom = min(width, int(np.ceil(box[2])) + rim), min(height, int(np.ceil(box[3])) + rim)
    patch = picture[top:bottom, left:right].astype(np.float32)
    inside = np.zeros(patch.shape[:2], np.float32)
    x1, y1, x2, y2 = (float(v) for v in box - np.array([left, top, left, top], np.float32))
    inside[int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))] = 1.0
    if has_reference:
        sound = patch[:, :, channels // 2 :]
        patch = patch[:, :, : channels // 2]
    else:
        sound = _expected(patch, 1.0 - inside, rim)
    fade = cv2.GaussianBlur(inside, (0, 0), rim / 3)
    return Change(np.asarray((patch - sound) * fade[:, :, None], np.float32), (x1, y1, x2, y2), label)


def _expected(patch: NDArray[np.float32], outside: NDArray[np.float32], rim: int) -> NDArray[np.float32]:
    """Return the surface that the rim lets expect: its values, weighted by nearness."""
    spread = max(patch.shape[:2]) / 3 + rim
    weight = cv2.GaussianBlur(outside, (0, 0), spread, borderType=cv2.BORDER_CONSTANT) + 1e-6
    sums = cv2.GaussianBlur(patch * outside[:, :, None], (0, 0), spread, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(sums.reshape(patch.shape) / weight[:, :, None], np.float32)


def _turned(change: Change, turn: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a change turned by quarters, mirrored if turn is above 3, and where its box is then."""
    levels, (x1, y1, x2, y2) = change.levels, change.box
    for _ in range(turn % 4):
        width = levels.shape[1]
        levels, (x1, y1, x2, y2) = np.rot90(levels), (y1, width - x2, y2, width - x1)
    if turn > 3:
        width = levels.shape[1]
        levels, (x1, x2) = levels[:, ::-1], (width - x2, width - x1)
    return levels, np.array([x1, y1, x2, y2], np.float32)
