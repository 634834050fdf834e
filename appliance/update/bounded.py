"""Other programs at work on an update: bounded in time and memory, behind the line, and never outliving the agent."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import RuntimeFault
from appliance.update.kinds import InterruptedWorkError

CHILD = Path(__file__).with_name("bounded_child.py")
MAX_SAID = 4000
LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a program may take: seconds, bytes of private memory, bytes of each file that it writes.

    is_wanted: asked meanwhile; True ends it, as the agent is needed for something else.
    """

    seconds: float
    memory_bytes: int
    file_bytes: int
    is_wanted: Callable[[], bool] = lambda: False


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended by itself: its exit code, and the end of what it said on both its outputs."""

    code: int
    said: str

    @property
    def last_line(self) -> str:
        """The last line that says something."""
        words = [line.strip() for line in self.said.splitlines() if any(map(str.isalnum, line))]
        return words[-1][:300] if words else "it said nothing"


def run_bounded(command: Sequence[str | Path], bounds: Bounds, folder: Path) -> Ended:
    """Run a program to its end.

    Args:
        command: its file, absolute, and its arguments.
        bounds: what it may take.
        folder: its working folder, also for its temporary files.

    Returns:
        How it ended by itself.

    Raises:
        RuntimeFault: it was ended: by the limit of time, or by a signal.
        InterruptedWorkError: it was broken off.
    """
    limits = [str(bounds.memory_bytes), str(bounds.file_bytes), str(os.getpid())]
    environment = {key: value for key, value in os.environ.items() if key not in ("NOTIFY_SOCKET", "WATCHDOG_PID")}
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", CHILD, *limits, *map(str, command)], cwd=folder,
        env=environment | {"TMPDIR": str(folder)}, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        said = _heard(process, command, bounds)
    finally:
        with suppress(ProcessLookupError):  # it and all that it started
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    ended = Ended(process.returncode, said.decode("utf-8", "replace")[-MAX_SAID:])
    if ended.code < 0:
        raise RuntimeFault(f"{_name(command)} was ended by signal {-ended.code}: {ended.last_line}")
    return ended


def _heard(process: "subprocess.Popen[bytes]", command: Sequence[str | Path], bounds: Bounds) -> bytes:
    until = time.monotonic() + bounds.seconds
    while True:
        try:
            return process.communicate(timeout=max(0.0, min(LOOK_S, until - time.monotonic())))[0]
        except subprocess.TimeoutExpired as error:
            if time.monotonic() >= until:
                raise RuntimeFault(
                    f"{_name(command)} took more than {bounds.seconds:g} s and was ended; see `apps.work` in agent.yaml"
                ) from error
        if bounds.is_wanted():
            raise InterruptedWorkError(f"{_name(command)} was broken off; it is done again")


def _name(command: Sequence[str | Path]) -> str:
    return " ".join(Path(str(word)).name for word in command[:4])
