"""Ctrl-C at moments when it would be taken for something else's failure."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker


@contextmanager
def held_back() -> Iterator[None]:
    """Let Ctrl-C wait for the length of a `with` block, and be raised at its end."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    is_main = threading.current_thread() is threading.main_thread()
    came: list[int] = []
    if is_main:  # a library's threads do not block what they hear, and this one would raise it
        own = signal.signal(signal.SIGINT, lambda number, _frame: came.append(number))
    try:
        yield
    finally:
        if is_main:
            signal.signal(signal.SIGINT, own or signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if came:
            signal.raise_signal(signal.SIGINT)


@contextmanager
def starting_others() -> Iterator[None]:
    """Start processes that never hear Ctrl-C; this one hears it when all are there, and ends them."""
    resource_tracker.ensure_running()  # else it would be started with the first process, and allow Ctrl-C again
    with held_back():  # inherited
        yield
