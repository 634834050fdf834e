"""The agent's worker: a process that is heard while it works, and ended with its children where it gets no further."""

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from appliance.errors import StorageError
from appliance.runtimes.engines.child import CHUNK, read_word

TICK_S = 1.0
"""How often whoever hears a worker looks up, also where it says nothing."""

END_S = 15.0
"""What a worker has that is told to end, before it is killed; less than systemd's TimeoutStopSec."""

GONE_S = 5.0
"""So long a killed worker is waited for; one that waits for a dead disk cannot even be killed, and keeps its lock."""


class Worker:
    """A process in a group of its own, whose words are heard as long as it gets on."""

    def __init__(self, command: Sequence[str], silence_s: float, end_s: float = END_S) -> None:
        """Start it.

        Args:
            command: its program and arguments.
            silence_s: so long it may say nothing; then it is taken as hung. Counted while this process is awake
                itself, so that a frozen device does not count.
            end_s: what it has for its end when it is told to.

        Raises:
            StorageError: the system has no room for it.
        """
        self._silence_s, self._end_s, self.is_hung = silence_s, end_s, False
        self._silent_s, self._ending_s = 0.0, 0.0
        self._is_to_end = False
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True
            )
        except OSError as error:
            raise StorageError(f"no worker can begin: {error.strerror}; look at memory and disk") from error

    @property
    def pid(self) -> int:
        """Its process, and its group."""
        return self._process.pid

    def ask_to_end(self) -> None:
        """Ask it to end; may be called by a signal's handler, so nothing is waited for."""
        self._is_to_end = True
        with suppress(ProcessLookupError):  # not Popen's own, which waits for it by the way
            os.kill(self.pid, signal.SIGTERM)

    def words(self, on_tick: Callable[[], None]) -> Iterator[dict[str, Any]]:
        """Hear what it says until it ends, or hangs.

        Args:
            on_tick: called every TICK_S at least.
        """
        rest, before = b"", time.monotonic()
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while not self._is_over(before):
                before = time.monotonic()
                on_tick()
                if not selector.select(TICK_S):
                    continue
                if not (chunk := os.read(self._process.stdout.fileno(), CHUNK)):
                    return
                *lines, rest = (rest + chunk).split(b"\n")
                for word in filter(None, map(read_word, lines)):
                    self._silent_s = 0.0
                    yield word

    def end(self) -> int | None:
        """Wait for its end, or end it where that does not come; returns its exit code, None where it cannot be ended.

        What it has started ends with it.
        """
        if not self.is_hung and self._has_ended(self._end_s):
            return self._process.returncode
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        return self._process.returncode if self._has_ended(GONE_S) else None

    def close(self) -> None:
        """Hear it no more."""
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _is_over(self, before: float) -> bool:
        """Count the time since then: of silence, and since it was to end."""
        passed_s = min(time.monotonic() - before, 2 * TICK_S)
        self._silent_s += passed_s
        self._ending_s += passed_s if self._is_to_end else 0.0
        self.is_hung = self._silent_s > self._silence_s or self._ending_s > self._end_s
        return self.is_hung

    def _has_ended(self, limit_s: float) -> bool:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(limit_s)
        return self._process.returncode is not None
