"""The wish to end, as a signal's handler may make it."""

import math
import queue
import threading
import time

LOOK_EVERY_S = 0.5
"""A handler that nothing wakes runs so late at most; see StopWish."""


class StopWish(threading.Event):
    """An Event whose set() may be called by a signal's handler, once and for all.

    A handler runs within whatever its thread is doing. If that is the Event's own wait(), its lock may be held just
    then, by the very thread that set() would wait for: for ever. A SimpleQueue's put() is made for that.

    Handlers run in the main thread. A signal that another thread took, or that came right before the main thread began
    to wait, does not end that wait: it is looked up from time to time.

    Source:
        Python's documentation of queue.SimpleQueue.put: reentrant; and of signal, "Signals and threads".
    """

    def __init__(self) -> None:
        """Begin without the wish."""
        super().__init__()
        self._wish = queue.SimpleQueue[None]()
        self._is_made = False

    def set(self) -> None:
        """Make the wish; from any thread, and within anything."""
        self._is_made = True
        self._wish.put(None)

    def is_set(self) -> bool:
        """Return whether it was made."""
        return self._is_made

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the wish; returns whether it was made.

        Args:
            timeout: seconds; None waits as long as it takes.
        """
        until = math.inf if timeout is None else time.monotonic() + timeout
        while not self._is_made:
            try:
                self._wish.get(timeout=max(0.0, min(LOOK_EVERY_S, until - time.monotonic())))
            except queue.Empty:
                if time.monotonic() >= until:
                    break
            else:
                self._wish.put(None)  # for the next one who waits
        return self._is_made
