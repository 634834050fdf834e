"""What other processes are at: by the names they were started with, and by what they bring about."""

import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE_S = 100.0
PAUSE_S = 0.002
"""Between two looks: short enough for a moment to be met, and leaves the processor to whoever works."""


def command(pid: int) -> str:
    """Return the words that a process was started with, none if it is gone."""
    path = Path("/proc", str(pid), "cmdline")
    return path.read_bytes().decode().replace("\0", " ") if path.exists() else ""


def spawned(pid: int) -> list[int]:
    """Return the processes that one has started to work for it."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [child for child in map(int, found.stdout.split()) if "spawn_main" in command(child)]


def wait_until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds that another process brings about; fail if it does not within PATIENCE_S."""
    give_up_s, pause = time.monotonic() + PATIENCE_S, threading.Event()
    while not condition():
        assert time.monotonic() < give_up_s, f"not within {PATIENCE_S:g} s"
        pause.wait(PAUSE_S)


def wait_for_moment(process: "subprocess.Popen[Any]", is_there: Callable[[], object]) -> None:
    """Wait until a process is where it is wanted, or has ended."""
    wait_until(lambda: process.poll() is not None or is_there())
