"""Names that are on disk when a function returns: links replaced by rename, folders synced."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from appliance.bundle.whole_file import sync
from appliance.errors import StorageError


def link_whole(source: Path, path: Path) -> None:
    """Give a file one more name, in place of whatever has it; the same bytes, no copy.

    Raises:
        StorageError: the disk refuses.
    """
    with _replacing(path) as draft:
        os.link(source, draft)


def point_to(path: Path, target: str) -> None:
    """Let a symbolic link name a neighbour, in place of whatever it named; never absent in between.

    Raises:
        StorageError: the disk refuses.
    """
    with _replacing(path) as draft:
        draft.symlink_to(target)


def remove(path: Path) -> None:
    """Remove a name if it is there.

    Raises:
        StorageError: the disk refuses.
    """
    with in_words(path):
        path.unlink(missing_ok=True)
        sync(path.parent)


@contextmanager
def in_words(path: Path) -> Iterator[None]:
    """Say which path the system refused.

    Raises:
        StorageError: it did.
    """
    try:
        yield
    except OSError as error:
        raise StorageError(f"{error.filename or path}: {error.strerror}; check space, rights and the disk") from error


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    with in_words(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            for litter in path.parent.glob(f".{path.name}.*.part"):
                litter.unlink(missing_ok=True)  # of a process that was killed; only one agent works here
            yield draft
            draft.replace(path)
            sync(path.parent)
        finally:
            with suppress(OSError):  # a draft that became the link is gone
                draft.unlink()
