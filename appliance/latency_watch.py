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
    """Collects what the model took for the next parts, once asked to.

    One thread adds, another one asks; a deque takes both without a lock, so nobody waits.
    """

    def __init__(self, budget_ms: float, runs: int = LIVE_RUNS) -> None:
        """Collect nothing yet.

        Args:
            budget_ms: that all of a part's pictures together may take in the model.
            runs: parts to judge by.
        """
        self.budget_ms = budget_ms
        self.runs = runs
        self._times_ms: deque[float] = deque(maxlen=0)

    def begin(self) -> None:
        """Forget what was collected and collect the next parts."""
        self._times_ms = deque(maxlen=self.runs)

    def end(self) -> None:
        """Collect no more."""
        self._times_ms = deque(maxlen=0)

    def add(self, spent_ms: float) -> None:
        """Take one part's time in the model, late parts too; once there are enough, the oldest goes."""
        self._times_ms.append(spent_ms)

    @property
    def collected(self) -> int:
        """How many parts were collected."""
        return len(self._times_ms)

    def result(self) -> LiveLatency | None:
        """Return what the collected parts took; None while there are too few."""
        times_ms = list(self._times_ms)
        if len(times_ms) < self.runs:
            return None
        p50_ms, p99_ms = np.percentile(times_ms, (50, 99))
        return LiveLatency(len(times_ms), round(float(p50_ms), 3), round(float(p99_ms), 3), self.budget_ms)
