"""What other processes are at: by the names they were started with, and by what they bring about."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.stations import until

PATIENCE_S = 100.0


def command(pid: int) -> str:
    """Return the words that a process was started with, none if it is gone."""
    path = Path("/proc", str(pid), "cmdline")
    return path.read_bytes().decode().replace("\0", " ") if path.exists() else ""


def spawned(pid: int) -> list[int]:
    """Return the processes that one has started to work for it."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [child for child in map(int, found.stdout.split()) if "spawn_main" in command(child)]


def wait_for_moment(process: "subprocess.Popen[Any]", is_there: Callable[[], object]) -> None:
    """Wait until a process is where it is wanted, or has ended."""
    until(lambda: process.poll() is not None or is_there(), "where it is wanted", PATIENCE_S)
