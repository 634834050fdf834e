"""The machine's own clocks, and whether the kernel holds the wall clock for synchronised."""

import ctypes
import time
from collections.abc import Callable
from datetime import datetime, timezone

TIMEX_BYTES = 256
"""More than any `struct timex`; all zeros ask for nothing to be changed, which needs no rights."""

TIME_ERROR = 5
"""adjtimex: nobody has disciplined the clock lately (STA_UNSYNC, or an error of over 16 s has to be assumed)."""


def ask_kernel() -> int:
    """Return what adjtimex says: the clock's state (0 to 5), -1 where the kernel or the platform does not tell.

    Source:
        adjtimex(2); it is what `timedatectl` asks too. A microsecond, and it never waits.
    """
    adjtimex = getattr(_LIBRARY, "adjtimex", None)
    return -1 if adjtimex is None else int(adjtimex(ctypes.create_string_buffer(TIMEX_BYTES)))


_LIBRARY = ctypes.CDLL(None)


class SystemClock:
    """`ports.Clock` of this machine."""

    def __init__(self, ask: Callable[[], int] = ask_kernel) -> None:
        """Take the time from this machine; ask says the state of its synchronisation as adjtimex does."""
        self._ask = ask

    def monotonic_ns(self) -> int:
        """Return nanoseconds that never jump; only their differences mean anything."""
        return time.monotonic_ns()

    def utc(self) -> datetime:
        """Return the wall clock in UTC."""
        return datetime.now(timezone.utc)

    def is_synchronised(self) -> bool | None:
        """Return whether something keeps the wall clock right; None where nobody can tell."""
        state = self._ask()
        return None if state < 0 else state != TIME_ERROR
