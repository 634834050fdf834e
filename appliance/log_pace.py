"""A log that one fault cannot flood: the same message is written a few times a minute, then counted."""

import logging
import time
from collections.abc import Callable

WRITTEN = 10
"""So many times per PERIOD_S one message is written; its parameters may differ."""

PERIOD_S = 60.0
MOST_MESSAGES = 1000


class LogPace(logging.Filter):
    """A filter for a handler; the first message of the next period tells how many were left out."""

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing written.

        Args:
            monotonic_s: a clock in seconds that never jumps.
        """
        super().__init__()
        self._monotonic_s = monotonic_s
        self._counts: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a message is to be written."""
        key, now_s = (record.name, str(record.msg)), self._monotonic_s()
        began_s, count = self._counts.pop(key, (now_s, 0))
        if now_s - began_s >= PERIOD_S:
            if count > WRITTEN:
                record.msg = f"{record.msg} (and {count - WRITTEN} more like it that were not written)"
            began_s, count = now_s, 0
        self._counts[key] = began_s, count + 1
        if len(self._counts) > MOST_MESSAGES:
            del self._counts[next(iter(self._counts))]
        return count < WRITTEN
