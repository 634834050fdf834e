"""The record of every trigger and verdict, and the outbox of what is still owed to whom, in one SQLite file."""

import hashlib
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType

from appliance.errors import DeliveryError
from appliance.events import Changeover, Inspection, Record, Trigger, iso, utc_now
from appliance.messages import record_payload
from appliance.stores.rows import delete_oldest, insert_inspection
from appliance.stores.schema import check_tail, connect, prepare, storage_error
from appliance.stores.update_log import UpdateLog
from appliance.stores.update_queries import UpdateReader
from appliance.stores.writer import FileLock, Writer

BROKER = "broker"
"""The consumer that is registered when no other is: what the broker acknowledged is then regarded as delivered."""

PURGE_HOLD_NS = 3_000_000
"""How long one bite of a purge may keep the line waiting, before the commit of a millisecond or so."""

PURGE_PAUSE = 5
"""The line has the ledger for itself so many times longer than a bite took."""


class SqliteLedger:
    """`ports.Ledger` and `ports.Outbox` over one file; any thread may call any method.

    The outbox is no second copy: numbers have no gaps, so what a consumer is owed is everything above the number that
    it acknowledged. A record is in the outbox from the transaction that commits it.
    """

    def __init__(self, writer: Writer, reader: UpdateReader, lock: FileLock, device_id: str, boot_id: str) -> None:
        """Take over what `open` prepared; call that one."""
        self._writer = writer
        self._reader = reader
        self._lock = lock
        self._device_id = device_id
        self._boot_id = boot_id
        self._closing = threading.Event()
        self.updates = UpdateLog(writer, reader)

    @classmethod
    def open(cls, path: Path, device_id: str, boot_id: str, consumers: Sequence[str] = ()) -> "SqliteLedger":
        """Open or create the ledger, migrate it and register exactly these consumers.

        A consumer that is no longer named holds nothing back; a new one starts at the current end, unless it comes
        in place of all that were registered: then it is owed what they were.

        Args:
            path: the file; its folder must exist. SQLite adds `-wal` and `-shm`, this adds `.lock`.
            device_id: this device's name, for ever.
            boot_id: of this start of the process.
            consumers: who must acknowledge a record before it leaves the outbox; (BROKER,) if empty.

        Raises:
            StorageError: another process writes it, it is damaged, foreign or newer, or the disk refused.
        """
        with ExitStack() as undo:
            lock = FileLock(path)
            undo.callback(lock.release)
            try:
                connection = connect(path)
                undo.callback(connection.close)
                prepare(connection, path, device_id)
                check_tail(connection, path)
                _register(connection, list(dict.fromkeys(consumers)) or [BROKER])
                reader = UpdateReader(path)
                undo.callback(reader.close)
                writer = Writer(connection, path)
            except (sqlite3.Error, OSError) as error:
                raise storage_error(error, path, "opening the ledger") from error
            undo.pop_all()
        return cls(writer, reader, lock, device_id, boot_id)

    def accept(self, trigger: Trigger) -> bool:
        """Write the trigger down, durably, before anybody learns that it was taken.

        Returns:
            False if a trigger with this id was accepted before (nothing is written then).

        Raises:
            StorageError: the disk refused; the trigger is not accepted and the station must stop.
        """
        received_at = trigger.received_at.astimezone(timezone.utc).isoformat()
        challenge = trigger.challenge.value if trigger.challenge else None
        with self._writer.transaction(f"accepting trigger {trigger.trigger_id}") as tx:
            if _is_recorded(tx, trigger.trigger_id):
                return False
            written = tx.execute(
                "INSERT INTO open_trigger (trigger_id, part_id, received_at, arrival, product, challenge)"
                " SELECT ?, ?, ?, ifnull(max(arrival), 0) + 1, ?, ? FROM open_trigger WHERE true"
                " ON CONFLICT (trigger_id) DO NOTHING",
                (trigger.trigger_id, trigger.part_id, received_at, trigger.product, challenge),
            )
            return written.rowcount == 1

    def record(self, inspection: Inspection) -> Record:
        """Commit the verdict, its statistics and its place in the outbox in one transaction.

        Returns:
            The record with its number and the exact text that consumers get.

        Raises:
            StorageError: nothing was written; it may be tried again.
            RuntimeError: the trigger has a verdict already, or was never accepted (a bug).
            ValueError: a number in it is NaN or infinite (a bug).
        """
        trigger_id = inspection.trigger.trigger_id
        with self._writer.transaction(f"recording trigger {trigger_id}") as tx:
            if tx.execute("DELETE FROM open_trigger WHERE trigger_id = ?", (trigger_id,)).rowcount == 0:
                why = "has a verdict already" if _is_recorded(tx, trigger_id) else "was never accepted"
                raise RuntimeError(f"trigger {trigger_id} {why}")
            last_seq, last_hash = tx.execute("SELECT last_seq, last_hash FROM meta").fetchone()
            seq = last_seq + 1
            payload = record_payload(
                inspection, device_id=self._device_id, boot_id=self._boot_id, seq=seq, prev_hash=last_hash
            )
            record = Record(seq, trigger_id, payload, hashlib.sha256(payload.encode("utf-8")).hexdigest())
            insert_inspection(tx, inspection, record)
            tx.execute("UPDATE meta SET last_seq = ?, last_hash = ?", (seq, record.record_hash))
        return record

    def note_late(self, inspection: Inspection) -> None:
        """Keep a result that came after the deadline clock had given the verdict: a note, never a second verdict.

        Args:
            inspection: what would have been the verdict, of a trigger that has one.

        Raises:
            StorageError: nothing was written.
            RuntimeError: the trigger has no verdict yet, so this would have to be it (a bug).
        """
        decision, trigger_id = inspection.decision, inspection.trigger.trigger_id
        with self._writer.transaction(f"noting the late result of trigger {trigger_id}") as tx:
            row = tx.execute("SELECT seq FROM inspection WHERE trigger_id = ?", (trigger_id,)).fetchone()
            if row is None:
                raise RuntimeError(f"trigger {trigger_id} has no verdict to which a late result could be noted")
            tx.execute(
                "INSERT INTO late_result"
                " (seq, trigger_id, verdict, reason, detail, label, score, decided_at, latency_us)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    row[0],
                    trigger_id,
                    decision.verdict.value,
                    decision.reason.value,
                    decision.detail,
                    decision.label,
                    decision.score,
                    iso(inspection.decided_at),
                    inspection.latency_us,
                ),
            )

    def note_changeover(self, changeover: Changeover) -> int:
        """Write down, durably, that another product is in force, before any part is judged by it.

        Returns:
            The number of the newest record at that moment, 0 before the first.

        Raises:
            StorageError: nothing was written; the former product stays in force.
        """
        with self._writer.transaction(f"changing over to {changeover.to_product!r}") as tx:
            last_seq = int(tx.execute("SELECT last_seq FROM meta").fetchone()[0])
            tx.execute(
                "INSERT INTO changeover (at, who, from_product, to_product, last_seq) VALUES (?, ?, ?, ?, ?)",
                (iso(changeover.at), changeover.who, changeover.from_product, changeover.to_product, last_seq),
            )
        return last_seq

    def note_image(self, inspection_id: str, view: str, path: str, sha256: str, size_bytes: int) -> None:
        """Note that a picture is on disk, whole; shaped to be an image store's on_stored.

        Raises:
            StorageError: nothing was written; the picture itself is not touched.
        """
        with self._writer.transaction(f"noting picture {path}", durable=False) as tx:
            tx.execute(
                "INSERT OR REPLACE INTO image (path, inspection_id, view, sha256, bytes, stored_at)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (path, inspection_id, view, sha256, size_bytes, iso(utc_now())),
            )

    def forget_image(self, path: str) -> None:
        """Take back note_image for a picture that made room; shaped to be an image store's on_removed.

        Raises:
            StorageError: nothing was written.
        """
        with self._writer.transaction(f"forgetting picture {path}", durable=False) as tx:
            tx.execute("DELETE FROM image WHERE path = ?", (path,))

    def acknowledge(self, consumer: str, upto_seq: int) -> None:
        """Note that a registered consumer has everything up to and including upto_seq.

        A number beyond the newest record counts as the newest. After a power cut an acknowledgement may be forgotten:
        the consumer then gets those records again.

        Raises:
            DeliveryError: nobody registered this name.
            StorageError: nothing was written.
        """
        with self._writer.transaction(f"noting {consumer}'s acknowledgement", durable=False) as tx:
            tx.execute(
                "UPDATE consumer SET acked_upto = min(?, (SELECT last_seq FROM meta))"
                " WHERE name = ? AND acked_upto < min(?, (SELECT last_seq FROM meta))",
                (upto_seq, consumer, upto_seq),
            )
            if tx.execute("SELECT 1 FROM consumer WHERE name = ?", (consumer,)).fetchone() is None:
                known = ", ".join(row[0] for row in tx.execute("SELECT name FROM consumer ORDER BY name"))
                raise DeliveryError(
                    f"{consumer!r} acknowledged {upto_seq} but is not registered here (registered: {known}); "
                    "add it to the consumers in the configuration, or correct its name"
                )

    def purge(
        self,
        older_than: datetime,
        keep_unacknowledged: bool = True,
        batch: int = 20,
        stop: threading.Event | None = None,
    ) -> int:
        """Delete the oldest inspections in small bites, between which the line goes on.

        Only a whole beginning goes: it ends at the first record that is not older. So numbers stay without gaps, and
        the chain of the rest can still be verified. A trigger id whose record is gone counts as new again.

        Args:
            older_than: records decided before this moment (UTC) go.
            keep_unacknowledged: stop at the first record that a consumer is still owed.
            batch: at most so many records in one bite; fewer if they take longer than PURGE_HOLD_NS.
            stop: ends the purge after the present bite when it is set.

        Returns:
            How many records went.

        Raises:
            StorageError: the disk refused; what went before stays gone, the rest is untouched.
        """
        purged = 0
        before = iso(older_than)
        while not (self._closing.is_set() or (stop is not None and stop.is_set())):
            started_ns = time.monotonic_ns()
            with self._writer.transaction("purging old records", durable=False) as tx:
                gone = delete_oldest(tx, before, keep_unacknowledged, batch, time.monotonic_ns() + PURGE_HOLD_NS)
            if gone == 0:
                break
            purged += gone
            self._closing.wait(PURGE_PAUSE * (time.monotonic_ns() - started_ns) / 1e9)
        return purged

    def probe(self) -> None:
        """Write a page durably, changing nothing, to see whether the disk takes data again.

        Raises:
            StorageError: it does not.
        """
        with self._writer.transaction("trying the disk") as tx:
            tx.execute("UPDATE meta SET last_seq = last_seq")

    def newest(self) -> datetime | None:
        """Return when the newest record was decided; see LedgerReader.newest."""
        return self._reader.newest()

    def last_seq(self) -> int:
        """Return the number of the newest record, 0 before the first; purging does not change it."""
        return self._reader.last_seq()

    def knows(self, trigger_id: str) -> bool:
        """Return whether a trigger was accepted before; see LedgerReader.knows."""
        return self._reader.knows(trigger_id)

    def find(self, trigger_id: str) -> Record | None:
        """Return the record of a trigger; see LedgerReader.find."""
        return self._reader.find(trigger_id)

    def open_triggers(self) -> Sequence[Trigger]:
        """Return accepted triggers without a verdict, oldest first, both *_ns 0; see LedgerReader.open_triggers."""
        return self._reader.open_triggers()

    def last_changeover(self) -> Changeover | None:
        """Return which product is in force, since when and by whom; see LedgerReader.last_changeover."""
        return self._reader.last_changeover()

    def pending(self, after_seq: int, limit: int) -> Sequence[Record]:
        """Return unacknowledged records with seq > after_seq in order; see LedgerReader.pending."""
        return self._reader.pending(after_seq, limit)

    def replay(self, from_seq: int, to_seq: int, limit: int) -> Sequence[Record]:
        """Return committed records of a range, acknowledged or not; see LedgerReader.replay."""
        return self._reader.replay(from_seq, to_seq, limit)

    def depth(self) -> int:
        """Return how many records are owed to somebody; see LedgerReader.depth."""
        return self._reader.depth()

    def acknowledged(self) -> dict[str, int]:
        """Return each registered consumer with its number; see LedgerReader.acknowledged."""
        return self._reader.acknowledged()

    def verify_chain(self, from_seq: int = 1, to_seq: int | None = None) -> int | None:
        """Return the number of the first broken record, None if all is well; see LedgerReader.verify_chain."""
        return self._reader.verify_chain(from_seq, to_seq)

    def close(self) -> None:
        """Finish what runs, close the file and let the next process in; harmless when done before."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._reader.close()
        self._writer.close()
        self._lock.release()

    def __enter__(self) -> "SqliteLedger":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _register(connection: sqlite3.Connection, wanted: list[str]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    known: dict[str, int] = dict(connection.execute("SELECT name, acked_upto FROM consumer").fetchall())
    last_seq = connection.execute("SELECT last_seq FROM meta").fetchone()[0]
    is_succession = bool(known) and not known.keys() & set(wanted)
    start = min(known.values()) if is_succession else last_seq
    connection.executemany("DELETE FROM consumer WHERE name = ?", [(name,) for name in known.keys() - set(wanted)])
    new = [(name, start, iso(utc_now())) for name in wanted if name not in known]
    connection.executemany("INSERT INTO consumer VALUES (?, ?, ?)", new)
    connection.execute("COMMIT")


def _is_recorded(tx: sqlite3.Connection, trigger_id: str) -> bool:
    return tx.execute("SELECT 1 FROM inspection WHERE trigger_id = ?", (trigger_id,)).fetchone() is not None
