"""Where to set the limit: what each one costs in escapes and in overkill, and the one that a person's wish chooses."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from appliance.errors import ConfigError
from trainer.intervals import CONFIDENCE, Interval, share
from trainer.metrics import Judged, rank

LEAST_LIMIT = 0.01
"""No limit is below, and below nobody holds a score to its word: it is right once in a hundred times and less."""

FLOORS = (0.001, 0.002, 0.005, LEAST_LIMIT)
MOST_NOISE = 6.0
"""What a device tells counts for AP below all limits, too, but each record carries it: so many wrong ones a part do."""

TARGET_ESCAPES, TARGET_OVERKILL = 0.02, 0.01
"""What the proposed limit aims to stay below, as shares of the bad and of the good parts."""

DOUBTFUL = 0.05
"""So near to a limit a rounding may decide: twice and a half what the tolerance of 32 bits allows a device."""

LIMITS = np.arange(round(LEAST_LIMIT * 1000), 1000) / 1000
"""The limits that can be chosen: multiples of 0.001."""

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Wish:
    """What the limit is to be chosen for; without any, to stay furthest below the usual targets.

    Args:
        cost_escape: of a bad part that is accepted, in any currency; with cost_overkill.
        cost_overkill: of a good part that is rejected.
        bad_share: share of bad parts among those that come, 0..1; None takes that of the judged parts.
        max_escapes: highest share of the bad parts that may be accepted, 0..1.
        max_overkill: highest share of the good parts that may be rejected, 0..1.
    """

    cost_escape: float | None = None
    cost_overkill: float | None = None
    bad_share: float | None = None
    max_escapes: float | None = None
    max_overkill: float | None = None

    def check(self) -> None:
        """Refuse wishes that exclude each other, before any work.

        Raises:
            ConfigError: The message names the options.
        """
        if (self.cost_escape is None) != (self.cost_overkill is None):
            raise ConfigError("--cost-escape and --cost-overkill: what counts is their ratio; give both")
        wishes = [self.cost_escape, self.max_escapes, self.max_overkill]
        if sum(wish is not None for wish in wishes) > 1:
            raise ConfigError("--cost-escape, --max-escapes and --max-overkill each choose the limit; give one of them")
        if self.bad_share is not None and self.cost_escape is None:
            raise ConfigError("--bad-share weighs costs: give --cost-escape and --cost-overkill too, or leave it out")


@dataclass(frozen=True, slots=True)
class Choice:
    """A limit, what it was chosen for, and what the parts cannot support (empty if they do)."""

    limit: float
    reason: str
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class Point:
    """One point of the ROC of parts: at this limit so many bad parts are accepted and good ones rejected.

    The bounds are of the shares of the bad and of the good parts; nan where there are none.
    """

    limit: float
    escapes: int
    escape_bounds: Interval
    overkill: int
    overkill_bounds: Interval


def roc(judged: list[Judged]) -> tuple[Point, ...]:
    """Return how escapes and overkill exchange when the limit, one for all classes, goes up.

    Args:
        judged: the parts.

    Returns:
        One point per limit at which either count changes, the lowest limit first.
    """
    escapes, overkill, bad, good = _counts(judged)
    of_bad, of_good = _bounds_of(escapes, bad), _bounds_of(overkill, good)
    moves = np.flatnonzero(np.diff(escapes, prepend=-1) | np.diff(overkill, prepend=-1))
    found = zip(LIMITS[moves].tolist(), escapes[moves].tolist(), overkill[moves].tolist(), strict=True)
    return tuple(Point(limit, missed, of_bad[missed], held, of_good[held]) for limit, missed, held in found)


def choose(judged: list[Judged], wish: Wish) -> Choice:
    """Choose the limit for a wish; of those with as many mistakes of each kind, one that no part comes near.

    If there are several such limits, F decides.

    Args:
        judged: validation parts with calibrated scores; never those of a test.
        wish: costs or a target.

    Returns:
        The limit, a multiple of 0.001.

    Raises:
        ConfigError: What the wish is about cannot be measured on these parts, or no limit fulfils it.
    """
    wish.check()
    escapes, overkill, bad, good = _counts(judged)
    if wish.cost_escape is not None and wish.cost_overkill is not None:
        if not bad or not good:
            raise ConfigError(f"--cost-escape: {_parts(bad, good)}; hold out groups with both kinds of parts")
        bad_share = bad / (bad + good) if wish.bad_share is None else wish.bad_share
        costs = bad_share * wish.cost_escape * escapes / bad + (1 - bad_share) * wish.cost_overkill * overkill / good
        at = _best(judged, np.isclose(costs, costs.min(), rtol=1e-9))
        said = "as on the held-out groups" if wish.bad_share is None else "as told"
        return Choice(
            float(LIMITS[at]),
            f"least cost: {wish.cost_escape:g} for an escape and {wish.cost_overkill:g} for an overkill, at "
            f"{100 * bad_share:.3g} % bad parts ({said}): {costs[at]:.4g} a part",
        )
    if wish.max_escapes is not None:
        return _within(judged, "escapes", wish.max_escapes, (escapes, bad), overkill)
    if wish.max_overkill is not None:
        return _within(judged, "overkill", wish.max_overkill, (overkill, good), escapes)
    targets = f"{100 * TARGET_ESCAPES:g} % escapes and {100 * TARGET_OVERKILL:g} % overkill"
    usual = f"furthest below {targets}"
    at = _furthest_below(judged, escapes, overkill, bad, good)
    limit = float(LIMITS[at])
    if escapes[at] <= TARGET_ESCAPES * bad and overkill[at] <= TARGET_OVERKILL * good:
        return Choice(limit, usual)
    missed = f"{escapes[at]} of {bad} bad parts accepted, {overkill[at]} of {good} good ones rejected"
    otherwise = "train longer, or choose otherwise (--max-escapes, --max-overkill, --cost-escape)"
    return Choice(limit, usual, f"no limit keeps {targets}: {missed}; {otherwise}")


def choose_limit(judged: list[Judged]) -> float:
    """Propose a reject limit: the one that stays furthest below both targets, for escapes and for overkill.

    Of those with as many mistakes of each kind it takes one that no part comes near; if there are several, F decides.

    Args:
        judged: validation parts with calibrated scores.

    Returns:
        The limit, a multiple of 0.001.
    """
    return float(LIMITS[_furthest_below(judged, *_counts(judged))])


def choose_floor(judged: list[Judged]) -> float:
    """Choose from which score on a device tells detections: the lowest with MOST_NOISE wrong ones a part on average.

    Args:
        judged: validation parts with calibrated scores.

    Returns:
        One of FLOORS; the highest if a part has more with any of them.
    """
    ranking = rank(judged)
    wrong = ranking.scores[~ranking.right]
    return next((floor for floor in FLOORS if (wrong >= floor).sum() <= MOST_NOISE * len(judged)), FLOORS[-1])


def parts_needed(most: float) -> int:
    """Return how many parts without a single failure it takes until the bound of their share is at most this.

    Args:
        most: share, above 0 and below 1.

    Source:
        Clopper and Pearson (1934), solved for a count of 0.
    """
    return math.ceil(math.log((1 - CONFIDENCE) / 2) / math.log1p(-most))


def doubtful(limit: float) -> float:
    """Return how near to a limit a score must be for a rounding to decide: DOUBTFUL, or half of what is left to 0 or 1.

    Args:
        limit: above 0 and below 1.
    """
    return min(DOUBTFUL, limit / 2, (1 - limit) / 2)


def _furthest_below(judged: list[Judged], escapes: Counts, overkill: Counts, bad: int, good: int) -> int:
    """Return the index of the limit that stays furthest below both targets."""
    of_targets = np.array([escapes / max(1, bad) / TARGET_ESCAPES, overkill / max(1, good) / TARGET_OVERKILL])
    worst, both = of_targets.max(axis=0), of_targets.sum(axis=0)
    is_worst_least = worst == worst.min()
    return _best(judged, is_worst_least & (both == both[is_worst_least].min()))


def _within(judged: list[Judged], name: str, most: float, kept: tuple[Counts, int], paid: Counts) -> Choice:
    """Choose the limit at which `paid` is least while the bound of `kept`, or at least its count, is within."""
    counts, of = kept
    option = f"--max-{name} {100 * most:g} %"
    if not of:
        raise ConfigError(f"{option}: the held-out groups have no such part to measure it on; hold out others")
    bounds = _bounds_of(counts, of)
    is_supported = np.array([bounds[count].high <= most for count in counts.tolist()])
    is_within = is_supported if is_supported.any() else counts <= most * of
    if not is_within.any():
        raise ConfigError(f"{option}: {int(counts.min())} of {of} at the best limit; train on, or allow more")
    is_cheapest = is_within & (paid == paid[is_within].min())
    at = _best(judged, is_cheapest & (counts == counts[is_cheapest].min()))
    reason = f"{name} at most {100 * most:g} %: {int(counts[at])} of {of} on the held-out groups"
    if is_supported.any():
        bound = f"{100 * bounds[int(counts[at])].high:.3g} %"
        return Choice(float(LIMITS[at]), f"{reason} (95 % bound {bound}, on the parts that it was chosen on)")
    most_likely = 100 * bounds[int(counts[at])].high
    needed = f"; it takes {parts_needed(most)} of them without a failure" if 0 < most < 1 else ""
    return Choice(
        float(LIMITS[at]),
        reason,
        f"{option}: cannot be supported by {of} parts: the true share may be {most_likely:.3g} % (95 % bound){needed}",
    )


def _bounds_of(counts: Counts, of: int) -> dict[int, Interval]:
    """Return the bounds of each count of so many parts, as a share."""
    shares = {count: share(count, of) for count in set(counts.tolist())}
    return {count: Interval(its.low, its.high) for count, its in shares.items()}


def _counts(judged: list[Judged]) -> tuple[Counts, Counts, int, int]:
    """Count escapes and overkill at each limit, and the bad and the good parts."""
    bad, good = (
        np.sort([float(part.scores.max(initial=0.0)) for part in judged if bool(len(part.true_labels)) is is_bad])
        for is_bad in (True, False)
    )
    return np.searchsorted(bad, LIMITS), len(good) - np.searchsorted(good, LIMITS), len(bad), len(good)


def _best(judged: list[Judged], among: NDArray[np.bool_]) -> int:
    """Return the index of the limit to take, of those marked: no part's score near it is doubtful, and F is best.

    Where there is no such limit, the nearest score is as far away as can be.
    """
    clear = np.where(among, _clearance(judged), -1.0)
    return int(np.where(clear == clear.max(), _f(judged), -1.0).argmax())


def _clearance(judged: list[Judged]) -> Floats:
    """Return how far the nearest part's score is from each limit, in ranges of doubt; 1 where it is further.

    A part where nothing was found is near no limit.
    """
    tops = [float(part.scores.max()) for part in judged if len(part.scores)]
    ends = np.sort([-np.inf, *tops, np.inf])
    above = np.searchsorted(ends, LIMITS)
    distance = np.minimum(LIMITS - ends[above - 1], ends[above] - LIMITS)
    return np.asarray(np.minimum(1.0, distance / [doubtful(limit) for limit in LIMITS.tolist()]))


def _f(judged: list[Judged]) -> Floats:
    """Return F of the bad parts' detections at each limit."""
    ranking = rank([part for part in judged if len(part.true_labels)])
    claims = np.searchsorted(-ranking.scores, -LIMITS, side="right")
    hits = np.concatenate(([0], np.cumsum(ranking.right)))[claims]
    return np.asarray(2 * hits / np.maximum(1, claims + ranking.truths))


def _parts(bad: int, good: int) -> str:
    return f"the held-out groups have {bad} bad and {good} good parts"
