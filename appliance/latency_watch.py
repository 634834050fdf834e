"""Proves the latency again on live parts: it takes the times that are measured anyway and delays no verdict."""

import threading
from collections import deque

from appliance.bundle.endurance import nearest_rank
from appliance.live_latency import LatencyTerms, LiveLatency

LIVE_RUNS = 200
"""So many parts, the same number of runs that a proof takes: two stalls among them are tolerated, as there."""


class LatencyWatch:
    """Collects what the model took for the next parts, once asked to; each product and release is judged for itself.

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
        self.turns = 0
        self._judged: frozenset[LatencyTerms] = frozenset()
        self._terms = LatencyTerms("", "", 0.0)
        self._times_ms = deque[float](maxlen=0)

    def begin(self) -> None:
        """Forget what was collected and judged, and collect the next parts; after a changeover or a release anew."""
        with self._lock:
            self._judged, self._is_wanted = frozenset(), True
            self._collect()

    def judged(self, result: LiveLatency) -> None:
        """Collect no more of what a result is of; another product or release is still to be judged."""
        with self._lock:
            self._judged |= {result.terms}
            if result.terms == self._terms:
                self._collect()

    def turn(self) -> None:
        """Forget the parts that were collected, since something else judges from now on; what was judged stays so."""
        with self._lock:
            self.turns += 1
            self._collect()

    def end(self) -> None:
        """Collect no more."""
        with self._lock:
            self._is_wanted = False
            self._collect()

    def add(self, terms: LatencyTerms, spent_ms: float) -> None:
        """Take one part's time in the model, late parts too; once there are enough, the oldest goes.

        Args:
            terms: what the part is held to.
            spent_ms: what all of its pictures together took in the model.
        """
        with self._lock:
            if terms != self._terms:
                self._terms = terms
                self._collect()
            self._times_ms.append(spent_ms)

    def _collect(self) -> None:
        is_open = self._is_wanted and self._terms not in self._judged
        self._times_ms = deque(maxlen=self.runs if is_open else 0)

    @property
    def wanted(self) -> int:
        """How many parts whatever judged the last one is to be judged by; 0 if it is not to be."""
        return self._times_ms.maxlen or 0

    @property
    def collected(self) -> int:
        """How many parts were collected."""
        return len(self._times_ms)

    def result(self) -> LiveLatency | None:
        """Return what the collected parts took; None while there are too few."""
        with self._lock:
            terms, ordered = self._terms, list(self._times_ms)
        if len(ordered) < self.runs:
            return None
        ordered.sort()
        p50_ms, p99_ms = nearest_rank(ordered, 50), nearest_rank(ordered, 99)
        return LiveLatency(terms.product, terms.certificate, len(ordered), p50_ms, p99_ms, terms.budget_ms)
