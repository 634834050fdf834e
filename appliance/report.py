"""What a run was worth: verdicts against the truth, latencies by stage, losses."""

import threading
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from appliance.events import Verdict

PERCENTILES = (50, 95, 99)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One part's end; is_defective is None where nobody knows, round_trip_ms is trigger sent -> action received."""

    part_id: str
    verdict: Verdict
    reason: str
    is_defective: bool | None
    stage_ms: Mapping[str, float]
    latency_ms: float
    round_trip_ms: float | None = None


@dataclass(slots=True)
class Report:
    """Outcomes as they come, counted and summed up at the end."""

    triggers: int = 0
    outcomes: list[Outcome] = field(default_factory=list)
    losses: dict[str, int] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        """Count one part."""
        self.outcomes.append(outcome)

    def verdicts(self) -> dict[str, int]:
        """Return verdict -> count, every kind named."""
        counts = Counter(outcome.verdict.value for outcome in self.outcomes)
        return {verdict.value: counts[verdict.value] for verdict in Verdict}

    def confusion(self) -> dict[str, dict[str, int]] | None:
        """Return truth ("good", "defective") -> verdict -> count; None if no part's truth is known."""
        known = [outcome for outcome in self.outcomes if outcome.is_defective is not None]
        if not known:
            return None
        table = {truth: {verdict.value: 0 for verdict in Verdict} for truth in ("good", "defective")}
        for outcome in known:
            table["defective" if outcome.is_defective else "good"][outcome.verdict.value] += 1
        return table

    def quality(self) -> dict[str, float | int | None] | None:
        """Return escapes (defective, accepted) and overkill (good, rejected or up for review): counts and ratios."""
        table = self.confusion()
        if table is None:
            return None
        good, defective = sum(table["good"].values()), sum(table["defective"].values())
        escapes = table["defective"]["ACCEPT"]
        overkill = table["good"]["REJECT"] + table["good"]["REVIEW"]
        return {
            "good": good,
            "defective": defective,
            "escapes": escapes,
            "escape_ratio": escapes / defective if defective else None,
            "overkill": overkill,
            "overkill_ratio": overkill / good if good else None,
        }

    def latencies_ms(self) -> dict[str, dict[str, float]]:
        """Return stage -> {"p50", "p95", "p99", "max"} in milliseconds; "decided" and "round_trip" are end to end."""
        samples: dict[str, list[float]] = defaultdict(list)
        for outcome in self.outcomes:
            for stage, spent_ms in outcome.stage_ms.items():
                samples[stage].append(spent_ms)
            samples["decided"].append(outcome.latency_ms)
            if outcome.round_trip_ms is not None:
                samples["round_trip"].append(outcome.round_trip_ms)
        return {stage: percentiles(values) for stage, values in samples.items()}

    def document(self) -> dict[str, Any]:
        """Return everything as one JSON-ready document."""
        return {
            "schema": "vi.report/1",
            "triggers": self.triggers,
            "verdicts": self.verdicts(),
            "reasons": dict(Counter(outcome.reason for outcome in self.outcomes)),
            "confusion": self.confusion(),
            "quality": self.quality(),
            "latency_ms": self.latencies_ms(),
            "losses": {"without_verdict": self.triggers - len(self.outcomes), **self.losses},
        }


class RecentTimes:
    """The last times that something took, from any thread."""

    def __init__(self, remembered: int = 10_000) -> None:
        """Remember so many."""
        self._lock = threading.Lock()
        self._ms: deque[float] = deque(maxlen=remembered)

    def add(self, spent_us: int) -> None:
        """Note one time, in microseconds."""
        with self._lock:
            self._ms.append(spent_us / 1000)

    def percentiles(self) -> dict[str, float]:
        """Return p50, p95, p99 and max in milliseconds; empty before the first."""
        with self._lock:
            spent = list(self._ms)
        return percentiles(spent) if spent else {}


def percentiles(values: Iterable[float]) -> dict[str, float]:
    """Return p50, p95, p99 and the maximum of values, rounded to a thousandth."""
    ordered = np.asarray(list(values), dtype=np.float64)
    result = {f"p{rank}": round(float(np.percentile(ordered, rank)), 3) for rank in PERCENTILES}
    return {**result, "max": round(float(ordered.max()), 3)}
