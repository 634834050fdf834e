"""From a net's maps to its best candidates: the same in training, in the exported graph, and for a teacher."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

CANDIDATES = 100
"""Boxes per picture that leave the graph."""

_NO_PEAK = -1e4
"""Logit of a cell beside a better one of the same class: no calibration makes a score of it."""


def pick(logits: Tensor, count: int = CANDIDATES) -> tuple[Tensor, Tensor, Tensor]:
    """Choose pairs of place and class with the highest scores.

    Each class is asked for by itself: what looks like one class may be another one, and then its second name counts.
    Of neighbouring cells only the best stays, or the many cells of a few sure defects would crowd out all others.

    Args:
        logits: float32 [N, classes, rows, columns].
        count: how many; at most the cells of all classes together.

    Returns:
        Logits [N, count], falling; cells (row after row) int64 [N, count]; labels int64 [N, count].
    """
    cells = logits.shape[2] * logits.shape[3]
    is_beside_better = logits < max_pool2d(logits, kernel_size=3, stride=1, padding=1)
    peaks = torch.where(is_beside_better, torch.full_like(logits, _NO_PEAK), logits)
    top, places = peaks.flatten(1).topk(count, dim=1)
    labels = torch.div(places, cells, rounding_mode="trunc")
    return top, places - labels * cells, labels
