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


def error_without_chance(scores: Floats, right: NDArray[np.bool_], times: int = 1, bins: int = BINS) -> float:
    """Return the calibration error less what chance adds to it: even honest scores have a gap where few are counted.

    Of each bin's gap is taken off by how much a gap of this size grows on average when it is measured with the scatter
    of so few detections.

    Args:
        scores: float [D], 0..1.
        right: bool [D].
        times: how often chance has come in: once when they were found, once more when they were drawn from those found.
        bins: number of bins, each with equally many detections.

    Returns:
        The error, at least 0; nan without any detection.

    Source:
        Kumar, Liang and Ma, Verified uncertainty calibration (2019), their debiased estimator, of the absolute error;
        the mean of a folded normal distribution takes the place of a simulation.
    """
    if not len(scores):
        return math.nan
    error = 0.0
    for gap, count, hits in _gaps(scores, right, bins):
        share = (hits + 0.5) / (count + 1)  # all or none of a few being right is no proof that there is no scatter
        scatter = math.sqrt(times * share * (1 - share) / count)
        away = abs(gap) / scatter
        measured = scatter * math.sqrt(2 / math.pi) * math.exp(-(away**2) / 2) + abs(gap) * math.erf(
            away / math.sqrt(2)
        )
        error += (2 * abs(gap) - measured) * count
    return max(0.0, error / len(scores))


def _gaps(scores: Floats, right: NDArray[np.bool_], bins: int) -> Iterator[tuple[float, int, int]]:
    """Give of each bin how far the scores are above what is right, its detections, and how many are right."""
    for members in np.array_split(np.argsort(scores, kind="stable"), min(bins, len(scores))):
        yield float(scores[members].mean()) - float(right[members].mean()), len(members), int(right[members].sum())
