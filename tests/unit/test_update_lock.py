"""The store of files while another process has it: waited for, with everything else that there is to do meanwhile."""

import fcntl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from appliance.update.kinds import InterruptedWorkError
from tests.unit.test_update_download import CONTENT, PATH, TARGET, store_in
from tests.update_server import UpdateServer

PATIENCE_S = 15


@pytest.fixture
def server() -> Iterator[UpdateServer]:
    with UpdateServer({PATH: CONTENT}) as server:
        yield server


@contextmanager
def another_holds(folder: Path) -> Iterator[Callable[[], None]]:
    """Have the folder as another process does; yields what lets it go, which happens anyway after PATIENCE_S."""
    folder.mkdir()
    with (folder / ".lock").open("wb") as lock:
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
    with another_holds(tmp_path / "files") as release:

        def meanwhile() -> None:
            asked.append(len(server.requests))
            if len(asked) == 3:
                release()

        assert replace(store_in(tmp_path, server), meanwhile=meanwhile).fetch(TARGET).read_bytes() == CONTENT
    assert asked[:3] == [0, 0, 0]


def test_who_waits_for_another_process_can_be_broken_off(tmp_path: Path, server: UpdateServer) -> None:
    def meanwhile() -> None:
        raise InterruptedWorkError("a person wants something")

    with another_holds(tmp_path / "files"), pytest.raises(InterruptedWorkError, match="a person"):
        replace(store_in(tmp_path, server), meanwhile=meanwhile).fetch(TARGET)
    assert server.requests == []
