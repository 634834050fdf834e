"""A candidate rests while the line inspects: it is stopped where it is, and goes on between two parts.

That it goes last keeps it off the processor that the line wants, not off caches, memory and an accelerator, which
processes share whatever their priority.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType

from appliance.inspection_flag import InspectionFlag


class Rest:
    """A block that each inspection runs in, from any thread: while one is in it, the candidate's process is stopped.

    It costs the line a signal at either end, and nothing while there is no candidate.
    """

    def __init__(self, flag: InspectionFlag | None = None) -> None:
        """Begin with no candidate and no inspection; flag: tells other programs, which are not ours to stop."""
        self._flag = flag
        self._lock = threading.Lock()
        self._inspecting = 0
        self._processes: set[int] = set()
        self._rested_ns = self._since_ns = 0

    def __enter__(self) -> None:
        """Stop the candidate, if this is the only inspection."""
        with self._lock:
            self._inspecting += 1
            if self._inspecting == 1:
                self._since_ns = time.monotonic_ns()
                self._signal(signal.SIGSTOP)
                if self._flag is not None:
                    self._flag.put(True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the candidate go on, if this was the last inspection."""
        with self._lock:
            self._inspecting -= 1
            if self._inspecting == 0:
                self._rested_ns += time.monotonic_ns() - self._since_ns
                self._signal(signal.SIGCONT)
                if self._flag is not None:
                    self._flag.put(False)

    @property
    def rested_s(self) -> float:
        """How long there was an inspection, all of them together: time that a candidate did not have."""
        with self._lock:
            running_ns = time.monotonic_ns() - self._since_ns if self._inspecting else 0
            return (self._rested_ns + running_ns) / 1e9

    @contextmanager
    def of(self, process: int) -> Iterator[None]:
        """Stop and continue a child process while the block runs; the next one may begin before the last has ended.

        Args:
            process: its id; it is not waited for before the block ends.
        """
        descriptor = os.pidfd_open(process)
        try:
            with self._lock:
                self._processes.add(descriptor)
                if self._inspecting:
                    self._signal(signal.SIGSTOP)
            yield
        finally:
            with self._lock:
                self._processes.remove(descriptor)
            os.close(descriptor)

    def _signal(self, number: signal.Signals) -> None:
        for process in self._processes:
            with suppress(ProcessLookupError):  # it ended just now, which its own thread notices
                signal.pidfd_send_signal(process, number)
