"""A child process is listened to, and whatever becomes of it is an answer in words."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import ApplianceError, RuntimeFault
from appliance.runtimes.engines.child import Cancelled, run_child
from tests.stations import until

PROGRAM = "tests.engine_children.program"


def run(deed: str, **changes: Any) -> dict[str, Any]:
    return run_child(PROGRAM, ["--x", deed], **({"limit_s": 60.0} | changes))


def children() -> set[str]:
    return children_of(os.getpid())


def children_of(process: int) -> set[str]:
    """Ids of a process's children; a child that is gone and not waited for counts, too."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = status.read_text().rpartition(")")[2].split()[1]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == str(process):
            found.add(status.parent.name)
    return found


def test_its_last_word_is_the_result() -> None:
    assert run("finish") == {"arguments": ["--x", "finish"]}


def test_it_lets_the_line_go_first_if_it_shall() -> None:
    mine = {"is_idle": os.sched_getscheduler(0) == os.SCHED_IDLE, "nice": os.getpriority(os.PRIO_PROCESS, 0)}
    assert run("priority") == mine
    assert run("priority", goes_last=True) == {"is_idle": True, "nice": 19}


def test_its_progress_is_told_as_it_comes() -> None:
    told: list[float] = []
    run("finish", on_progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_what_a_library_prints_among_it_does_no_harm() -> None:
    assert run("chatter") == {"arguments": ["--x", "chatter"]}


def test_a_line_that_comes_in_pieces_is_one_line() -> None:
    assert run("split") == {"is": "whole"}


@pytest.mark.parametrize("deed", ["crash", "crash_after_the_result"])
def test_a_crash_is_a_fault_that_names_the_signal(deed: str) -> None:
    with pytest.raises(RuntimeFault, match=r"crashed \(SIG(SEGV|BUS)\)"):
        run(deed)


def test_an_error_is_a_fault_with_its_last_line() -> None:
    with pytest.raises(RuntimeFault, match=r"ended with 1: ValueError: the kernel is on fire; see `appliance check`"):
        run("fail")


def test_a_library_that_ends_the_process_is_quoted_without_the_frame_around_its_words() -> None:
    with pytest.raises(RuntimeFault, match=r"crashed \(SIGABRT\): Use pop\(\) to avoid this\.; see `appliance check`"):
        run("abort")


def test_an_end_without_a_result_is_a_fault() -> None:
    with pytest.raises(RuntimeFault, match="ended with 0 and no result"):
        run("leave")


def test_one_that_hangs_is_ended_and_a_fault() -> None:
    before = children()
    with pytest.raises(RuntimeFault, match="took too long"):
        run("hang", limit_s=1.0)
    assert children() == before


def test_a_cancel_ends_it_at_once() -> None:
    before, told = children(), []
    started = time.monotonic()

    def note(progress: float) -> None:
        told.append(progress)

    with pytest.raises(Cancelled, match="the next start does it again"):
        run("hang", on_progress=note, is_cancelled=lambda: 0.1 in told)
    assert time.monotonic() - started < 30
    assert children() == before


def test_one_that_is_to_end_may_take_away_what_it_has_begun(tmp_path: Path) -> None:
    folder = tmp_path / "begun"
    with pytest.raises(Cancelled):
        run_child(PROGRAM, [str(folder), "tidy"], limit_s=60, is_cancelled=folder.exists)
    assert not folder.exists()


def test_one_that_does_not_hear_that_it_is_to_end_is_killed() -> None:
    before, told = children(), list[float]()
    with pytest.raises(Cancelled):
        run("stubborn", on_progress=told.append, is_cancelled=lambda: 0.1 in told)
    assert children() == before


def test_one_that_was_ended_by_whoever_cancels_is_cancelled_and_has_not_failed() -> None:
    told: list[float] = []
    others = set(children())

    def end_it(progress: float) -> None:
        if progress and not told:
            told.append(progress)
            (child,) = set(children()) - others
            os.kill(int(child), signal.SIGKILL)
            os.waitid(os.P_PID, int(child), os.WEXITED | os.WNOWAIT)

    asked = iter([False])
    with pytest.raises(Cancelled):
        run("hang", on_progress=end_it, is_cancelled=lambda: bool(told) and next(asked, True))


def test_a_cancel_is_no_failure_that_somebody_may_answer_with_the_next_model() -> None:
    assert not issubclass(Cancelled, ApplianceError)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_children_and_their_children_end_with_the_process_that_wanted_them_however_that_ends(end: int) -> None:
    program = (
        "from appliance.runtimes.engines.child import run_child;"
        f"run_child({PROGRAM!r}, ['nest'], limit_s=60)"
    )  # fmt: skip
    parent = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    child = until(lambda: children_of(parent.pid), "the child is there").pop()
    grandchild = until(lambda: children_of(int(child)), "the child's child is there").pop()
    tree = [Path("/proc", each) for each in (child, grandchild)]
    until(lambda: all(_is_tied(each) for each in tree), "both have begun")
    parent.send_signal(end)
    parent.wait(30)
    until(lambda: not any(map(_is_there, tree)), "all are gone")


def _is_there(process: Path) -> bool:
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _is_tied(process: Path) -> bool:
    """Whether it runs its own code by now, for which it has imported it."""
    return "_ctypes" in (process / "maps").read_text()


def test_an_interrupt_leaves_no_child_behind() -> None:
    before = children()

    def interrupt(progress: float) -> None:
        raise KeyboardInterrupt

    stop: Callable[[float], None] = interrupt
    with pytest.raises(KeyboardInterrupt):
        run("hang", on_progress=stop)
    assert children() == before


def test_a_stop_of_the_station_that_starts_ends_the_child_too() -> None:
    program = (
        "import os, signal, sys; from appliance.runtimes.engines.child import run_child;"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0));"
        f"run_child({PROGRAM!r}, ['hang'], limit_s=60, on_progress=lambda done: done and print('at work', flush=True))"
    )
    station = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert station.stdout is not None
    assert station.stdout.readline() == "at work\n"
    child = next(iter(children_of(station.pid)))
    station.send_signal(signal.SIGTERM)
    assert station.wait(30) == 0
    station.stdout.close()
    assert not Path(f"/proc/{child}").exists()
