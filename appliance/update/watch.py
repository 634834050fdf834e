"""CANARY and WATCH: the new model decides alone, and is judged by what the line does with it.

There is no second opinion on a part any more. What is diverted is compared with the time before, and whatever changes
on the line meanwhile counts against the new model: the way back costs less than bad parts do (docs/challenger.md).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field

from appliance.bundle.gate_settings import GateSettings
from appliance.errors import StorageError
from appliance.events import Challenge, Reason, Verdict
from appliance.update.criteria import (
    YES_NO,
    Count,
    Criterion,
    Finding,
    GateState,
    Outcome,
    are_shown,
    counted,
    counts_of,
    resumed,
)
from appliance.update.evidence import STAKES_ABOVE, log_height, lower_bound, risen, upper_bound

SCHEMA: Literal["vi.watch-gate/1"] = "vi.watch-gate/1"
UNANSWERED = (Reason.RUNTIME, Reason.RESTART)
MISSED = (Reason.DEADLINE, Reason.QUEUE_FULL)
SECONDS_PER_HOUR = 3600.0
MOST_SHARE = 0.99
LACKING = "challenge_lacking"
"""Cause of a FAIL that is not the release's fault: people did not bring the parts that its assignment asks for."""
HOW_TO_CHALLENGE = 'put known bad parts in while it is on trial, with "challenge": "bad" in their trigger'


class Stage(str, Enum):
    """Before the switch is final, and after."""

    CANARY = "canary"
    WATCH = "watch"


@dataclass(frozen=True, slots=True)
class Reference:
    """What the model before did on this line: of so many parts with a verdict, so many were not accepted."""

    diverted: int
    parts: int


@dataclass(frozen=True, slots=True)
class LinePart:
    """What the line did with a part.

    at_s: when, in seconds of a clock that may be set. latency_ms: in the model; None where it was not asked.
    """

    verdict: Verdict
    reason: Reason
    at_s: float
    latency_ms: float | None = None
    challenge: Challenge | None = None


class WatchState(GateState):
    """All that CANARY or WATCH knows; small, and the same after a restart (strict JSON).

    charts: criterion -> the evidence against it, by stake. bad_found, good_diverted: challenge parts. elsewhere: parts
    that the line failed and not the model. producing_s: between parts, without longer pauses. waited_s: the same with
    the times at which nothing came. part_s: when the last part came. seen_s: when somebody last looked.
    """

    schema_: Annotated[Literal["vi.watch-gate/1"], Field(alias="schema")] = SCHEMA
    charts: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    bad_found: Count = 0
    good_diverted: Count = 0
    elsewhere: Count = 0
    producing_s: Annotated[float, Field(ge=0)] = 0.0
    waited_s: Annotated[float, Field(ge=0)] = 0.0
    part_s: float | None = None
    seen_s: float | None = None


