"""The ledger's tables, how they grew, and how a file is told to be a ledger."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from appliance import __version__
from appliance.errors import StorageError
from appliance.messages import FIRST_PREVIOUS_HASH

Migration: TypeAlias = tuple[str, ...]
"""Statements that lead from one user_version to the next, run in one transaction."""

APPLICATION_ID = 0x56494C47
"""PRAGMA application_id of every ledger, so that another program's database is never touched."""

BUSY_TIMEOUT_S = 2.0
"""How long to wait for another program that holds the file's write lock."""

SMALLEST_PAGE_BYTES = 512
"""A database is empty or has at least one page of at least this size."""

FIRST_TABLES: Migration = (
    """CREATE TABLE meta (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        device_id TEXT NOT NULL,
        software TEXT NOT NULL,
        last_seq INTEGER NOT NULL,
        last_hash TEXT NOT NULL,
        purged_upto INTEGER NOT NULL,
        purged_hash TEXT NOT NULL
    )""",
    """CREATE TABLE open_trigger (
        trigger_id TEXT PRIMARY KEY,
        part_id TEXT NOT NULL,
        received_at TEXT NOT NULL,
        arrival INTEGER NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE inspection (
        seq INTEGER PRIMARY KEY,
        inspection_id TEXT NOT NULL,
        trigger_id TEXT NOT NULL,
        part_id TEXT NOT NULL,
        verdict TEXT NOT NULL CHECK (verdict IN ('ACCEPT', 'REJECT', 'REVIEW', 'FAULT')),
        reason TEXT NOT NULL,
        label TEXT,
        score REAL,
        limit_score REAL,
        late INTEGER NOT NULL,
        triggered_at TEXT NOT NULL,
        decided_at TEXT NOT NULL,
        latency_us INTEGER NOT NULL,
        record TEXT NOT NULL,
        record_hash TEXT NOT NULL
    )""",
    "CREATE UNIQUE INDEX inspection_inspection_id ON inspection (inspection_id)",
    "CREATE UNIQUE INDEX inspection_trigger_id ON inspection (trigger_id)",
    "CREATE INDEX inspection_part_id ON inspection (part_id)",
    "CREATE INDEX inspection_decided_at ON inspection (decided_at)",
    """CREATE TABLE detection (
        seq INTEGER NOT NULL REFERENCES inspection (seq) ON DELETE CASCADE,
        view TEXT NOT NULL,
        position INTEGER NOT NULL,
        label TEXT NOT NULL,
        score REAL NOT NULL,
        x1_px REAL NOT NULL,
        y1_px REAL NOT NULL,
        x2_px REAL NOT NULL,
        y2_px REAL NOT NULL,
        PRIMARY KEY (seq, view, position)
    ) WITHOUT ROWID""",
    """CREATE TABLE frame (
        seq INTEGER NOT NULL REFERENCES inspection (seq) ON DELETE CASCADE,
        view TEXT NOT NULL,
        frame_id INTEGER,
        captured_at TEXT,
        source TEXT,
        exposure_us REAL,
        gain_db REAL,
        offset_x_px REAL,
        offset_y_px REAL,
        brightness_mean REAL,
        brightness_spread REAL,
        contrast REAL,
        sharpness REAL,
        clipped_low_ratio REAL,
        clipped_high_ratio REAL,
        red_green_ratio REAL,
        blue_green_ratio REAL,
        PRIMARY KEY (seq, view)
    ) WITHOUT ROWID""",
    """CREATE TABLE stage_time (
        seq INTEGER NOT NULL REFERENCES inspection (seq) ON DELETE CASCADE,
        stage TEXT NOT NULL,
        spent_us INTEGER NOT NULL,
        PRIMARY KEY (seq, stage)
    ) WITHOUT ROWID""",
    """CREATE TABLE late_result (
        id INTEGER PRIMARY KEY,
        seq INTEGER NOT NULL REFERENCES inspection (seq) ON DELETE CASCADE,
        trigger_id TEXT NOT NULL,
        verdict TEXT NOT NULL,
        reason TEXT NOT NULL,
        detail TEXT NOT NULL,
        label TEXT,
        score REAL,
        decided_at TEXT NOT NULL,
        latency_us INTEGER NOT NULL
    )""",
    "CREATE INDEX late_result_seq ON late_result (seq)",
    """CREATE TABLE consumer (
        name TEXT PRIMARY KEY,
        acked_upto INTEGER NOT NULL,
        registered_at TEXT NOT NULL
    ) WITHOUT ROWID""",
    """CREATE VIEW outbox AS
        SELECT seq FROM inspection WHERE seq > (SELECT min(acked_upto) FROM consumer)""",
    """CREATE TABLE image (
        path TEXT PRIMARY KEY,
        inspection_id TEXT NOT NULL,
        view TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        stored_at TEXT NOT NULL
    ) WITHOUT ROWID""",
    "CREATE INDEX image_inspection_id ON image (inspection_id)",
)

