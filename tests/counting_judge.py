"""A judge of gates that counts: so many parts and hours, and not one fault of the release; for tests of updates."""

import json

from appliance.bundle.gate_settings import Gates
from appliance.update.counts import P99
from appliance.update.line import Gate, Grounds, Judgement, SeenPart

RELEASES_FAULTS = ("runtime", "deadline")
"""Reasons of a FAULT for which the model answers; a lost camera is not its fault."""


class CountingJudge:
    """Passes after so many parts and hours; the first fault or late answer of the release fails it.

    It says nothing about how well the release judges, so a few parts are enough for it.
    """

    def __init__(self, gate: Gate, gates: Gates, grounds: Grounds, dumped: str = "") -> None:
        """Take what the assignment demands of the gate."""
        self._gate = gate
        self._wanted = {"shadow": gates.shadow_parts, "canary": gates.canary_parts, "watch": gates.watch_parts}[gate]
        self._hours = gates.watch_h if gate == "watch" else 0.0
        self._parts = 0
        self._fault = ""
        self._times = P99()
        if dumped:
            kept = json.loads(dumped)
            self._parts, self._fault, self._times = kept["parts"], kept["fault"], P99.of(kept["times"])

    def dump(self) -> str:
        """Return all that it knows."""
        return json.dumps({"parts": self._parts, "fault": self._fault, "times": self._times.dump()})

    def take(self, part: SeenPart) -> None:
        """Take one more part."""
        self._parts += 1
        self._times.take(part.latency_us)
        verdict = part.challenger_verdict if self._gate == "shadow" else part.verdict
        reason = (part.challenger_reason if self._gate == "shadow" else part.reason) or ""
        if self._fault:
            return
        if verdict == "FAULT" and reason in RELEASES_FAULTS:
            self._fault = f"record {part.seq}: it could not judge ({reason})"
        elif part.is_late and self._gate != "shadow":
            self._fault = f"record {part.seq}: it answered too late"

    def skip(self, parts: int) -> None:
        """Take no notice."""

    def judge(self, hours: float, now_s: float) -> Judgement:
        """Judge by all parts so far."""
        p99_ms = self._times.ms()
        if self._fault:
            return Judgement("FAIL", self._fault, self._parts, p99_ms)
        if self._parts < self._wanted:
            return Judgement("CONTINUE", f"{self._parts} of {self._wanted} parts", self._parts, p99_ms)
        if hours < self._hours:
            return Judgement("CONTINUE", f"{hours:.1f} of {self._hours:g} h", self._parts, p99_ms)
        return Judgement("PASS", f"{self._parts} parts without a fault", self._parts, p99_ms)
