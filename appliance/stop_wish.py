"""The wish to end, as a signal's handler may make it."""

import queue
import threading


class StopWish(threading.Event):
    """An Event whose set() may be called by a signal's handler, once and for all.

    A handler runs within whatever its thread is doing. If that is the Event's own wait(), its lock may be held just
    then, by the very thread that set() would wait for: for ever. A SimpleQueue's put() is made for that.

    Source:
        Python's documentation of queue.SimpleQueue.put: reentrant.
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
        if self._is_made:
            return True
        try:
            self._wish.get(timeout=None if timeout is None else max(0.0, timeout))
        except queue.Empty:
            return self._is_made
        self._wish.put(None)  # for the next one who waits
        return True
