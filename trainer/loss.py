"""What the net is taught: which cells own a defect, how sure to be there, of which kind it is, and where its box is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from trainer.model import STRIDE, cell_centres, decode_boxes

CENTRE_RADIUS_PX = 1.5 * STRIDE
"""A cell owns a defect if its centre is this near to the defect's centre (and inside the box)."""

BOX_WEIGHT = 2.0

KIND_WEIGHT = 0.3
"""Of telling the kinds apart where a defect is: the score asks each class by itself, and what is nearly right weighs
nearly nothing."""


@dataclass(frozen=True, slots=True)
class Losses:
    """The parts of the loss, each a scalar averaged over the cells that own a defect; owned: how many do, or 1."""

    score: Tensor
    box: Tensor
    kind: Tensor
    owned: int

    @property
    def total(self) -> Tensor:
        """What is learned by: all parts, weighted."""
        return self.score + BOX_WEIGHT * self.box + KIND_WEIGHT * self.kind


def detection_loss(logits: Tensor, distances: Tensor, boxes: Tensor, labels: Tensor) -> Losses:
    """Compare the net's answer with the truth.

    Args:
        logits: float32 [N, classes, h, w].
        distances: float32 [N, 4, h, w].
        boxes: float32 [N, M, 4], x1 y1 x2 y2 in pixels, padded with zeros.
        labels: int64 [N, M], padded with -1.

    Returns:
        Quality focal loss (the score learns the IoU of its box), GIoU loss of the boxes, and cross-entropy between the
        classes in the cells that own a defect.

    Source:
        Generalized Focal Loss (arXiv 2006.04388), GIoU (arXiv 1902.09630), FCOS's centre sampling.
    """
    height, width = logits.shape[2] * STRIDE, logits.shape[3] * STRIDE
    centres = cell_centres(height, width).to(logits.device)
    flat_logits = logits.flatten(2).transpose(1, 2).float()
    decoded = decode_boxes(distances.flatten(2).transpose(1, 2).float(), centres)
    owner = assign(centres, boxes, labels)
    image, cell = torch.nonzero(owner >= 0, as_tuple=True)
    targets = torch.zeros_like(flat_logits)
    owned = max(1, image.numel())
    box_loss = kind_loss = decoded.sum() * 0.0
    if image.numel():
        which = owner[image, cell]
        kinds = labels[image, which]
        iou, giou = paired_iou(decoded[image, cell], boxes[image, which])
        targets[image, cell, kinds] = iou.detach().clamp(0.0, 1.0)
        box_loss = (1.0 - giou).sum() / owned
        kind_loss = functional.cross_entropy(flat_logits[image, cell], kinds, reduction="sum") / owned
    score_loss = quality_focal(flat_logits, targets).sum() / owned
    return Losses(score_loss, box_loss, kind_loss, owned)


def assign(centres: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
    """Find the defect that each cell owns: near its centre, inside its box, the nearest one wins.

    A defect that would get no cell, because it is smaller than one or others are nearer everywhere, gets the nearest
    cell that is not the only one of another; else it would be taught as background.

    Args:
        centres: float32 [P, 2] in pixels.
        boxes: float32 [N, M, 4].
        labels: int64 [N, M], -1 where padded.

    Returns:
        int64 [N, P], index into the M boxes or -1.
    """
    if boxes.shape[1] == 0:
        return torch.full((boxes.shape[0], centres.shape[0]), -1, dtype=torch.int64, device=boxes.device)
    low, high = boxes[:, None, :, :2], boxes[:, None, :, 2:]
    points = centres[None, :, None, :]
    offset = (points - (low + high) / 2).abs().amax(dim=-1)
    inside = ((points > low) & (points < high)).all(dim=-1)
    allowed = inside & (offset < CENTRE_RADIUS_PX) & (labels >= 0)[:, None, :]
    nearest, which = offset.masked_fill(~allowed, torch.inf).min(dim=2)
    owner = torch.where(nearest.isinf(), torch.full_like(which, -1), which)
    _give_each_a_cell(owner, offset, labels)
    return owner


def _give_each_a_cell(owner: Tensor, offset: Tensor, labels: Tensor) -> None:
    """Change owner [N, P] so that every box with a label owns a cell; offset is [N, P, M]."""
    numbers = torch.arange(labels.shape[1], device=labels.device)
    counts = (owner[:, :, None] == numbers).sum(dim=1)
    for image, box in torch.nonzero((counts == 0) & (labels >= 0)).tolist():
        holders = owner[image]
        is_free = (holders < 0) | (counts[image][holders.clamp(min=0)] > 1)
        if is_free.any():
            cell = int(offset[image, :, box].masked_fill(~is_free, torch.inf).argmin())
            if holders[cell] >= 0:
                counts[image, holders[cell]] -= 1
            owner[image, cell] = box
            counts[image, box] = 1


def quality_focal(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the quality focal loss, element by element (beta 2).

    Args:
        logits: float32, any shape.
        targets: same shape, 0..1: the IoU that the score should tell.
    """
    gap = (targets - logits.sigmoid()).abs()
    return gap * gap * functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")


def paired_iou(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return IoU and generalised IoU of boxes taken pairwise.

    Args:
        first: float32 [K, 4], x1 y1 x2 y2.
        second: float32 [K, 4].

    Returns:
        Two tensors [K]; IoU 0..1, GIoU -1..1.
    """
    overlap = (torch.minimum(first[:, 2:], second[:, 2:]) - torch.maximum(first[:, :2], second[:, :2])).clamp(min=0)
    hull = torch.maximum(first[:, 2:], second[:, 2:]) - torch.minimum(first[:, :2], second[:, :2])
    areas = [(b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) for b in (first, second)]
    shared = overlap.prod(dim=1)
    union = areas[0] + areas[1] - shared
    hull_area = hull.prod(dim=1).clamp(min=1e-6)
    iou = shared / union.clamp(min=1e-6)
    return iou, iou - (hull_area - union) / hull_area
