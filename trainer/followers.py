"""The other processes on this machine: started by the first one, heard when they fail, and never left behind."""

from __future__ import annotations

import multiprocessing
import pickle
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from appliance.errors import ApplianceError, DeviceError
from trainer.interrupts import starting_others

START_S, WORDS_S, FAREWELL_S = 120.0, 2.0, 10.0
"""How long a process may take to start, to say why it failed, and to end."""

ADVICE = "free some memory, or use --workers 1"


class Followers:
    """Processes that work for the first one, numbered from 1."""

    def __init__(self) -> None:
        self._running: list[tuple[BaseProcess, Connection]] = []

    def start(self, folder: Path, works: list[Callable[[], object]]) -> None:
        """Start a process for each piece of work.

        Args:
            folder: where the work is left for them; to hand it over by a pipe would hang if one died meanwhile.
            works: must be picklable.
        """
        context = multiprocessing.get_context("spawn")
        with starting_others():
            for number, work in enumerate(works, 1):
                file = folder / f"work{number}"
                file.write_bytes(pickle.dumps(work))
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(file, theirs))
                process.start()
                self._running.append((process, ours))
                theirs.close()  # so that the other end's death is seen here

    def await_ready(self) -> None:
        """Wait until all have loaded what they need.

        Raises:
            DeviceError: One ended, or takes too long.
        """
        until = time.monotonic() + START_S
        for number, (process, pipe) in enumerate(self._running, 1):
            if not pipe.poll(max(0.0, until - time.monotonic())):
                raise DeviceError(f"process {number} has not started within {START_S:.0f} s; {ADVICE}")
            try:
                said = pipe.recv()
            except EOFError as error:
                process.join(WORDS_S)
                raise DeviceError(
                    f"process {number} ended while starting (exit code {process.exitcode}); {ADVICE}"
                ) from error
            if said is not None:
                raise DeviceError(f"process {number} ended while starting ({said}); {ADVICE}")

    def failure(self) -> ApplianceError | None:
        """Return why one of them ended before its time, None if they are all at work or done."""
        until = time.monotonic() + WORDS_S
        causes = []
        for number, (process, pipe) in enumerate(self._running, 1):
            if not pipe.poll(max(0.0, until - time.monotonic())):
                continue
            try:
                said = pipe.recv()
            except (EOFError, ConnectionResetError):
                process.join(WORDS_S)
                said = f"exit code {process.exitcode}" if process.exitcode else ""
            if isinstance(said, ApplianceError):
                return said
            if said:
                causes.append(f"process {number}: {said}")
        if not causes:
            return None
        return DeviceError(f"a process of the training ended before its time ({'; '.join(causes)}); {ADVICE}")

    def end(self, patience_s: float) -> None:
        """See all of them gone; who is not within this time is killed."""
        for process, pipe in self._running:
            process.join(patience_s)
            process.kill()
            process.join()
            pipe.close()


def _serve(file: Path, pipe: Connection) -> None:
    """Do the work in another process; what ends it is said to the first one, which speaks for all."""
    said: ApplianceError | str | None = None
    try:
        work = pickle.loads(file.read_bytes())
        pipe.send(None)
        work()
    except ApplianceError as error:
        said = error
    except (RuntimeError, MemoryError, OSError) as error:
        said = str(error) or type(error).__name__
    with suppress(OSError):  # the first one is gone
        if said is not None:
            pipe.send(said)
