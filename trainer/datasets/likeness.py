"""Which pictures show the same thing: exact copies, and pictures of one and the same part taken or saved again.

A hash of the coarse picture finds candidates, in copies of another size too. On a line, though, all parts of a product
look alike from afar; so they must also agree in their fine detail, which two parts that lie a pixel apart do not. On
DeepPCB's 1,500 boards no two of different groups come above 0.84; a picture saved again as JPEG of quality 30,
lightened, or with noise of 5 grey values stays above 0.96. Pictures of different size are brought to one size first:
made-up parts of one product, cut out with 400 x 300 pixels or a few more or less, come up to 0.91 then, copies of
half the size and more, saved as JPEG of quality 50, stay above 0.96.

Where few pictures look like a given one from afar, these are no parts of its product, and they are copies also if they
show the same a few pixels aside (trainer.datasets.shifted).

Source: the hash is pHash's, from the low frequencies of the cosine transform (phash.org, C. Zauner 2010).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from appliance.events import Pixels
from trainer.datasets.shifted import (
    FLAT_DETAIL,
    LARGEST_SIZE_DIFFERENCE_PX,
    REPEATED_LIKENESS,
    SHIFTED_LIKENESS,
    Windows,
    repeated_likeness,
    shifted_likeness,
    windows_of,
)

HASH_DISTANCE = 6
"""So many of the 64 bits may differ between near-duplicates."""

DETAIL_LIKENESS = 0.9
"""Correlation of the fine detail above which two pictures of one size are near-duplicates."""

SCALED_LIKENESS = 0.95
"""The same of two pictures of different size, brought to one."""

ASPECT_DIFFERENCE = 0.02
"""So much may the aspect of two pictures of different size differ: a smaller copy keeps it."""

SCALED_PX = 96
"""Width and height of a picture that is compared with one of another size."""

SHIFTED_HASH_DISTANCE = 14
"""So many of the 64 bits may differ between pictures that show the same a few pixels aside."""

MOST_KIN, KIN_SHARE = 8, 0.1
"""A picture that looks from afar like more than this many others, or this share of all, is one of a product's: that it
shows the same as another a few pixels aside says nothing."""

_GRID, _PATCH_PX = 8, 4
_BLOCK = 512


@dataclass(frozen=True, slots=True, eq=False)
class Looks:
    """How one picture looks.

    Args:
        bits: float32 [64], each -1 or 1: the hash.
        detail: float32 [1024], of length 1: fine detail in 8 x 8 places all over the picture; 0 where there is none.
        scaled: the same of the picture with 96 x 96 pixels.
        windows: of its fine detail, which are looked for a few pixels aside; None if it is too small or flat.
        size: width and height in pixels.
    """

    bits: NDArray[np.float32]
    detail: NDArray[np.float32]
    scaled: NDArray[np.float32]
    windows: Windows | None
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
    scaled = np.asarray(cv2.resize(grey, (SCALED_PX, SCALED_PX), interpolation=cv2.INTER_AREA), np.uint8)
    fine, of_scaled = _detail(grey, (1.0, 3.0)), _detail(scaled, (0.8, 1.6))
    return Looks(bits, _in_places(fine), _in_places(of_scaled), windows_of(fine), (width, height))


def _detail(grey: Pixels, spreads_px: tuple[float, float]) -> NDArray[np.float32]:
    """Return what lies between two blurs, float32 [H, W]."""
    narrow, wide = (cv2.GaussianBlur(grey.astype(np.float32), (0, 0), spread) for spread in spreads_px)
    return np.asarray(narrow - wide, np.float32)


def _in_places(detail: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what is in 8 x 8 places, as a vector of length 1; 0 where there is nothing."""
    rows, columns = (_places(side) for side in detail.shape)
    there = detail[rows][:, columns].reshape(-1)
    length = float(np.linalg.norm(there))
    is_flat = length < FLAT_DETAIL * there.size**0.5
    return np.zeros_like(there) if is_flat else there / length


def _places(side_px: int) -> NDArray[np.int64]:
    starts = np.linspace(0, max(side_px - _PATCH_PX, 0), _GRID + 2)[1:-1].astype(np.int64)
    places: NDArray[np.int64] = np.minimum((starts[:, None] + np.arange(_PATCH_PX)).reshape(-1), side_px - 1)
    return places


def alike(looks: list[Looks]) -> list[tuple[int, int]]:
    """Find the near-duplicates.

    Args:
        looks: how the pictures look.

    Returns:
        Pairs of an index into them, in order; each pair once, the lower index first.
    """
    if not looks:
        return []
    found: set[tuple[int, int]] = set()
    from_afar: set[tuple[int, int]] = set()
    most_kin = min(MOST_KIN, int(KIN_SHARE * len(looks)))
    bits, detail, scaled, sizes = _stacked(looks)
    for at in range(0, len(looks), _BLOCK):
        block = slice(at, at + _BLOCK)
        differing = (64 - bits[block] @ bits.T) / 2
        is_same = differing <= HASH_DISTANCE
        is_same &= np.arange(len(looks)) > np.arange(at, at + len(differing))[:, None]
        if is_same.any():
            is_one_size = (sizes[block, None] == sizes).all(axis=2)
            aspects = (sizes[block, 0] / sizes[block, 1])[:, None] / (sizes[:, 0] / sizes[:, 1])
            is_scaled = ~is_one_size & (np.abs(np.log(aspects)) < ASPECT_DIFFERENCE)
            is_scaled &= scaled[block] @ scaled.T > SCALED_LIKENESS
            is_same &= is_scaled | (is_one_size & (detail[block] @ detail.T > DETAIL_LIKENESS))
        found |= _pairs(is_same, at)
        is_kin = differing <= SHIFTED_HASH_DISTANCE
        is_kin &= (is_kin.sum(axis=1) - 1 <= most_kin)[:, None]  # each is its own
        from_afar |= {(i, j) for i, j in _pairs(is_kin, at) if _are_of_a_size(looks[i], looks[j])}
    shifted = ((i, j) for i, j in from_afar - found if i < j and (j, i) in from_afar)
    return sorted(found | {(i, j) for i, j in shifted if _is_shifted(looks[i].windows, looks[j].windows)})


def _pairs(is_pair: NDArray[np.bool_], at: int) -> set[tuple[int, int]]:
    return {(at + int(i), int(j)) for i, j in zip(*np.nonzero(is_pair), strict=True)}


def _are_of_a_size(one: Looks, other: Looks) -> bool:
    return all(abs(a - b) <= LARGEST_SIZE_DIFFERENCE_PX for a, b in zip(one.size, other.size, strict=True))


def _is_shifted(one: Windows | None, other: Windows | None) -> bool:
    return (
        one is not None
        and other is not None
        and shifted_likeness(one, other) > SHIFTED_LIKENESS
        and repeated_likeness(one, other) < REPEATED_LIKENESS
    )


def _stacked(
    looks: list[Looks],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    return (
        np.stack([item.bits for item in looks]),
        np.stack([item.detail for item in looks]),
        np.stack([item.scaled for item in looks]),
        np.array([item.size for item in looks], np.int64),
    )
