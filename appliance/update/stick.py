"""A repository's files in a folder, such as a USB stick that somebody brought; what lies there may be anything."""

import errno
import os
import stat
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes

from appliance.errors import DeliveryError
from appliance.update.pace import Pace, TransferLimits
from appliance.update.source import NotThereError, ends_early

READ_BYTES = 1 << 20
AS_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
AS_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""Opening waits for nobody who might write to a pipe, and makes no terminal this process's own."""


@dataclass(frozen=True, slots=True)
class FolderSource:
    """One folder of a stick; see `source.Source`. No link is followed below the stick, and only plain files are read.

    stick: as a person named it. part: the folder in it, `metadata` or `targets`. limits: without a bandwidth, which is
    the network's; a read that the system itself does not end is not ended by them.
    """

    stick: Path
    part: str
    limits: TransferLimits

    @property
    def place(self) -> str:
        """Return the folder."""
        return str(self.stick / self.part)

    def read(self, name: str, *, most_bytes: int, ends_at: float) -> bytes:
        """Return a small file; see `source.Source`."""
        place = f"{self.place}/{name}"
        with self._opened([name], place) as file:
            content = b"".join(self._chunks(file, place, most_bytes + 1, ends_at))
        if len(content) > most_bytes:
            raise _too_long(place, most_bytes, len(content))
        return content

    def rest(self, path: str, *, first_byte: int, length: int, ends_at: float) -> Generator[bytes, None, None]:
        """Read the rest of a file; see `source.Source`."""
        place, reached = f"{self.place}/{path}", first_byte
        parts = os.fsdecode(unquote_to_bytes(path)).split("/")
        with self._opened(parts, place) as file:
            with _in_words(place):
                size = os.fstat(file).st_size
                os.lseek(file, first_byte, os.SEEK_SET)
            if size > length:
                raise _too_long(place, length, size)
            for chunk in self._chunks(file, place, length - first_byte, ends_at):
                reached += len(chunk)
                yield chunk
        if reached < length:
            raise ends_early(place, reached, length)

    def _chunks(self, file: int, place: str, most_bytes: int, ends_at: float) -> Iterator[bytes]:
        """Read from here on, to the end of the file or so many bytes."""
        pace = Pace(
            self.limits.model_copy(update={"max_bytes_per_s": 0}), place, most_bytes=most_bytes, ends_at=ends_at
        )
        left = most_bytes
        while left:
            pace.patience_s()
            with _in_words(place):
                chunk = os.read(file, min(READ_BYTES, left))
            if not chunk:
                return
            pace.took(len(chunk))
            left -= len(chunk)
            yield chunk

    @contextmanager
    def _opened(self, parts: list[str], place: str) -> Iterator[int]:
        """Open a file one folder after the other, so that none of them is a link by the time it is looked into."""
        if any(part in ("", ".", "..") or "\0" in part for part in parts):
            raise DeliveryError(f"{place}: no path below the stick's folder; publish it under another name")
        with ExitStack() as held:

            def hold(name: str | Path, flags: int, folder: int | None = None) -> int:
                descriptor = os.open(name, flags, dir_fd=folder)
                held.callback(os.close, descriptor)
                return descriptor

            with _in_words(str(self.stick), is_needed=True):
                folder = hold(self.stick, AS_FOLDER)
            with _in_words(place):
                for part in (self.part, *parts[:-1]):
                    folder = hold(part, AS_FOLDER | os.O_NOFOLLOW, folder)
                _check_plain(
                    os.stat(parts[-1], dir_fd=folder, follow_symlinks=False), place
                )  # opening may do something
                file = hold(parts[-1], AS_FILE, folder)
                _check_plain(os.fstat(file), place)
            yield file


def _check_plain(found: os.stat_result, place: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise DeliveryError(f"{place}: not a plain file, as a link or a device; look at who wrote the stick")


def _too_long(place: str, most_bytes: int, found: int) -> DeliveryError:
    return DeliveryError(f"{place}: {found} bytes or more, and {most_bytes} at most were signed; write the stick anew")


@contextmanager
def _in_words(place: str, *, is_needed: bool = False) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        kind = DeliveryError if is_needed else NotThereError
        raise kind(
            f"{place}: not there; plug the stick in, look whether it is whole, or name another folder"
        ) from error
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise DeliveryError(
                f"{place}: on its way is a link, or a file where a folder should be, and neither is followed; "
                "look at who wrote the stick"
            ) from error
        raise DeliveryError(
            f"{place}: {error.strerror}; the stick is damaged or was pulled out: try again, or write another one"
        ) from error
