"""How far scores are from honest: of all detections with score 0.9, nine in ten should be right."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BINS = 15
"""Each with equally many detections."""


def calibration_error(scores: Floats, right: NDArray[np.bool_], bins: int = BINS) -> float:
    """Return the expected calibration error: how far "0.9" is from nine in ten, weighted by counts, 0..1.

    Args:
        scores: float [D], 0..1.
        right: bool [D].
        bins: number of bins, each with equally many detections.

    Returns:
        The error; nan without any detection.

    Source:
        Naeini, Cooper and Hauskrecht, Obtaining well calibrated probabilities using Bayesian binning (2015).
    """
    if not len(scores):
        return math.nan
    return sum(abs(gap) * count for gap, count, _ in _gaps(scores, right, bins)) / len(scores)


def _gaps(scores: Floats, right: NDArray[np.bool_], bins: int) -> Iterator[tuple[float, int, int]]:
    """Give of each bin how far the scores are above what is right, its detections, and how many are right."""
    for members in np.array_split(np.argsort(scores, kind="stable"), min(bins, len(scores))):
        yield float(scores[members].mean()) - float(right[members].mean()), len(members), int(right[members].sum())
