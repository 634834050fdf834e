"""What a net is taught by a larger one: cell by cell, how sure that is, and where it sees the box."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.loss import BOX_WEIGHT, paired_iou, quality_focal
from trainer.model import STRIDE, cell_centres, decode_boxes

SURE = 0.3
"""Where the teacher's best score is below this, its box is not taught: there it has never learned one."""

LESSON_WEIGHT = 2.0
"""Beside the labels' loss. Where both see the same, a lesson is averaged over twice the cells; this makes them even."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """The parts of the loss, each a scalar averaged over the cells; cells: how many count, at least 1."""

    total: Tensor
    score: Tensor
    box: Tensor
    cells: int


def distillation_loss(
    logits: Tensor, distances: Tensor, taught_logits: Tensor, taught_distances: Tensor, owned: int
) -> Lesson:
    """Compare a net's answer with its teacher's; nets of all sizes answer on the same grid.

    Scores by quality focal loss, with the teacher's score in the place of the IoU: the square of the difference leaves
    next to nothing of the thousands of cells where both see nothing. Boxes by GIoU, each weighted with the teacher's
    score, and only where that is sure. Divided by the cells that own a defect and those where the teacher is sure, so
    that a batch in which only one of the two sees something is no jolt.

    Answers are compared, not features, because the sizes differ in width and nothing has to be learned to compare them;
    and boxes, not distributions of edges, because this net has none.

    Args:
        logits: float32 [N, classes, h, w] of the net that learns.
        distances: float32 [N, 4, h, w] of it.
        taught_logits: float32 [N, classes, h, w] of the teacher, on the same pictures; without gradients.
        taught_distances: float32 [N, 4, h, w] of it.
        owned: cells that own a defect by the labels (trainer.loss), at least 1.

    Returns:
        The parts of the loss; all are 0 where the answers are the same.

    Source:
        CrossKD (arXiv 2306.11369), its losses for imitated predictions; Localization Distillation (arXiv 2102.12252),
        that boxes are taught in a chosen region only.
    """
    taught = taught_logits.flatten(2).transpose(1, 2).float().sigmoid()
    sureness = taught.amax(dim=2)
    image, cell = torch.nonzero(sureness >= SURE, as_tuple=True)
    cells = owned + image.numel()
    score = quality_focal(logits.flatten(2).transpose(1, 2).float(), taught).sum() / cells
    centres = cell_centres(logits.shape[2] * STRIDE, logits.shape[3] * STRIDE).to(logits.device)[cell]
    own, wanted = (
        decode_boxes(each.flatten(2).transpose(1, 2)[image, cell].float(), centres)
        for each in (distances, taught_distances)
    )
    _, giou = paired_iou(own, wanted)
    box = (sureness[image, cell] * (1.0 - giou)).sum() / cells
    return Lesson(score + BOX_WEIGHT * box, score, box, cells)
