"""What the trainer writes: whole or not there, strict JSON, and words when the disk says no."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from appliance.bundle.whole_file import write_whole
from appliance.errors import StorageError


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write plain values as JSON that every reader takes; what is not a number becomes null.

    Args:
        path: the file.
        content: plain values.

    Raises:
        StorageError: The disk is full or refuses.
    """
    write_whole(path, _json(content, indent=1))


def append_json(path: Path, content: Mapping[str, Any]) -> None:
    """Add a line of JSON to a log; a last line that was only begun is ended first.

    Args:
        path: the log.
        content: plain values.

    Raises:
        StorageError: The disk is full or refuses.
    """
    try:
        with path.open("a+b") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # the power went while the last line was written
                    file.write(b"\n")
            file.write(_json(content))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise _refused(path, error) from error


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, if they are not there yet.

    Args:
        path: the folder.

    Raises:
        StorageError: The disk is full or refuses.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _refused(path, error) from error


def _json(content: Mapping[str, Any], indent: int | None = None) -> bytes:
    return (json.dumps(_without_nan(content), indent=indent, allow_nan=False) + "\n").encode()


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _refused(path: Path, error: OSError) -> StorageError:
    return StorageError(f"{path}: cannot be written: {error.strerror}; check space and rights, then repeat the command")
