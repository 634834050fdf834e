"""Files at any address that fsspec takes: read, listed, written whole where that is possible, or only if they are new.

Source: filesystem-spec.readthedocs.io, "Configuration" (options from files and the environment) and `pipe_file`.
"""

from __future__ import annotations

import errno
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import fsspec
from fsspec.implementations.local import LocalFileSystem

from appliance.bundle.whole_file import write_whole
from appliance.errors import ConfigError, StorageError
from trainer.files import make_folder

_LIBRARY_ERRORS = (("botocore.exceptions", "BotoCoreError"), ("aiohttp", "ClientError"))
"""What object stores' libraries raise beside OSError, if one is loaded."""


class StoredFiles:
    """The files below one address; any thread may call any method."""

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

    @property
    def is_s3(self) -> bool:
        """Whether the address is an object store that compares before it writes, if it is asked to."""
        return "s3" in self._files.protocol

    def sizes(self, folder: str) -> dict[str, int]:
        """Return path below the address -> size in bytes, of all files in a folder and below.

        Raises:
            StorageError: The address does not answer or refuses.
        """
        with self._asked(f"listing {folder}"):
            found = self._files.find(f"{self._root}/{folder}", detail=True)
        begin = len(self._root.rstrip("/")) + 1
        return {path[begin:]: int(about["size"]) for path, about in found.items()}

    def read(self, name: str) -> bytes | None:
        """Return a file as it is there, None if it is not.

        Raises:
            StorageError: The address does not answer or refuses.
        """
        with self._asked(f"reading {name}"):
            try:
                return bytes(self._files.cat_file(self._path(name)))
            except FileNotFoundError:
                return None

    def read_begin(self, name: str, most_bytes: int) -> bytes | None:
        """Return at most so many bytes of a file as it is there, None if it is not.

        Raises:
            StorageError: The address does not answer or refuses.
        """
        with self._asked(f"reading {name}"):
            try:
                if "http" not in self._files.protocol:
                    return self._cut(self._path(name), most_bytes)
                with self._files.open(
                    self._path(name), block_size=0, size=1
                ) as file:  # streamed, not asked for its size
                    return _read(file, most_bytes)
            except FileNotFoundError:
                return None

    def write(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all where the file system can.

        Raises:
            StorageError: The address does not answer or refuses.
        """
        if self.local_folder is not None:
            path = self._here(name)
            write_whole(path, content)
            path.chmod(0o444)
            return
        with self._asked(f"writing {name}"):
            self._files.pipe_file(self._path(name), content)

    def create(self, name: str, content: bytes) -> None:
        """Write a file that must not be there.

        Raises:
            StorageError: The address does not answer or refuses, or the file is there.
        """
        if self.local_folder is not None:
            _create_here(self._here(name), content)
            return
        with self._asked(f"writing {name}"):
            self._files.pipe_file(self._path(name), content, mode="create")

    def tag(self, name: str) -> str:
        """Return what an object store calls a file's content, to be asked for in `replace`; empty if it is not there.

        Raises:
            StorageError: The address does not answer or refuses.
        """
        with self._asked(f"reading {name}"):
            try:
                return str(self._files.info(self._path(name), refresh=True)["ETag"])
            except FileNotFoundError:
                return ""

    def replace(self, name: str, content: bytes, tag: str) -> bool:
        """Replace a file of an object store only if it is still the one with this tag.

        Returns:
            Whether it was.

        Raises:
            StorageError: The address does not answer or refuses.
        """
        with self._asked(f"writing {name}"):
            try:
                self._files.pipe_file(self._path(name), content, IfMatch=tag)
            except OSError as error:
                if error.errno != errno.EINVAL:  # as s3fs says that a precondition does not hold
                    raise
                return False
        return True

    def _cut(self, path: str, most_bytes: int) -> bytes:
        try:
            return bytes(self._files.cat_file(path, start=0, end=most_bytes))
        except OSError:
            if self._files.info(path)["size"]:
                raise
            return b""  # of an empty file an object store has no range

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _here(self, name: str) -> Path:
        path = Path(self._path(name))
        make_folder(path.parent)
        return path

    @contextmanager
    def _asked(self, doing: str) -> Iterator[None]:
        try:
            yield
        except store_errors() as error:
            raise StorageError(
                f"{self.address}: {doing} failed: {error or type(error).__name__}; check the address, its endpoint, "
                "and this user's rights and credentials, then repeat the command"
            ) from error


def store_errors() -> tuple[type[Exception], ...]:
    """Return what a store that cannot be read raises: OSError, and what the libraries do that are loaded by now."""
    return OSError, *(getattr(sys.modules[name], kind) for name, kind in _LIBRARY_ERRORS if name in sys.modules)


def _read(file: IO[bytes], most_bytes: int) -> bytes:
    pieces, left = [], most_bytes
    while left and (piece := file.read(left)):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def _create_here(path: Path, content: bytes) -> None:
    draft = path.with_name(f".{secrets.token_hex(6)}.part")
    write_whole(draft, content)
    draft.chmod(0o444)
    try:
        path.hardlink_to(draft)  # whole, and only if nobody was quicker
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror}; check space and rights") from error
    finally:
        draft.unlink()
