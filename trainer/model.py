"""The detector: a compact one-stage, anchor-free convolutional net in plain PyTorch.

ReLU and, when it is exported, plain convolutions, so that ONNX Runtime, OpenVINO and TensorRT 10.3 all take it and fuse
it; but for the block that looks around, which is matrix products and a softmax. The work sits at strides 8 and 16,
because that is where a 20-pixel defect is still 2 cells wide and a convolution is already cheap; strides 16 and 32 only
bring surroundings ("is this gap meant to be here?") into the single output level at stride 8. A net that sees no
reference looks in the rest of the picture for what is alike, too.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainer.look_around import LookAround
from trainer.sizes import NetShape
from trainer.turned import TurnedBoxes, TurnedConv, TurnedNorm, TurnedScores

STRIDE = 8
"""Input pixels per cell of the output grid."""

PAD_VALUE = 114
"""Grey that fills a picture up, as on the device."""

SIDE_MULTIPLE = 32
"""Height and width of a picture must be a multiple of this (the coarsest stride)."""


def _conv(c_in: int, c_out: int, kernel: int = 3, stride: int = 1, is_first: bool = False) -> nn.Sequential:
    return nn.Sequential(TurnedConv(c_in, c_out, kernel, stride, is_first), TurnedNorm(c_out), nn.ReLU(inplace=True))


class _Residual(nn.Module):
    """Two 3x3 convolutions beside an identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(width, width), _conv(width, width))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.body(x)
        return out


class _Stage(nn.Module):
    """Half of the channels go through residual blocks, the other half around them (CSPNet)."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        half = width // 2
        self.around = _conv(width, half, 1)
        self.through = nn.Sequential(_conv(width, half, 1), *(_Residual(half) for _ in range(blocks)))
        self.join = _conv(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.join(torch.cat((self.through(x), self.around(x)), dim=1))
        return out


class _Detail(nn.Module):
    """A narrow residual block that changes nothing until it has learned: its last normalisation begins at zero."""

    def __init__(self, width: int, narrow: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(width, narrow, 1), _conv(narrow, narrow))
        self.widen = TurnedConv(narrow, width, 1)
        self.scale = TurnedNorm(width)
        nn.init.zeros_(self.scale.weight)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.scale(self.widen(self.body(x))))


class Net(nn.Module):
    """Picture in, class logits and box distances per cell out.

    Args:
        shape: what the weights depend on.

    Source:
        FCOS (arXiv 1904.01355) for the dense anchor-free head, CSPNet (arXiv 1911.11929) for the stages.
    """

    def __init__(self, shape: NetShape) -> None:
        super().__init__()
        self.shape = shape
        w, depth = shape.width, shape.depth
        w4, w16, w32 = (max(least, least * w // 48 // 16 * 16) for least in (32, 64, 128))
        self.stem = _conv(shape.channels, w4, 6, 4, is_first=True)
        self.detail = _Detail(w4, shape.detail)
        self.stage8 = nn.Sequential(_conv(w4, w, 4, 2), _Stage(w, depth))
        self.stage16 = nn.Sequential(_conv(w, w16, 4, 2), _Stage(w16, 2 * depth))
        self.stage32 = nn.Sequential(_conv(w16, w32, 4, 2), _Stage(w32, 2 * depth))
        self.up = nn.Upsample(scale_factor=2.0, mode="nearest")
        self.narrow32 = _conv(w32, w16, 1)
        self.fuse16 = _Stage(w16, depth)
        self.around = nn.Identity() if shape.sees_reference else LookAround(w16)
        self.narrow16 = _conv(w16, w, 1)
        self.head = _conv(w, w)
        self.class_head = TurnedScores(w, shape.classes)
        self.box_head = TurnedBoxes(w)
        self._start_quiet()

    def _start_quiet(self) -> None:
        """Start with score 0.01 everywhere and boxes of 32 pixels, so that the first steps do not blow up."""
        for head, bias in ((self.class_head, -4.6), (self.box_head, 0.7)):
            nn.init.normal_(head.weight, std=0.01)
            nn.init.constant_(head.bias, bias)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Run the net.

        Args:
            image: float32 [N, C, H, W], 0..1; H and W multiples of 32.

        Returns:
            Class logits [N, classes, H/8, W/8] and box distances [N, 4, H/8, W/8]: natural logarithm of the
            distance from the cell's centre to left, top, right and bottom edge, in cells.
        """
        at8 = self.stage8(self.detail(self.stem(image)))
        at16 = self.stage16(at8)
        at32 = self.stage32(at16)
        at16 = self.around(self.fuse16(at16 + self.up(self.narrow32(at32))))
        at8 = self.head(at8 + self.up(self.narrow16(at16)))
        return self.class_head(at8), self.box_head(at8)


def cell_centres(height: int, width: int) -> Tensor:
    """Return the centres of the output cells in input pixels.

    Args:
        height: picture height in pixels.
        width: picture width in pixels.

    Returns:
        float32 [H/8 * W/8, 2], x then y, row by row.
    """
    ys = (torch.arange(height // STRIDE, dtype=torch.float32) + 0.5) * STRIDE
    xs = (torch.arange(width // STRIDE, dtype=torch.float32) + 0.5) * STRIDE
    grid_y, grid_x = torch.meshgrid(ys, xs, indexing="ij")
    return torch.stack((grid_x.reshape(-1), grid_y.reshape(-1)), dim=1)


def decode_boxes(distances: Tensor, centres: Tensor) -> Tensor:
    """Turn logarithmic distances into boxes.

    Args:
        distances: float32 [..., 4], as `Net` gives them, last axis left, top, right, bottom.
        centres: float32 [..., 2], centre of the cell each row belongs to, in pixels.

    Returns:
        float32 [..., 4], x1 y1 x2 y2 in pixels, not clipped.
    """
    reach = distances.clamp(-4.0, 5.0).exp() * STRIDE
    return torch.cat((centres - reach[..., :2], centres + reach[..., 2:]), dim=-1)
