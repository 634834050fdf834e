"""What this publisher has seen of a repository, beside its root.json: an older state is never signed anew.

Without it, whoever can write to the store could put an old state back and let the online keys make it the newest.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from appliance.bundle.section import Section
from appliance.bundle.strict_json import dump, in_words
from appliance.bundle.whole_file import write_whole
from appliance.errors import BundleTrustError, ConfigError
from trainer.release.passphrases import read_small
from trainer.release.shelf import Shelf
from trainer.release.standing import Standing, stands

Version = Annotated[int, Field(ge=0)]


class Seen(Section):
    """The highest versions at an address."""

    root: Version
    timestamp: Version
    snapshot: Version


class Memory(Section):
    """The file: address -> what was seen there."""

    schema_: Annotated[Literal["vi.publisher-memory/1"], Field(alias="schema")] = "vi.publisher-memory/1"
    seen: dict[str, Seen] = Field(default_factory=dict)


def remembered(shelf: Shelf, root: Path, *, after_a_kill: bool = False) -> Standing:
    """Read and check a repository, as `stands` does, and that it is not older than what this publisher has seen.

    Args:
        shelf: where it lies.
        root: the file of the pinned root, beside which the memory lies.
        after_a_kill: as for `stands`.

    Raises:
        BundleTrustError: It is older, or as for `stands`.
        ConfigError: The memory cannot be read, or as for `stands`.
        StorageError: The address or the disk refuses.
    """
    standing = stands(shelf, read_small(root), after_a_kill=after_a_kill)
    path = root.with_name(f"{root.name}.seen.json")
    memory = _read(path)
    now = Seen(
        root=standing.under.signed.version,  # not the newest: a killed change of keys is no way back to the old ones
        timestamp=standing.timestamp.signed.version,
        snapshot=standing.snapshot.signed.version,
    )
    before = memory.seen.get(shelf.address, now)
    if lower := [role for role in Seen.model_fields if getattr(now, role) < getattr(before, role)]:
        told = ", ".join(f"{role} {getattr(now, role)} after {getattr(before, role)}" for role in lower)
        raise BundleTrustError(
            f"{shelf.address}: older than this publisher has seen ({told}); somebody has put an old state back. If it "
            f"was you, from a copy, devices refuse it, too: restore the newest state, or remove {path}"
        )
    if memory.seen.get(shelf.address) != now:
        write_whole(path, dump(Memory(seen={**memory.seen, shelf.address: now})))
    return standing


def _read(path: Path) -> Memory:
    if not path.exists():
        return Memory()
    try:
        return Memory.model_validate(json.loads(read_small(path)))
    except ValidationError as error:
        raise ConfigError(f"{path}: damaged ({in_words(error)}); restore it, or remove it") from error
    except ValueError as error:
        raise ConfigError(f"{path}: damaged ({error}); restore it, or remove it") from error
