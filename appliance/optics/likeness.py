"""How much two pictures are alike in their fine structure, place by place; an outline that both have is not enough."""

import math
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from appliance.events import Pixels

SIDE_PX = 320
"""Pictures are compared at about this size."""

COARSEST_PX = 15
"""What is wider, at that size, is no fine structure: the brightness of a whole part against its ground."""

BLOCKS = 10
"""Squares along the longer side, each of which is compared on its own."""

SPOILED_RATIO = 0.2
"""Part of the structured squares that defects may spoil. The match is the correlation that the others all reach.

Measured (match of 0.7 and more; with the alignment that finds stretch, too): 147 of 150 DeepPCB parts with all their
defects (median 0.97), the three others being nearly empty pictures; none of 150 other products (0.0 at most), nor of
138 plates with four to eight holes that were turned by a quarter or more (0.19 at most). By correlation of the whole
such plates came to 0.99. Before stretch was sought, with a ratio of 0.25 three more DeepPCB parts passed than with 0.2,
and a disc with four holes that was turned by a quarter; with 0.15 four less did.
"""

FAINT_RATIO = 0.1
"""Of the mean power; a square with so much counts half, and one that is flat in both pictures nothing."""

NOISE_RATIO = 0.02
"""Of the mean power; so little in a square is taken for noise, which is like nothing."""

FLAT_POWER = 0.01
"""Square of a grey value; less is rounding."""

Floats: TypeAlias = NDArray[np.float32]


def fine_structure(grey: Pixels) -> Floats:
    """Return what is left of a picture without its areas and its noise.

    Args:
        grey: uint8, shape (height, width).

    Returns:
        float32, scaled down to about SIDE_PX.
    """
    factor = max(1, round(max(grey.shape) / SIDE_PX))
    size = (max(1, grey.shape[1] // factor), max(1, grey.shape[0] // factor))
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    soft = cv2.GaussianBlur(small, (0, 0), 1.0)
    return np.asarray(soft - cv2.blur(small, (COARSEST_PX, COARSEST_PX)), np.float32)


def likeness(one: Floats, other: Floats, margin_px: float) -> float:
    """Return how much two pictures are alike in all but the worst of their structured squares.

    Args:
        one: fine structure.
        other: the same size.
        margin_px: width of the border that is not compared; a quarter of the picture at most.

    Returns:
        -1..1; 1 for two that are flat, since nothing speaks against it.
    """
    margin = min(math.ceil(margin_px), min(one.shape) // 4)
    inner = tuple(slice(margin, side - margin) for side in one.shape)
    one, other = one[inner], other[inner]
    both, mine, its = (_in_squares(a, b) for a, b in ((one, other), (one, one), (other, other)))
    are_flat = [float(power.sum()) <= FLAT_POWER * one.size for power in (mine, its)]
    if any(are_flat):
        return float(all(are_flat))
    both /= math.sqrt(float(mine.mean()) * float(its.mean()))
    mine, its = mine / mine.mean(), its / its.mean()
    match = both / np.maximum(np.sqrt(mine * its), NOISE_RATIO)
    power = np.maximum(mine, its)
    weight = power**2 / (power**2 + FAINT_RATIO**2)
    order = np.argsort(match)
    spoiled = np.cumsum(weight[order])
    return float(match[order][np.searchsorted(spoiled, SPOILED_RATIO * spoiled[-1])])


def _in_squares(one: Floats, other: Floats) -> Floats:
    """Return the summed product of two pictures in each square."""
    side = max(one.shape) / BLOCKS
    rows, columns = (np.arange(max(1, round(length / side))) * side for length in one.shape)
    sums = np.add.reduceat(one * other, rows.astype(int), axis=0)
    return np.asarray(np.add.reduceat(sums, columns.astype(int), axis=1), np.float32).ravel()
