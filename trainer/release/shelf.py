"""Where a repository's static files lie: written once under their version or digest, and one file that is swapped.

ADDRESS/metadata/N.ROLE.json, ADDRESS/metadata/timestamp.json, ADDRESS/targets/PATH/SHA256.NAME
"""

from __future__ import annotations

import fcntl
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tuf.api.exceptions import LengthOrHashMismatchError
from tuf.api.metadata import TargetFile

from appliance.errors import BundleTrustError, ConfigError, StorageError
from trainer.files import make_folder
from trainer.stored_files import StoredFiles

TIMESTAMP = "metadata/timestamp.json"
LOCK = ".publishing.lock"
MARK_OF_A_STICK = "STICK.txt"
"""Says for people what a stick is; for programs, that it is one, and not the repository itself."""

_BUSY = (
    "{address}: somebody else {doing}; nothing that devices see was changed by this command. Wait until that is done, "
    "and repeat it"
)


@dataclass(frozen=True, slots=True)
class Mark:
    """timestamp.json as it was when a command began; tag: an object store's name for that content."""

    content: bytes | None
    tag: str = ""


class Shelf:
    """One repository's files.

    Args:
        address: a folder, or a URL such as s3://bucket/updates.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._files = StoredFiles(address)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other publishers on this machine out, as long as the address is a folder; elsewhere the last step tells.

        Raises:
            ConfigError: Somebody else is publishing there.
        """
        folder = self._files.local_folder
        if folder is None:
            yield
            return
        make_folder(folder)
        with (folder / LOCK).open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConfigError(_BUSY.format(address=self.address, doing="is publishing there now")) from error
            for draft in folder.rglob(".*.part"):  # what a killed publisher left half-written
                draft.unlink()
            yield

    def metadata(self, role: str, version: int) -> bytes | None:
        """Return a role's file of a version, None if it is not there.

        Raises:
            StorageError: The address does not answer or refuses.
        """
        return self._files.read(f"metadata/{version}.{role}.json")

    def read(self, path: str) -> bytes | None:
        """Return a file by its path below the address, None if it is not there.

        Raises:
            StorageError: The address does not answer or refuses.
        """
        return self._files.read(path)

    def target(self, name: str, target: TargetFile) -> bytes | None:
        """Return a signed file as it lies there, None if it does not; whether it is the right one is not looked at.

        Raises:
            StorageError: The address does not answer or refuses.
        """
        return self._files.read(f"targets/{target_path(name, target.hashes['sha256'])}")

    def signed_target(self, name: str, target: TargetFile) -> bytes:
        """Return a signed file as it was signed.

        Raises:
            BundleTrustError: It is missing, or another content is there.
            StorageError: The address does not answer or refuses.
        """
        return self.as_signed(name, target, self.target(name, target))

    def as_signed(self, name: str, target: TargetFile, content: bytes | None) -> bytes:
        """Return what `target` gave, if it is what was signed.

        Raises:
            BundleTrustError: It is missing, or another content.
        """
        if content is None:
            raise BundleTrustError(f"{self.address}: {name} is signed and missing; restore it from a copy")
        try:
            target.verify_length_and_hashes(content)
        except LengthOrHashMismatchError as error:
            raise BundleTrustError(f"{self.address}: {name} is damaged ({error}); restore it from a copy") from error
        return content

    def next_version(self, role: str, standing: int) -> int:
        """Return the first version of a role that nobody has begun yet, also nobody who was killed then.

        Raises:
            StorageError: The address does not answer or refuses.
        """
        form = re.compile(rf"metadata/(\d{{1,15}})\.{re.escape(role)}\.json")
        found = (form.fullmatch(name) for name in self._files.sizes("metadata"))
        return max([standing, *(int(match[1]) for match in found if match)]) + 1

    def add_metadata(self, role: str, version: int, content: bytes) -> None:
        """Write a role's file once; the same again is no mistake.

        Raises:
            ConfigError: Another file of this version is there.
            StorageError: The address does not answer or refuses.
        """
        name = f"metadata/{version}.{role}.json"
        found = self._files.read(name)
        if found is None:
            try:
                self._files.create(name, content)
            except StorageError:
                found = self._files.read(name)
                if found is None:
                    raise
            else:
                return
        if found != content:
            doing = f"has begun to publish another {role} {version} there"
            raise ConfigError(
                f"{_BUSY.format(address=self.address, doing=doing)}; if they gave up, make the signing request anew"
            )

    def add_target(self, path: str, content: bytes) -> None:
        """Write a file under its digest; path: with the digest, below targets/.

        Raises:
            StorageError: The address does not answer or refuses.
        """
        if self._files.read(f"targets/{path}") != content:
            self._files.write(f"targets/{path}", content)

    @property
    def folder(self) -> Path | None:
        """The folder, if the address is one on this machine."""
        return self._files.local_folder

    def mark(self) -> Mark:
        """Return timestamp.json as it is.

        Raises:
            StorageError: The address does not answer or refuses.
        """
        tag = self._files.tag(TIMESTAMP) if self._files.is_s3 else ""  # before reading: a swap in between is refused
        return Mark(self._files.read(TIMESTAMP), tag)

    def swap(self, content: bytes, mark: Mark) -> None:
        """Replace timestamp.json, after which devices see what is new; only if it is still the marked one.

        In a folder the lock sees to that, S3 compares by itself, and everywhere else it is read once more just before.

        Raises:
            ConfigError: Somebody else has published meanwhile.
            StorageError: The address does not answer or refuses.
        """
        if self._files.read(TIMESTAMP) != mark.content:
            raise self._overtaken()
        if not self._files.is_s3:
            self._files.write(TIMESTAMP, content)
            return
        if mark.content is None:
            self._files.create(TIMESTAMP, content)
        elif not self._files.replace(TIMESTAMP, content, mark.tag) and self._files.read(TIMESTAMP) != content:
            raise self._overtaken()  # else it was this very call, which the network repeated

    def _overtaken(self) -> ConfigError:
        return ConfigError(_BUSY.format(address=self.address, doing="has published there since this command began"))


def target_path(name: str, digest: str) -> str:
    """Return where a target lies below targets/ (consistent snapshots: the digest in front of the name)."""
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{digest}.{last}"
