"""How large a net is: the table behind `trainer train --size`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

SizeName = Literal["nano", "small", "base"]
SIZES: tuple[SizeName, ...] = get_args(SizeName)


@dataclass(frozen=True, slots=True)
class Size:
    """The two dials of a net.

    Args:
        width: channels at stride 8, a multiple of 8; those of the other strides grow with it.
        depth: how many times the residual blocks of the smallest net.
    """

    width: int
    depth: int


TABLE: dict[SizeName, Size] = {
    "nano": Size(48, 1),  # 0.42 M parameters, 1.2 GFLOP
    "small": Size(72, 2),  # 1.42 M, 3.7 GFLOP
    "base": Size(112, 3),  # 4.29 M, 10.6 GFLOP
}
"""With one grey channel and six classes, at 640 x 640."""
