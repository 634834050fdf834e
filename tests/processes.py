"""What other processes are at, by the names they were started with."""

import subprocess
from pathlib import Path


def command(pid: int) -> str:
    """Return the words that a process was started with, none if it is gone."""
    path = Path("/proc", str(pid), "cmdline")
    return path.read_bytes().decode().replace("\0", " ") if path.exists() else ""


def spawned(pid: int) -> list[int]:
    """Return the processes that one has started to work for it."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [child for child in map(int, found.stdout.split()) if "spawn_main" in command(child)]
