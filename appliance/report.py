"""What a run was worth: verdicts against the truth, latencies by stage, losses."""

import threading
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from appliance.events import Verdict

PERCENTILES = (50, 95, 99)
MOST_TIMES = 100_000
"""So many last parts the latencies are of, so that a run without end needs no memory without end."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One part's end; is_defective is None where nobody knows."""

    verdict: Verdict
    reason: str
    is_defective: bool | None
    stage_ms: Mapping[str, float]
    latency_ms: float


@dataclass(slots=True)
class Report:
    """Outcomes counted as they come; every count is of all parts, the latencies are of the last MOST_TIMES."""

    triggers: int = 0
    losses: dict[str, int] = field(default_factory=dict)
    _counts: Counter[tuple[Verdict, str, bool | None]] = field(default_factory=Counter)
    _times_ms: dict[str, deque[float]] = field(default_factory=lambda: defaultdict(lambda: deque(maxlen=MOST_TIMES)))

    def add(self, outcome: Outcome) -> None:
        """Count one part."""
        self._counts[outcome.verdict, outcome.reason, outcome.is_defective] += 1
        for stage, spent_ms in outcome.stage_ms.items():
            self.add_time(stage, spent_ms)
        self.add_time("decided", outcome.latency_ms)

    def add_time(self, stage: str, spent_ms: float) -> None:
        """Note how long one part took; "decided", "frame_to_action" and "round_trip" are whole ways.

        decided: trigger received -> verdict; frame_to_action: picture taken -> action received by the line;
        round_trip: trigger sent by the line -> action received.
        """
        self._times_ms[stage].append(spent_ms)

    @property
    def parts(self) -> int:
        """How many parts were added."""
        return self._counts.total()

    def verdicts(self) -> dict[str, int]:
        """Return verdict -> count, every kind named."""
        table = dict.fromkeys((verdict.value for verdict in Verdict), 0)
        for (verdict, _, _), count in self._counts.items():
            table[verdict.value] += count
        return table

    def confusion(self) -> dict[str, dict[str, int]] | None:
        """Return truth ("good", "defective") -> verdict -> count; None if no part's truth is known."""
        table = {truth: {verdict.value: 0 for verdict in Verdict} for truth in ("good", "defective")}
        for (verdict, _, is_defective), count in self._counts.items():
            if is_defective is not None:
                table["defective" if is_defective else "good"][verdict.value] += count
        return table if any(any(row.values()) for row in table.values()) else None

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
        """Return stage -> {"p50", "p95", "p99", "max"} in milliseconds, of the last MOST_TIMES parts."""
        return {stage: percentiles(values) for stage, values in self._times_ms.items()}

    def document(self) -> dict[str, Any]:
        """Return everything as one JSON-ready document; latency_of_last says how many parts the latencies are of."""
        reasons: Counter[str] = Counter()
        for (_, reason, _), count in self._counts.items():
            reasons[reason] += count
        return {
            "schema": "vi.report/1",
            "triggers": self.triggers,
            "verdicts": self.verdicts(),
            "reasons": dict(reasons),
            "confusion": self.confusion(),
            "quality": self.quality(),
            "latency_ms": self.latencies_ms(),
            "latency_of_last": min(self.parts, MOST_TIMES),
            "losses": {"without_verdict": self.triggers - self.parts, **self.losses},
        }


class RecentTimes:
    """The last times that something took, from any thread; its memory is all there from the start."""

    def __init__(self, remembered: int = 10_000) -> None:
        """Remember so many."""
        self._lock = threading.Lock()
        self._ms = np.full(remembered, 0.0)
        self._added = 0

    def add(self, spent_us: int) -> None:
        """Note one time, in microseconds."""
        with self._lock:
            self._ms[self._added % len(self._ms)] = spent_us / 1000
            self._added += 1

    def percentiles(self) -> dict[str, float]:
        """Return p50, p95, p99 and max in milliseconds; empty before the first."""
        with self._lock:
            spent = self._ms[: self._added].copy()
        return percentiles(spent) if len(spent) else {}


def percentiles(values: Iterable[float]) -> dict[str, float]:
    """Return p50, p95, p99 and the maximum of values, rounded to a thousandth."""
    ordered = np.asarray(list(values), dtype=np.float64)
    result = {f"p{rank}": round(float(np.percentile(ordered, rank)), 3) for rank in PERCENTILES}
    return {**result, "max": round(float(ordered.max()), 3)}
