"""The candidate's process as the station sees it: asked, listened to, watched, and gone when it does not behave."""

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from appliance.errors import AnswerFault, RuntimeFault
from appliance.events import Frame
from appliance.runtimes.engines.child import how_it_ended, last_line
from appliance.shadow.child import NO_MEMORY
from appliance.shadow.handover import Memory

CHILD = "appliance.shadow.child"
LOOK_EVERY_S = 0.2
CHUNK = 65536
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class CandidateProcess:
    """One child process; used by one thread, which must live as long as the process does: the kernel ends it after."""

    def __init__(self, size_bytes: int, memory_bytes: int, module: str = CHILD) -> None:
        """Start it.

        Args:
            size_bytes: of the largest part's pictures together.
            memory_bytes: that it may have; one that takes more ends.
            module: of the child; another one is for tests.

        Raises:
            OSError: the system has no room for one.
        """
        self._memory_bytes = memory_bytes
        with ExitStack() as undo:
            self._memory = Memory.make(size_bytes)
            undo.callback(self._memory.close)
            self._complaints = undo.enter_context(tempfile.TemporaryFile())
            requests, self._requests = _pipe(undo)
            self._answers, answers = _pipe(undo)
            theirs = (requests, answers, self._memory.descriptor)
            command = [sys.executable, "-m", module, *map(str, theirs), str(os.getpid()), str(memory_bytes)]
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._complaints, pass_fds=theirs
            )
            undo.pop_all()
        os.close(requests)
        os.close(answers)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._answers, selectors.EVENT_READ)
        self._rest = b""

    def __enter__(self) -> "CandidateProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it at once, whatever it does, and wait until it is gone."""
        self.kill()
        self._process.wait()
        self._selector.close()
        os.close(self._answers)
        os.close(self._requests)
        self._complaints.close()
        self._memory.close()

    def kill(self) -> None:
        """End it; a process that goes last takes a while to go on a busy device."""
        self._process.kill()

    def ask(self, request: Mapping[str, Any]) -> None:
        """Send a request.

        Raises:
            RuntimeFault: it is gone.
        """
        try:
            os.write(self._requests, json.dumps(request, allow_nan=False).encode() + b"\n")
        except BrokenPipeError:
            self._process.wait()
            self.look()

    def show(self, frames: Mapping[str, Frame]) -> None:
        """Hand a part over; the one before must have been answered.

        Raises:
            RuntimeFault: it is gone.
        """
        self.ask({"frames": self._memory.put(frames)})

    @property
    def number(self) -> int:
        """Return its process id."""
        return self._process.pid

    def answer(
        self, limit_s: float, is_cancelled: Callable[[], bool], rested_s: Callable[[], float] = lambda: 0.0
    ) -> dict[str, Any] | None:
        """Wait for what it says; None if somebody does not want it any more.

        Args:
            limit_s: how long it may take.
            is_cancelled: asked every LOOK_EVERY_S.
            rested_s: tells how long it was stopped until now, which does not count.

        Raises:
            AnswerFault: its model answered what no model may.
            RuntimeFault: it has a problem, crashed, hangs, or has too much memory; in words.
        """
        until = time.monotonic() + limit_s - rested_s()
        while not is_cancelled():
            if self._selector.select(LOOK_EVERY_S):
                chunk = os.read(self._answers, CHUNK)
                if not chunk:
                    self._process.wait()
                self._rest += chunk
            line, found, rest = self._rest.partition(b"\n")
            if found:
                self._rest = rest
                return _word(line)
            self.look()
            if time.monotonic() - rested_s() > until:
                raise RuntimeFault(f"it said nothing for {limit_s:g} s and was ended")
        return None

    def look(self) -> None:
        """See whether it lives, within its memory.

        Raises:
            RuntimeFault: it does not.
        """
        code = self._process.poll()
        if code is not None:
            raise RuntimeFault(f"its process {how_it_ended(code)}{last_line(self._complaints)}")
        if self._resident_bytes() > self._memory_bytes:
            raise RuntimeFault(NO_MEMORY)

    def _resident_bytes(self) -> int:
        try:
            with open(f"/proc/{self._process.pid}/statm", encoding="ascii") as file:  # noqa: PTH123 - asked often
                return int(file.read().split()[1]) * PAGE_BYTES
        except (OSError, IndexError):
            return 0  # it ended just now; the next look says so


def _pipe(undo: ExitStack) -> tuple[int, int]:
    ends = os.pipe()
    for end in ends:
        undo.callback(os.close, end)
    return ends


def _word(line: bytes) -> dict[str, Any]:
    try:
        word = json.loads(line)
    except ValueError:
        word = None
    if not isinstance(word, dict):
        raise RuntimeFault("it said something that is no answer")
    if "answered" in word:
        raise AnswerFault(str(word["answered"]))
    if "problem" in word:
        raise RuntimeFault(str(word["problem"]))
    return word
