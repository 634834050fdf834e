"""Bounds between which a figure lies 95 times in a hundred: exact for counted shares, drawn anew for all others."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

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
    low = float(betaincinv(count, of - count + 1, tail)) if count else 0.0
    high = float(betaincinv(count + 1, of - count, 1 - tail)) if count < of else 1.0
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
    return resampled_each({"": rankings}, figure)[0]


def resampled_each(rankings: Mapping[str, Sequence[Ranking]], figure: Figure) -> tuple[Interval, dict[str, Interval]]:
    """Return the bounds of a figure over all names and of each name by itself, as `resampled` does.

    Args:
        rankings: of the same pictures, by name.
        figure: of a ranking.

    Returns:
        The bounds of the mean over all rankings where it can be measured, and of the mean over those of each name.
    """
    known = {name: [ranking for ranking in its if ranking.truths] for name, its in rankings.items()}
    everything = [ranking for its in known.values() for ranking in its]
    drawn = _figures(everything, figure, _shown(everything))
    each, first = {}, 0
    for name, its in known.items():
        mine = drawn[:, first : first + len(its)]
        each[name] = _bounds(_means(mine if _tell_enough(_shown(its)) else mine[:0]))
        first += len(its)
    return _bounds(_means(drawn)), each


def resampled_detections(ranking: Ranking, figure: Figure) -> Interval:
    """Return the bounds of a figure that is of the detections alone, as `resampled` does.

    Args:
        ranking: of the pictures.
        figure: of a ranking.

    Returns:
        The bounds; nan with fewer than two pictures on which something is found.
    """
    shown = np.bincount(ranking.pictures, minlength=len(ranking.boxes))
    return _bounds(_figures([ranking], figure, shown)[:, 0])


def resampled_loss(before: Ranking, after: Ranking, figure: Figure) -> Interval:
    """Return the bounds of how much a figure falls from one ranking to another of the same pictures, drawn together.

    Args:
        before: of one model.
        after: of another.
        figure: of a ranking.

    Returns:
        The bounds; nan with fewer than two pictures that show a box.
    """
    return resampled_losses({"": before}, after, figure)[""]


def resampled_losses(before: Mapping[str, Ranking], after: Ranking, figure: Figure) -> dict[str, Interval]:
    """Return the bounds of how much a figure falls from each of several rankings, as `resampled_loss` does.

    Args:
        before: of the same pictures, by name.
        after: what each falls to.
        figure: of a ranking.
    """
    drawn = _figures([after, *before.values()], figure, _shown([after, *before.values()]))
    return {name: _bounds(drawn[:, number] - drawn[:, 0]) for number, name in enumerate(before, start=1)}


def _figures(known: Sequence[Ranking], figure: Figure, shown: NDArray[np.int64]) -> Floats:
    """Return the figures of each resample: float64 [RESAMPLES, rankings], or [0, rankings] of too few pictures."""
    if not _tell_enough(shown):
        return np.zeros((0, len(known)))
    rng, pictures = np.random.default_rng(0), len(known[0].boxes)
    found = np.empty((RESAMPLES, len(known)))
    for row in found:
        times = np.bincount(rng.integers(0, pictures, pictures), minlength=pictures)
        row[:] = [figure(ranking.drawn(times)) for ranking in known]
    return found


def _shown(rankings: Sequence[Ranking]) -> NDArray[np.int64]:
    """Return how much each picture shows of what is ranked: int64 [pictures], or a single 0 of nothing."""
    boxes = np.zeros(len(rankings[0].boxes) if rankings else 1, np.int64)
    for ranking in rankings:
        boxes += ranking.boxes
    return boxes


def _tell_enough(shown: NDArray[np.int64]) -> bool:
    return bool(np.count_nonzero(shown) >= LEAST_PICTURES)


def _means(figures: Floats) -> Floats:
    """Return the mean of each row over what could be measured there; nan where nothing could."""
    measured = np.isfinite(figures).sum(axis=1)
    return np.where(measured > 0, np.nansum(figures, axis=1) / np.maximum(1, measured), math.nan)


def _bounds(figures: Floats) -> Interval:
    if not np.isfinite(figures).any():
        return Interval(float("nan"), float("nan"))
    low, high = np.nanquantile(figures, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(low), float(high))
