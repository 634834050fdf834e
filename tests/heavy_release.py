"""A child process of the agent's workshop that does what its bundle's text says; for what ends a child."""

import argparse
import ctypes
import os
import platform
import signal
import sys
import threading
from pathlib import Path

from appliance.agent_child import begin
from appliance.bundle.whole_file import write_whole
from appliance.errors import BundleSlowError, exit_code
from appliance.runtimes.engines.child import say
from appliance.update.bounded_child import IOPRIO_CLASS_IDLE, IOPRIO_SET, IOPRIO_WHO_PROCESS

IOPRIO_GET = {machine: number + 1 for machine, number in IOPRIO_SET.items()}
"""ioprio_get(2) follows ioprio_set(2) in both tables of system calls."""

parser = argparse.ArgumentParser()
parser.add_argument("task")
parser.add_argument("--beside-the-line", action="store_true")
for name in ("--config", "--release", "--current"):
    parser.add_argument(name, type=Path)
for name in ("--memory-mb", "--parent"):
    parser.add_argument(name, type=int)
given = parser.parse_args()
begin(given)
what = given.release.read_text()
if what == "eats":
    try:
        eaten = bytearray(10 * given.memory_mb * 10**6)
    except MemoryError:
        say(result={"refused": "it needs more memory", "code": 69})
        sys.exit(0)
elif what == "dies":
    os.kill(os.getpid(), signal.SIGKILL)
elif what == "hangs":
    write_whole(given.release.with_name("child.pid"), str(os.getpid()).encode())
    threading.Event().wait()
elif what == "is halfway":
    for share in (0.25, 0.5):
        say(progress=share)
    write_whole(given.release.with_name("child.pid"), str(os.getpid()).encode())
    threading.Event().wait()
elif what in ("says how", "is slow"):
    policy = {os.SCHED_IDLE: "idle", os.SCHED_OTHER: "other"}[os.sched_getscheduler(0)]
    disk = ctypes.CDLL(None).syscall(IOPRIO_GET[platform.machine()], IOPRIO_WHO_PROCESS, 0)
    with given.release.with_name("priorities").open("a") as file:
        file.write(f"{policy} {os.getpriority(os.PRIO_PROCESS, 0)} {'idle' if disk == IOPRIO_CLASS_IDLE else disk}, ")
        file.write("along\n" if os.getpgid(0) == os.getpgid(os.getppid()) else "apart\n")
    if what == "is slow" and not given.beside_the_line:
        say(result={"refused": "it takes 3 ms and may take 2 ms", "code": exit_code(BundleSlowError(""))})
        sys.exit(0)
say(result={"words": what, "p99_ms": 1.0, "budget_ms": 9.0})
