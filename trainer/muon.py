"""Muon: a kernel is moved in all its directions alike, where AdamW follows the few that its gradient is full of.

A run is short, some thousand steps, and what tells one kind of defect from another is a few pixels: directions of small
gradient, which AdamW learns last.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

AS_ADAMW = 0.2
"""Root mean square of an update at rate 1, about AdamW's, so that one rate and one decay suit both."""

MOMENTUM = 0.95

_ROUNDS = 5
_LINEAR, _CUBIC, _QUINTIC = 3.4445, -4.7750, 2.0315
"""A polynomial that, in five rounds, brings singular values from 0.003 to 1 to between 0.7 and 1.2."""


class Muon(Optimizer):
    """Momentum whose matrices are straightened before each step.

    Args:
        kernels: of the hidden layers; each is a matrix with a row for each channel it makes.
        decay: share of a kernel that a step at rate 1 takes off.

    Source:
        K. Jordan, Muon (kellerjordan.github.io/posts/muon); the size of an update as in arXiv 2502.16982.
    """

    def __init__(self, kernels: Iterable[nn.Parameter], decay: float) -> None:
        super().__init__(kernels, {"lr": 0.0, "decay": decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move the kernels against the gradients that they have.

        Args:
            closure: must be None: gradients are there before a step.

        Raises:
            RuntimeError: A closure was given.
        """
        if closure is not None:
            raise RuntimeError("gradients must be there before a step")
        for group in self.param_groups:
            alike: dict[tuple[int, int], list[tuple[nn.Parameter, Tensor]]] = {}
            for kernel in group["params"]:
                ahead = self._ahead(kernel)
                alike.setdefault((len(kernel), kernel[0].numel()), []).append((kernel, ahead))
            for (rows, columns), pairs in alike.items():  # together, because many small products take longer
                ways = straightened(torch.stack([ahead.reshape(rows, columns) for _, ahead in pairs]))
                far = group["lr"] * AS_ADAMW * math.sqrt(max(rows, columns))
                for (kernel, _), way in zip(pairs, ways, strict=True):
                    kernel.mul_(1 - group["lr"] * group["decay"]).sub_(far * way.reshape(kernel.shape))

    def _ahead(self, kernel: nn.Parameter) -> Tensor:
        """Take a gradient into the momentum, and return where the next would lead (Nesterov)."""
        gradient, state = kernel.grad, self.state[kernel]
        if gradient is None:
            raise RuntimeError("a kernel of a hidden layer has no gradient")
        if not state:
            state["momentum"] = torch.zeros_like(kernel)
        state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        return gradient.lerp(state["momentum"], MOMENTUM)


def straightened(matrices: Tensor) -> Tensor:
    """Return matrices with the same singular vectors and singular values near 1.

    Args:
        matrices: float32 [N, rows, columns], of any size; one of zeros stays so.
    """
    is_tall = matrices.shape[1] > matrices.shape[2]
    x: Tensor = matrices.mT if is_tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-12)
    for _ in range(_ROUNDS):
        square = x @ x.mT
        x = _LINEAR * x + (_CUBIC * square + _QUINTIC * square @ square) @ x
    return x.mT if is_tall else x
