"""Versions and their files at any address that fsspec takes: each file once, under its SHA-256.

ADDRESS/objects/ab/abcd...  the content of a picture or reference, whatever it is called and whoever uses it
ADDRESS/versions/NAME.json  a version; written last, so that what it names is there

Source: filesystem-spec.readthedocs.io, "Configuration" (options from files and the environment) and `pipe_file`.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import fsspec
from fsspec.implementations.local import LocalFileSystem

from appliance.bundle.whole_file import write_whole
from appliance.errors import ConfigError, StorageError
from trainer.files import make_folder

_LIBRARY_ERRORS = (("botocore.exceptions", "BotoCoreError"), ("aiohttp", "ClientError"))
"""What object stores' libraries raise beside OSError, if one is loaded."""


class Store:
    """One address; any thread may call any method."""

    def __init__(self, address: str) -> None:
        """Find the file system behind an address; nothing is asked of it yet.

        Args:
            address: a folder, or a URL such as s3://bucket/boards.

        Raises:
            ConfigError: Nothing here can reach such an address.
        """
        self.address = address
        try:
            self._files, self._root = fsspec.url_to_fs(address)
        except (ValueError, ImportError) as error:
            extra = "; pip install 'inspection-appliance[s3]' brings s3://" if address.startswith("s3") else ""
            raise ConfigError(f"{address}: no address that can be read here ({error}){extra}") from error
        self._files.invalidate_cache()

    @property
    def local_folder(self) -> Path | None:
        """The folder, if the address is one on this machine."""
        return Path(self._root) if isinstance(self._files, LocalFileSystem) else None

    def sizes(self) -> dict[str, int]:
        """Return digest -> size in bytes of all objects that are there.

        Raises:
            StorageError: The address does not answer or refuses.
        """
        with self._asked("listing the files"):
            try:
                found = self._files.find(f"{self._root}/objects", detail=True)
            except FileNotFoundError:
                return {}
        return {PurePosixPath(path).name: int(about["size"]) for path, about in found.items()}

    def put(self, digest: str, content: bytes) -> None:
        """Write an object, whole or not at all where the file system can; else its size tells.

        Args:
            digest: its SHA-256.
            content: all of it.

        Raises:
            StorageError: The address does not answer or refuses.
        """
        self._write(self._object(digest), content, mode="overwrite")

    def get(self, digest: str) -> bytes | None:
        """Return an object as it is there, None if it is not.

        Raises:
            StorageError: The address does not answer or refuses.
        """
        return self._read(self._object(digest))

    def names(self) -> list[str]:
        """Return the names of the versions.

        Raises:
            StorageError: The address does not answer or refuses.
        """
        with self._asked("listing the versions"):
            found = self._files.find(f"{self._root}/versions")
        return sorted(PurePosixPath(path).stem for path in found)

    def version(self, name: str) -> str | None:
        """Return a version's text, None if there is none of this name.

        Raises:
            StorageError: The address does not answer or refuses.
            ConfigError: It is no text.
        """
        content = self._read(self._version(name))
        try:
            return None if content is None else content.decode()
        except UnicodeDecodeError as error:
            raise ConfigError(
                f"{self.address}@{name}: not UTF-8 text (byte {error.start}); restore the file"
            ) from error

    def add_version(self, name: str, content: bytes) -> None:
        """Write a version, which must not be there.

        Raises:
            StorageError: The address does not answer or refuses, or the version is there.
        """
        self._write(self._version(name), content, mode="create")

    def _object(self, digest: str) -> str:
        return f"{self._root}/objects/{digest[:2]}/{digest}"

    def _version(self, name: str) -> str:
        return f"{self._root}/versions/{name}.json"

    def _read(self, path: str) -> bytes | None:
        with self._asked(f"reading {path}"):
            try:
                return bytes(self._files.cat_file(path))
            except FileNotFoundError:
                return None

    def _write(self, path: str, content: bytes, mode: str) -> None:
        if self.local_folder is not None:
            _write_here(Path(path), content, mode)
            return
        with self._asked(f"writing {path}"):
            self._files.pipe_file(path, content, mode=mode)

    @contextmanager
    def _asked(self, doing: str) -> Iterator[None]:
        kinds = [getattr(sys.modules[name], kind) for name, kind in _LIBRARY_ERRORS if name in sys.modules]
        try:
            yield
        except (OSError, *kinds) as error:
            raise StorageError(
                f"{self.address}: {doing} failed: {error or type(error).__name__}; check the address, its endpoint, "
                "and this user's rights and credentials, then repeat the command"
            ) from error


def _write_here(path: Path, content: bytes, mode: str) -> None:
    make_folder(path.parent)
    if mode != "create":
        write_whole(path, content)
        path.chmod(0o444)
        return
    draft = path.with_name(f".{secrets.token_hex(6)}.part")
    write_whole(draft, content)
    draft.chmod(0o444)
    try:
        path.hardlink_to(draft)  # whole, and only if nobody was quicker
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror}; check space and rights") from error
    finally:
        draft.unlink()
