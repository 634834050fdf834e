"""What may take its time, in a thread of its own, so that no trigger waits behind a command or a ledger's commit."""

import logging
import threading
from collections import deque
from collections.abc import Callable

log = logging.getLogger(__name__)

MOST_COMMANDS = 8
JOIN_S = 5.0


class Errands:
    """Acknowledgements, of which only the last per consumer counts, and commands, of which few may wait."""

    def __init__(self, acknowledge: Callable[[str, int], None], name: str) -> None:
        """Prepare the thread.

        Args:
            acknowledge: called with consumer and upto_seq.
            name: the thread's name.
        """
        self._acknowledge = acknowledge
        self._wake = threading.Condition()
        self._upto: dict[str, int] = {}
        self._commands: deque[Callable[[], None]] = deque()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """Finish what is at hand, drop what waits, end the thread."""
        with self._wake:
            self._is_stopping = True
            self._commands.clear()
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join(JOIN_S)

    def acknowledge(self, consumer: str, upto_seq: int) -> None:
        """Pass an acknowledgement on soon; a later one of the same consumer takes its place."""
        with self._wake:
            self._upto[consumer] = max(upto_seq, self._upto.get(consumer, 0))
            self._wake.notify()

    def command(self, work: Callable[[], None]) -> bool:
        """Carry something out soon; False if too much is waiting already."""
        with self._wake:
            if len(self._commands) >= MOST_COMMANDS:
                return False
            self._commands.append(work)
            self._wake.notify()
            return True

    def _run(self) -> None:
        while True:
            with self._wake:
                while not (self._upto or self._commands or self._is_stopping):
                    self._wake.wait()
                upto, self._upto = self._upto, {}
                work = self._commands.popleft() if self._commands else None
                if self._is_stopping and not upto and work is None:
                    return
            try:
                for consumer, seq in upto.items():
                    self._acknowledge(consumer, seq)
                if work is not None:
                    work()
            except Exception:  # the guard of this thread
                log.exception("an acknowledgement or a command failed in an unforeseen way")
