"""One process at a time in a folder; the others wait, do something meanwhile, and say who keeps them waiting."""

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance.errors import StorageError
from appliance.update.lock_holder import who_holds

log = logging.getLogger(__name__)

LOOK_S = 0.2
"""How often whoever waits looks whether a lock is free, and does something meanwhile."""

WAIT_S = 120.0
"""So long at most for who writes one small file, also where the disk is slow or the line comes first."""

TELL_S = 10.0
"""After so long it is told who keeps a lock."""


def nothing() -> None:
    """Do nothing meanwhile."""


@contextmanager
def locked(path: Path, meanwhile: Callable[[], None] = nothing, wait_s: float = WAIT_S) -> Iterator[None]:
    """Hold a lock, which ends with the process at the latest.

    Args:
        path: a file that is only there for this, in a folder that is there.
        meanwhile: called every LOOK_S while somebody else holds it; what it raises ends the wait.
        wait_s: so long somebody else may hold it.

    Yields:
        When nobody else holds it.

    Raises:
        StorageError: somebody else has held it for too long, or the folder refuses a file.
    """
    with _opened(path) as descriptor:
        _wait_for(descriptor, path, meanwhile, wait_s)
        yield


@contextmanager
def held_if_free(path: Path) -> Iterator[bool]:
    """Hold a lock if nobody does; never waits.

    Args:
        path: see locked; its folder is made if it is not there.

    Yields:
        Whether this process holds it.

    Raises:
        StorageError: the folder refuses a file.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _refused(path, error) from error
    with _opened(path) as descriptor:
        yield _is_taken(descriptor)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _refused(path, error) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _refused(path: Path, error: OSError) -> StorageError:
    return StorageError(f"{path}: {error.strerror}; check the folder, space and rights")


def _wait_for(descriptor: int, path: Path, meanwhile: Callable[[], None], wait_s: float) -> None:
    began, is_told = time.monotonic(), False
    while not _is_taken(descriptor):
        waited_s = time.monotonic() - began
        if waited_s >= wait_s:
            raise StorageError(
                f"{path}: was waited for for {wait_s:g} s, and {who_holds(descriptor)} has it; wait until that has "
                "ended, or end it if it hangs, and try again"
            )
        if waited_s >= TELL_S and not is_told:
            log.warning("%s is waited for: %s holds it", path, who_holds(descriptor))
            is_told = True
        meanwhile()
        threading.Event().wait(LOOK_S)


def _is_taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
