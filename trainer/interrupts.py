"""Processes that are started and leave Ctrl-C, which a terminal sends to all, to the first one."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

from appliance.interrupts import deferred


@contextmanager
def starting_others() -> Iterator[None]:
    """Start processes that never hear Ctrl-C; this one hears it when all are there, and ends them."""
    resource_tracker.ensure_running()  # else it would be started with the first process, and allow Ctrl-C again
    with deferred(signal.SIGINT):  # inherited
        yield
