"""Where a stick may be written: an empty folder, or a stick that was written here; nothing else is written over."""

from __future__ import annotations

from pathlib import Path

from appliance.errors import ConfigError
from trainer.release.shelf import LOCK, MARK_OF_A_STICK

PARTS = ("metadata", "targets")


def check_is_stick_or_free(folder: Path) -> None:
    """Refuse to write over what is no stick; nothing is changed.

    Args:
        folder: the stick; need not be there.

    Raises:
        ConfigError: It is a repository, or what lies in it is not a stick's.
    """
    if (folder / LOCK).exists():
        raise ConfigError(f"{folder}: a repository lies there; name a stick, or another folder")
    for part in PARTS:
        path = folder / part
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            raise ConfigError(f"{path}: no folder, and devices follow no link; name another stick, or delete it there")
        if path.exists() and not (folder / MARK_OF_A_STICK).exists():
            raise ConfigError(
                f"{path}: lies there and is of no stick that was written here (no {MARK_OF_A_STICK} is there), so it "
                "is not written over; name an empty stick, or delete it there"
            )


def files_of(folder: Path) -> list[Path]:
    """Return what lies in a stick's folders, and what a writer that was killed has left."""
    found = [path for part in PARTS for path in sorted((folder / part).rglob("*"))]
    found += folder.glob(f".{MARK_OF_A_STICK}.*.part")  # of a writer that was killed
    return [path for path in found if path.is_symlink() or not path.is_dir()]
