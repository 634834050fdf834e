"""An engine that fails again and again: no next part brings it back, and a new process may."""

import threading
from collections.abc import Callable

MOST_IN_A_ROW = 3
"""Parts that one copy of the model may fail at, one after the other, before the process ends."""


class EngineFaults:
    """Counts the parts in a row at which each copy of the model failed; used by the threads that inspect."""

    def __init__(self, on_lost: Callable[[str], None]) -> None:
        """Begin with none.

        Args:
            on_lost: told once, in words, that an engine is not worth asking any more.
        """
        self._on_lost = on_lost
        self._in_a_row: dict[int, int] = {}
        self._is_lost = False
        self._lock = threading.Lock()

    def answered(self, instance: int) -> None:
        """Note that a copy of the model answered, be it nonsense: its engine works."""
        self._in_a_row[instance] = 0

    def failed(self, instance: int, words: str) -> None:
        """Note that a copy's engine failed at a part.

        Args:
            instance: which of the copies.
            words: what it said.
        """
        self._in_a_row[instance] = self._in_a_row.get(instance, 0) + 1
        with self._lock:
            is_news = self._in_a_row[instance] >= MOST_IN_A_ROW and not self._is_lost
            self._is_lost |= is_news
        if is_news:
            self._on_lost(f"the model's engine failed at {MOST_IN_A_ROW} parts in a row: {words}")
