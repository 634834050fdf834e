"""How sure counted observations make us that a mean lies over or under a limit, at whatever moment one looks.

Somebody who does not believe the claim "the mean is at most the limit" bets against it, observation by observation,
with money that he can lose only once. If the claim holds, the bet is fair or worse, whatever came before: his capital
ever comes to 1/p of what it was at first with a probability of at most p. So the capital is the evidence, and one may
look after every part, stop as soon as it is enough, and go on as long as it is not. What he gains depends on what he
stakes; he divides the capital among several stakes, and the sum is as good as the best of them but for a constant
factor.

The capital depends on how often each value was observed and not on the order, so that counts are all that must be kept.

Source:
    Ville, Étude critique de la notion de collectif (1939), for the bound on the capital; Wald, Sequential tests of
    statistical hypotheses (1945): one stake on a share is his likelihood ratio; Robbins, Statistical methods related to
    the law of the iterated logarithm (1970), for dividing the capital; Waudby-Smith and Ramdas, Estimating means of
    bounded random variables by betting (2024), for values that are not only 0 and 1; Howard, Ramdas, McAuliffe and
    Sekhon, Time-uniform, nonparametric, nonasymptotic confidence sequences (2021), for bounds at all times at once.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Values: TypeAlias = tuple[float, ...]
"""What one observation can be, ascending; the first and the last are the least and the most."""

Counts: TypeAlias = Sequence[int]
"""How often each value was observed."""

STAKES_ABOVE = (1.0, *(2.0**-power for power in range(1, 9)))
"""Parts of the largest stake on "above": 1 gains most if all are bad, 1/256 if few more than allowed."""

STAKES_BELOW = (1.0, 7 / 8, 3 / 4, 1 / 2, 1 / 4, 1 / 8)
"""The same for "below": 1 if nothing bad is ever seen, 1/8 if nearly as much as is allowed."""

RUIN = -1e9
"""Logarithm of the capital of who has lost all."""

_STEPS = 50
"""Halvings of the range in which a bound is looked for."""


def log_evidence_above(values: Values, counts: Counts, limit: float) -> float:
    """Return the evidence that the mean lies above a limit.

    Args:
        values: what one observation can be.
        counts: how often each was observed.
        limit: between the least and the most value, neither of them.

    Returns:
        The natural logarithm of a capital that began with 1. While each observation, given all before it, has a mean of
        at most limit, it ever comes to -log(p) with a probability of at most p.
    """
    return _log_capital(counts, _cached_gains_above(values, limit))


def log_evidence_below(values: Values, counts: Counts, limit: float) -> float:
    """Return the evidence that the mean lies below a limit; see log_evidence_above."""
    return _log_capital(counts, _cached_gains_below(values, limit))


def lower_bound(values: Values, counts: Counts, error: float) -> float:
    """Return what the mean is certainly not less than.

    Args:
        values: what one observation can be.
        counts: how often each was observed.
        error: probability that this is ever wrong, over all moments at which it is asked.

    Returns:
        The largest limit over which the evidence suffices; the least value if there is none.
    """
    least, most = values[0], values[-1]
    for _ in range(_STEPS):
        middle = (least + most) / 2
        if _log_capital(counts, _gains_above(values, middle)) >= -math.log(error):
            least = middle
        else:
            most = middle
    return least


def upper_bound(values: Values, counts: Counts, error: float) -> float:
    """Return what the mean is certainly not more than; see lower_bound."""
    least, most = values[0], values[-1]
    for _ in range(_STEPS):
        middle = (least + most) / 2
        if _log_capital(counts, _gains_below(values, middle)) >= -math.log(error):
            most = middle
        else:
            least = middle
    return most


def risen(chart: Sequence[float], number: int, values: Values, slot: int, limit: float) -> tuple[float, ...]:
    """Take one more observation into a chart that finds a mean that rises above a limit at any time, also late.

    The capital is divided among the moments at which the rise may begin, too, so that a good time before does not hide
    a bad one after it. A rise that begins with observation n has 1/(n ln(n)^2) of it, roughly.

    Args:
        chart: logarithm of the capital of each stake; empty at the beginning.
        number: of this observation, from 1.
        values: what one observation can be.
        slot: which of the values was observed.
        limit: see log_evidence_above.

    Returns:
        The chart after it; its log_height is evidence as log_evidence_above is.

    Source:
        Shiryaev, On optimum methods in quickest detection problems (1963); Roberts, A comparison of some control chart
        procedures (1966); Shin, Ramdas and Rinaldo, E-detectors (2023), for the sum over beginnings as evidence.
    """
    gains = _listed_gains_above(values, limit)[slot]
    before = chart or (RUIN,) * len(gains)
    log_share = math.log(math.log(2) * (1 / math.log(number + 1) - 1 / math.log(number + 2)))
    return tuple(_log_add(each, log_share) + gain for each, gain in zip(before, gains, strict=True))


def log_height(chart: Sequence[float]) -> float:
    """Return how high a chart stands; see risen. 0 at the beginning."""
    if not chart:
        return 0.0
    shared = [each + share for each, share in zip(chart, _listed_shares(len(chart)), strict=True)]
    most = max(shared)
    return most + math.log(sum(math.exp(each - most) for each in shared))


def _gains_above(values: Values, limit: float) -> NDArray[np.float64]:
    """Return the logarithm of what each stake makes of 1, shape (values, stakes)."""
    away = (np.asarray(values) - limit) / (limit - values[0])
    factors = 1 + np.outer(away, STAKES_ABOVE)
    return np.where(factors > 1e-12, np.log(np.maximum(factors, 1e-12)), RUIN)


def _gains_below(values: Values, limit: float) -> NDArray[np.float64]:
    away = (limit - np.asarray(values)) / (values[-1] - limit)
    factors = 1 + np.outer(away, STAKES_BELOW)
    return np.where(factors > 1e-12, np.log(np.maximum(factors, 1e-12)), RUIN)


_cached_gains_above = lru_cache(maxsize=256)(_gains_above)
_cached_gains_below = lru_cache(maxsize=256)(_gains_below)


@lru_cache(maxsize=8)
def _log_shares(stakes: int) -> NDArray[np.float64]:
    """Return how the capital is divided: half for the largest stake, the rest evenly."""
    return np.log(np.array([0.5] + [0.5 / (stakes - 1)] * (stakes - 1), np.float64))


@lru_cache(maxsize=256)
def _listed_gains_above(values: Values, limit: float) -> list[list[float]]:
    """Plain numbers: for so few, arrays take longer than what is done with them."""
    listed: list[list[float]] = _gains_above(values, limit).tolist()
    return listed


@lru_cache(maxsize=8)
def _listed_shares(stakes: int) -> list[float]:
    listed: list[float] = _log_shares(stakes).tolist()
    return listed


def _log_add(one: float, other: float) -> float:
    most, least = max(one, other), min(one, other)
    return most + math.log1p(math.exp(least - most))


def _log_capital(counts: Counts, gains: NDArray[np.float64]) -> float:
    return _log_sum(np.asarray(counts, np.float64) @ gains + _log_shares(gains.shape[1]))


def _log_sum(logarithms: NDArray[np.float64]) -> float:
    most = float(logarithms.max())
    return most + math.log(float(np.exp(logarithms - most).sum()))
