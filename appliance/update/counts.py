"""A percentile of many times, counted by whole milliseconds."""

from collections import Counter
from collections.abc import Mapping

PERCENTILE = 0.99
US_PER_MS = 1000


class P99:
    """The 99th percentile of microseconds, rounded up to milliseconds."""

    def __init__(self) -> None:
        """Begin with none."""
        self._parts = 0
        self._times_ms = Counter[int]()

    def dump(self) -> dict[str, int]:
        """Return how often each time was taken; JSON's keys are text."""
        return {str(ms): count for ms, count in self._times_ms.items()}

    @classmethod
    def of(cls, dumped: Mapping[str, int]) -> "P99":
        """Return what was dumped."""
        times = cls()
        times._times_ms.update({int(ms): count for ms, count in dumped.items()})
        times._parts = times._times_ms.total()
        return times

    def take(self, latency_us: int) -> None:
        """Take one more."""
        self._parts += 1
        self._times_ms[-(-latency_us // US_PER_MS)] += 1

    def ms(self) -> float | None:
        """Return it; None before the first."""
        seen = 0
        for ms in sorted(self._times_ms):
            seen += self._times_ms[ms]
            if seen >= PERCENTILE * self._parts:
                return float(ms)
        return None
