"""Timed runs of an engine: how long each takes with all its copies at work, and whether the process grows meanwhile."""

import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from appliance.bundle.at_once import at_once
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
    beside: Sequence[Callable[[Pixels], object]] = (),
    memory: Path = MEMORY,
) -> Timing:
    """Run an engine on one picture after the other, until the 99th percentile cannot be within the budget any more.

    Each copy takes the next picture as soon as it is done with its last one, so that each run has all the others
    beside it, as the line's parts have when they come as fast as they can be inspected.

    Args:
        detect: what is timed.
        pictures: as many as there are runs; making them is not timed.
        runs: how often at least, all copies together, at least once; each copy runs as often as the others.
        budget_ms: longest acceptable 99th percentile.
        attempt: which round this is.
        beside: the other copies, timed like the first.
        memory: where the kernel tells a process's memory, in pages.
    """
    copies = (detect, *beside)
    share = math.ceil(runs / len(copies))
    runs = share * len(copies)
    seen = _Runs(iter(pictures), budget_ms, runs - math.ceil(runs * 0.99), memory)
    at_once([partial(seen.take_part, copy, share) for copy in copies])
    ordered, resident = sorted(seen.spent_ms), seen.resident
    return Timing(
        runs=len(ordered),
        attempts=attempt,
        p50_ms=nearest_rank(ordered, 50),
        p95_ms=nearest_rank(ordered, 95),
        p99_ms=nearest_rank(ordered, 99),
        max_ms=ordered[-1],
        memory_growth_bytes=resident[-1] - resident[int(len(resident) * SETTLING)] if resident else None,
    )


@dataclass(slots=True)
class _Runs:
    """What the copies share: the pictures that are left, and what was seen so far."""

    pictures: Iterator[Pixels]
    budget_ms: float
    tolerated: int
    memory: Path
    spent_ms: list[float] = field(default_factory=list)
    resident: list[int] = field(default_factory=list)
    _too_long: int = 0
    _is_over: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take_part(self, detect: Callable[[Pixels], object], share: int) -> None:
        """Run one copy so often, or until there is nothing left to hope for."""
        try:
            for _ in range(share):
                with self._lock:
                    pixels = None if self._is_over else next(self.pictures, None)
                if pixels is None:
                    return
                started_ns = time.monotonic_ns()
                detect(pixels)
                self._note((time.monotonic_ns() - started_ns) / 1e6)
        except BaseException:
            self._is_over = True
            raise

    def _note(self, spent_ms: float) -> None:
        with self._lock:
            self.spent_ms.append(spent_ms)
            if self.memory.exists():
                self.resident.append(_resident_bytes(self.memory))
            self._too_long += not spent_ms <= self.budget_ms
            self._is_over = self._is_over or self._too_long > self.tolerated


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
