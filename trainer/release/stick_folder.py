"""A USB stick's files: written so that a stick that is pulled out half-way is the old one, or none, or the new one."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from appliance.bundle.whole_file import sync, write_whole
from appliance.errors import StorageError
from trainer.files import make_folder
from trainer.progress import tracked
from trainer.release.shelf import MARK_OF_A_STICK, TIMESTAMP
from trainer.release.stick_place import PARTS, check_is_stick_or_free, files_of

CLUSTER_BYTES = 64 * 1024
"""What a file takes on a stick is a multiple of this, at worst."""

READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Piece:
    """A file of a stick; read: returns its content, looked at. sha256, length: of that content."""

    length: int
    sha256: str
    read: Callable[[], bytes]

    @classmethod
    def of(cls, content: bytes) -> Piece:
        """Return a piece that is at hand."""
        return cls(len(content), hashlib.sha256(content).hexdigest(), lambda: content)


def write_pieces(folder: Path, pieces: Mapping[str, Piece], about: str) -> None:
    """Write a stick in place of whatever stick it was.

    timestamp.json is the last file, without which nobody believes the others, and what the old one alone needed goes
    after it. Where both do not fit, the old one's timestamp goes first: then there is no stick until it is written.

    Args:
        folder: the stick; made if it is not there.
        pieces: path below it -> file, timestamp.json among them.
        about: what the stick is, for people who look at it.

    Raises:
        ConfigError: The folder is a repository, or has files that no stick of this kind has.
        StorageError: Too little space, or the stick refuses; repeat the command.
    """
    make_folder(folder)
    with _in_words(folder):
        check_is_stick_or_free(folder)
        missing = {name: piece for name, piece in pieces.items() if not _is_there(folder / name, piece)}
        obsolete = [path for path in files_of(folder) if str(path.relative_to(folder)) not in pieces]
        wanted = sum(map(_on_disk, (piece.length for piece in missing.values()))) + CLUSTER_BYTES
        free = shutil.disk_usage(folder).free
        if wanted > free + sum(_on_disk(path.stat().st_size) for path in obsolete):
            raise StorageError(
                f"{folder}: {wanted} bytes are still to be written, and {free} are free; take a larger stick, delete "
                "what else lies on it, or name fewer devices with --device"
            )
        write_whole(folder / MARK_OF_A_STICK, about.encode())
        if wanted > free:
            _remove(folder / TIMESTAMP)
            for path in obsolete:
                _remove(path)
        for part in PARTS:
            (folder / part).mkdir(exist_ok=True)
        sync(folder)
        for name, piece in tracked(sorted(missing.items(), key=lambda item: _order(item[0])), "writing the stick"):
            _make_folders(folder, folder / name)
            write_whole(folder / name, piece.read())
        for path in obsolete:
            _remove(path)


def _order(name: str) -> tuple[int, int, str]:
    """Releases, then lists, then roots in their order, then timestamp.json."""
    if name == TIMESTAMP:
        return 3, 0, name
    if root := re.fullmatch(r"metadata/(\d+)\.root\.json", name):
        return 2, int(root[1]), name
    return (1 if name.startswith("metadata/") else 0), 0, name


def _is_there(path: Path, piece: Piece) -> bool:
    if path.is_symlink() or not path.is_file() or path.stat().st_size != piece.length:
        return False
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest() == piece.sha256


def _make_folders(stick: Path, path: Path) -> None:
    for folder in reversed([each for each in path.parents if stick in each.parents]):
        if not folder.exists():
            folder.mkdir()
            sync(folder.parent)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    if path.parent.exists():
        sync(path.parent)


def _on_disk(size_bytes: int) -> int:
    return -(-size_bytes // CLUSTER_BYTES) * CLUSTER_BYTES


@contextmanager
def _in_words(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{error.filename or folder}: {error.strerror}; look whether the stick is whole, plugged in and not "
            "write-protected, then repeat the command"
        ) from error