@dataclass(frozen=True)
class WatchGate:
    """Judges the model in force by its parts alone; pure: a state and a part in, the next state out.

    budget_ms: what a part's pictures may take in the model, as in its proof.
    """

    settings: GateSettings
    stage: Stage
    reference: Reference
    budget_ms: float

    @cached_property
    def criteria(self) -> Mapping[str, Criterion]:
        """All that is judged; they share a half of beta, and the bounds of the reference have the other one."""
        limits, reference = self.settings, self.reference
        factor = limits.canary_factor if self.stage is Stage.CANARY else 1.0
        counts = (reference.parts - reference.diverted, reference.diverted)
        more = factor * limits.most_imbalance
        high = min(upper_bound(YES_NO, counts, limits.beta / 4) + more, MOST_SHARE)
        low = min(lower_bound(YES_NO, counts, limits.alpha / 2) + more, MOST_SHARE)
        fewest = limits.least_reject_ratio * lower_bound(YES_NO, counts, limits.beta / 4)
        faults, missed, late = (factor * each for each in (limits.most_faults, limits.most_missed, limits.most_late))
        rows: tuple[tuple[str, str, float, float | None], ...] = (
            ("rise", "diverted parts", high, low),
            ("faults", "parts that the model gave no answer for", faults, faults),
            ("missed", "parts over their deadline", missed, missed),
            ("late", f"parts that took the model over {self.budget_ms:g} ms", late, late),
            ("fall", "accepted parts", 1 - fewest, None),
        )
        asked = [row for row in rows if row[2] < 1]
        return {
            name: Criterion(name, words, most, limits.beta / 2 / len(asked), under)
            for name, words, most, under in asked
        }

    @property
    def least_parts(self) -> int:
        """No PASS before so many."""
        return self.settings.canary_parts if self.stage is Stage.CANARY else self.settings.watch_parts

    @property
    def least_s(self) -> float:
        """Nor before so much time in which parts came."""
        return 0.0 if self.stage is Stage.CANARY else self.settings.watch_h * SECONDS_PER_HOUR

    def take(self, state: WatchState, part: LinePart) -> WatchState:
        """Return the state with one part more; one that has its outcome stays as it is.

        Args:
            state: before.
            part: what the line did with it.
        """
        if state.outcome is not Outcome.CONTINUE:
            return state
        observed = self._observed(part)
        produced_s = 0.0 if state.part_s is None else self._passed_s(state.part_s, part.at_s)
        after = self._looked(state, part.at_s).model_copy(
            update={
                "parts": state.parts + (bool(observed) and part.challenge is None),
                "elsewhere": state.elsewhere + (not observed),
                "producing_s": state.producing_s + produced_s,
                "part_s": part.at_s,
                "tallies": counted(state.tallies, self.criteria, observed),
                "bad_found": state.bad_found + (part.challenge is Challenge.BAD and _is_diverted(part)),
                "good_diverted": state.good_diverted + (part.challenge is Challenge.GOOD and _is_diverted(part)),
            }
        )
        return self._decided(self._charted(after, observed), part, observed)

    def wait(self, state: WatchState, at_s: float) -> WatchState:
        """Return the state at a moment without a part: silence never passes, and fails when it has been too long.

        Args:
            state: before.
            at_s: now, on the clock of the parts; asked more often than longest_pause_s, or the rest does not count.
        """
        if state.outcome is not Outcome.CONTINUE:
            return state
        after = self._looked(state, at_s)
        if after.waited_s >= self.settings.most_h * SECONDS_PER_HOUR:
            cause = LACKING if self._lacks_challenges_only(after) else "silence"
            return after.model_copy(update={"outcome": Outcome.FAIL, "cause": cause})
        return after

    def resume(self, data: bytes, origin: str) -> WatchState:
        """Read a state that strict_json.dump wrote, so that the next part goes on from there.

        Args:
            data: the file.
            origin: names it in messages.

        Raises:
            StorageError: it is damaged, or of another version; begin the stage anew.
        """
        state = resumed(data, WatchState, SCHEMA, self.criteria, origin)
        for name, chart in state.charts.items():
            if name not in state.tallies or len(chart) != len(STAKES_ABOVE):
                raise StorageError(f"{origin}: {name!r} is counted otherwise by this version; begin the stage anew")
        return state

    def finding(self, state: WatchState) -> Finding:
        """Say in words what the state means; not needed for each part."""
        alpha = self.settings.alpha / 2
        bounds = {name: each.bound(counts_of(state.tallies, each), alpha) for name, each in self.criteria.items()}
        shown = "; ".join(
            bound.as_shown for name, bound in bounds.items() if self.criteria[name].passes_under is not None
        )
        so_far = (
            f"{state.parts} parts of at least {self.least_parts}, {state.producing_s / SECONDS_PER_HOUR:.1f} h of "
            f"at least {self.least_s / SECONDS_PER_HOUR:g} h of production, {state.bad_found} of "
            f"{self.settings.challenge_parts} bad challenge parts"
        )
        reason = {
            Outcome.PASS: f"after {state.parts} parts all is shown: {shown}",
            Outcome.CONTINUE: f"{self._wanted(state)}{so_far}; to be shown: {shown}",
            Outcome.FAIL: bounds[state.cause].as_failed
            if state.cause in bounds
            else self._at_once(state, so_far, shown),
        }[state.outcome]
        return Finding(state.outcome, state.cause, reason, state.parts, tuple(bounds.values()))

    def chart(self, state: WatchState) -> float:
        """Return how near the model is to FAIL: 0 nothing speaks against it, 1 is FAIL; to be drawn over the parts."""
        heights = (log_height(chart) / -math.log(self.criteria[name].beta) for name, chart in state.charts.items())
        return max([0.0, *heights])

    def _observed(self, part: LinePart) -> dict[str, float]:
        observed = {} if part.latency_ms is None else {"late": float(not part.latency_ms <= self.budget_ms)}
        if part.verdict is Verdict.FAULT:
            if part.reason in UNANSWERED:
                return observed | {"faults": 1.0}
            return observed | {"missed": 1.0} if part.reason in MISSED else {}
        observed |= {"faults": 0.0, "missed": 0.0}
        if part.challenge is None:
            observed |= {"rise": float(_is_diverted(part)), "fall": float(not _is_diverted(part))}
        return {name: value for name, value in observed.items() if name in self.criteria}

    def _charted(self, state: WatchState, observed: Mapping[str, float]) -> WatchState:
        charts = dict(state.charts)
        for name, value in observed.items():
            each = self.criteria[name]
            number = sum(state.tallies[name])
            charts[name] = risen(charts.get(name, ()), number, each.values, each.slot(value), each.most)
        return state.model_copy(update={"charts": charts})

    def _decided(self, state: WatchState, part: LinePart, observed: Mapping[str, float]) -> WatchState:
        cause = ""
        if part.challenge is Challenge.BAD and part.verdict is Verdict.ACCEPT:
            cause = "challenge_escape"
        elif state.good_diverted > self.settings.most_good_rejected:
            cause = "challenge_overkill"
        for name in observed:
            if not cause and log_height(state.charts[name]) >= -math.log(self.criteria[name].beta):
                cause = name
        if cause:
            return state.model_copy(update={"outcome": Outcome.FAIL, "cause": cause})
        if not self._lacks_challenges(state) and self._is_shown(state):
            return state.model_copy(update={"outcome": Outcome.PASS})
        if state.parts >= self.settings.patience * self.least_parts and state.producing_s >= self.least_s:
            cause = LACKING if self._lacks_challenges_only(state) else "undecided"
            return state.model_copy(update={"outcome": Outcome.FAIL, "cause": cause})
        return state

    def _lacks_challenges(self, state: WatchState) -> bool:
        return state.bad_found < self.settings.challenge_parts

    def _lacks_challenges_only(self, state: WatchState) -> bool:
        return self._lacks_challenges(state) and self._is_shown(state)

    def _is_shown(self, state: WatchState) -> bool:
        """Whether the line's own parts have shown all that they can."""
        if state.parts < self.least_parts or state.producing_s < self.least_s:
            return False
        return are_shown(state.tallies, self.criteria.values(), self.settings.alpha / 2)

    def _looked(self, state: WatchState, at_s: float) -> WatchState:
        passed_s = 0.0 if state.seen_s is None else self._passed_s(state.seen_s, at_s)
        return state.model_copy(update={"waited_s": state.waited_s + passed_s, "seen_s": at_s})

    def _passed_s(self, before_s: float, after_s: float) -> float:
        """Return how much time counts; a clock that is set counts for at most one pause."""
        return min(max(after_s - before_s, 0.0), self.settings.longest_pause_s)

    def _wanted(self, state: WatchState) -> str:
        """Say what is waited for that people must do; empty where it is nothing of that kind."""
        if not self._lacks_challenges_only(state):
            return ""
        return f"{self._challenges(state)}; only that is missing: {HOW_TO_CHALLENGE}; "

    def _challenges(self, state: WatchState) -> str:
        asked, found = self.settings.challenge_parts, state.bad_found
        came = f"only {found} bad challenge parts came" if found else "no bad challenge part came"
        return f"{came}, {asked} must be found (challenge_parts; one that could not be inspected does not count)"

    def _at_once(self, state: WatchState, so_far: str, shown: str) -> str:
        return {
            "challenge_escape": "a part that is known to be bad was accepted",
            "challenge_overkill": f"{state.good_diverted} parts that are known to be good were diverted, and "
            f"{self.settings.most_good_rejected} are allowed",
            LACKING: f"{self._challenges(state)}; all else is shown, and nothing speaks against the release: "
            f"{HOW_TO_CHALLENGE}, and assign it again, or ask for fewer; {so_far}; {shown}",
            "silence": f"undecided after {state.waited_s / SECONDS_PER_HOUR:.0f} h: {so_far}; silence is no success",
        }.get(state.cause, f"undecided: {so_far}; {shown}")


def _is_diverted(part: LinePart) -> bool:
    return part.verdict in {Verdict.REJECT, Verdict.REVIEW}
