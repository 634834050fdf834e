"""The agent's journal: each row is on disk before what it says is done."""

import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from appliance.bundle.gate_settings import Gates
from appliance.errors import StorageError
from appliance.events import iso, moment_of
from appliance.ports import Clock
from appliance.update.assignment import AssignedRelease
from appliance.update.kinds import SignedFile, Update
from appliance.update.lifecycle import Progress, resumed_state

APPLICATION_ID = 0x56494A4E
"""PRAGMA application_id, so that another program's database is never touched."""

FORM = 1
"""PRAGMA user_version. Rows may get keys under the same number, for which an older agent must have no need and a newer
one a default; a new number makes the journal unreadable for the agent before, and so takes its way back away.
"""
BUSY_S = 10.0
MOST_UPDATES = 50
"""Of one kind and name that are kept, and as many that succeeded: what is in force may be an old one."""
MOST_WISHES = 50
"""That were answered."""
MOST_UNSENT = 500
"""Events that a line which never answers has not taken; the oldest go."""
MOST_TOLD = 2000
"""Characters of a reason that the line takes."""

REMEDIES = (
    ("full", "free disk space; the agent goes on by itself"),
    ("locked", "another program holds it: close it"),
    ("readonly", "check the owner, the rights and how the disk is mounted"),
    ("unable to open", "check that the folder exists and that the agent's user may write there"),
    ("not a database", "move the file away: the agent begins a new one, and what is in force stays"),
    ("malformed", "move the file away: the agent begins a new one, and what is in force stays"),
)
TABLES = (
    """CREATE TABLE life (
        number INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        state TEXT NOT NULL,
        is_waiting INTEGER NOT NULL,
        row TEXT NOT NULL
    )""",
    "CREATE INDEX life_name ON life (kind, name, number)",
    """CREATE TABLE step (
        id INTEGER PRIMARY KEY,
        number INTEGER NOT NULL REFERENCES life (number),
        at TEXT NOT NULL,
        state TEXT NOT NULL,
        reason TEXT NOT NULL
    )""",
    "CREATE TABLE quarantine (sha256 TEXT PRIMARY KEY, reason TEXT NOT NULL, by TEXT NOT NULL, at TEXT NOT NULL)",
    """CREATE TABLE wish (
        id INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        by TEXT NOT NULL,
        at TEXT NOT NULL,
        answer TEXT
    )""",
    "CREATE TABLE unsent (id INTEGER PRIMARY KEY, name TEXT NOT NULL, payload TEXT NOT NULL)",
    "CREATE TABLE note (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
)
_COUNTED = ("tries", "crashes", "stores", "verdict", "is_at_the_line", "has_judged")
_PLAIN = (
    "assignment_seq", "rollout", "ring", "previous", "by", "reason", "began_at", "since", "since_seq", "waits_for",
    "parts", "p99_ms", "budget_ms", "looked", "is_due",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wish:
    """A person wants what is in force of a name to be rolled back; answer is None until it was dealt with."""

    id: int
    kind: str
    name: str
    by: str
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A row of the history."""

    id: int
    at: str
    state: str
    reason: str


class Journal:
    """Rows of updates, history, quarantine, wishes, events that nobody took yet, and notes."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Open the journal, and make it if there is none.

        Raises:
            StorageError: the disk refuses, or the file is no journal of this version.
        """
        self._path, self._clock = path, clock
        with self._in_words("opening"):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def begin(self, release: AssignedRelease, gates: Gates, progress: Progress, **values: Any) -> Update:
        """Write the row of a new update.

        Args:
            release: what is to be installed.
            gates: what it must show.
            progress: its first state.
            values: further fields of Update.
        """
        now = iso(self._clock.utc())
        update = Update(0, release, gates, progress, began_at=now, since=now, **values)
        with self._transaction("beginning an update") as rows:
            columns = (release.kind, release.name, release.sha256, progress.state.value, _dumped(update))
            number = rows.execute(
                "INSERT INTO life (kind, name, sha256, state, is_waiting, row) VALUES (?, ?, ?, ?, 0, ?)", columns
            ).lastrowid
            update = replace(update, number=int(number or 0))
            self._add_step(rows, update)
            _forget_updates(rows, release.kind, release.name)
        return update

    def move(self, update: Update, progress: Progress, reason: str, **changes: Any) -> Update:
        """Write the row of an update's next state; only then may its action begin.

        Args:
            update: as it is.
            progress: what it is next.
            reason: in words.
            changes: further fields of Update.
        """
        is_new = progress.state is not update.progress.state
        place: dict[str, Any] = {"since": iso(self._clock.utc()), "since_seq": None, "looked": None} if is_new else {}
        now: dict[str, Any] = {"progress": progress, "reason": reason, "is_waiting": False, "waits_for": ""}
        moved = replace(update, **({"is_due": False} | changes | place | now))
        with self._transaction(f"noting {progress.state.value}") as rows:
            self._write(rows, moved)
            self._add_step(rows, moved)
        return moved

    def rest(self, update: Update, waits_for: str, **changes: Any) -> Update:
        """Note that an update waits, if that is news; a restart breaks nothing off from then on."""
        now: dict[str, Any] = {"waits_for": waits_for, "is_waiting": True}
        resting = replace(update, **(changes | now))
        if resting != update:
            with self._transaction("noting what is waited for") as rows:
                self._write(rows, resting)
        return resting

    def wake(self, update: Update) -> Update:
        """Note that the action of an update that waits, or is due, goes on, and may be broken off."""
        awake = replace(update, is_waiting=False, is_due=False)
        with self._transaction("noting what goes on") as rows:
            self._write(rows, awake)
        return awake

    def open_updates(self) -> list[Update]:
        """Return the updates that have not ended, the oldest first."""
        with self._reading("looking for open updates") as rows:
            found = rows.execute(f"{_LIFE} WHERE state <> 'IDLE' ORDER BY number").fetchall()
        return [_loaded(row) for row in found]

    def latest(self) -> list[Update]:
        """Return the newest update of each kind and name."""
        with self._reading("looking for the newest updates") as rows:
            found = rows.execute(
                f"{_LIFE} WHERE number IN (SELECT max(number) FROM life GROUP BY kind, name) ORDER BY kind, name"
            ).fetchall()
        return [_loaded(row) for row in found]

    def of_digest(self, sha256: str) -> list[Update]:
        """Return the updates to a content, the oldest first."""
        with self._reading("looking for a release's updates") as rows:
            found = rows.execute(f"{_LIFE} WHERE sha256 = ? ORDER BY number", (sha256,)).fetchall()
        return [_loaded(row) for row in found]

    def steps(self, number: int) -> Sequence[Step]:
        """Return what an update went through."""
        with self._reading("reading the steps") as rows:
            found = rows.execute("SELECT id, at, state, reason FROM step WHERE number = ? ORDER BY id", (number,))
            return [Step(*row) for row in found.fetchall()]

    def newest_step(self) -> int:
        """Return the number of the newest row of the history; 0 before the first."""
        with self._reading("reading the newest step") as rows:
            return int(rows.execute("SELECT coalesce(max(id), 0) FROM step").fetchone()[0])

    def quarantine(self, sha256: str, reason: str, by: str) -> None:
        """Note that a content is not tried again; the first reason stays."""
        with self._transaction("noting a quarantine") as rows:
            row = (sha256, reason, by, iso(self._clock.utc()))
            rows.execute("INSERT OR IGNORE INTO quarantine VALUES (?, ?, ?, ?)", row)

    def release_quarantine(self, sha256: str) -> bool:
        """Let a content be tried again; False if it was not in quarantine."""
        with self._transaction("ending a quarantine") as rows:
            return rows.execute("DELETE FROM quarantine WHERE sha256 = ?", (sha256,)).rowcount > 0

    def quarantined(self) -> dict[str, str]:
        """Return each content in quarantine with the reason."""
        with self._reading("reading the quarantine") as rows:
            return dict(rows.execute("SELECT sha256, reason FROM quarantine ORDER BY at").fetchall())

    def wish(self, kind: str, name: str, by: str) -> Wish:
        """Write a person's wish down."""
        with self._transaction("noting a wish") as rows:
            row = (kind, name, by, iso(self._clock.utc()))
            found = rows.execute("INSERT INTO wish (kind, name, by, at) VALUES (?, ?, ?, ?)", row)
            _forget_all_but(rows, "wish", "answer IS NOT NULL", MOST_WISHES)
            return Wish(int(found.lastrowid or 0), kind, name, by)

    def wishes(self) -> list[Wish]:
        """Return what nobody has dealt with yet."""
        with self._reading("looking for wishes") as rows:
            found = rows.execute("SELECT id, kind, name, by, answer FROM wish WHERE answer IS NULL ORDER BY id")
            return [Wish(*row) for row in found.fetchall()]

    def answer(self, wish: Wish, words: str) -> None:
        """Note what came of a wish."""
        with self._transaction("answering a wish") as rows:
            rows.execute("UPDATE wish SET answer = ? WHERE id = ?", (words, wish.id))

    def answer_to(self, wish: Wish) -> str | None:
        """Return what came of a wish; None if nobody has dealt with it."""
        with self._reading("looking for an answer") as rows:
            found = rows.execute("SELECT answer FROM wish WHERE id = ?", (wish.id,)).fetchone()
        return None if found is None else found[0]

    def unsent(self) -> list[tuple[int, str, dict[str, Any]]]:
        """Return the events that the line has not taken: number, name of the release, what is told."""
        with self._reading("looking for untold events") as rows:
            found = rows.execute("SELECT id, name, payload FROM unsent ORDER BY id LIMIT 100").fetchall()
        return [(number, name, json.loads(payload)) for number, name, payload in found]

    def sent(self, number: int) -> None:
        """Note that the line took an event."""
        with self._transaction("noting a told event") as rows:
            rows.execute("DELETE FROM unsent WHERE id = ?", (number,))

    def note(self, key: str, value: Any) -> None:
        """Keep a value under a key; None removes it."""
        with self._transaction(f"noting {key}") as rows:
            rows.execute("DELETE FROM note WHERE key = ?", (key,))
            if value is not None:
                rows.execute("INSERT INTO note VALUES (?, ?)", (key, json.dumps(value)))

    def drop(self, key: str, value: Any, because: Mapping[str, Any] = MappingProxyType({})) -> None:
        """Remove a key's value, unless it is another one since it was read; with it, and only then, note `because`."""
        with self._transaction(f"dropping {key}") as rows:
            if rows.execute("DELETE FROM note WHERE key = ? AND value = ?", (key, json.dumps(value))).rowcount:
                told = [(each, json.dumps(its)) for each, its in because.items()]
                rows.executemany("INSERT OR REPLACE INTO note VALUES (?, ?)", told)

    def noted(self, key: str) -> Any:
        """Return the value of a key; None if there is none."""
        with self._reading(f"reading {key}") as rows:
            found = rows.execute("SELECT value FROM note WHERE key = ?", (key,)).fetchone()
        return None if found is None else json.loads(found[0])

    def _write(self, rows: sqlite3.Connection, update: Update) -> None:
        row = (update.progress.state.value, int(update.is_waiting), _dumped(update), update.number)
        rows.execute("UPDATE life SET state = ?, is_waiting = ?, row = ? WHERE number = ?", row)

    def _add_step(self, rows: sqlite3.Connection, update: Update) -> None:
        state = update.progress.state.value
        row = (update.number, iso(self._clock.utc()), state, update.reason)
        rows.execute("INSERT INTO step (number, at, state, reason) VALUES (?, ?, ?, ?)", row)
        release = update.release
        told = {
            "kind": release.kind, "name": release.name, "seq": release.seq, "sha256": release.sha256, "state": state,
            "reason": update.reason[:MOST_TOLD], "by": update.by or "agent",
        }  # fmt: skip
        rows.execute("INSERT INTO unsent (name, payload) VALUES (?, ?)", (release.name, json.dumps(told)))
        _forget_all_but(rows, "unsent", "1", MOST_UNSENT)

    def _prepare(self) -> None:
        rows = self._connection
        owner, version = (int(rows.execute(f"PRAGMA {key}").fetchone()[0]) for key in _MARKS)
        is_empty = rows.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
        if not is_empty and (owner != APPLICATION_ID or version > FORM):
            raise StorageError(
                f"{self._path} is no journal that this version reads; install the version that wrote it, or move the "
                "file away"
            )
        rows.execute("PRAGMA journal_mode = WAL")
        rows.execute("PRAGMA synchronous = FULL")
        if is_empty:
            with self._transaction("making the journal"):
                for table in TABLES:
                    rows.execute(table)
                rows.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                rows.execute(f"PRAGMA user_version = {FORM}")

    @contextmanager
    def _transaction(self, doing: str) -> Iterator[sqlite3.Connection]:
        with self._in_words(doing):
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    @contextmanager
    def _reading(self, doing: str) -> Iterator[sqlite3.Connection]:
        with self._in_words(doing):
            yield self._connection

    @contextmanager
    def _in_words(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            said = str(error)
            remedy = next((words for part, words in REMEDIES if part in said), "check the disk and its mount")
            raise StorageError(f"{doing} in {self._path} failed: {said}; {remedy}") from error


_MARKS = ("application_id", "user_version")
_LIFE = "SELECT number, state, is_waiting, row FROM life"


def _forget_updates(rows: sqlite3.Connection, kind: str, name: str) -> None:
    """Keep the newest updates of a name, those that succeeded, and the open ones."""
    kept = "SELECT number FROM life WHERE kind = :kind AND name = :name"
    rows.execute(
        f"DELETE FROM life WHERE kind = :kind AND name = :name AND state = 'IDLE'"
        f" AND number NOT IN (SELECT number FROM ({kept} ORDER BY number DESC LIMIT :most))"
        f" AND number NOT IN (SELECT number FROM ({kept} AND json_extract(row, '$.progress.verdict') = 'success'"
        " ORDER BY number DESC LIMIT :most))",
        {"kind": kind, "name": name, "most": MOST_UPDATES},
    )
    rows.execute("DELETE FROM step WHERE number NOT IN (SELECT number FROM life)")


def _forget_all_but(rows: sqlite3.Connection, table: str, which: str, most: int) -> None:
    newest = f"SELECT id FROM {table} WHERE {which} ORDER BY id DESC LIMIT -1 OFFSET {most}"
    rows.execute(f"DELETE FROM {table} WHERE id IN ({newest})")


def _dumped(update: Update) -> str:
    progress = update.progress
    row = {key: getattr(update, key) for key in _PLAIN} | {
        "release": update.release.model_dump(),
        "gates": update.gates.model_dump(),
        "signed": update.signed and update.signed.model_dump(),
        "progress": {key: getattr(progress, key) for key in _COUNTED},
    }
    return json.dumps(row, sort_keys=True)


def _loaded(found: tuple[int, str, int, str]) -> Update:
    number, state, is_waiting, text = found
    row = json.loads(text)
    progress = Progress(resumed_state(state), **_known(row["progress"], _COUNTED))
    signed = row["signed"] and SignedFile.model_validate_json(json.dumps(row["signed"]))
    return Update(
        number, AssignedRelease(**_known(row["release"], AssignedRelease.model_fields)),
        Gates(**_known(row["gates"], Gates.model_fields)), progress, is_waiting=bool(is_waiting), signed=signed,
        **_known(row, _PLAIN),
    )  # fmt: skip


def _known(values: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    """What this version knows of a row: another one, before or after an update of the agent, may know less or more."""
    return {name: value for name, value in values.items() if name in names}


def hours_since(update: Update, clock: Clock) -> float:
    """Return how long an update is in its state; a clock that was set back counts as none."""
    return max(0.0, (clock.utc() - moment_of(update.since)).total_seconds() / 3600)
