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
    "nano": Size(48, 1, 16),  # 0.42 M parameters, 1.4 GFLOP
    "small": Size(72, 2, 24),  # 1.43 M, 4.1 GFLOP
    "base": Size(112, 3, 32),  # 4.30 M, 11.3 GFLOP
}
"""With one grey channel and six classes, at 640 x 640."""
