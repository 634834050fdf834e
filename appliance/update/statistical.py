"""The judge of a gate: the statistics of challenger.py and watch.py, fed with what the line's ledger says."""

import json
from dataclasses import dataclass
from typing import Any

from appliance.bundle import strict_json
from appliance.bundle.gate_settings import Gates
from appliance.events import Reason, Verdict, moment_of
from appliance.update.challenger import Judgement as Said
from appliance.update.challenger import Pair, ShadowGate, ShadowState
from appliance.update.counts import P99
from appliance.update.criteria import Finding, GateState, Outcome
from appliance.update.line import Gate, Grounds, Judge, Judgement, SeenPart
from appliance.update.watch import LACKING, LinePart, Reference, Stage, WatchGate, WatchState

_SAYS: dict[Outcome, Any] = {Outcome.CONTINUE: "CONTINUE", Outcome.PASS: "PASS", Outcome.FAIL: "FAIL"}
US_PER_MS = 1000
ORIGIN = "the journal's gate"


def make_judge(gate: Gate, gates: Gates, grounds: Grounds, dumped: str = "") -> Judge:
    """Return the judge of a gate that has seen nothing, or what it has dumped.

    Args:
        gate: which one.
        gates: what the assignment asks for.
        grounds: what is known of the release, and of the one before.
        dumped: by such a judge; empty for none.

    Raises:
        ConfigError: the assignment asks for what no gate can judge by.
        StorageError: what was dumped is of another version.
    """
    settings = gates.settings()
    kept = json.loads(dumped) if dumped else {}
    times, state = P99.of(kept.get("times", {})), str(kept.get("state", "")).encode()
    if gate == "shadow":
        pairs = ShadowGate(settings, grounds.budget_ms)
        return _ShadowJudge(pairs, pairs.resume(state, ORIGIN) if state else ShadowState(), times)
    reference = Reference(grounds.diverted_before, grounds.parts_before)
    parts = WatchGate(settings, Stage(gate), reference, grounds.budget_ms)
    return _LineJudge(parts, parts.resume(state, ORIGIN) if state else WatchState(), times)


@dataclass(slots=True)
class _ShadowJudge:
    gate: ShadowGate
    state: ShadowState
    times: P99

    def take(self, part: SeenPart) -> None:
        """Take one more pair."""
        if part.challenger_verdict is None or part.challenger_reason is None:
            return
        latency_ms = _noted(self.times, part)
        in_force = Said(Verdict(part.verdict), Reason(part.reason), part.label, part.score)
        beside = Said(
            Verdict(part.challenger_verdict), Reason(part.challenger_reason), part.challenger_label,
            part.challenger_score, latency_ms,
        )  # fmt: skip
        self.state = self.gate.take(self.state, Pair(in_force, beside, part.known_as))

    def skip(self, parts: int) -> None:
        """Take so many parts more that the release was too busy for."""
        self.state = self.gate.skip(self.state, parts)

    def dump(self) -> str:
        """Return all that it knows."""
        return _dumped(self.state, self.times)

    def judge(self, hours: float, now_s: float) -> Judgement:
        """Say what the pairs show so far."""
        return _told(self.gate.finding(self.state), self.times)


@dataclass(slots=True)
class _LineJudge:
    gate: WatchGate
    state: WatchState
    times: P99

    def take(self, part: SeenPart) -> None:
        """Take one more part; a verdict that came too late was no answer, and a fault keeps its own reason."""
        latency_ms, at_s = _noted(self.times, part), moment_of(part.at).timestamp()
        verdict, reason = Verdict(part.verdict), Reason(part.reason)
        if part.is_late and verdict is not Verdict.FAULT:
            verdict, reason = Verdict.FAULT, Reason.DEADLINE
        self.state = self.gate.take(self.state, LinePart(verdict, reason, at_s, latency_ms, part.known_as))

    def skip(self, parts: int) -> None:
        """Take no notice: at the line every part is judged."""

    def dump(self) -> str:
        """Return all that it knows."""
        return _dumped(self.state, self.times)

    def judge(self, hours: float, now_s: float) -> Judgement:
        """Say what the parts show so far; silence never passes."""
        self.state = self.gate.wait(self.state, now_s)
        return _told(self.gate.finding(self.state), self.times)


def _noted(times: P99, part: SeenPart) -> float | None:
    """Count a part's time; returns it in milliseconds, None where the model was not asked."""
    if part.latency_us is None:
        return None
    times.take(part.latency_us)
    return part.latency_us / US_PER_MS


def _dumped(state: GateState, times: P99) -> str:
    return json.dumps({"state": strict_json.dump(state).decode("ascii"), "times": times.dump()})


def _told(finding: Finding, times: P99) -> Judgement:
    says: Any = "LACKING" if finding.cause == LACKING else _SAYS[finding.outcome]
    return Judgement(says, finding.reason, finding.parts, times.ms())
