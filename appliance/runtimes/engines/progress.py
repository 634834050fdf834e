"""What is told while an engine is built, or proved, which on a small board takes minutes."""

import logging
import time

from appliance.health import LongStart
from appliance.time_left import TimeLeft

log = logging.getLogger(__name__)

STEP_PERCENT = 10
QUIET_S = 5.0
"""At least between two lines, and before the first: what is over by then need not be told."""

LINE_EVERY_S = 60.0
"""At most between two lines, as long as it goes on."""


class BuildProgress:
    """Tells how far work is and how long it still takes: a line for each tenth, and systemd that this start goes on."""

    def __init__(self, what: str = "engine") -> None:
        """Begin at nothing.

        Args:
            what: is built or done.
        """
        self._what = what
        self._left = TimeLeft()
        self._goes_on = LongStart()
        self._told_percent, self._told_s = 0, 0.0

    def __call__(self, progress: float) -> None:
        """Take the share that is done, 0..1; called often."""
        self._goes_on()
        if line := self.line(progress, time.monotonic()):
            log.info("%s", line)

    def line(self, progress: float, now_s: float) -> str:
        """Return what there is to tell after a sign; empty if there is nothing new.

        Args:
            progress: share that is done, 0..1.
            now_s: any clock that only goes forward, seconds.
        """
        before = self._left.percent
        self._left.take(progress, now_s)
        percent = self._left.percent
        if percent is None:
            return ""
        if before is None or percent < before:  # it begins, or another piece of work does
            self._told_percent, self._told_s = 0, now_s
        quiet_s = now_s - self._told_s
        is_new = percent >= self._told_percent + STEP_PERCENT and quiet_s >= QUIET_S
        if not (is_new or quiet_s >= LINE_EVERY_S):
            return ""
        self._told_percent, self._told_s = percent, now_s
        return f"{self._what}: {self._left.in_words()}"
