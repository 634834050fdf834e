"""Files that are written whole or not at all; a link, a device or a pipe is written to as it is."""

import errno
import os
import secrets
from contextlib import suppress
from pathlib import Path

from appliance.errors import StorageError


def write_whole(path: Path, content: bytes) -> None:
    """Write a file by atomic rename, and its name to disk.

    Args:
        path: replaced only when the new file is complete on disk.
        content: all of it.

    Raises:
        StorageError: the disk is full or refuses.
    """
    draft = _draft_of(path)
    try:
        if _is_no_plain_file(path):
            path.write_bytes(content)
            return
        with draft.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        sync(path.parent)
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written: {error.strerror}; check space and rights, or name another file"
        ) from error
    finally:
        with suppress(OSError):  # a draft that became the file is gone
            draft.unlink()


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's names, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_place(path: Path) -> None:
    """Find out whether write_whole will find a way; nothing is left behind.

    Raises:
        OSError: it will not; strerror says why.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if _is_no_plain_file(path):
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return
    draft = _draft_of(path)
    draft.open("xb").close()
    draft.unlink()


def _is_no_plain_file(path: Path) -> bool:
    return path.is_symlink() or (path.exists() and not path.is_file())


def _draft_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
