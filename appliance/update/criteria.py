"""What a gate judges by: each criterion has a limit for a mean, and what it takes to be sure that it is kept or not."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, TypeAlias, TypeVar

from pydantic import Field

from appliance.bundle import strict_json
from appliance.bundle.section import Section
from appliance.errors import BundleFormatError, StorageError
from appliance.update.evidence import Values, log_evidence_above, log_evidence_below, lower_bound, upper_bound

YES_NO: Values = (0.0, 1.0)
MAX_STATE_BYTES = 1 << 20

Count: TypeAlias = Annotated[int, Field(ge=0)]

Tallies: TypeAlias = Mapping[str, tuple[int, ...]]
"""Criterion -> how often each of its values was observed."""


class Outcome(str, Enum):
    """What a gate says after a part; PASS and FAIL are final."""

    CONTINUE = "continue"
    PASS = "pass"
    FAIL = "fail"


class GateState(Section):
    """What every gate knows.

    cause: what decided a FAIL: the name of a criterion, or of what fails at once. parts: those that count.
    """

    outcome: Outcome = Outcome.CONTINUE
    cause: str = ""
    parts: Count = 0
    tallies: dict[str, tuple[Count, ...]] = Field(default_factory=dict)


State = TypeVar("State", bound=GateState)


@dataclass(frozen=True, slots=True)
class Criterion:
    """One thing that is judged; a larger mean is worse.

    words: what is counted, for people. values: what one part can contribute. most: a mean that is certainly over it
    fails. beta: probability of that while it is not. passes_under: for PASS the mean must certainly be under it, but
    for alpha; None: PASS does not ask. is_share: whether people read the mean as a percentage.
    """

    name: str
    words: str
    most: float
    beta: float
    passes_under: float | None
    values: Values = YES_NO
    is_share: bool = True

    def slot(self, value: float) -> int:
        """Return which of the evenly spaced values is the nearest one."""
        least, most = self.values[0], self.values[-1]
        return round((min(max(value, least), most) - least) / (most - least) * (len(self.values) - 1))

    def fails(self, counts: tuple[int, ...]) -> bool:
        """Whether the mean is certainly over what is allowed."""
        return log_evidence_above(self.values, counts, self.most) >= -math.log(self.beta)

    def is_shown(self, counts: tuple[int, ...], alpha: float) -> bool:
        """Whether the mean is certainly under what is allowed, or PASS does not ask."""
        if self.passes_under is None:
            return True
        return log_evidence_below(self.values, counts, self.passes_under) >= -math.log(alpha)

    def bound(self, counts: tuple[int, ...], alpha: float) -> "Bound":
        """Return between which bounds the mean lies."""
        of = sum(counts)
        mean = sum(count * value for count, value in zip(counts, self.values, strict=True)) / of if of else 0.0
        low, high = lower_bound(self.values, counts, self.beta), upper_bound(self.values, counts, alpha)
        return Bound(self, of, mean, low, high)


@dataclass(frozen=True, slots=True)
class Bound:
    """What is known of a criterion: over `of` parts a mean, and the bounds between which it lies at all times.

    low is wrong with the criterion's beta, high with the gate's alpha.
    """

    criterion: Criterion
    of: int
    mean: float
    low: float
    high: float

    @property
    def as_failed(self) -> str:
        """Say in words why this fails."""
        seen = f"{self.criterion.words}: {self._text(self.mean)} over {self.of} parts"
        if self.low < self.criterion.most:
            return f"{seen}, and of late certainly more than the {self._text(self.criterion.most)} that is allowed"
        return f"{seen}, certainly at least {self._text(self.low)}, and {self._text(self.criterion.most)} is allowed"

    @property
    def as_shown(self) -> str:
        """Say in words how far this is shown."""
        limit = self.criterion.most if self.criterion.passes_under is None else self.criterion.passes_under
        return (
            f"{self.criterion.words}: {self._text(self.mean)} over {self.of} parts, certainly at most "
            f"{self._text(self.high)} ({self._text(limit)} is allowed)"
        )

    def _text(self, value: float) -> str:
        if not self.criterion.is_share:
            return f"{value:.3f}"
        return f"{100 * value:.3g} %"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a gate says: outcome, why in words, after how many parts, and what is known of each criterion.

    cause: name of the criterion that decided a FAIL, empty otherwise.
    """

    outcome: Outcome
    cause: str
    reason: str
    parts: int
    bounds: tuple[Bound, ...]


def counted(tallies: Tallies, criteria: Mapping[str, Criterion], observed: Mapping[str, float]) -> Tallies:
    """Return tallies with one part more.

    Args:
        tallies: before.
        criteria: all of the gate, by name.
        observed: criterion -> what the part contributes to it.
    """
    after = dict(tallies)
    for name, value in observed.items():
        criterion = criteria[name]
        counts = list(after.get(name) or (0,) * len(criterion.values))
        counts[criterion.slot(value)] += 1
        after[name] = tuple(counts)
    return after


def first_failing(tallies: Tallies, criteria: Mapping[str, Criterion], observed: Mapping[str, float]) -> str:
    """Return which criterion fails with the part that was just counted; empty if none does.

    Only what is worse than allowed can make one fail, so that most parts cost nothing here.
    """
    for name, value in observed.items():
        criterion = criteria[name]
        if value > criterion.most and criterion.fails(tallies[name]):
            return name
    return ""


def are_shown(tallies: Tallies, criteria: Iterable[Criterion], alpha: float) -> bool:
    """Whether every criterion is shown that PASS asks for.

    A candidate that is too bad in one respect passes with a probability of at most alpha, however many there are,
    because all must be shown at once.

    Source:
        Berger, Multiparameter hypothesis testing and acceptance sampling (1982): the intersection-union test.
    """
    return all(each.is_shown(counts_of(tallies, each), alpha) for each in criteria)


def counts_of(tallies: Tallies, criterion: Criterion) -> tuple[int, ...]:
    """Return a criterion's counts; zeros if nothing was observed yet."""
    return tallies.get(criterion.name) or (0,) * len(criterion.values)


def resumed(data: bytes, kind: type[State], schema: str, criteria: Mapping[str, Criterion], origin: str) -> State:
    """Read a state that strict_json.dump wrote.

    Args:
        data: the file.
        kind: of the gate.
        schema: its name.
        criteria: all of the gate, by name.
        origin: names the file in messages.

    Raises:
        StorageError: it is damaged, or counts by other criteria than this version.
    """
    try:
        state = strict_json.parse(data, kind, schema=schema, origin=origin, max_bytes=MAX_STATE_BYTES)
    except BundleFormatError as error:
        raise StorageError(
            f"{origin}: the state of a gate is damaged ({error.__cause__ or error}); begin it anew"
        ) from error
    for name, counts in state.tallies.items():
        if name not in criteria or len(counts) != len(criteria[name].values):
            raise StorageError(f"{origin}: {name!r} is counted otherwise by this version; begin the gate anew")
    return state
