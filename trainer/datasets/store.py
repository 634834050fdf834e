"""Versions and their files at any address that fsspec takes: each file once, under its SHA-256.

ADDRESS/objects/ab/abcd...  the content of a picture or reference, whatever it is called and whoever uses it
ADDRESS/versions/NAME.json  a version; written last, so that what it names is there
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from appliance.errors import ConfigError
from trainer.stored_files import StoredFiles


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
        self._files = StoredFiles(address)

    @property
    def local_folder(self) -> Path | None:
        """The folder, if the address is one on this machine."""
        return self._files.local_folder

    def sizes(self) -> dict[str, int]:
        """Return digest -> size in bytes of all objects that are there.

        Raises:
            StorageError: The address does not answer or refuses.
        """
        return {PurePosixPath(path).name: size for path, size in self._files.sizes("objects").items()}

    def put(self, digest: str, content: bytes) -> None:
        """Write an object, whole or not at all where the file system can; else its size tells.

        Args:
            digest: its SHA-256.
            content: all of it.

        Raises:
            StorageError: The address does not answer or refuses.
        """
        self._files.write(_object(digest), content)

    def get(self, digest: str) -> bytes | None:
        """Return an object as it is there, None if it is not.

        Raises:
            StorageError: The address does not answer or refuses.
        """
        return self._files.read(_object(digest))

    def names(self) -> list[str]:
        """Return the names of the versions.

        Raises:
            StorageError: The address does not answer or refuses.
        """
        return sorted(PurePosixPath(path).stem for path in self._files.sizes("versions"))

    def version(self, name: str) -> str | None:
        """Return a version's text, None if there is none of this name.

        Raises:
            StorageError: The address does not answer or refuses.
            ConfigError: It is no text.
        """
        content = self._files.read(_version(name))
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
        self._files.create(_version(name), content)


def _object(digest: str) -> str:
    return f"objects/{digest[:2]}/{digest}"


def _version(name: str) -> str:
    return f"versions/{name}.json"
