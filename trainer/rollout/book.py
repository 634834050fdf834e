"""Where rollouts are written down: ADDRESS/rollouts/NAME.json in the repository, sealed, replaced as a whole.

What was seen last is noted beside the pinned root, so that nobody puts an older one back.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from appliance.bundle.section import Section
from appliance.bundle.strict_json import dump, parse
from appliance.bundle.whole_file import write_whole
from appliance.errors import BundleFormatError, BundleTrustError, ConfigError
from trainer.progress import console
from trainer.release.orders import Signers
from trainer.release.passphrases import read_small
from trainer.release.seal import is_sealed, seal
from trainer.release.standing import Standing
from trainer.rollout.record import Record, SealedRecord
from trainer.stored_files import StoredFiles

FOLDER = "rollouts"
MOST_BYTES = 200_000_000
"""Of a file: more than 100,000 devices."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A record as it was read; content, tag: of the file, to be still there when it is replaced."""

    record: Record
    content: bytes
    tag: str


class UnsealedError(BundleTrustError):
    """A record that the online key of now did not seal: forged, or older than that key."""


class Notes(Section):
    """The file beside the root; numbers: address of a rollout -> the highest number that was seen."""

    schema_: Annotated[Literal["vi.rollouts-seen/1"], Field(alias="schema")] = "vi.rollouts-seen/1"
    numbers: dict[str, int] = Field(default_factory=dict)


class Book:
    """The rollouts of one repository.

    Args:
        address: the repository's.
        root: the file of the pinned root.
    """

    def __init__(self, address: str, root: Path) -> None:
        self._files = StoredFiles(address)
        self._notes = root.with_name(f"{root.name}.rollouts.json")

    def names(self) -> list[str]:
        """Return the rollouts that are written down.

        Raises:
            StorageError: The address does not answer or refuses.
        """
        found = (path.removeprefix(f"{FOLDER}/") for path in self._files.sizes(FOLDER))
        return sorted(name.removesuffix(".json") for name in found if name.endswith(".json") and "/" not in name)

    def read(self, name: str, standing: Standing) -> Leaf:
        """Read a rollout.

        Raises:
            ConfigError: There is none of this name.
            BundleTrustError: It is not sealed by the online key, or older than what was seen here.
            StorageError: The address does not answer or refuses.
        """
        path = f"{FOLDER}/{name}.json"
        tag = self._files.tag(path) if self._files.is_s3 else ""
        content = self._files.read(path)
        if content is None:
            known = ", ".join(self.names()[-5:]) or "none yet"
            raise ConfigError(f"{name}: no such rollout there; there are {known}. `trainer rollout start` begins one")
        try:
            found = parse(content, SealedRecord, schema="vi.sealed-rollout/1", origin=path, max_bytes=MOST_BYTES)
        except BundleFormatError as error:
            words = str(error).rpartition(";")[0]
            raise BundleTrustError(f"{words}; find out who wrote there, and restore it from a copy") from error
        if found.record.name != name or not is_sealed(dump(found.record), found.seals, standing.root.signed):
            raise UnsealedError(
                f"{path} is not sealed with the online key that holds now; find out who wrote there and restore it "
                "from a copy, or, if that key was exchanged meanwhile, start another rollout"
            )
        self._note(found.record)
        return Leaf(found.record, content, tag)

    def going(self, standing: Standing) -> list[Record]:
        """Read all rollouts but those that no command can move any more, because the online key was exchanged since.

        Raises:
            BundleTrustError: One is older than what was seen here, or none.
            StorageError: The address does not answer or refuses.
        """
        found = []
        for name in self.names():
            try:
                found.append(self.read(name, standing).record)
            except UnsealedError as error:
                console.print(f"trainer: beware: {error}; it is passed over", soft_wrap=True)
        return found

    def write(self, record: Record, before: Leaf | None, standing: Standing, signers: Signers) -> Leaf:
        """Write a rollout down.

        Args:
            record: it.
            before: as it was read; None if it is new.
            standing: the repository, for the key that seals.
            signers: keys at hand.

        Raises:
            ConfigError: No online key is at hand, it is there already, or somebody else has changed it meanwhile.
            StorageError: The address does not answer or refuses.
        """
        path = f"{FOLDER}/{record.name}.json"
        content = dump(SealedRecord(record=record, seals=seal(dump(record), signers, standing.root.signed)))
        if self._files.read(path) != (before.content if before else None):
            raise _overtaken(record.name)
        if before is None:
            self._files.create(path, content)
        elif not self._files.is_s3:
            self._files.write(path, content)
        elif not self._files.replace(path, content, before.tag) and self._files.read(path) != content:
            raise _overtaken(record.name)
        self._note(record)
        return Leaf(record, content, self._files.tag(path) if self._files.is_s3 else "")

    def _note(self, record: Record) -> None:
        """Note how far a rollout is, and refuse one that was further already."""
        notes, key = _read_notes(self._notes), f"{self._files.address}/{FOLDER}/{record.name}"
        before = notes.numbers.get(key, 0)
        if record.number < before:
            raise BundleTrustError(
                f"{key}: is number {record.number}, and {before} was seen; somebody has put an old one back. Restore "
                f"the newest; if it was you, and that one is lost, remove {self._notes}"
            )
        if record.number > before:
            write_whole(self._notes, dump(Notes(numbers={**notes.numbers, key: record.number})))


def _read_notes(path: Path) -> Notes:
    if not path.exists():
        return Notes()
    try:
        return parse(read_small(path), Notes, schema="vi.rollouts-seen/1", origin=str(path), max_bytes=MOST_BYTES)
    except BundleFormatError as error:
        raise ConfigError(f"{str(error).rpartition(';')[0]}; restore it, or remove it") from error


def _overtaken(name: str) -> ConfigError:
    return ConfigError(f"{name}: somebody else has changed this rollout since the command began; repeat the command")
