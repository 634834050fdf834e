"""The folder of the engines that this device built for itself; nothing that came over a network is ever put there."""

import hashlib
import json
import logging
import os
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from appliance.bundle.whole_file import write_whole
from appliance.errors import StorageError
from appliance.ports import EngineIdentity
from appliance.runtimes.engines.key import EngineKey

log = logging.getLogger(__name__)

KEPT = 8
"""Engines that stay beside those that are named: those that a person may roll back to, and their precisions."""

SCHEMA = "vi.engine/1"


@dataclass(frozen=True, slots=True)
class BuiltEngine:
    """An engine as the builder wrote it; precision is what the network computes with."""

    plan: bytes
    precision: str

    def identity(self, key: EngineKey) -> EngineIdentity:
        """Return which engine this is.

        Args:
            key: that it was built for.
        """
        return EngineIdentity(key.digest(), hashlib.sha256(self.plan).hexdigest())


class EngineCache:
    """Finds an engine by its key, and only if every byte is as it was when it was built."""

    def __init__(self, folder: Path) -> None:
        """Name the folder; it is made when the first engine is kept."""
        self._folder = folder

    def find(self, key: EngineKey) -> BuiltEngine | None:
        """Return the engine that was built for exactly this key, or None if there is none to be trusted.

        Raises:
            StorageError: it is there and cannot be read, or others than this user may write there.
        """
        self._check_owner()
        label, plan_path = self._paths(key)
        try:
            written, plan = label.read_bytes(), plan_path.read_bytes()
            os.utime(label)  # used just now: the least used ones go
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"{error.filename}: {error.strerror}; check this user's rights there") from error
        try:
            document = json.loads(written)
            is_whole = (
                document["schema"] == SCHEMA
                and document["key"] == json.loads(key.as_json())
                and document["sha256"] == hashlib.sha256(plan).hexdigest()
            )
            precision = str(document["precision"])
        except (ValueError, KeyError, TypeError):
            is_whole = False
        if not is_whole:
            log.warning("%s is not as it was built; it is removed", plan_path)
            self.forget(key)
            return None
        return BuiltEngine(plan, precision)

    def is_kept(self, built: EngineIdentity) -> bool:
        """Tell whether the file of an engine still is what was loaded of it.

        Raises:
            StorageError: it is there and cannot be read.
        """
        path = self._folder / f"{built.key_digest}.engine"
        try:
            return hashlib.sha256(path.read_bytes()).hexdigest() == built.digest
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}; check this user's rights there") from error

    def keep(self, key: EngineKey, engine: BuiltEngine) -> None:
        """Write an engine down, its label last.

        Raises:
            StorageError: the disk is full or refuses, or others than this user may write there.
        """
        self.make_folder()
        label, plan_path = self._paths(key)
        document = {
            "schema": SCHEMA,
            "key": json.loads(key.as_json()),
            "sha256": hashlib.sha256(engine.plan).hexdigest(),
            "precision": engine.precision,
        }
        write_whole(plan_path, engine.plan)
        write_whole(label, json.dumps(document, indent=1).encode())

    def make_room(self, named: Collection[str]) -> None:
        """Remove the least used engines beyond KEPT, before others are built.

        Args:
            named: digests of the keys of those that stay and do not count, as the newest certificates name them.

        Raises:
            StorageError: the disk refuses.
        """
        try:
            others = [path for path in self._folder.glob("*.json") if path.stem not in named]
            for old in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)[KEPT:]:
                old.unlink(missing_ok=True)
                old.with_suffix(".engine").unlink(missing_ok=True)
        except FileNotFoundError:  # another process makes room, too
            return
        except OSError as error:
            raise StorageError(f"{error.filename}: {error.strerror}; check this user's rights there") from error

    def forget(self, key: EngineKey) -> None:
        """Remove an engine that this device does not take."""
        for path in self._paths(key):
            with suppress(FileNotFoundError):
                path.unlink()

    def timing_path(self, key: EngineKey) -> Path:
        """Return where the builder keeps what it has measured on this device."""
        return self._folder / f"{key.timing_digest()}.timing"

    def make_folder(self) -> Path:
        """Return the folder, which now exists; nobody but this user may write there.

        Raises:
            StorageError: the disk refuses, or others than this user may write there.
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"{self._folder} cannot be made: {error.strerror}; name another folder in runtime.engines"
            ) from error
        self._check_owner()
        return self._folder

    def _check_owner(self) -> None:
        """Refuse a folder where somebody else could put an engine, which runs as this user."""
        try:
            found = self._folder.stat()
        except OSError:  # reading or making it says why
            return
        if os.name == "posix" and (found.st_uid != os.getuid() or found.st_mode & 0o022):
            raise StorageError(
                f"{self._folder}: belongs to user {found.st_uid} with rights {found.st_mode & 0o777:o}, so others than "
                f"this user ({os.getuid()}) could put an engine there; remove it, or name another folder in "
                "runtime.engines, which only this user may write to (chmod 700)"
            )

    def _paths(self, key: EngineKey) -> tuple[Path, Path]:
        name = key.digest()
        return self._folder / f"{name}.json", self._folder / f"{name}.engine"
