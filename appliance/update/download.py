"""Files that the repository vouches for: fetched in as many pieces as it takes, visible only when right and whole."""

import hashlib
import logging
import math
import os
import shutil
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from appliance.bundle.whole_file import sync
from appliance.errors import BundleTrustError, StorageError
from appliance.update.durable import in_words
from appliance.update.lock import locked, nothing
from appliance.update.repository import Target
from appliance.update.source import CannotGoOnError, Source, ends_early

log = logging.getLogger(__name__)

READ_BYTES = 1 << 20


class _Draft:
    """A file on its way: what is on disk already, and its digests so far."""

    def __init__(self, path: Path, target: Target, on_step: Callable[[], None]) -> None:
        self.path, self._target = path, target
        self._hashes = {algorithm: hashlib.new(algorithm) for algorithm in target.digests}
        self.length = 0
        if path.exists() and path.stat().st_size <= target.length:
            with path.open("rb") as file:
                while chunk := file.read(READ_BYTES):
                    self._note(chunk)
                    on_step()
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

    folder: for these files alone. source: where the repository's targets lie. reserve_bytes: what must stay free.
    meanwhile: called after each piece that comes or is read again, and while another process works in the folder; what
    it raises breaks the download off, and the next one goes on there.
    """

    folder: Path
    source: Source
    reserve_bytes: int = 0
    meanwhile: Callable[[], None] = nothing

    def fetch(self, target: Target) -> Path:
        """Return the target's file, from the store or from the source.

        What an earlier try has fetched is not fetched again, whether the network was cut, the stick pulled out or the
        process killed, also from another source, unless another file needed its space: where that makes enough,
        half-fetched files are deleted, the oldest first.

        Args:
            target: what the repository vouches for.

        Returns:
            A file with exactly the target's length and digests.

        Raises:
            BundleTrustError: the source has another file under this name.
            DeliveryError: the network, the server or the stick said no; the next call goes on.
            StorageError: not enough space, or the disk said no; every whole file is as it was.
        """
        path = self.folder / target.digests.get("sha256", next(iter(target.digests.values())))
        with in_words(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with locked(self.folder / ".lock", self.meanwhile, math.inf):  # a large file from a slow stick
                if self._holds(path, target):
                    return path
                part = path.with_name(f".{path.name}.part")
                self._make_space(target, part)
                self._receive(target, part)
                sync(part)  # also one that was complete before, and whose process was killed before it synced
                part.replace(path)
                sync(self.folder)
        return path

    def _holds(self, path: Path, target: Target) -> bool:
        if not path.exists():
            return False
        if path.stat().st_size == target.length and _Draft(path, target, self.meanwhile).is_right():
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
        limits = self.source.limits
        ends_at = time.monotonic() + limits.window_s + target.length / limits.min_bytes_per_s
        if part.exists() and part.stat().st_size > target.length:
            part.unlink()
        for _ in range(2):
            part.touch()
            draft = _Draft(part, target, self.meanwhile)
            while draft.length < target.length:
                try:
                    self._receive_rest(target, draft, ends_at)
                except CannotGoOnError:
                    part.unlink()
                    draft = _Draft(part, target, self.meanwhile)
            if draft.is_right():
                return
            part.unlink()
            if not draft.began_at:
                break
            log.warning("%s was damaged on its way to disk and is fetched anew", target.name)
        raise BundleTrustError(
            f"{target.name}: {self.source.place} has another file under this name than was signed; "
            "look at who publishes there"
        )

    def _receive_rest(self, target: Target, draft: _Draft, ends_at: float) -> None:
        before = draft.length
        rest = self.source.rest(target.path, first_byte=before, length=target.length, ends_at=ends_at)
        with closing(rest), draft.path.open("ab") as file:
            try:
                for chunk in rest:
                    draft.append(file, chunk)
                    self.meanwhile()
            finally:
                file.flush()
                os.fsync(file.fileno())
        if draft.length == before:
            raise ends_early(f"{self.source.place}/{target.path}", before, target.length)
