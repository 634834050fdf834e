"""Which pictures show the same thing: exact copies, and pictures of one and the same part taken or saved again.

A hash of the coarse picture finds candidates, in copies of another size too. On a line, though, all parts of a product
look alike from afar; so they must also agree in their fine detail, which two parts that lie a pixel apart do not. On
DeepPCB's 1,500 boards no two of different groups come above 0.84; a picture saved again as JPEG of quality 30,
lightened, or with noise of 5 grey values stays above 0.96. Pictures of different size are brought to one size first:
made-up parts of one product, cut out with 400 x 300 pixels or a few more or less, come up to 0.91 then, copies of
half the size and more, saved as JPEG of quality 50, stay above 0.96.

Source: the hash is pHash's, from the low frequencies of the cosine transform (phash.org, C. Zauner 2010).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from appliance.events import Pixels

HASH_DISTANCE = 6
"""So many of the 64 bits may differ between near-duplicates."""

DETAIL_LIKENESS = 0.9
"""Correlation of the fine detail above which two pictures of one size are near-duplicates."""

SCALED_LIKENESS = 0.95
"""The same of two pictures of different size, brought to one."""

ASPECT_DIFFERENCE = 0.02
"""So much may the aspect of two pictures of different size differ: a smaller copy keeps it."""

FLAT_DETAIL = 0.05
"""Root mean square in grey values below which a picture has no detail, and is like none: rounding is all there is."""

SCALED_PX = 96
"""Width and height of a picture that is compared with one of another size."""

_GRID, _PATCH_PX = 8, 4
_BLOCK = 512


@dataclass(frozen=True, slots=True, eq=False)
class Looks:
    """How one picture looks.

    Args:
        bits: float32 [64], each -1 or 1: the hash.
        detail: float32 [1024], of length 1: fine detail in 8 x 8 places all over the picture; 0 where there is none.
        scaled: the same of the picture with 96 x 96 pixels.
        size: width and height in pixels.
    """

    bits: NDArray[np.float32]
    detail: NDArray[np.float32]
    scaled: NDArray[np.float32]
    size: tuple[int, int]


def looks_of(grey: Pixels) -> Looks:
    """Measure how a picture looks.

    Args:
        grey: uint8, shape (height, width).
    """
    height, width = grey.shape
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    coarse = cv2.dct(small)[:8, :8].reshape(-1)
    bits = np.where(coarse > np.median(coarse[1:]), 1.0, -1.0).astype(np.float32)
    scaled = cv2.resize(grey, (SCALED_PX, SCALED_PX), interpolation=cv2.INTER_AREA)
    return Looks(bits, _detail(grey, (1.0, 3.0)), _detail(np.asarray(scaled, np.uint8), (0.8, 1.6)), (width, height))


def _detail(grey: Pixels, spreads_px: tuple[float, float]) -> NDArray[np.float32]:
    """Return what lies between two blurs in 8 x 8 places, as a vector of length 1; 0 where there is nothing."""
    narrow, wide = (cv2.GaussianBlur(grey.astype(np.float32), (0, 0), spread) for spread in spreads_px)
    rows, columns = (_places(side) for side in grey.shape)
    detail = np.asarray((narrow - wide)[rows][:, columns].reshape(-1), np.float32)
    length = float(np.linalg.norm(detail))
    is_flat = length < FLAT_DETAIL * detail.size**0.5
    return np.zeros_like(detail) if is_flat else detail / length


def _places(side_px: int) -> NDArray[np.int64]:
    starts = np.linspace(0, max(side_px - _PATCH_PX, 0), _GRID + 2)[1:-1].astype(np.int64)
    places: NDArray[np.int64] = np.minimum((starts[:, None] + np.arange(_PATCH_PX)).reshape(-1), side_px - 1)
    return places


def alike(first: list[Looks], second: list[Looks]) -> list[tuple[int, int]]:
    """Find the near-duplicates between two lists.

    Args:
        first: how its pictures look.
        second: the same of the other; the same list for the pairs within it.

    Returns:
        Pairs of an index into each, in order; within one list each pair once, the lower index first.
    """
    if not first or not second:
        return []
    found = []
    bits, detail, scaled, sizes = _stacked(second)
    for at in range(0, len(first), _BLOCK):
        own_bits, own_detail, own_scaled, own_sizes = _stacked(first[at : at + _BLOCK])
        is_near = (64 - own_bits @ bits.T) / 2 <= HASH_DISTANCE
        if first is second:
            is_near &= np.arange(len(second)) > at + np.arange(len(own_bits))[:, None]
        if is_near.any():
            is_one_size = (own_sizes[:, None] == sizes).all(axis=2)
            aspects = (own_sizes[:, 0] / own_sizes[:, 1])[:, None] / (sizes[:, 0] / sizes[:, 1])
            is_scaled = ~is_one_size & (np.abs(np.log(aspects)) < ASPECT_DIFFERENCE)
            is_scaled &= own_scaled @ scaled.T > SCALED_LIKENESS
            is_near &= is_scaled | (is_one_size & (own_detail @ detail.T > DETAIL_LIKENESS))
        found += [(at + int(i), int(j)) for i, j in zip(*np.nonzero(is_near), strict=True)]
    return found


def _stacked(
    looks: list[Looks],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    return (
        np.stack([item.bits for item in looks]),
        np.stack([item.detail for item in looks]),
        np.stack([item.scaled for item in looks]),
        np.array([item.size for item in looks], np.int64),
    )
