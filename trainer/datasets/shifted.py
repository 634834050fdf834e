"""Whether two pictures show the same a few pixels aside: one part, cut out again or lit otherwise.

Nine places of one picture are looked for in the other, all at one shift. On 420 drawn tiles, whose grain is
each tile's own, pairs of one tile under other light and cut out up to 3 pixels otherwise correlate from
0.71 on, pairs of two tiles of about one size up to 0.17. Parts of one
product, with artwork that they share, correlate just so; that is for the caller to tell.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

LARGEST_SHIFT_PX = 6
"""So far aside, in x and y, another picture is looked at."""

SHIFTED_LIKENESS = 0.6
"""Correlation of the fine detail at the best shift above which two pictures show the same."""

LARGEST_SIZE_DIFFERENCE_PX = 4
"""So much may height and width differ between pictures that are compared so: places are then 3 pixels off at most."""

REPEATED_LIKENESS = 0.6
"""Correlation of one place with another above which a picture repeats itself, as fabric does, and is like many."""

FLAT_DETAIL = 0.05
"""Root mean square in grey values below which a picture has no detail, and is like none: rounding is all there is."""

_GRID, _PLACE_PX = 3, 24
_WINDOW_PX = _PLACE_PX + 2 * LARGEST_SHIFT_PX
_LEAST_ENERGY = 0.25
"""Of what one picture shows must be there in the other at a shift: what is flat is like nothing."""

Windows = NDArray[np.int8]


def windows_of(detail: NDArray[np.float32]) -> Windows | None:
    """Cut out what another picture's places are looked for in.

    Args:
        detail: float32 [H, W], a picture without what is coarse.

    Returns:
        int8 [9, 36, 36], 32 the usual detail of those that have some, so that a speck in one does not weaken the rest;
        None of a picture that is smaller than one of them or flat in all.
    """
    if min(detail.shape) < _WINDOW_PX:
        return None
    rows, columns = (np.linspace(0, side - _WINDOW_PX, _GRID + 2)[1:-1].astype(int) for side in detail.shape)
    cut = np.stack([detail[y : y + _WINDOW_PX, x : x + _WINDOW_PX] for y in rows for x in columns])
    strengths = np.sqrt(np.square(cut).mean(axis=(1, 2)))
    there = strengths[strengths >= FLAT_DETAIL]
    return np.asarray(np.clip(np.rint(cut * (32 / np.median(there))), -127, 127), np.int8) if len(there) else None


def shifted_likeness(first: Windows, second: Windows) -> float:
    """Correlate two pictures at the shift where they are most alike.

    Args:
        first: int8 [9, 36, 36]; what is in the middle of each window is looked for.
        second: the same of the other picture.

    Returns:
        Up to 1; 0 where nothing is like.
    """
    sought = _sought(first)
    shifts = 2 * LARGEST_SHIFT_PX + 1
    together, energy = np.zeros((shifts, shifts)), np.zeros((shifts, shifts))
    whole = np.ones((_PLACE_PX, _PLACE_PX), np.float32)
    for one, other in zip(sought, second.astype(np.float32), strict=True):
        together += cv2.matchTemplate(other, one, cv2.TM_CCORR)
        energy += cv2.matchTemplate(other * other, whole, cv2.TM_CCORR)
    own = float((sought**2).sum())
    is_there = energy > _LEAST_ENERGY * own
    return float((together / np.sqrt(np.maximum(energy * own, 1.0)))[is_there].max(initial=0.0))


def repeated_likeness(first: Windows, second: Windows) -> float:
    """Correlate places of a picture with other places of the other: high where both show one thing all over.

    Args:
        first: int8 [9, 36, 36]; what is in the middle of each window is looked for.
        second: the same of the other picture.

    Returns:
        The mean over the windows, up to 1.
    """
    pairs = zip(_sought(first), np.roll(second, 1, axis=0).astype(np.float32), strict=True)
    return float(np.mean([cv2.matchTemplate(other, one, cv2.TM_CCORR_NORMED).max() for one, other in pairs]))


def _sought(windows: Windows) -> NDArray[np.float32]:
    """Return what is in the middle of each window, float32 [9, 24, 24]."""
    inner = slice(LARGEST_SHIFT_PX, LARGEST_SHIFT_PX + _PLACE_PX)
    return windows[:, inner, inner].astype(np.float32)
