"""From copper masks to the colours of a board under even light."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from appliance.simulator.boards import Board, Pixels

Colour = tuple[int, int, int]

_MASKS: tuple[tuple[Colour, Colour], ...] = (
    ((18, 70, 40), (62, 138, 80)),
    ((22, 88, 52), (84, 158, 92)),
    ((16, 48, 104), (62, 110, 168)),
    ((110, 30, 34), (190, 92, 78)),
    ((30, 62, 66), (86, 136, 132)),
)
_FINISHES: tuple[Colour, ...] = ((206, 208, 204), (222, 190, 112), (214, 152, 108))
_LAMINATE: Colour = (112, 104, 70)
_SILK: Colour = (238, 238, 230)
_DRILL: Colour = (14, 14, 16)
_GREY_WEIGHTS = (0.299, 0.587, 0.114)


@dataclass(frozen=True, slots=True)
class Palette:
    """Look-up tables copper coverage -> colour, each uint8 of shape (256, channels), and the plain colours."""

    masked: Pixels
    bare: Pixels
    silk: NDArray[np.uint8]
    drill: NDArray[np.uint8]

    @property
    def channels(self) -> int:
        """1 for grey, 3 for RGB."""
        return int(self.masked.shape[1])


def _table(low: Colour, high: Colour, channels: int) -> Pixels:
    part = np.linspace(0.0, 1.0, 256)[:, None]
    rgb = np.array(low) * (1 - part) + np.array(high) * part
    return _to_channels(rgb, channels)


def _to_channels(rgb: NDArray[np.float64], channels: int) -> Pixels:
    values = rgb if channels == 3 else (rgb @ np.array(_GREY_WEIGHTS))[..., None]
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def choose_palette(board: Board, channels: int) -> Palette:
    """Give a board family its solder mask and its pad finish.

    Args:
        board: the family.
        channels: 1 for grey, 3 for RGB.

    Returns:
        The family's colours; always the same ones for the same board.
    """
    rng = np.random.default_rng([board.seed, 2])
    low, high = _MASKS[int(rng.choice(len(_MASKS), p=[0.4, 0.3, 0.12, 0.08, 0.1]))]
    finish = _FINISHES[int(rng.integers(0, len(_FINISHES)))]
    shade = float(rng.uniform(0.9, 1.12))
    low, high = ((int(r * shade), int(g * shade), int(b * shade)) for r, g, b in (low, high))
    silk, drill = (_to_channels(np.array([colour], float), channels)[0] for colour in (_SILK, _DRILL))
    return Palette(_table(low, high, channels), _table(_LAMINATE, finish, channels), silk, drill)


def shade(board: Board, coverage: Pixels, window: tuple[slice, slice], palette: Palette) -> Pixels:
    """Colour a window of a board.

    A pixel depends on its own coverage and on that of its lower right neighbour (the relief), nothing else.

    Args:
        board: gives pad openings, drills and print.
        coverage: uint8 copper coverage of the window, shape (height, width).
        window: rows and columns of the canvas.
        palette: the family's colours.

    Returns:
        uint8, shape (height, width, channels), under even light.
    """
    channels = palette.channels
    below = cv2.copyMakeBorder(coverage, 0, 1, 0, 1, cv2.BORDER_REPLICATE)[1:, 1:]
    relief = cv2.addWeighted(coverage, -0.5, below, 0.5, 128)
    stack = coverage if channels == 1 else cv2.merge([coverage] * 3)
    light = relief if channels == 1 else cv2.merge([relief] * 3)
    pixels = cv2.LUT(stack, palette.masked.reshape(1, 256, channels))
    pixels = cv2.addWeighted(pixels, 1.0, light, 0.22, -0.22 * 128)
    finish = cv2.LUT(stack, palette.bare.reshape(1, 256, channels))
    pixels = cv2.copyTo(finish, np.ascontiguousarray(board.openings[window]), pixels)
    pixels = pixels.reshape(*coverage.shape, channels)
    np.copyto(pixels, palette.silk, where=board.silk[window][..., None] != 0)
    np.copyto(pixels, palette.drill, where=board.drills[window][..., None] != 0)
    return np.asarray(pixels, np.uint8)
