"""One process at a time in a folder; the others wait."""

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance.errors import StorageError

LOOK_S = 0.2
"""How often whoever does something meanwhile looks whether a lock is free."""


@contextmanager
def locked(path: Path, meanwhile: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold a lock, which ends with the process at the latest.

    Args:
        path: a file that is only there for this, in a folder that is there.
        meanwhile: called every LOOK_S while somebody else holds it; what it raises ends the wait.

    Yields:
        When nobody else holds it; who holds it is bounded by the limits of transfers.

    Raises:
        StorageError: the folder refuses a file.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}; check the folder, space and rights") from error
    try:
        while meanwhile is not None and not _is_taken(descriptor):
            meanwhile()
            threading.Event().wait(LOOK_S)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def held_if_free(path: Path) -> Iterator[bool]:
    """Hold a lock if nobody does; never waits.

    Args:
        path: see locked.

    Yields:
        Whether this process holds it.

    Raises:
        StorageError: the folder refuses a file.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}; check the folder, space and rights") from error
    try:
        yield _is_taken(descriptor)
    finally:
        os.close(descriptor)


def _is_taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
