"""A wall clock for one process that a test sets while it runs; its monotonic clock stays true (libfaketime)."""

from pathlib import Path


def find_library() -> str | None:
    """Return the path of libfaketime, or None; Debian keeps it in a folder of its own."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    return str(found[0]) if found else None


class WallClock:
    """Right at first; the process that gets `environment` sees every change at once."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set_by(0)

    @property
    def environment(self) -> dict[str, str]:
        """What the process must be started with."""
        return {
            "LD_PRELOAD": str(find_library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_NO_CACHE": "1",
            "NO_FAKE_STAT": "1",
        }

    def set_by(self, offset_s: int) -> None:
        """Set the clock so many seconds before (-) or behind (+) the right time."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{offset_s:+d}\n")
        new.replace(self._file)
