"""What another process has: waited for, with everything else that there is to do meanwhile, and not for ever."""

import fcntl
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from appliance.errors import StorageError
from appliance.update.kinds import InterruptedWorkError
from appliance.update.lock import locked
from appliance.update.pace import TransferLimits
from tests.tuf_repository import Repository
from tests.unit.test_update_download import CONTENT, PATH, TARGET, store_in
from tests.update_device import Line
from tests.update_server import UpdateServer

PATIENCE_S = 15


@pytest.fixture
def server() -> Iterator[UpdateServer]:
    with UpdateServer({PATH: CONTENT}) as server:
        yield server


@contextmanager
def another_holds(path: Path) -> Iterator[Callable[[], None]]:
    """Have a lock as another process does; yields what lets it go, which happens anyway after PATIENCE_S."""
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        release = partial(fcntl.flock, lock.fileno(), fcntl.LOCK_UN)
        guard = threading.Timer(PATIENCE_S, release)
        guard.start()
        yield release
        guard.cancel()
        guard.join()


def test_who_waits_for_another_process_does_something_meanwhile(tmp_path: Path, server: UpdateServer) -> None:
    """An import from a slow stick may hold the folder for hours."""
    asked = list[int]()
    with another_holds(tmp_path / "files" / ".lock") as release:

        def meanwhile() -> None:
            asked.append(len(server.requests))
            if len(asked) == 3:
                release()

        assert replace(store_in(tmp_path, server), meanwhile=meanwhile).fetch(TARGET).read_bytes() == CONTENT
    assert asked[:3] == [0, 0, 0]


def test_who_waits_for_another_process_can_be_broken_off(tmp_path: Path, server: UpdateServer) -> None:
    def meanwhile() -> None:
        raise InterruptedWorkError("a person wants something")

    with another_holds(tmp_path / "files" / ".lock"), pytest.raises(InterruptedWorkError, match="a person"):
        replace(store_in(tmp_path, server), meanwhile=meanwhile).fetch(TARGET)
    assert server.requests == []


HOLDS = """
import fcntl, sys
file = open(sys.argv[1], "wb")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""
QUICK = TransferLimits(connect_s=0.05, window_s=0.05, refresh_s=0.2)
"""So a lock of the repository is waited for less than half a second."""


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    repository = Repository()
    with UpdateServer(repository.files) as server:
        line = Line(tmp_path, server, repository)
        line.publish_all()
        yield line


@contextmanager
def process_that_holds(path: Path) -> Iterator[int]:
    command = [sys.executable, "-c", HOLDS, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process.pid
        process.kill()


def it_is(path: Path, pid: int) -> str:
    """A pattern for how that process is called: not every file system's locks are known by their files' numbers."""
    held = path.stat()
    place = f"{os.major(held.st_dev):02x}:{os.minor(held.st_dev):02x}:{held.st_ino}"
    if f" {pid} {place} " not in Path("/proc/locks").read_text("ascii"):
        return "another process"
    return rf"process {pid} \({re.escape(sys.executable)} -c .*\)"


@pytest.mark.parametrize("name", [".metadata.lock", "floor.json.lock"])
def test_who_asks_a_repository_that_another_process_has_says_meanwhile_that_it_gets_on(line: Line, name: str) -> None:
    """The agent's worker would be taken as hung, although another process merely asks a slow server."""
    asked = list[int]()
    with another_holds(line.device.folder / name) as release:

        def meanwhile() -> None:
            asked.append(len(line.server.requests))
            if len(asked) == 3:
                release()

        assert replace(line.device, meanwhile=meanwhile).repository.refresh().timestamp == 2
    assert asked[:3] == [0, 0, 0]


def test_a_repository_is_waited_for_no_longer_than_its_limits_allow_and_it_is_told_who_has_it(line: Line) -> None:
    with process_that_holds(line.device.folder / ".metadata.lock") as pid:
        words = rf"waited for for 0.4 s, and {it_is(line.device.folder / '.metadata.lock', pid)} has it; wait until"
        with pytest.raises(StorageError, match=words):
            replace(line.device, limits=QUICK).repository.refresh()
    assert line.device.repository.refresh().timestamp == 2


def test_a_lock_is_waited_for_until_its_time_is_over(tmp_path: Path) -> None:
    path, waited = tmp_path / "x.lock", list[None]()
    with (
        process_that_holds(path) as pid,
        pytest.raises(StorageError, match=f"{it_is(path, pid)} has it; .*end it if it hangs, and try again"),
        locked(path, lambda: waited.append(None), wait_s=0.5),
    ):
        pytest.fail("somebody else holds it")
    assert waited
    with locked(path, wait_s=0):
        pass
