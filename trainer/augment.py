"""Training crops: a piece of a board as the line could have shown it.

Every random choice comes from one generator per crop, so that a run resumed in the middle draws the same crops.
"""

from __future__ import annotations

import albumentations as A  # noqa: N812 - the name that its own documentation uses
import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.datasets.sample import Boxes, Copper, Labels
from trainer.disturb import Disturb
from trainer.model import PAD_VALUE
from trainer.paint import paint
from trainer.references import misplaced
from trainer.strengths import Strengths
from trainer.transplant import Transplants

DEFECT_SHARE = 0.85
"""Share of the crops of a defective part that are placed around one of its defects."""

SCALED_SHARE = 0.5
"""Share of the crops that are cut larger or smaller: line widths differ from board to board."""

PAINTED_SHARE = 0.5
"""Share of the crops of binarised copper that get artwork and defects painted in."""

TURNED_SHARE = 0.2
"""Share of the crops that are turned a little, as a part lies in its fixture, and not only by quarters."""

TRANSPLANT_SHARE = 0.3
"""Share of the crops into which a defect of another picture is set."""

MISPLACED_SHARE = 0.5
"""Share of the references that lie a little off the part, as an alignment may leave them."""

KEPT_SHARE = 0.5
"""A box that a crop cuts stays if this share of its area is left, or if it goes over this share of the crop: a defect
larger than a crop would else be taught as background."""


class Augment:
    """Cut, turn and disturb.

    Args:
        side_px: side of the crop, a multiple of 32.
        strengths: how much it is disturbed at most; None as usual.
        copper: given for binarised copper, where defects can be painted.
        transplants: defects that may be set into a crop.
    """

    def __init__(
        self,
        side_px: int = 320,
        strengths: Strengths | None = None,
        copper: Copper | None = None,
        transplants: Transplants | None = None,
    ) -> None:
        strengths = strengths or Strengths()
        self.side_px = side_px
        self._grow = 1 + strengths.scale_percent / 100
        self._misplaced_px = strengths.misplaced_px
        self._copper = copper
        self._transplants = transplants
        box = A.BboxParams(format="pascal_voc", label_fields=["labels"])
        limits = (-strengths.turn_deg, strengths.turn_deg)
        self._turn = A.Compose([A.D4(p=1.0)], bbox_params=box)
        self._askew = A.Compose([A.Affine(rotate=limits, fill=PAD_VALUE, p=1.0)], bbox_params=box)
        self._disturb = Disturb(strengths)

    def __call__(
        self, picture: NDArray[np.uint8], boxes: Boxes, labels: Labels, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], Boxes, Labels]:
        """Make one training crop.

        Args:
            picture: uint8 [height, width, channels]; where it is smaller than the crop, that is filled up as on the
                device. With a reference behind it, the number of channels is even.
            boxes: float32 [N, 4], x1 y1 x2 y2 in pixels.
            labels: int64 [N].
            rng: the crop's own generator.

        Returns:
            uint8 [side, side, channels], boxes and labels that are still in it, and those that were set or painted in.
        """
        piece, boxes, labels = self._cut(picture, boxes, labels, rng)
        if self._transplants is not None and rng.random() < TRANSPLANT_SHARE:
            piece, boxes, labels = self._transplants(piece, boxes, labels, rng)
        piece = self._filled_up(piece)
        if self._copper is not None and rng.random() < PAINTED_SHARE:
            piece, boxes, labels = paint(piece, boxes, labels, self._copper, rng)
        for moved, share in ((self._turn, 1.0), (self._askew, TURNED_SHARE)):
            if rng.random() < share:
                moved.set_random_seed(int(rng.integers(2**31)))
                out = moved(image=piece, bboxes=boxes, labels=labels)
                piece = out["image"].reshape(piece.shape)
                boxes = np.asarray(out["bboxes"], np.float32).reshape(-1, 4)
                labels = np.asarray(out["labels"], np.int64).reshape(-1)
        return self._disturbed(piece, rng), boxes, labels

    def _disturbed(self, piece: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Change light, focus and noise; those of the reference are its own, and it lies a little off."""
        if piece.shape[2] % 2:
            return self._disturb(piece, rng)
        half = piece.shape[2] // 2
        part, reference = self._disturb(piece[:, :, :half], rng), self._disturb(piece[:, :, half:], rng)
        if rng.random() < MISPLACED_SHARE:
            reference = misplaced(reference, rng, self._misplaced_px)
        return np.concatenate((part, reference), axis=2)

    def _cut(
        self, picture: NDArray[np.uint8], boxes: Boxes, labels: Labels, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], Boxes, Labels]:
        height, width, channels = picture.shape
        side = self.side_px
        if self._grow > 1.0 and rng.random() < SCALED_SHARE:
            side = round(side * float(np.exp(rng.uniform(-1, 1) * np.log(self._grow))))
        left, top = (int(rng.integers(0, max(0, length - side) + 1)) for length in (width, height))
        if len(boxes) and rng.random() < DEFECT_SHARE:
            box = boxes[rng.integers(len(boxes))]
            left = _place(box[0], box[2], side, width, rng)
            top = _place(box[1], box[3], side, height, rng)
        piece = picture[top : top + side, left : left + side]
        boxes, labels = crop_boxes(boxes, labels, left, top, side)
        if side != self.side_px:
            factor = self.side_px / side
            size = [max(1, round(length * factor)) for length in piece.shape[1::-1]]
            piece = np.asarray(cv2.resize(piece, size, interpolation=cv2.INTER_LINEAR), np.uint8)
            boxes = boxes * np.float32(factor)
        return piece.reshape(*piece.shape[:2], channels), boxes, labels

    def _filled_up(self, piece: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if piece.shape[:2] == (self.side_px, self.side_px):
            return piece
        whole = np.full((self.side_px, self.side_px, piece.shape[2]), PAD_VALUE, np.uint8)
        whole[: piece.shape[0], : piece.shape[1]] = piece
        return whole


def _place(low: float, high: float, side: int, limit: int, rng: np.random.Generator) -> int:
    """Draw where a crop starts so that it holds the whole box, or, of one that is larger than it, any part."""
    room = max(0, limit - side)
    first, last = sorted((min(max(int(np.ceil(high)) - side, 0), room), min(int(low), room)))
    return int(rng.integers(first, last + 1))


def crop_boxes(boxes: Boxes, labels: Labels, left: int, top: int, side: int) -> tuple[Boxes, Labels]:
    """Move boxes into a crop and drop those of which too little is left.

    Args:
        boxes: float32 [N, 4], x1 y1 x2 y2 in pixels of the whole picture.
        labels: int64 [N].
        left: column at which the crop starts.
        top: row at which the crop starts.
        side: side of the crop in pixels.

    Returns:
        Boxes in pixels of the crop, clipped to it, and their labels.
    """
    moved = boxes - np.array([left, top, left, top], np.float32)
    clipped = np.clip(moved, 0, side).astype(np.float32)
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    seen = np.prod(clipped[:, 2:] - clipped[:, :2], axis=1)
    longest = (clipped[:, 2:] - clipped[:, :2]).max(axis=1, initial=0.0)
    kept = (seen >= KEPT_SHARE * area) | ((seen > 0) & (longest >= KEPT_SHARE * side))
    return clipped[kept], labels[kept]
