"""Proves the latency again on live parts: it takes the times that are measured anyway and delays no verdict."""

from collections import deque
from dataclasses import dataclass

import numpy as np

LIVE_RUNS = 200
"""So many parts, the same number of runs that a proof takes; a hundred would rest their p99 on the slowest alone."""


@dataclass(frozen=True, slots=True)
class LiveLatency:
    """What live parts took in the model: milliseconds a part, and the budget that they must keep."""

    runs: int
    p50_ms: float
    p99_ms: float
    budget_ms: float

    @property
    def is_within(self) -> bool:
        """Whether 99 in 100 parts were fast enough."""
        return self.p99_ms <= self.budget_ms


class LatencyWatch:
    """Collects what the model took for the next parts, once asked to, each product's against its own budget.

    One thread adds, another one asks; what it asks for is replaced as a whole, so nobody waits.
    """

    def __init__(self, runs: int = LIVE_RUNS) -> None:
        """Collect nothing yet.

        Args:
            runs: parts to judge by.
        """
        self.runs = runs
        self._is_wanted = False
        self._judged: frozenset[float] = frozenset()
        self._collecting: tuple[float, deque[float]] = (0.0, deque(maxlen=0))

    def begin(self) -> None:
        """Forget what was collected and judged, and collect the next parts; after a changeover the next ones anew."""
        self._judged, self._is_wanted = frozenset(), True
        self._collect(self._collecting[0])

    def judged(self) -> None:
        """Collect no more for the product in force; another one, with another budget, is still to be judged."""
        budget_ms, _ = self._collecting
        self._judged |= {budget_ms}
        self._collect(budget_ms)

    def end(self) -> None:
        """Collect no more."""
        self._is_wanted = False
        self._collect(self._collecting[0])

    def add(self, budget_ms: float, spent_ms: float) -> None:
        """Take one part's time in the model, late parts too; once there are enough, the oldest goes.

        Args:
            budget_ms: that all of the part's pictures together may take in the model.
            spent_ms: what they took.
        """
        if budget_ms != self._collecting[0]:
            self._collect(budget_ms)
        self._collecting[1].append(spent_ms)

    def _collect(self, budget_ms: float) -> None:
        is_open = self._is_wanted and budget_ms not in self._judged
        self._collecting = budget_ms, deque(maxlen=self.runs if is_open else 0)

    @property
    def wanted(self) -> int:
        """How many parts the product in force is to be judged by; 0 if it is not to be."""
        return self._collecting[1].maxlen or 0

    @property
    def collected(self) -> int:
        """How many parts were collected."""
        return len(self._collecting[1])

    def result(self) -> LiveLatency | None:
        """Return what the collected parts took; None while there are too few."""
        budget_ms, times = self._collecting
        times_ms = list(times)
        if len(times_ms) < self.runs:
            return None
        p50_ms, p99_ms = np.percentile(times_ms, (50, 99))
        return LiveLatency(len(times_ms), round(float(p50_ms), 3), round(float(p99_ms), 3), budget_ms)
