"""Files that the repository vouches for: fetched in as many pieces as it takes, visible only when right and whole."""

import hashlib
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from appliance.errors import BundleTrustError, DeliveryError, StorageError
from appliance.update.lock import locked
from appliance.update.repository import Target
from appliance.update.transport import Answer, Transport

log = logging.getLogger(__name__)

READ_BYTES = 1 << 20
CONTENT_RANGE = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15}|\*)")
OK, PARTIAL, NOT_SATISFIABLE = 200, 206, 416


class _Draft:
    """A file on its way: what is on disk already, and its digests so far."""

    def __init__(self, path: Path, target: Target) -> None:
        self.path, self._target = path, target
        self._hashes = {algorithm: hashlib.new(algorithm) for algorithm in target.digests}
        self.length = 0
        if path.exists() and path.stat().st_size <= target.length:
            with path.open("rb") as file:
                while chunk := file.read(READ_BYTES):
                    self._note(chunk)
        self.began_at = self.length

    def append(self, file: IO[bytes], chunk: bytes) -> None:
        file.write(chunk)
        self._note(chunk)

    def is_right(self) -> bool:
        return self.length == self._target.length and all(
            self._hashes[algorithm].hexdigest() == digest for algorithm, digest in self._target.digests.items()
        )

    def _note(self, chunk: bytes) -> None:
        self.length += len(chunk)
        for state in self._hashes.values():
            state.update(chunk)


@dataclass(frozen=True, slots=True)
class TargetStore:
    """Verified files under their digest; what is there is never changed, and replaced only by what is right.

    folder: for these files alone. url: where the repository's targets lie. reserve_bytes: what must stay free.
    """

    folder: Path
    url: str
    transport: Transport
    reserve_bytes: int = 0

    def fetch(self, target: Target) -> Path:
        """Return the target's file, from the store or from the server.

        What an earlier try has fetched is not fetched again, whether the network was cut or the process killed, unless
        another file needed its space: where that makes enough, half-fetched files are deleted, the oldest first.

        Args:
            target: what the repository vouches for.

        Returns:
            A file with exactly the target's length and digests.

        Raises:
            BundleTrustError: the server has another file under this name.
            DeliveryError: the network or the server said no; the next call goes on.
            StorageError: not enough space, or the disk said no; every whole file is as it was.
            ConfigError: the address is none that this device may ask.
        """
        path = self.folder / target.digests.get("sha256", next(iter(target.digests.values())))
        with self._in_words(), locked(self.folder / ".lock"):
            if self._holds(path, target):
                return path
            part = path.with_name(f".{path.name}.part")
            self._make_space(target, part)
            self._receive(target, part)
            _sync(part)  # also one that was complete before, and whose process was killed before it synced
            part.replace(path)
            _sync(self.folder)
        return path

    def _holds(self, path: Path, target: Target) -> bool:
        if not path.exists():
            return False
        if path.stat().st_size == target.length and _Draft(path, target).is_right():
            return True
        log.warning("%s is damaged and is fetched anew; check the disk", path)
        return False

    def _make_space(self, target: Target, part: Path) -> None:
        wanted = target.length - (part.stat().st_size if part.exists() else 0) + self.reserve_bytes
        free = shutil.disk_usage(self.folder).free
        others = sorted(self.folder.glob(".*.part"), key=lambda path: path.stat().st_mtime_ns)
        others = [path for path in others if path != part]
        if free + sum(path.stat().st_size for path in others) >= wanted:
            for other in others:
                if free >= wanted:
                    break
                log.warning("%s, half fetched, is deleted to make space", other)
                other.unlink()
                free = shutil.disk_usage(self.folder).free
        if free < wanted:
            raise StorageError(
                f"{self.folder}: {target.name} needs {wanted} bytes with the reserve, and {free} are free; "
                "free some space, or lower the reserve"
            )

    def _receive(self, target: Target, part: Path) -> None:
        limits = self.transport.limits
        ends_at = time.monotonic() + limits.window_s + target.length / limits.min_bytes_per_s
        if part.exists() and part.stat().st_size > target.length:
            part.unlink()
        for _ in range(2):
            part.touch()
            draft = _Draft(part, target)
            while draft.length < target.length:
                if not self._receive_rest(target, draft, ends_at):
                    part.unlink()
                    draft = _Draft(part, target)
            if draft.is_right():
                return
            part.unlink()
            if not draft.began_at:
                break
            log.warning("%s was damaged on its way to disk and is fetched anew", target.name)
        raise BundleTrustError(
            f"{target.name}: the server has another file under this name than was signed; look at who publishes there"
        )

    def _receive_rest(self, target: Target, draft: _Draft, ends_at: float) -> bool:
        """Go on where the draft ends; False: the server refuses to go on there, so it must be begun anew."""
        place = f"{self.url.rstrip('/')}/{target.path}"
        before, rest = draft.length, target.length - draft.length
        with self.transport.get(place, most_bytes=target.length, ends_at=ends_at, first_byte=before) as answer:
            if answer.status == NOT_SATISFIABLE and draft.length:
                return False
            skipped = _first_byte(answer, place, draft.length, target.length)
            with draft.path.open("ab") as file:
                try:
                    for chunk in answer.chunks(rest + skipped):
                        draft.append(file, chunk[skipped:])
                        skipped = max(0, skipped - len(chunk))
                finally:
                    file.flush()
                    os.fsync(file.fileno())
            if draft.length < target.length and (answer.status == OK or draft.length == before):
                raise DeliveryError(
                    f"{place}: the server's file ends after {draft.length} of {target.length} bytes; publish it again"
                )
        return True

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            yield
        except OSError as error:
            raise StorageError(
                f"{error.filename or self.folder}: {error.strerror}; check space, rights and the disk"
            ) from error


def _first_byte(answer: Answer, place: str, wanted: int, length: int) -> int:
    """Check that the answer is what was asked for; returns how many bytes at its beginning are on disk already."""
    if answer.status == OK:
        return wanted  # a server that knows no ranges sends all of it
    if answer.status != PARTIAL:
        raise DeliveryError(f"{place}: the server answers {answer.status}; check the address and the server")
    found = CONTENT_RANGE.fullmatch(answer.header("Content-Range"))
    if not wanted or not found or int(found[1]) != wanted or not wanted <= int(found[2]) < length:
        raise _wrong_range(answer, place, wanted, length)
    if found[3] not in ("*", str(length)):
        raise _wrong_range(answer, place, wanted, length)
    return 0


def _wrong_range(answer: Answer, place: str, wanted: int, length: int) -> DeliveryError:
    return DeliveryError(
        f"{place}: bytes {wanted} to {length - 1} were asked for, and the server sends "
        f"{answer.header('Content-Range')[:80]!r}; correct the server"
    )


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
