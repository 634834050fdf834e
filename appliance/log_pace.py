"""A log that one fault cannot flood: the same message is written a few times a minute, then counted."""

import logging
import re
import threading
import time
from collections.abc import Callable

WRITTEN = 10
"""So many times per PERIOD_S one message is written; its parameters may differ."""

PERIOD_S = 60.0
MOST_MESSAGES = 1000
LAST = f"(more like it are counted and not written until {PERIOD_S:.0f} s have passed)"
_PLACEHOLDER = re.compile(r"%[-0-9.]*[a-z]|\W")


class LogPace(logging.Filter):
    """A filter for a handler, from any thread; the first message of the next period tells how many were left out."""

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing written.

        Args:
            monotonic_s: a clock in seconds that never jumps.
        """
        super().__init__()
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a message is to be written."""
        template = str(record.msg)
        words = template if _PLACEHOLDER.sub("", template) else record.getMessage()
        count, left_out = self._count((record.name, record.levelno, words))
        if left_out:
            record.msg = f"{template} (and {left_out} more like it that were not written)"
        if count == WRITTEN:
            record.msg = f"{template} {LAST}"
        return count <= WRITTEN

    def _count(self, key: tuple[str, int, str]) -> tuple[int, int]:
        """Return the how-manyth of its period this is, and how many of the last period were left out if it is new."""
        now_s = self._monotonic_s()
        with self._lock:
            began_s, count = self._counts.pop(key, (now_s, 0))
            left_out = 0
            if now_s - began_s >= PERIOD_S:
                began_s, count, left_out = now_s, 0, max(0, count - WRITTEN)
            self._counts[key] = began_s, count + 1
            if len(self._counts) > MOST_MESSAGES:
                del self._counts[next(iter(self._counts))]
            return count + 1, left_out
