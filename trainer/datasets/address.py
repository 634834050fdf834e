"""Where a stored version lies: an address that fsspec takes, and the version's name there."""

from __future__ import annotations

import argparse
import os
import re
from dataclasses import dataclass
from pathlib import Path

_STORED = re.compile(r"(?P<address>.+)@(?P<name>[0-9a-f]{16}|[0-9a-f]{64})", re.DOTALL)


@dataclass(frozen=True, slots=True)
class VersionAddress:
    """A version in a store.

    Args:
        address: of the store: an absolute folder, or a URL such as s3://bucket/boards.
        name: the version's, 16 hex digits, or the whole digest of its data (64), which nobody can forge.
    """

    address: str
    name: str

    def __str__(self) -> str:
        return f"{self.address}@{self.name}"


def place(text: str) -> Path | VersionAddress:
    """Read where a data set or a version lies: ADDRESS@VERSION, else a path.

    Args:
        text: of an argument.

    Raises:
        argparse.ArgumentTypeError: It is a URL without a version.
    """
    match = _STORED.fullmatch(text)
    if match and not Path(text).exists():
        address = match["address"]
        return VersionAddress(
            address if "://" in address else os.path.normpath(Path(address).expanduser().absolute()), match["name"]
        )
    if "://" in text:
        raise argparse.ArgumentTypeError(
            f"{text!r} names no version; write ADDRESS@VERSION, as `data version --to` told it"
        )
    return Path(text)
