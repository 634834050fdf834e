"""SHADOW: the candidate judges the same parts as the model in force, and what they say is compared part by part.

Whatever hits the line (light, another batch, dirt) hits both, so that only the candidate's own doing is seen. Nobody
knows the truth here: what differs from the model in force is counted, each direction with a limit of its own
(docs/challenger.md). Of challenge parts people do know it: one that the candidate judges wrongly needs no statistics.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field

from appliance.bundle.gate_settings import GateSettings
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
    first_failing,
    resumed,
)
from appliance.update.evidence import Values, log_evidence_above

SCHEMA: Literal["vi.shadow-gate/1"] = "vi.shadow-gate/1"
BALANCE: Values = (-1.0, 0.0, 1.0)
SHIFTS: Values = tuple(step / 50 for step in range(-15, 16))
"""Differences of scores are cut off at 0.3, so that a few large ones say no more than that, and rounded to 0.02."""


class Failure(str, Enum):
    """Why there is no judgement of a candidate; SKIPPED: it was busy with an earlier part."""

    SKIPPED = "skipped"
    CRASH = "crash"
    NOT_A_NUMBER = "nan"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one model said of a part.

    label: class of the deciding detection. score: the top score 0..1; None: nothing was found, which counts as 0.
    latency_ms: what the part's pictures took in the model. None counts as too long for the candidate; where the model
    in force was too slow itself, the part says nothing about latency.
    """

    verdict: Verdict
    reason: Reason
    label: str | None = None
    score: float | None = None
    latency_ms: float | None = None

    @property
    def is_diverted(self) -> bool:
        """Whether the line does not let the part through."""
        return self.verdict is not Verdict.ACCEPT

    @property
    def is_a_number(self) -> bool:
        """Whether the score can be a probability."""
        return self.score is None or 0 <= self.score <= 1

    @property
    def is_an_answer(self) -> bool:
        """Whether this says anything of the part."""
        return self.verdict is not Verdict.FAULT and self.is_a_number


@dataclass(frozen=True, slots=True)
class Pair:
    """What the model in force and the candidate made of the same part; challenge: what people knew of it before."""

    reference: Judgement
    candidate: Judgement | Failure
    challenge: Challenge | None = None


class ShadowState(GateState):
    """All that SHADOW knows, as counts; small, and the same after a restart (strict JSON).

    incomparable: the model in force gave FAULT. labels: class, rejected parts of it, and how many
    of them the candidate accepts, in the order in which the classes were first seen. good_diverted: known good
    parts. in_force_said: of the known bad part that the candidate accepts.
    """

    schema_: Annotated[Literal["vi.shadow-gate/1"], Field(alias="schema")] = SCHEMA
    skipped: Count = 0
    incomparable: Count = 0
    crashes: Count = 0
    labels: tuple[tuple[str, Count, Count], ...] = ()
    good_diverted: Count = 0
    in_force_said: str = ""


