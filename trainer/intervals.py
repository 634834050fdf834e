"""Bounds between which a figure lies 95 times in a hundred: exact for counted shares, drawn anew for all others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import beta

from trainer.metrics import Ranking

CONFIDENCE = 0.95
RESAMPLES = 200


@dataclass(frozen=True, slots=True)
class Share:
    """count of `of`, with the bounds between which the true share lies 95 times in a hundred (0..1)."""

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
    """Return a share with its exact bounds; 0 and 1 where nothing was counted.

    Args:
        count: of what was counted, 0..of.
        of: how many there were.

    Source:
        Clopper and Pearson, The use of confidence or fiducial limits (1934).
    """
    tail = (1 - CONFIDENCE) / 2
    low = float(beta.ppf(tail, count, of - count + 1)) if count else 0.0
    high = float(beta.ppf(1 - tail, count + 1, of - count)) if count < of else 1.0
    return Share(count, of, low, high)


def resampled(rankings: list[Ranking], figure: Callable[[Ranking], float]) -> Interval:
    """Return the bounds of a figure when the pictures are drawn anew, with replacement.

    Pictures are drawn and not boxes, because the boxes of one picture stand or fall together.

    Args:
        rankings: one for each picture.
        figure: of a ranking over all.

    Source:
        Efron, Bootstrap methods (1979), percentile interval.
    """
    if not sum(ranking.truths for ranking in rankings):
        return Interval(float("nan"), float("nan"))
    rng = np.random.default_rng(0)
    found = []
    for _ in range(RESAMPLES):
        drawn = [rankings[index] for index in rng.integers(0, len(rankings), len(rankings))]
        scores = np.concatenate([one.scores for one in drawn])
        order = np.argsort(-scores, kind="stable")
        right = np.concatenate([one.right for one in drawn])[order]
        found.append(figure(Ranking(scores[order], right, sum(one.truths for one in drawn))))
    low, high = np.nanquantile(found, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(low), float(high))
