"""The machine's own clocks."""

import time
from datetime import datetime

from appliance.events import utc_now


class SystemClock:
    """`ports.Clock` of this machine."""

    def monotonic_ns(self) -> int:
        """Return nanoseconds that never jump; only their differences mean anything."""
        return time.monotonic_ns()

    def utc(self) -> datetime:
        """Return the wall clock in UTC."""
        return utc_now()