@dataclass(frozen=True)
class ShadowGate:
    """Judges a candidate by pairs of judgements; pure: a state and a pair in, the next state out.

    budget_ms: what a part's pictures may take in the model, as in its proof.
    """

    settings: GateSettings
    budget_ms: float

    @cached_property
    def criteria(self) -> Mapping[str, Criterion]:
        """All that is judged over all parts, the slowest to be shown first; a half of beta is theirs, evenly."""
        limits = self.settings
        rows: tuple[tuple[str, str, float, Values], ...] = (
            ("escapes", "rejected parts that the candidate accepts", limits.most_escapes, YES_NO),
            ("late", f"parts that took the candidate over {self.budget_ms:g} ms", limits.most_late, YES_NO),
            ("faults", "parts without an answer from the candidate", limits.most_faults, YES_NO),
            ("rise", "parts diverted more than by the model in force", limits.most_imbalance, BALANCE),
            ("fall", "parts diverted less than by the model in force", limits.most_imbalance, BALANCE),
            ("overkill", "accepted parts that the candidate diverts", limits.most_overkill, YES_NO),
            ("disagreement", "parts with another verdict", limits.most_disagreement, YES_NO),
            ("accepted_up", "top scores too high on accepted parts", limits.most_score_shift, SHIFTS),
            ("accepted_down", "top scores too low on accepted parts", limits.most_score_shift, SHIFTS),
            ("rejected_up", "top scores too high on rejected parts", limits.most_score_shift, SHIFTS),
            ("rejected_down", "top scores too low on rejected parts", limits.most_score_shift, SHIFTS),
            ("skipped", "parts that the candidate was too busy for", limits.most_skipped, YES_NO),
        )
        beta = limits.beta / 2 / len(rows)
        return {
            name: Criterion(name, words, most, beta, None if name == "skipped" else most, values, values is not SHIFTS)
            for name, words, most, values in rows
        }

    def take(self, state: ShadowState, pair: Pair) -> ShadowState:
        """Return the state with one part more; one that has its outcome stays as it is.

        Args:
            state: before.
            pair: what was said of the part.
        """
        if state.outcome is not Outcome.CONTINUE:
            return state
        if pair.candidate is Failure.SKIPPED:
            return self._decided(state.model_copy(update={"skipped": state.skipped + 1}), pair, {"skipped": 1.0})
        if pair.reference.verdict is Verdict.FAULT:  # says nothing of the candidate
            return state.model_copy(update={"incomparable": state.incomparable + 1})
        after = state.model_copy(
            update={
                "parts": state.parts + 1,
                "crashes": state.crashes + (pair.candidate is Failure.CRASH),
                "labels": _with_label(state.labels, pair),
                "good_diverted": state.good_diverted + (pair.challenge is Challenge.GOOD and _is_diverted(pair)),
                "in_force_said": pair.reference.verdict.value if _is_known_escape(pair) else state.in_force_said,
            }
        )
        return self._decided(after, pair, self._observed(pair))

    def skip(self, state: ShadowState, parts: int) -> ShadowState:
        """Return the state with so many parts more that the candidate was too busy for; never a PASS.

        Args:
            state: before.
            parts: how many; the evidence depends on the counts alone, so that they may come at once.
        """
        if state.outcome is not Outcome.CONTINUE or parts <= 0:
            return state
        criterion = self.criteria["skipped"]
        judged, skipped = counts_of(state.tallies, criterion)
        counts = (judged, skipped + parts)
        is_too_busy = criterion.fails(counts)
        return state.model_copy(
            update={
                "skipped": state.skipped + parts,
                "tallies": {**state.tallies, criterion.name: counts},
                "outcome": Outcome.FAIL if is_too_busy else Outcome.CONTINUE,
                "cause": criterion.name if is_too_busy else "",
            }
        )

    def resume(self, data: bytes, origin: str) -> ShadowState:
        """Read a state that strict_json.dump wrote, so that the next part goes on from there.

        Args:
            data: the file.
            origin: names it in messages.

        Raises:
            StorageError: it is damaged, or of another version; begin SHADOW anew.
        """
        return resumed(data, ShadowState, SCHEMA, self.criteria, origin)

    def finding(self, state: ShadowState) -> Finding:
        """Say in words what the state means; not needed for each part."""
        bounds = {
            name: each.bound(counts_of(state.tallies, each), self.settings.alpha)
            for name, each in self.criteria.items()
        }
        shown = "; ".join(bound.as_shown for bound in bounds.values())
        for criterion, counts in self._labels(state):
            bounds[criterion.name] = bound = criterion.bound(counts, self.settings.alpha)
            if bound.high > criterion.most:
                shown += f"; not shown: {bound.as_shown}"
        reason = {
            Outcome.PASS: f"after {state.parts} parts all is shown: {shown}",
            Outcome.CONTINUE: f"{state.parts} parts of at least {self.settings.shadow_parts}; to be shown: {shown}",
            Outcome.FAIL: bounds[state.cause].as_failed if state.cause in bounds else self._without_bound(state, shown),
        }[state.outcome]
        return Finding(state.outcome, state.cause, reason, state.parts, tuple(bounds.values()))

    def chart(self, state: ShadowState) -> float:
        """Return how near the candidate is to FAIL, to be drawn: 0 if nothing speaks against it, 1 is FAIL."""
        heights = [
            log_evidence_above(each.values, state.tallies[name], each.most) / -math.log(each.beta)
            for name, each in self.criteria.items()
            if name in state.tallies
        ]
        heights += [
            log_evidence_above(each.values, counts, each.most) / -math.log(each.beta)
            for each, counts in self._labels(state)
        ]
        return max([0.0, *heights])

    def _observed(self, pair: Pair) -> dict[str, float]:
        reference, candidate = pair.reference, pair.candidate
        observed = {"skipped": 0.0}
        if isinstance(candidate, Failure) or not candidate.is_an_answer:
            return observed | {"faults": 1.0}
        observed["faults"] = 0.0
        if reference.latency_ms is None or reference.latency_ms <= self.budget_ms:
            latency_ms = candidate.latency_ms
            observed["late"] = float(latency_ms is None or not latency_ms <= self.budget_ms)
        if _is_reference_wrong(pair):  # whoever judges it rightly differs, and that is no fault
            return observed
        balance = float(candidate.is_diverted - reference.is_diverted)
        observed |= {
            "disagreement": float(candidate.verdict is not reference.verdict),
            "rise": balance,
            "fall": -balance,
        }
        shift = (candidate.score or 0.0) - (reference.score or 0.0)
        if reference.verdict is Verdict.ACCEPT:
            observed |= {"overkill": float(candidate.is_diverted), "accepted_up": shift, "accepted_down": -shift}
        if reference.verdict is Verdict.REJECT:
            observed |= {"escapes": float(_is_escape(pair)), "rejected_up": shift, "rejected_down": -shift}
        return observed

    def _decided(self, state: ShadowState, pair: Pair, observed: Mapping[str, float]) -> ShadowState:
        tallies = counted(state.tallies, self.criteria, observed)
        cause = (
            self._at_once(state, pair)
            or first_failing(tallies, self.criteria, observed)
            or self._failing_label(state, pair)
        )
        outcome = Outcome.FAIL if cause else Outcome.CONTINUE
        if not cause and state.parts >= self.settings.shadow_parts:
            if are_shown(tallies, self.criteria.values(), self.settings.alpha):
                outcome = Outcome.PASS
            elif state.parts >= self.settings.patience * self.settings.shadow_parts:
                outcome, cause = Outcome.FAIL, "undecided"
        return state.model_copy(update={"tallies": tallies, "outcome": outcome, "cause": cause})

    def _at_once(self, state: ShadowState, pair: Pair) -> str:
        candidate = pair.candidate
        if candidate is Failure.NOT_A_NUMBER or (isinstance(candidate, Judgement) and not candidate.is_a_number):
            return "nan"
        if _is_known_escape(pair):
            return "challenge_escape"
        if state.good_diverted > self.settings.most_good_rejected:
            return "challenge_overkill"
        return "crashes" if state.crashes > self.settings.most_crashes else ""

    def _failing_label(self, state: ShadowState, pair: Pair) -> str:
        if not _is_escape(pair):
            return ""
        name = f"class:{_label(pair)}"
        failing = (each.name for each, counts in self._labels(state) if each.name == name and each.fails(counts))
        return next(failing, "")

    def _labels(self, state: ShadowState) -> Iterator[tuple[Criterion, tuple[int, int]]]:
        """Yield a criterion and its counts for each class; the n-th class seen has 1/(n(n+1)) of their half of beta."""
        for number, (label, rejected, accepted) in enumerate(state.labels, 1):
            words, most = f"rejected parts of class {label} that the candidate accepts", self.settings.most_escapes
            beta = self.settings.beta / 2 / (number * (number + 1))
            yield Criterion(f"class:{label}", words, most, beta, None), (rejected - accepted, accepted)

    def _without_bound(self, state: ShadowState, shown: str) -> str:
        if state.cause == "nan":
            return "the candidate gave a score that is no number between 0 and 1; its model or engine is broken"
        if state.cause == "crashes":
            return (
                f"the candidate's process crashed {state.crashes} times, and {self.settings.most_crashes} are allowed"
            )
        if state.cause == "challenge_escape":
            return (
                "the candidate accepts a part that is known to be bad, and the model in force says "
                f"{state.in_force_said} of it"
            )
        if state.cause == "challenge_overkill":
            return (
                f"the candidate diverts {state.good_diverted} parts that are known to be good, and "
                f"{self.settings.most_good_rejected} may be"
            )
        return f"undecided after {state.parts} parts; let more bad parts run, or allow more in the gates: {shown}"


