"""Which process holds a lock, for the words of whoever waits for it."""

import logging
import os
from pathlib import Path

log = logging.getLogger(__name__)

MOST_SHOWN = 200
"""Characters of a command line."""


def who_holds(descriptor: int) -> str:
    """Return which process holds the lock of an open file, in words.

    As far as the system says so: not in a container of its own, nor on every file system.
    """
    try:
        file = os.fstat(descriptor)
        place = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}:{file.st_ino}"
        for words in map(str.split, Path("/proc/locks").read_text(encoding="ascii").splitlines()):
            if words[1] == "FLOCK" and words[5] == place:
                said = Path(f"/proc/{words[4]}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                return f"process {words[4]} ({' '.join(said.split())[:MOST_SHOWN]})"
    except (OSError, ValueError, IndexError) as error:
        log.debug("nothing says who holds the lock: %s", error)
    return "another process"
