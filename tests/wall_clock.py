"""A wall clock for one process that a test sets while it runs; its monotonic clock and its timed waits stay true.

Not libfaketime: up to 0.9.10 it also shifts timed waits on the monotonic clock (wolfcw/libfaketime, pull request 503),
so that a process whose clock is set back waits an hour where it meant 5 ms.
"""

import struct
import subprocess
from pathlib import Path

_SOURCE = Path(__file__).with_suffix(".c")


class WallClock:
    """Right at first; the process that gets `environment` sees every change at once."""

    def __init__(self, folder: Path) -> None:
        self._file, self._library = folder / "wall_clock", folder / "wall_clock.so"
        self._file.write_bytes(bytes(8))
        subprocess.run(
            ["cc", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", self._library, _SOURCE, "-ldl"], check=True
        )

    @property
    def environment(self) -> dict[str, str]:
        """What the process must be started with."""
        return {"LD_PRELOAD": str(self._library), "WALL_CLOCK": str(self._file)}

    def set_by(self, offset_s: int) -> None:
        """Set the clock so many seconds before (-) or behind (+) the right time."""
        with self._file.open("r+b") as file:
            file.write(struct.pack("=q", offset_s))