REFERENCE_COLUMNS: Migration = (
    "ALTER TABLE frame ADD COLUMN reference TEXT",
    "ALTER TABLE frame ADD COLUMN reference_match REAL",
    "ALTER TABLE frame ADD COLUMN shift_x_px REAL",
    "ALTER TABLE frame ADD COLUMN shift_y_px REAL",
    "ALTER TABLE frame ADD COLUMN rotation_deg REAL",
)

CHANGEOVERS: Migration = (
    """CREATE TABLE changeover (
        id INTEGER PRIMARY KEY,
        at TEXT NOT NULL,
        who TEXT NOT NULL,
        from_product TEXT NOT NULL,
        to_product TEXT NOT NULL,
        last_seq INTEGER NOT NULL
    )""",
    "ALTER TABLE open_trigger ADD COLUMN product TEXT NOT NULL DEFAULT ''",
)

UPDATES: Migration = (
    """CREATE TABLE release_change (
        id INTEGER PRIMARY KEY,
        at TEXT NOT NULL,
        who TEXT NOT NULL,
        product TEXT NOT NULL,
        bundle TEXT NOT NULL,
        from_digest TEXT NOT NULL,
        from_revision INTEGER NOT NULL,
        to_digest TEXT NOT NULL,
        to_revision INTEGER NOT NULL,
        is_rollback INTEGER NOT NULL,
        last_seq INTEGER NOT NULL
    )""",
    """CREATE TABLE shadow (
        seq INTEGER NOT NULL REFERENCES inspection (seq) ON DELETE CASCADE,
        candidate_digest TEXT NOT NULL,
        verdict TEXT NOT NULL CHECK (verdict IN ('ACCEPT', 'REJECT', 'REVIEW', 'FAULT')),
        reason TEXT NOT NULL,
        label TEXT,
        score REAL,
        latency_us INTEGER NOT NULL,
        at TEXT NOT NULL,
        PRIMARY KEY (seq, candidate_digest)
    ) WITHOUT ROWID""",
    """CREATE TABLE shadow_run (
        id INTEGER PRIMARY KEY,
        begun_at TEXT NOT NULL,
        who TEXT NOT NULL,
        product TEXT NOT NULL,
        candidate_digest TEXT NOT NULL,
        candidate_revision INTEGER NOT NULL,
        ended_at TEXT,
        ended_because TEXT,
        problem TEXT,
        judged INTEGER,
        skipped INTEGER,
        differing INTEGER,
        pictures_lost INTEGER
    )""",
    """CREATE TABLE update_event (
        id INTEGER PRIMARY KEY,
        at TEXT NOT NULL,
        who TEXT NOT NULL,
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        release_seq INTEGER NOT NULL,
        sha256 TEXT NOT NULL,
        state TEXT NOT NULL,
        reason TEXT NOT NULL
    )""",
)

RECIPES: Migration = (
    "ALTER TABLE release_change RENAME COLUMN bundle TO name",
    "ALTER TABLE release_change ADD COLUMN kind TEXT NOT NULL DEFAULT 'bundle'",
)

CHALLENGES: Migration = ("ALTER TABLE open_trigger ADD COLUMN challenge TEXT",)

STRETCH: Migration = (
    "ALTER TABLE frame ADD COLUMN stretch_x_percent REAL",
    "ALTER TABLE frame ADD COLUMN stretch_y_percent REAL",
)

MIGRATIONS: tuple[Migration, ...] = (
    FIRST_TABLES,
    REFERENCE_COLUMNS,
    CHANGEOVERS,
    UPDATES,
    RECIPES,
    CHALLENGES,
    STRETCH,
)
"""One entry for each user_version; add to the end, never change one that was released."""

BEGIN_ANEW = "move the file away and give the station a new device_id: consumers know a record by that and its number"

REMEDIES = (
    ("full", "free disk space (older pictures first), then start the station again"),
    ("locked", "another program has the ledger open for writing: close it and open ledgers with mode=ro only"),
    ("readonly", "the file or its folder is read-only: check the owner, the rights and how the disk is mounted"),
    (
        "unable to open",
        "check that the folder exists, that the appliance's user may write there and that it is not full",
    ),
    ("not a database", f"this is no ledger: name another path, or {BEGIN_ANEW}"),
    ("malformed", f"the file is damaged: restore a copy, or {BEGIN_ANEW}"),
)


