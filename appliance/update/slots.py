"""Two slots for the releases of one name, and one link that says which is started: what the disk says is the truth."""

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from appliance.errors import StorageError
from appliance.update.durable import in_words, link_whole, point_to, remove

NAMES = ("a", "b")
JudgingKindName: TypeAlias = Literal["model", "recipe"]
SUFFIXES: Mapping[JudgingKindName, str] = {"model": ".bundle", "recipe": ".recipe"}
"""Kind of what judges -> the ending of its files."""

READ_BYTES = 1 << 20


def digest_of(path: Path, on_step: Callable[[], None] = lambda: None) -> str:
    """Return a file's SHA-256; empty if there is none; on_step: called after each piece of it.

    Raises:
        StorageError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(READ_BYTES):
                digest.update(chunk)
                on_step()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}; check the disk and the rights") from error
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Slots:
    """The slots of one name; whoever has `current` open, or asks for it at any moment, finds a whole release.

    folder: for these alone, on the disk of the verified files. suffix: of the files.
    """

    folder: Path
    suffix: str

    @property
    def current(self) -> Path:
        """What is started: a link to a slot."""
        return self.folder / f"current{self.suffix}"

    @property
    def candidate(self) -> Path:
        """What waits to be committed; no slot, so that the release before the one in force stays until then."""
        return self.folder / f"candidate{self.suffix}"

    def slot(self) -> str:
        """Return the name of the slot that is started; empty if none is.

        Raises:
            StorageError: current is something else than a link to a slot.
        """
        if not os.path.lexists(self.current):
            return ""
        with in_words(self.current):
            target = self.current.readlink() if self.current.is_symlink() else Path()
        name = next((name for name in NAMES if str(target) == f"{name}{self.suffix}"), "")
        if not name:
            raise StorageError(
                f"{self.current} is not the agent's link to a or b; put it back, or remove it and call "
                "`appliance agent adopt`"
            )
        return name

    def path(self, slot: str) -> Path:
        """Return the file of a slot."""
        return self.folder / f"{slot}{self.suffix}"

    def other(self) -> Path:
        """Return the file of the slot that is not started."""
        return self.path("a" if self.slot() == "b" else "b")

    def stage(self, file: Path) -> None:
        """Let a verified file wait beside what is in force.

        Raises:
            StorageError: the disk refuses.
        """
        link_whole(file, self.candidate)

    def commit(self, sha256: str) -> None:
        """Let the candidate be started from now on; again where it is, or was half done, too.

        Args:
            sha256: the candidate's.

        Raises:
            StorageError: the disk refuses, or no candidate with this content waits.
        """
        if digest_of(self.current) == sha256:
            return
        other = self.other()
        if digest_of(other) != sha256:
            if digest_of(self.candidate) != sha256:
                raise StorageError(f"{self.candidate} is not the release that was proved; it is begun anew")
            link_whole(self.candidate, other)
        point_to(self.current, other.name)

    def back_to(self, sha256: str) -> bool:
        """Let the release before be started again; False if no slot has it.

        Args:
            sha256: of that release.

        Raises:
            StorageError: the disk refuses.
        """
        if digest_of(self.current) == sha256:
            return True
        other = self.other()
        if digest_of(other) != sha256:
            return False
        point_to(self.current, other.name)
        return True

    def forget(self, sha256: str) -> None:
        """Remove a release that must not be gone back to; never the one that is started.

        Raises:
            StorageError: the disk refuses.
        """
        for path in (self.candidate, self.other()):
            if digest_of(path) == sha256:
                remove(path)

    def forget_candidate(self) -> None:
        """Remove what waits.

        Raises:
            StorageError: the disk refuses.
        """
        if os.path.lexists(self.candidate):
            remove(self.candidate)
