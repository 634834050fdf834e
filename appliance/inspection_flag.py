"""Whether the line inspects a part just now: one byte of shared memory, for whoever wants to keep out of its way."""

import hashlib
import logging
import mmap
import os
import stat
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

SHARED_MEMORY = Path("/dev/shm")  # no file is made here that another user could have made before: see _open
NO, YES = 0, 1


def flag_of(ledger: Path) -> Path:
    """Return where the flag of a station is; memory, so that no disk can hold its writer up.

    Args:
        ledger: the station's, which no two of them share.
    """
    name = hashlib.sha256(str(ledger.resolve()).encode()).hexdigest()[:16]
    return SHARED_MEMORY / f"inspection-{name}"


class InspectionFlag:
    """The station's side; without shared memory it does nothing, and nobody keeps out of the line's way."""

    def __init__(self, path: Path) -> None:
        """Make the flag, lowered."""
        self._path, self._byte = path, bytearray(1)
        self._shared: mmap.mmap | None = None
        try:
            descriptor = _open(path, os.O_RDWR | os.O_CREAT)
            try:
                os.posix_fallocate(descriptor, 0, 1)  # a full memory is an error here, and no signal later
                self._shared = mmap.mmap(descriptor, 1)
            finally:
                os.close(descriptor)
            self._shared[0] = NO
        except OSError as error:
            log.info("%s: %s; updates do not rest while a part is inspected", path, error.strerror or error)

    def put(self, is_inspecting: bool) -> None:
        """Raise or lower it; costs less than a microsecond."""
        if self._shared is not None:
            self._shared[0] = YES if is_inspecting else NO

    def close(self) -> None:
        """Lower and remove it."""
        if self._shared is not None:
            self.put(False)
            with suppress(OSError):
                self._path.unlink()
            self._shared.close()
            self._shared = None


class SeenFlag:
    """The other side; a station that starts makes a new flag, so this one is looked up again and again."""

    def __init__(self, path: Path) -> None:
        """Look at no flag yet."""
        self._path = path
        self._shared: mmap.mmap | None = None

    def look_up(self) -> bool:
        """Open the flag that is there now; returns whether there is one."""
        self.close()
        with suppress(OSError, ValueError):  # no station, no flag
            descriptor = _open(self._path, os.O_RDONLY)
            try:
                self._shared = mmap.mmap(descriptor, 1, prot=mmap.PROT_READ)
            finally:
                os.close(descriptor)
        return self._shared is not None

    @property
    def is_up(self) -> bool:
        """Whether a part is inspected just now, as far as one can tell."""
        return self._shared is not None and self._shared[0] == YES

    def close(self) -> None:
        """Let go of it."""
        if self._shared is not None:
            self._shared.close()
            self._shared = None


def _open(path: Path, how: int) -> int:
    """Open a file that is this user's own, and neither a link nor anything else that a name can stand for.

    Raises:
        OSError: it is not.
    """
    descriptor = os.open(path, how | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    found = os.fstat(descriptor)
    if found.st_uid != os.geteuid() or not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise OSError("somebody else put it there")
    return descriptor
