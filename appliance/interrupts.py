"""Signals at moments when they would be taken for something else's failure."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def deferred(*numbers: signal.Signals) -> Iterator[None]:
    """Let signals wait for the length of a `with` block, and be raised at its end.

    Args:
        numbers: of the signals; processes that are started meanwhile never hear them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    came: list[int] = []
    own = {}
    if (
        threading.current_thread() is threading.main_thread()
    ):  # a library's thread hears it, and this one would raise it
        own = {number: signal.signal(number, lambda heard, _frame: came.append(heard)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in own.items():
            signal.signal(number, handler or signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if came:
            signal.raise_signal(came[0])
