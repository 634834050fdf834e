"""The candidate's process: it goes last on this device from its first moment on, and ends with the station's.

Run as `python -m appliance.shadow.child`, with three descriptors and the station's process id.
"""

import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1
NICEST = 19
FIRST_TO_GO = "1000"
"""The kernel takes this process first when memory runs out."""

WHOLE_GROUP = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Whoever stops the station (systemd, a terminal) sends them to this process, too; the station ends it in its turn, and
a candidate that they ended would look as if it had crashed."""

NO_MEMORY = "it needs more memory than shadow.memory_mb allows"


def go_last(memory_bytes: int, parent: int) -> None:
    """Take the processor only when nobody else wants it, little memory, and no longer than the station lives.

    Args:
        memory_bytes: of data; more is refused by the kernel.
        parent: process id of the station.
    """
    for number in WHOLE_GROUP:
        signal.signal(number, signal.SIG_IGN)
    os.setpriority(os.PRIO_PROCESS, 0, NICEST)
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:  # noqa: PTH123 - pathlib is not loaded yet
        file.write(FIRST_TO_GO)
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def main() -> int:
    """Judge parts until nobody sends any more."""
    requests, answers, pictures, parent, memory_bytes = map(int, sys.argv[1:6])
    go_last(memory_bytes, parent)
    try:
        from appliance.shadow.candidate import serve  # what takes long to load comes when this process goes last
    except MemoryError:
        sys.stderr.write(f"{NO_MEMORY}\n")
        return 1
    return serve(requests, answers, pictures)


if __name__ == "__main__":
    sys.exit(main())
