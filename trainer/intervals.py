"""Bounds between which a figure lies 95 times in a hundred: exact for counted shares, drawn anew for all others."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from trainer.metrics import Floats, Ranking

CONFIDENCE = 0.95
RESAMPLES = 200

LEAST_PICTURES = 2
"""One picture drawn again and again says nothing about others."""


@dataclass(frozen=True, slots=True)
class Share:
    """count of `of`, with the bounds between which the true share lies 95 times in a hundred (0..1; nan of none)."""

    count: int
    of: int
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Interval:
    """Bounds of a figure between which 95 of 100 resampled sets of pictures put it."""

    low: float
    high: float


def share(count: int, of: int) -> Share:
    """Return a share with its exact bounds.

    Args:
        count: of what was counted, 0..of.
        of: how many there were.

    Returns:
        The share; its bounds are nan where there were none, for then nothing is known.

    Source:
        Clopper and Pearson, The use of confidence or fiducial limits (1934).
    """
    if not of:
        return Share(0, 0, math.nan, math.nan)
    tail = (1 - CONFIDENCE) / 2
    low = float(beta.ppf(tail, count, of - count + 1)) if count else 0.0
    high = float(beta.ppf(1 - tail, count + 1, of - count)) if count < of else 1.0
    return Share(count, of, low, high)


Figure = Callable[[Ranking], float]


def resampled(rankings: Sequence[Ranking], figure: Figure) -> Interval:
    """Return the bounds of a figure when the pictures are drawn anew, with replacement.

    Pictures are drawn and not boxes, because the boxes of one picture stand or fall together.

    Args:
        rankings: of the same pictures; the figure is the mean over those where it can be measured.
        figure: of a ranking.

    Returns:
        The bounds; nan with fewer than two pictures that show a box.

    Source:
        Efron, Bootstrap methods (1979), percentile interval.
    """
    known = [ranking for ranking in rankings if ranking.truths]
    boxes = np.sum([ranking.boxes for ranking in known], axis=0)
    return _bounds(_figures(known, figure, boxes))


def resampled_detections(ranking: Ranking, figure: Figure) -> Interval:
    """Return the bounds of a figure that is of the detections alone, as `resampled` does.

    Args:
        ranking: of the pictures.
        figure: of a ranking.

    Returns:
        The bounds; nan with fewer than two pictures on which something is found.
    """
    return _bounds(_figures([ranking], figure, np.bincount(ranking.pictures, minlength=len(ranking.boxes))))


def resampled_loss(before: Ranking, after: Ranking, figure: Callable[[Ranking], float]) -> Interval:
    """Return the bounds of how much a figure falls from one ranking to another of the same pictures, drawn together.

    Args:
        before: of one model.
        after: of another.
        figure: of a ranking.

    Returns:
        The bounds; nan with fewer than two pictures that show a box.
    """
    return _bounds(_figures([before], figure, before.boxes) - _figures([after], figure, after.boxes))


def _figures(known: Sequence[Ranking], figure: Figure, shown: NDArray[np.int64]) -> Floats:
    """Return the figure of each resample: float64 [RESAMPLES], or [0] where too few pictures show anything."""
    if np.count_nonzero(shown) < LEAST_PICTURES:
        return np.zeros(0)
    rng, pictures = np.random.default_rng(0), len(known[0].boxes)
    found = []
    for _ in range(RESAMPLES):
        times = np.bincount(rng.integers(0, pictures, pictures), minlength=pictures)
        values = [figure(ranking.drawn(times)) for ranking in known]
        measured = [value for value in values if not math.isnan(value)]
        found.append(sum(measured) / len(measured) if measured else math.nan)
    return np.array(found)


def _bounds(figures: Floats) -> Interval:
    if not np.isfinite(figures).any():
        return Interval(float("nan"), float("nan"))
    low, high = np.nanquantile(figures, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(low), float(high))
