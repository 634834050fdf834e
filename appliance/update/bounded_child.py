"""Binds a process, and becomes another program: a file by itself, so that it starts at once (see bounded.py)."""

import ctypes
import os
import platform
import resource
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
NICEST = 19
IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
"""Number of the system call; libc has no function for it."""

IOPRIO_WHO_PROCESS, IOPRIO_CLASS_IDLE = 1, 3 << 13
FIRST_TO_GO = 1000
"""oom_score_adj of what the kernel ends before anything else."""


def bind(memory_bytes: int, parent: int) -> None:
    """Bind this process: its data to so many bytes, its life to the agent's, and first in line where memory ends.

    RLIMIT_DATA counts what is written to and not the addresses that CUDA reserves, for which RLIMIT_AS would have to
    be so wide that it held nothing.

    Args:
        memory_bytes: of private data.
        parent: process id of the agent.

    Source:
        getrlimit(2), prctl(2), proc_pid_oom_score_adj(5).
    """
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    end_with(parent)
    Path("/proc/self/oom_score_adj").write_text(f"{FIRST_TO_GO}", encoding="ascii")


def end_with(parent: int) -> None:
    """Let this process end when the one that started it does, however that ends.

    Args:
        parent: its process id.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it ended before


def read_last() -> None:
    """Let this process have the disk only when nobody else wants it, where the disk's scheduler knows such an order.

    Source:
        ioprio_set(2); the kernel's Documentation/block/ioprio.rst.
    """
    number = IOPRIO_SET.get(platform.machine())
    if number is not None:
        ctypes.CDLL(None).syscall(number, IOPRIO_WHO_PROCESS, 0, IOPRIO_CLASS_IDLE)


def go_last() -> None:
    """Let this process have the disk and the processor only when nobody else wants them; it cannot take that back.

    Source:
        sched(7), SCHED_IDLE: below even the nicest of the others.
    """
    read_last()
    os.setpriority(os.PRIO_PROCESS, 0, NICEST)
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def main(memory_bytes: int, file_bytes: int, parent: int, command: list[str]) -> None:
    """Bind this process, then become the program, behind the line's own work.

    Args:
        memory_bytes: of private data.
        file_bytes: of each file that it writes.
        parent: process id of whoever started this; it ends with it.
        command: the program and its arguments.
    """
    bind(memory_bytes, parent)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    read_last()
    os.nice(NICEST)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
