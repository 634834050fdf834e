"""Other programs at work on an update: bounded in time and memory, behind the line, and never outliving the agent."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import RuntimeFault

CHILD = Path(__file__).with_name("bounded_child.py")
MAX_SAID = 4000


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a program may take: seconds, bytes of private memory, bytes of each file that it writes."""

    seconds: float
    memory_bytes: int
    file_bytes: int


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
    """
    limits = [str(bounds.memory_bytes), str(bounds.file_bytes), str(os.getpid())]
    environment = {key: value for key, value in os.environ.items() if key not in ("NOTIFY_SOCKET", "WATCHDOG_PID")}
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", CHILD, *limits, *map(str, command)], cwd=folder,
        env=environment | {"TMPDIR": str(folder)}, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        said, _ = process.communicate(timeout=bounds.seconds)
    except subprocess.TimeoutExpired as error:
        raise RuntimeFault(f"{_name(command)} took more than {bounds.seconds:g} s and was ended") from error
    finally:
        with suppress(ProcessLookupError):  # it and all that it started
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    ended = Ended(process.returncode, said.decode("utf-8", "replace")[-MAX_SAID:])
    if ended.code < 0:
        raise RuntimeFault(f"{_name(command)} was ended by signal {-ended.code}: {ended.last_line}")
    return ended


def _name(command: Sequence[str | Path]) -> str:
    return " ".join(Path(str(word)).name for word in command[:4])
