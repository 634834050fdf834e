"""Run as a child process: does what its last argument says."""

import ctypes
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from appliance.runtimes.engines.child import run_child
from appliance.stop_wish import StopWish


def say(**word: object) -> None:
    sys.stdout.write(json.dumps(word) + "\n")
    sys.stdout.flush()


def finish() -> None:
    for share in (0.25, 0.5, 1.0):
        say(progress=share)
    say(result={"arguments": sys.argv[1:]})


def priority() -> None:
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    say(result={"is_idle": os.sched_getscheduler(0) == os.SCHED_IDLE, "nice": nice})


def chatter() -> None:
    sys.stdout.write('a library says hello\n{"unfinished": \n[1, 2]\n')
    finish()


def split() -> None:
    half, rest = '{"result": {"is', '": "whole"}}\n'
    for part in (half, rest):
        sys.stdout.write(part)
        sys.stdout.flush()
        threading.Event().wait(0.3)


def crash() -> None:
    say(progress=0.5)
    ctypes.string_at(0)


def crash_after_the_result() -> None:
    finish()
    ctypes.string_at(0)


def fail() -> None:
    raise ValueError("the kernel is on fire")


def abort() -> None:
    finish()
    sys.stderr.write("-----\nERROR: it was not empty.\n-----\nUse pop() to avoid this.\n-----\n")
    sys.stderr.flush()
    os.abort()


def leave() -> None:
    say(progress=1.0)


def hang() -> None:
    say(progress=0.1)
    threading.Event().wait()


def nest() -> None:
    """Have a child of one's own that hangs."""
    say(progress=0.1)
    run_child("tests.engine_children.program", ["hang"], limit_s=60)


def tidy() -> None:
    """Make a folder, and take it away when asked to end."""
    stopped, folder = StopWish(), Path(sys.argv[-2])
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    folder.mkdir()
    say(progress=0.1)
    stopped.wait()
    folder.rmdir()


def stubborn() -> None:
    """Do not hear that it is to end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    hang()


DEEDS: dict[str, Callable[[], None]] = {
    deed.__name__: deed
    for deed in (
        finish,
        priority,
        chatter,
        split,
        crash,
        crash_after_the_result,
        abort,
        fail,
        leave,
        hang,
        nest,
        tidy,
        stubborn,
    )
}

if __name__ == "__main__":
    DEEDS[sys.argv[-1]]()
