"""Timed runs of an engine: how long each takes, and whether the process grows meanwhile."""

import math
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from appliance.events import Pixels

LARGEST_GROWTH_BYTES = 2 * 2**20
"""70 times what engines at rest in their memory were seen to move by (docs/decisions/0019)."""

SETTLING = 0.25
"""Part of the runs in which memory may still be taken."""

MEMORY = Path("/proc/self/statm")
_RESIDENT = 1


@dataclass(frozen=True, slots=True)
class Timing:
    """What the timed runs showed.

    attempts: rounds of runs until one was good; the figures are the last one's.
    p50_ms .. max_ms: milliseconds of one run.
    memory_growth_bytes: resident memory of this process after the last run over that after the first quarter of them;
        None where the system does not tell.
    """

    runs: int
    attempts: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    memory_growth_bytes: int | None

    @property
    def is_flat(self) -> bool:
        """Whether the memory stayed as it was."""
        return self.memory_growth_bytes is None or self.memory_growth_bytes <= LARGEST_GROWTH_BYTES


def time_runs(
    detect: Callable[[Pixels], object],
    pictures: Iterable[Pixels],
    *,
    runs: int,
    budget_ms: float,
    attempt: int = 1,
    memory: Path = MEMORY,
) -> Timing:
    """Run an engine on one picture after the other, until the 99th percentile cannot be within the budget any more.

    Args:
        detect: what is timed.
        pictures: at least `runs`; making them is not timed.
        runs: how often, at least once.
        budget_ms: longest acceptable 99th percentile.
        attempt: which round this is.
        memory: where the kernel tells a process's memory, in pages.
    """
    spent_ms: list[float] = []
    resident: list[int] = []
    too_long, tolerated = 0, runs - math.ceil(runs * 0.99)
    for pixels in islice(pictures, runs):
        started_ns = time.monotonic_ns()
        detect(pixels)
        spent_ms.append((time.monotonic_ns() - started_ns) / 1e6)
        if memory.exists():
            resident.append(_resident_bytes(memory))
        too_long += not spent_ms[-1] <= budget_ms
        if too_long > tolerated:
            break
    ordered = sorted(spent_ms)
    return Timing(
        runs=len(ordered),
        attempts=attempt,
        p50_ms=nearest_rank(ordered, 50),
        p95_ms=nearest_rank(ordered, 95),
        p99_ms=nearest_rank(ordered, 99),
        max_ms=ordered[-1],
        memory_growth_bytes=resident[-1] - resident[int(len(resident) * SETTLING)] if resident else None,
    )


def nearest_rank(ordered: Sequence[float], rank: int) -> float:
    """Return a percentile that was measured: at least `rank` in 100 values are no larger.

    Nothing is interpolated, so that two stalls among 200 leave the 99th percentile where it was.

    Args:
        ordered: values in rising order, at least one.
        rank: 0 to 100.
    """
    return ordered[max(0, math.ceil(len(ordered) * rank / 100) - 1)]


def _resident_bytes(memory: Path) -> int:
    return int(memory.read_text().split()[_RESIDENT]) * os.sysconf("SC_PAGE_SIZE")
