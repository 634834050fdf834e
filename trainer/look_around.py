"""Looks in the rest of a picture for what is alike: what it shows again and again is meant to be there."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.turned import TurnedConv, TurnedNorm

LOOKS = 32
"""Channels by which places are compared."""

MANY_PLACES = 1600
"""All of a picture of 640 x 640. With so many, means of 2 x 2 places are looked at: the work grows squared."""

_HIDDEN = -1e4
"""Likeness of what is not looked at, in 16 bits too."""

_LEAST = 1e-3
"""Added to a mean square, for a place that looks like nothing."""


class LookAround(nn.Module):
    """Adds to each place what is told of places like it; changes nothing until it has learned.

    Every place of the picture counts for a place by the cosine between what both look like, through a softmax whose
    sharpness is learned, too. The place itself and the eight around it do not: convolutions have seen them, and they
    would drown the others. On a device they may where there are many, as they have little to say then.

    Args:
        width: channels that it reads and makes, a multiple of 8.

    Source:
        Non-local Neural Networks (arXiv 1711.07971).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        told = width // 2
        self.look = TurnedConv(width, LOOKS, 1)
        self.tell = nn.Sequential(TurnedConv(width, told, 1), TurnedNorm(told), nn.ReLU(inplace=True))
        self.sharpness = nn.Parameter(torch.tensor(2.0))  # its natural logarithm
        self.widen = TurnedConv(told, width, 1)
        self.scale = TurnedNorm(width)
        nn.init.zeros_(self.scale.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Look around.

        Args:
            x: float32 [N, width, H, W], H and W even.

        Returns:
            float32 of the same shape.
        """
        rows, columns = (int(side) for side in x.shape[2:])
        looks, told = self.look(x), self.tell(x)
        own = others = _of_one_size(looks)
        step = 2 if rows * columns >= MANY_PLACES else 1
        if step > 1:
            looks, told = (functional.avg_pool2d(each, step) for each in (looks, told))
            others = _of_one_size(looks)
        likeness = torch.matmul((own * (self.sharpness.exp() / LOOKS)).transpose(1, 2), others)
        if self.training or step == 1:
            likeness = likeness.masked_fill(_are_near(rows, columns, step).to(x.device), _HIDDEN)
        shares = torch.softmax(likeness, dim=2)
        found = torch.matmul(_places(told), shares.transpose(1, 2)).reshape(-1, int(told.shape[1]), rows, columns)
        return torch.relu(x + self.scale(self.widen(found)))


def _places(x: Tensor) -> Tensor:
    """Return float32 [N, channels, H, W] as [N, channels, H W], in sizes that a device finds in the file."""
    channels, rows, columns = (int(length) for length in x.shape[1:])
    return x.reshape(-1, channels, rows * columns)


def _are_near(rows: int, columns: int, step: int) -> Tensor:
    """Return whether a place is in one of step x step places or next to it, bool [places, places / step / step]."""
    own = [at // step for at in torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")]
    others = torch.meshgrid(torch.arange(rows // step), torch.arange(columns // step), indexing="ij")
    down, across = ((one.reshape(-1, 1) - other.reshape(-1)).abs() for one, other in zip(own, others, strict=True))
    return torch.maximum(down, across) <= 1


def _of_one_size(looks: Tensor) -> Tensor:
    """Return places whose numbers have a mean square of 1, so that 16 bits hold their products."""
    places = _places(looks)
    return places / (places.square().mean(dim=1, keepdim=True) + _LEAST).sqrt()
