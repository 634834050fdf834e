"""The one connection that writes the ledger: its lock, its transactions and its checkpoints."""

import fcntl
import logging
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from appliance.errors import StorageError
from appliance.stores.schema import storage_error

log = logging.getLogger(__name__)

ROWS_PER_CHECKPOINT = 200
"""About 20 parts: a checkpoint then moves some hundred pages, a few milliseconds."""


class FileLock:
    """Keeps a second process (or a second ledger in this one) away from the file; ends with the process."""

    def __init__(self, ledger: Path) -> None:
        """Take the lock.

        Args:
            ledger: the file to guard; the lock is the file next to it with `.lock` added.

        Raises:
            StorageError: another process has it, or the folder refuses a file.
        """
        path = ledger.with_name(ledger.name + ".lock")
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise storage_error(error, path, "taking the ledger's lock") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._descriptor)
            raise StorageError(
                f"another process (pid {holder}) writes {ledger}; stop it first, or give this one another ledger"
            ) from error
        with suppress(OSError):  # the number is for the message only; a full disk must not matter here
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode("ascii"), 0)

    def release(self) -> None:
        """Let the next one in."""
        os.close(self._descriptor)


class Writer:
    """Transactions one at a time, and checkpoints between them on the very same connection.

    A checkpoint by a second connection while this one commits can lose committed pages in SQLite before 3.51.3
    (and is not in the releases that devices have), so the lock is held for it; it is kept small by doing it often.

    Source:
        https://sqlite.org/wal.html, "The WAL Reset Bug".
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        """Take over a prepared connection and start the checkpoint thread."""
        self._connection = connection
        self._path = path
        self._lock = threading.Lock()
        self._is_durable = True
        self._rows_moved = connection.total_changes
        self._is_closed = False
        self._due = threading.Event()
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute(f"PRAGMA journal_size_limit = {64 << 20}")
        self._thread = threading.Thread(target=self._checkpoint_when_due, name="ledger-checkpoint", daemon=True)
        self._thread.start()

    @contextmanager
    def transaction(self, doing: str, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """Run the block's statements all or not at all.

        Args:
            doing: what is tried, for the message, as in "recording trigger 7".
            durable: wait for the disk at the end; without, a power cut may take the transaction back (never break it).

        Yields:
            The connection, inside a transaction.

        Raises:
            StorageError: nothing was written; the writer can be used again.
            RuntimeError: the ledger was closed.
        """
        with self._lock:
            if self._is_closed:
                raise RuntimeError(f"{doing}: the ledger is closed")
            connection = self._connection
            try:
                if durable is not self._is_durable:
                    connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                    self._is_durable = durable
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            except (sqlite3.Error, OSError) as error:
                raise storage_error(error, self._path, doing) from error
            finally:
                if connection.in_transaction:
                    with suppress(sqlite3.Error):
                        connection.execute("ROLLBACK")
            if connection.total_changes - self._rows_moved >= ROWS_PER_CHECKPOINT:
                self._due.set()

    def close(self) -> None:
        """Stop the checkpoint thread, then close the connection; harmless when done before."""
        with self._lock:
            was_closed, self._is_closed = self._is_closed, True
        if was_closed:
            return
        self._due.set()
        self._thread.join()
        with suppress(sqlite3.Error):  # the last checkpoint may fail on a full disk: the WAL keeps everything
            self._connection.close()

    def _checkpoint_when_due(self) -> None:
        while True:
            self._due.wait()
            self._due.clear()
            with self._lock:
                if self._is_closed:
                    return
                self._rows_moved = self._connection.total_changes
                try:
                    self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                except sqlite3.Error as error:
                    log.warning("%s", storage_error(error, self._path, "moving committed pages into the ledger"))
