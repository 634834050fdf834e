"""How large a net is: the table behind `trainer train --size`, and all that the shape of its weights follows from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
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
    "nano": Size(64, 1, 16),  # 0.20 M parameters, 2.6 GFLOP
    "small": Size(80, 2, 24),  # 0.46 M, 5.3 GFLOP
    "base": Size(112, 3, 32),  # 1.20 M, 12.7 GFLOP
}
"""With one grey channel and six classes, at 640 x 640."""


def name_of(size: Size) -> SizeName | None:
    """Return what a size is called; None if the table has no such one."""
    return next((name for name, its in TABLE.items() if its == size), None)


@dataclass(frozen=True, slots=True)
class NetShape:
    """What the weights of a net depend on; saved with every checkpoint.

    Args:
        channels: 1 (grey) or 3 (RGB); 2 or 6 with a reference behind the picture.
        classes: number of defect classes, at least 1.
        width: channels at stride 8, where the details of a defect are, a multiple of 8; those of the other strides
            grow with it where it is above 48.
        depth: how many times the residual blocks of the smallest net.
        detail: channels of the block at stride 4, where a pixel still counts, a multiple of 4.

    Raises:
        ValueError: A number of channels is none of a net.
    """

    channels: int
    classes: int
    width: int = TABLE["nano"].width
    depth: int = TABLE["nano"].depth
    detail: int = TABLE["nano"].detail

    def __post_init__(self) -> None:
        if self.width % 8 or self.detail % 4 or min(self.width, self.detail) <= 0:
            raise ValueError(f"no net has {self.width} channels at stride 8 and {self.detail} at stride 4")

    @property
    def sees_reference(self) -> bool:
        """Whether half of the channels are the reference's."""
        return self.channels % 2 == 0

    def as_dict(self) -> dict[str, int]:
        """Return the fields as a dict, for the checkpoint."""
        return asdict(self)
