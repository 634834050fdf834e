"""Noise pictures drawn once and reused with another offset for each part, since drawing them afresh is slow."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from appliance.simulator.boards import Pixels

_TILE = 512
_ROOM = 256
NOISE_SIGMA = 32.0
"""Standard deviation of the noise pictures in grey values; their mean is 128."""


def _wrap_blur(noise: np.ndarray[tuple[int, ...], np.dtype[np.float32]], sigma: float) -> Pixels:
    border = int(3 * sigma) + 1
    wide = cv2.copyMakeBorder(noise, border, border, border, border, cv2.BORDER_WRAP)
    soft = cv2.GaussianBlur(wide, (0, 0), sigma)[border:-border, border:-border]
    return np.asarray(soft / soft.std())


def _spread(tile: np.ndarray[tuple[int, ...], np.dtype[np.float32]], height: int, width: int) -> Pixels:
    picture = np.clip(np.rint(128 + NOISE_SIGMA * tile), 0, 255).astype(np.uint8)
    repeat = (-(-(height + _ROOM) // _TILE), -(-(width + _ROOM) // _TILE))
    if picture.ndim == 3:
        return np.tile(picture, (*repeat, 1))[: height + _ROOM, : width + _ROOM]
    return np.tile(picture, repeat)[: height + _ROOM, : width + _ROOM]


@lru_cache(maxsize=4)
def _sensor(height: int, width: int, channels: int) -> Pixels:
    rng = np.random.default_rng(20_240_501)
    return _spread(rng.standard_normal((_TILE, _TILE, channels)).astype(np.float32), height, width)


@lru_cache(maxsize=4)
def _mottle(height: int, width: int, channels: int) -> Pixels:
    rng = np.random.default_rng(20_240_502)
    tile = sum(
        weight * _wrap_blur(rng.standard_normal((_TILE, _TILE)).astype(np.float32), sigma)
        for sigma, weight in ((1.2, 0.45), (4.0, 0.4), (18.0, 0.6))
    )
    rows, columns = np.mgrid[0:_TILE, 0:_TILE] * (2 * np.pi * 64 / _TILE)
    weave = 0.5 * (np.sin(rows) + np.sin(columns))
    tile = (np.asarray(tile) + 0.5 * weave).astype(np.float32)
    picture = _spread(tile / tile.std(), height, width)
    return picture[..., None] if channels == 1 else np.asarray(cv2.merge([picture] * channels), np.uint8)


def _cut(picture: Pixels, height: int, width: int, rng: np.random.Generator) -> Pixels:
    top, left = rng.integers(0, _ROOM, 2).tolist()
    return picture[top : top + height, left : left + width]


def sensor_noise(height: int, width: int, channels: int, rng: np.random.Generator) -> Pixels:
    """Give white noise for one exposure.

    Args:
        height: px.
        width: px.
        channels: 1 or 3, independent of each other.
        rng: decides the offset.

    Returns:
        uint8, shape (height, width, channels), mean 128, standard deviation `NOISE_SIGMA`; not to be written to.
    """
    return _cut(_sensor(height, width, channels), height, width, rng)


def board_mottle(height: int, width: int, channels: int, rng: np.random.Generator) -> Pixels:
    """Give the unevenness of a solder mask: weave of the laminate, flow of the lacquer, same in all channels.

    Args:
        height: px.
        width: px.
        channels: 1 or 3.
        rng: decides the offset.

    Returns:
        uint8, shape (height, width, channels), mean 128, standard deviation `NOISE_SIGMA`; not to be written to.
    """
    return _cut(_mottle(height, width, channels), height, width, rng)
