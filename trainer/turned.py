"""Layers that answer a turned picture by their turned answer: what is learned of one direction is known of all four.

Their channels come in fours, one for each quarter turn, side by side; where the input of a layer is turned, each four
of its output are turned, and moved on by one. So they have a quarter of the weights for the same work. `plain` returns
what they amount to in torch's own layers, and that is what a device runs.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from copy import deepcopy
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

TURNS = 4
"""Quarters of a whole turn, and channels that belong together."""

EPSILON = 1e-3
"""Of a normalisation."""

AnyNet = TypeVar("AnyNet", bound=nn.Module)


class _Turned(nn.Module, ABC):
    """A convolution whose kernels follow from fewer weights."""

    stride = 1
    padding = 0

    @abstractmethod
    def kernels(self) -> Tensor:
        """Return all kernels, float32 [channels made, channels read, side, side]."""

    def shifts(self) -> Tensor | None:
        """Return what is added to each channel; None: nothing."""
        return None

    def forward(self, x: Tensor) -> Tensor:
        """Convolve float32 [N, channels read, H, W]."""
        return functional.conv2d(x, self.kernels(), self.shifts(), self.stride, self.padding)

    def plain(self) -> nn.Conv2d:
        """Return the convolution of torch that does the same."""
        kernels, shifts = self.kernels().detach(), self.shifts()
        made = nn.Conv2d(kernels.shape[1], len(kernels), kernels.shape[2], self.stride, self.padding)
        made.weight = nn.Parameter(kernels)
        made.bias = None if shifts is None else nn.Parameter(shifts.detach().clone())
        return made


class TurnedConv(_Turned):
    """A convolution without bias that applies each of its kernels in four directions.

    Args:
        c_in: channels that it reads: of a picture, which have no direction, or a multiple of 4.
        c_out: channels that it makes, a multiple of 4.
        kernel: side in pixels, odd or even as the stride, or a turned picture would be read in other places.
        stride: in pixels.
        is_first: whether it reads a picture.

    Source:
        Group Equivariant Convolutional Networks (arXiv 1602.07576), the group p4.
    """

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1, is_first: bool = False) -> None:
        super().__init__()
        if (kernel - stride) % 2:
            raise RuntimeError(f"{kernel} pixels with stride {stride} read a turned picture in other places")
        self.stride, self.padding, self._is_first = stride, (kernel - stride) // 2, is_first
        self.weight = nn.Parameter(torch.empty(c_out // TURNS, c_in, kernel, kernel))
        nn.init.normal_(self.weight, std=math.sqrt(2 / (c_out * kernel * kernel)))  # as kaiming_normal_ draws them all

    def kernels(self) -> Tensor:
        """Return each kernel and its turned ones, side by side."""
        return in_all_directions(self.weight, is_of_picture=self._is_first)


class TurnedNorm(nn.Module):
    """Batch normalisation that scales and shifts the four channels of a kernel alike.

    Args:
        width: channels, a multiple of 4.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width // TURNS))
        self.bias = nn.Parameter(torch.zeros(width // TURNS))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise float32 [N, width, H, W]."""
        mean, var = (self.running_mean, self.running_var) if self.training else self._settled()
        scale, shift = _four_times(self.weight), _four_times(self.bias)
        return functional.batch_norm(x, mean, var, scale, shift, self.training, eps=EPSILON)

    def plain(self) -> nn.BatchNorm2d:
        """Return the normalisation of torch that does the same when nothing is learned any more."""
        made = nn.BatchNorm2d(len(self.running_mean), EPSILON)
        made.running_mean, made.running_var = self._settled()
        made.weight, made.bias = (nn.Parameter(_four_times(own.detach())) for own in (self.weight, self.bias))
        return made

    def _settled(self) -> tuple[Tensor, Tensor]:
        """Return mean and variance over all four directions, which differ by what a batch happened to show."""
        mean, var = (_four_times(seen.reshape(-1, TURNS).mean(dim=1)) for seen in (self.running_mean, self.running_var))
        return mean, var


class TurnedScores(_Turned):
    """Scores of each cell, which are the same in all directions.

    Args:
        width: channels that it reads, a multiple of 4.
        classes: how many scores.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, width // TURNS, 1, 1))
        self.bias = nn.Parameter(torch.empty(classes))

    def kernels(self) -> Tensor:
        """Return one kernel for each class, that reads all four directions alike."""
        return self.weight.repeat_interleave(TURNS, dim=1)

    def shifts(self) -> Tensor:
        """Return one for each class."""
        return self.bias


class TurnedBoxes(_Turned):
    """Distances of each cell to the left, top, right and bottom edge of its box: one kernel in four directions.

    Args:
        width: channels that it reads, a multiple of 4.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, width, 1, 1))
        self.bias = nn.Parameter(torch.empty(1))

    def kernels(self) -> Tensor:
        """Return those for left, top, right and bottom."""
        left, bottom, right, top = in_all_directions(self.weight)
        return torch.stack((left, top, right, bottom))

    def shifts(self) -> Tensor:
        """Return the same for all edges."""
        return self.bias.expand(TURNS)


def in_all_directions(kernels: Tensor, is_of_picture: bool = False) -> Tensor:
    """Turn kernels by no, one, two and three quarters, against the clock.

    Args:
        kernels: float32 [N, channels, side, side].
        is_of_picture: whether what they read has no direction; else each four of their channels are moved on, too.

    Returns:
        float32 [4 N, channels, side, side], the four of each kernel side by side.
    """
    count, channels, side, _ = kernels.shape
    places = _places(channels, side, is_of_picture, kernels.device)
    return kernels.flatten(1).index_select(1, places).reshape(TURNS * count, channels, side, side)


@cache
def _places(channels: int, side: int, is_of_picture: bool, device: torch.device) -> Tensor:
    """Return where in a kernel each number of its four turned ones comes from, int64 [4 channels side side]."""
    with torch.inference_mode(mode=False):  # or nothing could be learned with it later
        places = torch.arange(channels * side * side, device=device).reshape(channels, side, side)
        turned = [torch.rot90(places, turn, (1, 2)) for turn in range(TURNS)]
        if not is_of_picture:
            fours = [one.reshape(channels // TURNS, TURNS, side, side) for one in turned]
            turned = [one.roll(turn, dims=1) for turn, one in enumerate(fours)]
        return torch.stack(turned).flatten()


def plain(net: AnyNet) -> AnyNet:
    """Return a copy of a net in which all layers are torch's own, for a device: it learns nothing any more.

    Args:
        net: with layers of this module or without.
    """
    made = deepcopy(net)
    for name, layer in list(made.named_modules()):
        if isinstance(layer, (_Turned, TurnedNorm)):
            parent, _, own = name.rpartition(".")
            setattr(made.get_submodule(parent), own, layer.plain())
    return made.eval()


def _four_times(values: Tensor) -> Tensor:
    return values.repeat_interleave(TURNS)
