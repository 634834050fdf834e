"""What judging takes: time and memory."""

from __future__ import annotations

import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Spent:
    """What was spent on each of many pictures; nan without any.

    Args:
        detect_ms_p50: median time from picture to detections in milliseconds.
        detect_ms_p99: the time that 99 in 100 pictures keep within.
        pictures_per_s: how many are judged in a second, one after the other.
    """

    detect_ms_p50: float
    detect_ms_p99: float
    pictures_per_s: float

    @classmethod
    def of(cls, times_ms: Sequence[float]) -> Spent:
        """Sum up one time per picture, in milliseconds."""
        if not times_ms:
            return cls(float("nan"), float("nan"), float("nan"))
        p50, p99 = np.percentile(times_ms, [50, 99])
        return cls(float(p50), float(p99), 1e3 / float(np.mean(times_ms)))

    def __str__(self) -> str:
        """Return all in words."""
        return (
            f"{self.detect_ms_p50:.1f} ms per picture (median), {self.detect_ms_p99:.1f} ms (99 in 100), "
            f"{self.pictures_per_s:.0f} pictures/s"
        )


def peak_memory_mib() -> float:
    """Return the most memory that this process has had resident since it began, all libraries included, in MiB.

    Source:
        getrusage(2): ru_maxrss is in kilobytes on Linux, in bytes on macOS.
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2 ** (20 if sys.platform == "darwin" else 10)
