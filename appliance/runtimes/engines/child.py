"""A child process for what may crash: its lines are read while it works, and its death is an answer like any other."""

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO, Any

from appliance.errors import EngineFault, RuntimeFault

LOOK_EVERY_S = 0.2
CHUNK = 65536
GRACE_S = 2.0
"""What a child that is to end has for taking away what it has begun, before it is killed."""

CANCELLED = "{} was cancelled; the next start does it again"
TETHER = "appliance.runtimes.engines.tether"


class Cancelled(Exception):
    """Somebody asked to stop while work went on; nothing of it is kept.

    No ApplianceError: nothing has failed, so nobody may take it for a refusal, and try the next model.
    """


class TookTooLong(RuntimeFault):
    """A child process was ended because its time was over."""


class Crashed(EngineFault):
    """A child process did what no process may, and ended by that; nobody ended it."""


_OF_ITS_OWN_DOING = frozenset(
    {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE, signal.SIGTRAP, signal.SIGSYS}
)
"""Signals that a process brings upon itself; others come from outside: SIGKILL where memory is short, SIGTERM."""


def never() -> bool:
    """Return that nobody asks to stop."""
    return False


def ignore(progress: float) -> None:
    """Take no notice of progress."""


def run_child(
    module: str,
    arguments: Sequence[str],
    *,
    limit_s: float,
    on_progress: Callable[[float], None] = ignore,
    is_cancelled: Callable[[], bool] = never,
    is_apart: bool = False,
    goes_last: bool = False,
) -> dict[str, Any]:
    """Run a module as a process of its own and return its last word.

    It ends with this process, also where that is killed, and with the thread that called this.

    Args:
        module: it writes lines of JSON: {"progress": 0..1} any number of times, then {"result": {...}} once.
        arguments: its command line.
        limit_s: how long it may take.
        on_progress: told of each progress, and at least every LOOK_EVERY_S of the last one.
        is_cancelled: asked every LOOK_EVERY_S.
        is_apart: what is sent to this process's group does not reach the child.
        goes_last: the child takes processor and disk only when nobody else wants them.

    Returns:
        The result.

    Raises:
        RuntimeFault: it crashed (Crashed), was ended, ended without a result, or took too long (TookTooLong).
        Cancelled: is_cancelled said so.
    """
    with tempfile.TemporaryFile() as complaints:
        place = "last" if goes_last else "along"
        command = [sys.executable, "-m", TETHER, str(os.getpid()), place, module, *arguments]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints, start_new_session=is_apart
        )
        try:
            result = _listen(process, module, time.monotonic() + limit_s, on_progress, is_cancelled)
            code = process.wait()
            if result is None and is_cancelled():  # whoever ends this process may have ended the child first
                raise Cancelled(CANCELLED.format(module))
        finally:
            _end(process)
            if process.stdout is not None:
                process.stdout.close()
        if result is None or code != 0:
            kind = Crashed if -code in _OF_ITS_OWN_DOING else RuntimeFault
            raise kind(f"{module} {how_it_ended(code)}{last_line(complaints)}; see `appliance check`")
        return result


def _end(process: "subprocess.Popen[bytes]") -> None:
    try:
        if process.poll() is None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_S)
    finally:
        process.kill()
        process.wait()


def _listen(
    process: "subprocess.Popen[bytes]",
    module: str,
    until: float,
    on_progress: Callable[[float], None],
    is_cancelled: Callable[[], bool],
) -> dict[str, Any] | None:
    progress, rest, result = 0.0, b"", None
    with selectors.DefaultSelector() as selector:
        assert process.stdout is not None
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if is_cancelled():
                raise Cancelled(CANCELLED.format(module))
            if time.monotonic() > until:
                raise TookTooLong(f"{module} took too long; see `appliance check`, and what else runs on this device")
            if selector.select(LOOK_EVERY_S):
                if not (chunk := process.stdout.read1(CHUNK)):  # type: ignore[attr-defined]
                    return result
                *lines, rest = (rest + chunk).split(b"\n")
                for word in map(read_word, lines):
                    progress = float(word.get("progress", progress))
                    result = word.get("result", result)
            on_progress(progress)


def read_word(line: bytes) -> dict[str, Any]:
    """Return what a child said in a line; empty if it is a library's own output."""
    try:
        word = json.loads(line)
    except ValueError:
        return {}
    return word if isinstance(word, dict) else {}


def how_it_ended(code: int) -> str:
    """Say in words how a process ended, by its exit code."""
    if code < 0:
        names = {int(number): number.name for number in signal.Signals}
        return f"crashed ({names.get(-code, f'signal {-code}')})"
    return f"ended with {code} and no result" if code == 0 else f"ended with {code}"


def last_line(complaints: IO[bytes]) -> str:
    """Return the last line that a process wrote about its trouble, with a colon before it; empty if it wrote none."""
    complaints.seek(0)
    lines = complaints.read().decode("utf-8", "replace").splitlines()
    words = [line for line in lines if any(map(str.isalnum, line))]  # some draw a frame around what they say
    return f": {words[-1].strip()[:300]}" if words else ""


def say(**word: Any) -> None:
    """Tell the parent process something, from within the child."""
    sys.stdout.write(json.dumps(word) + "\n")
    sys.stdout.flush()
