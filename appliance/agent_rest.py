"""The agent's worker rests while the line inspects: it and its children are stopped, and go on between two parts."""

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from appliance.inspection_flag import SeenFlag

TICK_S = 0.002
"""How often the flag is looked at while there is something to stop."""

LOOK_S = 0.2
"""How often it is asked whether there is."""

LONGEST_REST_S = 0.25
SHARE = 0.5
"""Of the time, it works at least this much: a line that always inspects must not keep updates away."""


class WorkerRest:
    """A thread that stops a group of processes while the line inspects, so that they are in nobody's way.

    That they go last keeps them off the processor that the line wants, not off caches and memory, which all share.
    """

    def __init__(self, group: int, flag: SeenFlag, is_needed: Callable[[], bool]) -> None:
        """Begin to watch.

        Args:
            group: a process group whose leader nobody has waited for before close().
            flag: of the station.
            is_needed: whether the group may be hard at work.
        """
        self._group, self._flag, self._is_needed = group, flag, is_needed
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="worker's rest", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the watch; the group goes on."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        look_at, owes_until, is_watching = 0.0, 0.0, False
        while not self._ended.wait(TICK_S if is_watching else LOOK_S):
            now = monotonic()
            if now >= look_at:
                look_at, is_watching = now + LOOK_S, self._is_needed() and self._flag.look_up()
            if is_watching and now >= owes_until and self._flag.is_up:
                rested_s = self._rest(now)
                owes_until = monotonic() + rested_s * SHARE / (1 - SHARE)
        self._flag.close()

    def _rest(self, began: float) -> float:
        """Stop the group until the flag is down, or for long enough; returns for how long."""
        self._signal(signal.SIGSTOP)
        try:
            while self._flag.is_up and monotonic() - began < LONGEST_REST_S and not self._ended.wait(TICK_S):
                pass
        finally:
            self._signal(signal.SIGCONT)
        return monotonic() - began

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # it ended just now
            os.killpg(self._group, number)
