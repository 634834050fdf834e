"""Kinds of command-line arguments: each says what it wants when it gets something else."""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

from appliance.bundle.whole_file import check_place, write_whole


@dataclass(frozen=True, slots=True)
class OutputFile:
    """Where a command puts its result when the work is done."""

    path: Path

    def write(self, content: str | bytes) -> None:
        """Write the result, whole or not at all; text as UTF-8.

        Raises:
            StorageError: the disk refuses.
        """
        write_whole(self.path, content.encode() if isinstance(content, str) else content)


def count(text: str) -> int:
    """Read a whole number above 0."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no count; write a whole number above 0")
    return int(text)


def whole(text: str) -> int:
    """Read a whole number, 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 or more")
    return int(text)


def ratio(text: str) -> float:
    """Read a number from 0 to 1."""
    return _between_0_and(1, text)


def percent(text: str) -> float:
    """Read a number from 0 to 100, with a percent sign behind it or without."""
    return _between_0_and(100, text.removesuffix("%").rstrip())


def rate(text: str) -> float:
    """Read a number above 0."""
    value = _number(text)
    if not (value > 0.0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def new_file(text: str) -> OutputFile:
    """Read the name of a file, and try now whether it can be written when the work is done."""
    try:
        check_place(Path(text))
    except OSError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} cannot be written ({error.strerror}); name a file in a folder that takes files"
        ) from None
    return OutputFile(Path(text))


def names(text: str) -> tuple[str, ...]:
    """Read names with commas between them, at least one."""
    found = tuple(name.strip() for name in text.split(",") if name.strip())
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} names nothing; write names with commas between them")
    return found


def group_names(text: str) -> tuple[str, ...]:
    """Read names of groups with commas between them, or @FILE with one a line, as `trainer data split` writes it."""
    if not text.startswith("@"):
        return names(text)
    try:
        lines = Path(text[1:]).read_text(encoding="utf-8-sig").splitlines()
        found = tuple(filter(None, map(str.strip, lines)))
    except (OSError, UnicodeDecodeError) as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} cannot be read ({error}); name what `trainer data split --out` wrote"
        ) from None
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} names no group; write one a line")
    return found


def _between_0_and(most: int, text: str) -> float:
    value = _number(text)
    if not 0.0 <= value <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 0 and {most}")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
