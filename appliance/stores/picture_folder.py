"""A folder of pictures that never outgrows its room: one folder per day, the oldest picture goes first."""

import os
import re
import shutil
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from appliance.bundle.whole_file import sync
from appliance.errors import StorageError

DAY = re.compile(r"\d{4}-\d\d-\d\d")
SUFFIXES = (".png", ".jpg")
TEMPORARY = ".writing-"

MOST_REMOVED_AT_ONCE = 64
"""So that making room never takes long, and another program that fills the disk cannot eat every picture at once."""


class PictureFolder:
    """Whole files and their room; used by one thread. Files that are no pictures are left alone."""

    def __init__(self, folder: Path, quota_bytes: int, min_free_bytes: int, on_removed: Callable[[str], None]) -> None:
        """Make the folder and try to write there.

        Args:
            folder: where; made if missing.
            quota_bytes: of all pictures together.
            min_free_bytes: what must stay free on the disk; pictures give way for it.
            on_removed: told the name (relative to folder) of each picture that made room.

        Raises:
            StorageError: the folder cannot be made or written.
        """
        self._folder = folder
        self._quota_bytes = quota_bytes
        self._min_free_bytes = min_free_bytes
        self._on_removed = on_removed
        self._bytes_by_day: dict[str, int] = {}
        self._oldest: deque[Path] = deque()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / TEMPORARY).touch()
            (folder / TEMPORARY).unlink()
        except OSError as error:
            raise StorageError(
                f"pictures cannot be written to {folder}: {error}; "
                "check the folder's owner, how the disk is mounted and its free space"
            ) from error

    @property
    def size_bytes(self) -> int:
        """What the pictures take together."""
        return sum(self._bytes_by_day.values())

    def take_stock(self) -> None:
        """Measure what is there and clear what a power cut left half-written.

        Raises:
            OSError: the disk refused.
        """
        for day in sorted(path for path in self._folder.iterdir() if DAY.fullmatch(path.name) and path.is_dir()):
            with os.scandir(day) as entries:
                for entry in entries:
                    if entry.name.startswith(TEMPORARY):
                        Path(entry.path).unlink(missing_ok=True)
                    elif entry.name.endswith(SUFFIXES):
                        self._add(day.name, entry.stat().st_size)

    def make_room(self, size_bytes: int) -> bool:
        """Remove the oldest pictures until size_bytes more fit the quota and the disk.

        Returns:
            False if they still do not fit: nothing more should be written now.

        Raises:
            OSError: the disk refused.
        """
        for _ in range(MOST_REMOVED_AT_ONCE):
            if self._fits(size_bytes) or not self._remove_oldest():
                break
        return self._fits(size_bytes)

    def write(self, name: str, data: bytes) -> None:
        """Write a file that is there whole or not at all, also after a power cut.

        Args:
            name: DAY/FILE.png or .jpg, relative to the folder.
            data: its content.

        Raises:
            OSError: the disk refused; nothing of the file is left.
        """
        target = self._folder / name
        if not target.parent.exists():
            target.parent.mkdir()
            sync(self._folder)
        temporary = target.with_name(TEMPORARY + target.name)
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except OSError:
            with suppress(OSError):
                temporary.unlink()
            raise
        sync(target.parent)
        self._add(target.parent.name, len(data))

    def _add(self, day: str, size_bytes: int) -> None:
        self._bytes_by_day[day] = self._bytes_by_day.get(day, 0) + size_bytes

    def _fits(self, size_bytes: int) -> bool:
        free_bytes = shutil.disk_usage(self._folder).free
        is_within_quota = self.size_bytes + size_bytes <= self._quota_bytes
        return is_within_quota and free_bytes - size_bytes >= self._min_free_bytes

    def _remove_oldest(self) -> bool:
        if not self._oldest:
            day = min(self._bytes_by_day, default=None)
            if day is None:
                return False
            folder = self._folder / day
            pictures = [path for path in folder.iterdir() if path.suffix in SUFFIXES] if folder.exists() else []
            if not pictures:
                with suppress(OSError):  # gone, or something else lies in it
                    folder.rmdir()
                del self._bytes_by_day[day]
                return True
            self._oldest.extend(sorted(pictures))
        path = self._oldest.popleft()
        with suppress(FileNotFoundError):  # a person was quicker
            size_bytes = path.stat().st_size
            path.unlink()
            self._add(path.parent.name, -size_bytes)
        self._on_removed(f"{path.parent.name}/{path.name}")
        return True