def storage_error(error: Exception, path: Path, doing: str) -> StorageError:
    """Put a disk's or SQLite's complaint into words that tell a person what to do.

    Args:
        error: what SQLite or the operating system raised.
        path: the ledger's file.
        doing: what was tried, as in "recording trigger 7".

    Returns:
        The error to raise `from` the given one.
    """
    said = str(error)
    remedy = next((words for part, words in REMEDIES if part in said), "check the disk (dmesg, smartctl) and its mount")
    return StorageError(f"{doing} in {path} failed: {said}; {remedy}")


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Open a connection whose transactions are begun and ended by hand.

    Args:
        path: the ledger's file.
        read_only: for everyone but the one writer; such a connection can neither write nor checkpoint.

    Returns:
        A connection that any thread may use, one at a time.

    Raises:
        sqlite3.Error: the file cannot be opened, or is too short to be a database.
        OSError: the file cannot be looked at.
    """
    if path.exists() and 0 < path.stat().st_size < SMALLEST_PAGE_BYTES:
        raise sqlite3.DatabaseError("file is not a database")  # SQLite would write over it
    target = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
    return sqlite3.connect(target, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)


def prepare(
    connection: sqlite3.Connection, path: Path, device_id: str, migrations: Sequence[Migration] = MIGRATIONS
) -> None:
    """Make sure that the file is this device's ledger in the newest form, creating or migrating it.

    Args:
        connection: the writer's, nothing begun.
        path: for the messages.
        device_id: this device's name; it stands in every record, so a ledger never changes hands.
        migrations: what leads to the newest form; another value than MIGRATIONS is for tests of migrations.

    Raises:
        StorageError: the file is another program's, a newer version's, another device's or damaged.
        sqlite3.Error: SQLite cannot read or write the file.
    """
    check_kind(connection, path, newest=len(migrations))
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("BEGIN IMMEDIATE")
    version = _pragma(connection, "user_version")
    for migration in migrations[version:]:
        for statement in migration:
            connection.execute(statement)
    if version == 0:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        first = (device_id, __version__, FIRST_PREVIOUS_HASH, FIRST_PREVIOUS_HASH)
        connection.execute("INSERT INTO meta VALUES (1, ?, ?, 0, ?, 0, ?)", first)
    connection.execute(f"PRAGMA user_version = {len(migrations)}")
    connection.execute("UPDATE meta SET software = ? WHERE software <> ?", (__version__, __version__))
    owner = connection.execute("SELECT device_id FROM meta").fetchone()[0]
    if owner != device_id:
        connection.execute("ROLLBACK")
        raise StorageError(
            f"{path} is the ledger of device {owner!r}, not of {device_id!r}; "
            "set device_id back, or name another path for the ledger of the new device"
        )
    connection.execute("COMMIT")


def check_kind(
    connection: sqlite3.Connection, path: Path, newest: int = len(MIGRATIONS), may_be_empty: bool = True
) -> None:
    """Refuse a file that is not a ledger or that this version cannot read.

    Args:
        connection: any; nothing is written.
        path: for the messages.
        newest: the highest user_version that is understood.
        may_be_empty: take a file without a single table, as the one who creates them must.

    Raises:
        StorageError: the file is another program's or a newer version's.
        sqlite3.Error: the file is no database at all.
    """
    owner = _pragma(connection, "application_id")
    is_empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if is_empty and not may_be_empty:
        raise StorageError(f"{path} is empty; start the station once, it makes the ledger")
    if owner != APPLICATION_ID and not is_empty:
        raise StorageError(f"{path} is another program's database; name another path for the ledger")
    version = _pragma(connection, "user_version")
    if version > newest:
        software = connection.execute("SELECT software FROM meta").fetchone()[0]
        raise StorageError(
            f"{path} was written by version {software} (form {version}), this is {__version__} (form {newest}); "
            f"install {software} or newer, or {BEGIN_ANEW}"
        )


def check_tail(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a ledger whose last record is not the one that it says it wrote last.

    Args:
        connection: any; nothing is written.
        path: for the message.

    Raises:
        StorageError: the disk lost something that it had confirmed.
        sqlite3.Error: the file is damaged.
    """
    meta = connection.execute("SELECT last_seq, last_hash, purged_upto, purged_hash FROM meta").fetchone()
    last_seq, last_hash, purged_upto, purged_hash = meta
    row = connection.execute("SELECT seq, record_hash FROM inspection ORDER BY seq DESC LIMIT 1").fetchone()
    if (row or (purged_upto, purged_hash)) != (last_seq, last_hash):
        raise StorageError(
            f"{path} says that record {last_seq} was written last, but the last one there is "
            f"{row[0] if row else 'none'}; restore a copy, or {BEGIN_ANEW}"
        )


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
