"""The records as a consumer gets them: in order, each once, with gaps and altered records made visible."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from appliance.errors import StorageError
from appliance.messages import FIRST_PREVIOUS_HASH, RecordMessage

MOST_AHEAD = 1000
"""Records kept while an earlier one is missing; more are dropped, for they come again with the replay."""


class Cursor(BaseModel):
    """How far a consumer has come: the last record's number and the SHA-256 of its payload."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    device_id: str
    upto: int
    payload_hash: str | None


@dataclass(frozen=True, slots=True)
class ReceivedRecord:
    """One record in its place; is_chained tells whether it carries the hash of the one before it."""

    message: RecordMessage
    payload: bytes
    is_chained: bool


@dataclass(slots=True)
class RecordChain:
    """Puts records in order: duplicates are dropped, later ones wait until the gap before them is filled."""

    device_id: str
    cursor: Cursor | None = None
    duplicates: int = 0
    unreadable: int = 0
    _ahead: dict[int, tuple[RecordMessage, bytes]] = field(default_factory=dict)

    @classmethod
    def from_first(cls, device_id: str) -> "RecordChain":
        """Return a chain that wants every record from number 1 on."""
        return cls(device_id, Cursor(device_id=device_id, upto=0, payload_hash=FIRST_PREVIOUS_HASH))

    @property
    def upto(self) -> int | None:
        """The number up to which every record is here; None before the first."""
        return self.cursor.upto if self.cursor else None

    def take(self, payload: bytes) -> None:
        """Take one message; complete() then has what is in order.

        Args:
            payload: bytes of a RecordMessage, exactly as they came: they are what is hashed.
        """
        try:
            message = RecordMessage.model_validate_json(payload)
        except ValidationError:
            self.unreadable += 1
            return
        if message.device_id != self.device_id:
            self.unreadable += 1
            return
        if self.cursor is None:
            self.cursor = Cursor(device_id=self.device_id, upto=message.seq - 1, payload_hash=None)
        if message.seq <= self.cursor.upto or message.seq in self._ahead:
            self.duplicates += 1
        elif len(self._ahead) < MOST_AHEAD or message.seq == self.cursor.upto + 1:
            self._ahead[message.seq] = (message, payload)

    def complete(self) -> Iterator[ReceivedRecord]:
        """Yield the records that are next in order; each counts as taken once the caller asks for the one after it."""
        while self.cursor is not None and (entry := self._ahead.get(self.cursor.upto + 1)) is not None:
            message, payload = entry
            is_chained = self.cursor.payload_hash is None or message.prev_hash == self.cursor.payload_hash
            yield ReceivedRecord(message, payload, is_chained)
            del self._ahead[message.seq]
            digest = hashlib.sha256(payload).hexdigest()
            self.cursor = Cursor(device_id=self.device_id, upto=message.seq, payload_hash=digest)

    def skip_to(self, first_seq: int) -> int:
        """Go on at a record, or at the first one here, because the station no longer has those before it.

        Returns:
            How many are gone; complete() then has what follows them.
        """
        first_seq = min((first_seq, *self._ahead))
        if self.cursor is None or first_seq <= self.cursor.upto + 1:
            return 0
        gone = first_seq - 1 - self.cursor.upto
        self.cursor = Cursor(device_id=self.device_id, upto=first_seq - 1, payload_hash=None)
        return gone

    def missing(self, last_seq: int = 0) -> tuple[int, int] | None:
        """Return the first gap as (from_seq, to_seq), or None.

        Args:
            last_seq: the station's last record, as its heartbeat says; 0 if unknown.
        """
        if self.cursor is None:
            return None
        next_seq = self.cursor.upto + 1
        if self._ahead:
            return next_seq, min(self._ahead) - 1
        return (next_seq, last_seq) if last_seq >= next_seq else None


def load_cursor(path: Path, device_id: str) -> Cursor | None:
    """Read how far this consumer had come with this device; None if there is no file.

    Raises:
        StorageError: the file cannot be read, is damaged, or belongs to another device.
    """
    try:
        cursor = Cursor.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise StorageError(f"cursor file {path}: {error}; delete it to begin with the next record") from error
    if cursor.device_id != device_id:
        raise StorageError(f"cursor file {path} is of device {cursor.device_id}; give each device a file of its own")
    return cursor


def save_cursor(path: Path, cursor: Cursor) -> None:
    """Write how far this consumer has come, whole or not at all.

    Raises:
        StorageError: the disk refused; the records must not be acknowledged.
    """
    new = path.with_name(path.name + ".new")
    try:
        with new.open("wb") as file:
            file.write(cursor.model_dump_json().encode())
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        raise StorageError(f"cursor file {path}: {error}; free disk space or correct the folder's rights") from error
