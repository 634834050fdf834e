"""What anyone may ask the ledger, from any thread or process, without disturbing its writer."""

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from appliance.events import Challenge, Changeover, Record, Trigger, iso, moment_of
from appliance.stores.schema import check_kind, connect, storage_error

ROWS_PER_READ = 500
"""Rows of one read, so that no reader holds a snapshot for long."""


@dataclass(frozen=True, slots=True)
class StoredPicture:
    """A picture on disk; path is relative to the folder of pictures."""

    inspection_id: str
    view: str
    path: str
    sha256: str


class LedgerReader:
    """Read-only questions to a ledger; one connection, taken in turns by threads."""

    def __init__(self, path: Path) -> None:
        """Open the ledger for reading.

        Args:
            path: an existing ledger; while no writer runs, its folder must be writable for SQLite's own files.

        Raises:
            StorageError: it is not there, not a ledger, or newer than this version.
        """
        self._path = path
        self._lock = threading.Lock()
        self._is_closed = False
        with ExitStack() as undo:
            try:
                self._connection = connect(path, read_only=True)
                undo.callback(self._connection.close)
                check_kind(self._connection, path, may_be_empty=False)
            except (sqlite3.Error, OSError) as error:
                raise storage_error(error, path, "opening the ledger for reading") from error
            undo.pop_all()

    def last_seq(self) -> int:
        """Return the number of the newest record, 0 before the first; purging does not change it."""
        with self._snapshot("reading the last number") as rows:
            return int(rows.execute("SELECT last_seq FROM meta").fetchone()[0])

    def newest(self) -> datetime | None:
        """Return when the newest record was decided (UTC); None without records.

        Raises:
            StorageError: the disk refused.
        """
        with self._snapshot("reading the newest record's time") as rows:
            row = rows.execute("SELECT decided_at FROM inspection ORDER BY seq DESC LIMIT 1").fetchone()
        return moment_of(row[0]) if row else None

    def knows(self, trigger_id: str) -> bool:
        """Return whether a trigger was accepted before, with or without a verdict by now; False if it was purged.

        Raises:
            StorageError: the disk refused.
        """
        with self._snapshot(f"looking for trigger {trigger_id}") as rows:
            return bool(
                rows.execute(
                    "SELECT EXISTS (SELECT 1 FROM open_trigger WHERE trigger_id = :id)"
                    " OR EXISTS (SELECT 1 FROM inspection WHERE trigger_id = :id)",
                    {"id": trigger_id},
                ).fetchone()[0]
            )

    def find(self, trigger_id: str) -> Record | None:
        """Return the record of a trigger, or None if it is unknown, still open or purged.

        Raises:
            StorageError: the disk refused.
        """
        with self._snapshot(f"looking for trigger {trigger_id}") as rows:
            row = rows.execute(
                "SELECT seq, trigger_id, record, record_hash FROM inspection WHERE trigger_id = ?", (trigger_id,)
            ).fetchone()
        return Record(*row) if row else None

    def open_triggers(self) -> Sequence[Trigger]:
        """Return accepted triggers without a verdict, oldest first.

        Returns:
            Triggers with received_ns = deadline_ns = 0: the monotonic clock of another start means nothing now, so the
            caller puts in its own present before it computes a latency.

        Raises:
            StorageError: the disk refused.
        """
        with self._snapshot("reading the open triggers") as rows:
            found = rows.execute(
                "SELECT trigger_id, part_id, received_at, product, challenge FROM open_trigger ORDER BY arrival"
            ).fetchall()
        return [
            Trigger(trigger, part, moment_of(moment), 0, 0, product, Challenge(known) if known else None)
            for trigger, part, moment, product, known in found
        ]

    def last_changeover(self) -> Changeover | None:
        """Return the newest changeover; None if there never was one, or the ledger is of a form before the first.

        Raises:
            StorageError: the disk refused.
        """
        with self._snapshot("reading the last changeover") as rows:
            if rows.execute("SELECT 1 FROM sqlite_master WHERE name = 'changeover'").fetchone() is None:
                return None
            found = rows.execute(
                "SELECT at, who, from_product, to_product FROM changeover ORDER BY id DESC LIMIT 1"
            ).fetchone()
        return Changeover(moment_of(found[0]), *found[1:]) if found else None

    def pending(self, after_seq: int, limit: int) -> Sequence[Record]:
        """Return records that some consumer has not acknowledged, with seq > after_seq, in order of seq.

        Raises:
            StorageError: the disk refused.
        """
        with self._snapshot("reading the outbox") as rows:
            found = rows.execute(
                "SELECT seq, trigger_id, record, record_hash FROM inspection"
                " WHERE seq > max(?, (SELECT min(acked_upto) FROM consumer)) ORDER BY seq LIMIT ?",
                (after_seq, limit),
            ).fetchall()
        return [Record(*row) for row in found]

    def replay(self, from_seq: int, to_seq: int, limit: int) -> Sequence[Record]:
        """Return at most limit records with from_seq <= seq <= to_seq in order, acknowledged or not.

        Raises:
            StorageError: the disk refused.
        """
        with self._snapshot(f"reading records {from_seq} to {to_seq}") as rows:
            found = rows.execute(
                "SELECT seq, trigger_id, record, record_hash FROM inspection"
                " WHERE seq BETWEEN ? AND ? ORDER BY seq LIMIT ?",
                (from_seq, to_seq, limit),
            ).fetchall()
        return [Record(*row) for row in found]

    def span(self, since: datetime | None = None, until: datetime | None = None) -> tuple[int, int] | None:
        """Return the first and the last number of the records of a time; None if there are none.

        Args:
            since: decided then or later; None from the first that is left.
            until: decided before; None up to the newest.

        Raises:
            StorageError: the disk refused.
        """
        bounds = (iso(since) if since else "", iso(until) if until else "~")
        with self._snapshot("looking for the records of a time") as rows:
            first, last = rows.execute(
                "SELECT min(seq), max(seq) FROM inspection WHERE decided_at >= ? AND decided_at < ?", bounds
            ).fetchone()
        return None if first is None else (int(first), int(last))

    def pictures(self, from_seq: int, to_seq: int) -> Sequence[StoredPicture]:
        """Return the pictures on disk of the records of a range, in order.

        Raises:
            StorageError: the disk refused.
        """
        with self._snapshot(f"reading the pictures of records {from_seq} to {to_seq}") as rows:
            found = rows.execute(
                "SELECT p.inspection_id, p.view, p.path, p.sha256 FROM inspection AS i"
                " JOIN image AS p ON p.inspection_id = i.inspection_id"
                " WHERE i.seq BETWEEN ? AND ? ORDER BY i.seq, p.view",
                (from_seq, to_seq),
            ).fetchall()
        return [StoredPicture(*row) for row in found]

    def depth(self) -> int:
        """Return how many records are kept for a consumer that has not acknowledged them; takes no scan.

        Raises:
            StorageError: the disk refused.
        """
        with self._snapshot("measuring the outbox") as rows:
            return int(
                rows.execute(
                    "SELECT last_seq - max(purged_upto, (SELECT min(acked_upto) FROM consumer)) FROM meta"
                ).fetchone()[0]
            )

    def acknowledged(self) -> dict[str, int]:
        """Return each registered consumer with the number up to which it has everything.

        Raises:
            StorageError: the disk refused.
        """
        with self._snapshot("reading the consumers") as rows:
            return dict(rows.execute("SELECT name, acked_upto FROM consumer ORDER BY name").fetchall())

    def verify_chain(self, from_seq: int = 1, to_seq: int | None = None) -> int | None:
        """Look for a record that is missing, was altered or is not followed by its successor.

        Purged records are passed over: the hash of the last of them is kept, so the first one left is still checked.

        Args:
            from_seq: where to begin, 1 is the first.
            to_seq: where to end, inclusive; the newest if None.

        Returns:
            The number of the first broken record, None if all is well.

        Raises:
            StorageError: the disk refused.
        """
        seq = max(from_seq, 1)
        while True:
            with self._snapshot(f"verifying the chain from {seq}") as rows:
                last_seq, last_hash, purged_upto, purged_hash = rows.execute(
                    "SELECT last_seq, last_hash, purged_upto, purged_hash FROM meta"
                ).fetchone()
                end = last_seq if to_seq is None else min(to_seq, last_seq)
                seq = max(seq, purged_upto + 1)
                previous = rows.execute("SELECT record_hash FROM inspection WHERE seq = ?", (seq - 1,)).fetchone()
                found = rows.execute(
                    "SELECT seq, record, record_hash, trigger_id, verdict, reason FROM inspection"
                    " WHERE seq BETWEEN ? AND ? ORDER BY seq LIMIT ?",
                    (seq, end, ROWS_PER_READ),
                ).fetchall()
            if seq > end:
                return None
            before = previous[0] if previous else purged_hash if seq == purged_upto + 1 else None
            for row in found:
                if not _follows(row, seq, before) or (seq == last_seq and row[2] != last_hash):
                    return int(seq)
                seq, before = seq + 1, row[2]
            if not found:
                return int(seq)

    def close(self) -> None:
        """Close the connection; harmless when done before."""
        with self._lock:
            self._is_closed = True
            self._connection.close()

    @contextmanager
    def _snapshot(self, doing: str) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._is_closed:
                raise RuntimeError(f"{doing}: the ledger is closed")
            try:
                self._connection.execute("BEGIN")
                yield self._connection
            except sqlite3.Error as error:
                raise storage_error(error, self._path, doing) from error
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")


def last_changeover_in(path: Path) -> Changeover | None:
    """Return the newest changeover in a ledger, which the first start has yet to make perhaps.

    Raises:
        StorageError: it is not a ledger, or newer than this version.
    """
    if not path.exists() or path.stat().st_size == 0:
        return None
    reader = LedgerReader(path)
    try:
        return reader.last_changeover()
    finally:
        reader.close()


def _follows(row: tuple[int, str, str, str, str, str], seq: int, before: str | None) -> bool:
    found_seq, payload, record_hash, trigger_id, verdict, reason = row
    if found_seq != seq or hashlib.sha256(payload.encode("utf-8")).hexdigest() != record_hash:
        return False
    try:
        document = json.loads(payload)
    except ValueError:
        return False
    said = tuple(document.get(name) for name in ("seq", "trigger_id", "verdict", "reason", "prev_hash"))
    return said == (seq, trigger_id, verdict, reason, before)