def _is_escape(pair: Pair) -> bool:
    is_rejected = pair.reference.verdict is Verdict.REJECT and not _is_reference_wrong(pair)
    return is_rejected and _is_answered(pair) and not _is_diverted(pair)


def _is_known_escape(pair: Pair) -> bool:
    return pair.challenge is Challenge.BAD and _is_answered(pair) and not _is_diverted(pair)


def _is_reference_wrong(pair: Pair) -> bool:
    """Whether the model in force judged a part otherwise than people know it to be."""
    return pair.challenge is not None and pair.reference.is_diverted is not (pair.challenge is Challenge.BAD)


def _is_diverted(pair: Pair) -> bool:
    candidate = pair.candidate
    return isinstance(candidate, Judgement) and candidate.is_an_answer and candidate.is_diverted


def _is_answered(pair: Pair) -> bool:
    return isinstance(pair.candidate, Judgement) and pair.candidate.is_an_answer


def _label(pair: Pair) -> str:
    return pair.reference.label or "without a class"


def _with_label(labels: tuple[tuple[str, int, int], ...], pair: Pair) -> tuple[tuple[str, int, int], ...]:
    if pair.reference.verdict is not Verdict.REJECT or _is_reference_wrong(pair) or not _is_answered(pair):
        return labels
    label, missed = _label(pair), int(_is_escape(pair))
    if all(name != label for name, _, _ in labels):
        labels += ((label, 0, 0),)
    return tuple((name, of + (name == label), lost + missed * (name == label)) for name, of, lost in labels)
