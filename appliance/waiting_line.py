"""Parts that wait for one of several threads: the first of those that are free takes the next one."""

import queue
import threading
from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class WaitingLine(Generic[Item]):
    """First in, first out, for takers that are not alike: the lower a free taker's number, the sooner its turn.

    So long as one is enough, it is the same one, which finds its model's weights in the processor's caches. With a
    common queue, takers that sleep are woken in turn, and each finds them cold.
    """

    def __init__(self, takers: int) -> None:
        """Begin empty; takers are numbered from 0."""
        self._lock = threading.Lock()
        self._waiting: deque[Item] = deque()
        self._free: set[int] = set()
        self._handed: list[queue.SimpleQueue[Item]] = [queue.SimpleQueue() for _ in range(takers)]

    def qsize(self) -> int:
        """Return how many wait, without those that were handed to a taker."""
        return len(self._waiting)

    @property
    def free(self) -> frozenset[int]:
        """The takers that wait for an item now."""
        with self._lock:
            return frozenset(self._free)

    def put(self, item: Item) -> None:
        """Hand an item to the first free taker, or let it wait."""
        with self._lock:
            if not self._free:
                self._waiting.append(item)
                return
            taker = min(self._free)
            self._free.remove(taker)
        self._handed[taker].put(item)

    def get(self, taker: int, timeout_s: float) -> Item:
        """Take the next item.

        Args:
            taker: who asks; each asks for itself, one call at a time.
            timeout_s: so long it waits, seconds.

        Raises:
            queue.Empty: nothing came.
        """
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._free.add(taker)
        try:
            return self._handed[taker].get(timeout=timeout_s)
        except queue.Empty:
            with self._lock:
                if taker in self._free:
                    self._free.remove(taker)
                    raise
            return self._handed[taker].get()  # it came just now
