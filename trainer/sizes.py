"""How large a net is: the table behind `trainer train --size`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

SizeName = Literal["nano", "small", "base"]
SIZES: tuple[SizeName, ...] = get_args(SizeName)


@dataclass(frozen=True, slots=True)
class Size:
    """The dials of a net.

    Args:
        width: channels at stride 8, a multiple of 8; those of the other strides grow with it.
        depth: how many times the residual blocks of the smallest net.
        detail: channels of the block at stride 4.
    """

    width: int
    depth: int
    detail: int


TABLE: dict[SizeName, Size] = {
    "nano": Size(64, 1, 16),  # 0.20 M parameters, 2.5 GFLOP
    "small": Size(80, 2, 24),  # 0.46 M, 5.2 GFLOP
    "base": Size(112, 3, 32),  # 1.19 M, 12.5 GFLOP
}
"""With one grey channel and six classes, at 640 x 640."""
