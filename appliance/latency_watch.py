"""Proves the latency again on live parts: it takes the times that are measured anyway and delays no verdict."""

import threading
from collections import deque
from dataclasses import dataclass

from appliance.bundle.endurance import nearest_rank

LIVE_RUNS = 200
"""So many parts, the same number of runs that a proof takes: two stalls among them are tolerated, as there."""


@dataclass(frozen=True, slots=True)
class LiveLatency:
    """What live parts of a product took in the model: milliseconds a part, and the budget that they must keep."""

    product: str
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

    One thread adds, another one asks; a lock keeps them apart and is held for microseconds.
    """

    def __init__(self, runs: int = LIVE_RUNS) -> None:
        """Collect nothing yet.

        Args:
            runs: parts to judge by.
        """
        self.runs = runs
        self._lock = threading.Lock()
        self._is_wanted = False
        self._judged: frozenset[str] = frozenset()
        self._product, self._budget_ms = "", 0.0
        self._times_ms = deque[float](maxlen=0)

    def begin(self) -> None:
        """Forget what was collected and judged, and collect the next parts; after a changeover the next ones anew."""
        with self._lock:
            self._judged, self._is_wanted = frozenset(), True
            self._collect()

    def judged(self, result: LiveLatency) -> None:
        """Collect no more for the product of a result; another one is still to be judged."""
        with self._lock:
            self._judged |= {result.product}
            if result.product == self._product:
                self._collect()

    def end(self) -> None:
        """Collect no more."""
        with self._lock:
            self._is_wanted = False
            self._collect()

    def add(self, product: str, budget_ms: float, spent_ms: float) -> None:
        """Take one part's time in the model, late parts too; once there are enough, the oldest goes.

        Args:
            product: that the part is one of.
            budget_ms: that all of the part's pictures together may take in the model, the same for each of its parts.
            spent_ms: what they took.
        """
        with self._lock:
            if product != self._product:
                self._product, self._budget_ms = product, budget_ms
                self._collect()
            self._times_ms.append(spent_ms)

    def _collect(self) -> None:
        is_open = self._is_wanted and self._product not in self._judged
        self._times_ms = deque(maxlen=self.runs if is_open else 0)

    @property
    def wanted(self) -> int:
        """How many parts the product in force is to be judged by; 0 if it is not to be."""
        return self._times_ms.maxlen or 0

    @property
    def collected(self) -> int:
        """How many parts were collected."""
        return len(self._times_ms)

    def result(self) -> LiveLatency | None:
        """Return what the collected parts took; None while there are too few."""
        with self._lock:
            product, budget_ms, ordered = self._product, self._budget_ms, list(self._times_ms)
        if len(ordered) < self.runs:
            return None
        ordered.sort()
        return LiveLatency(product, len(ordered), nearest_rank(ordered, 50), nearest_rank(ordered, 99), budget_ms)
