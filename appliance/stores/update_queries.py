"""What an update wants to know of the ledger: what a candidate would have said, what a release decided, what ran."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from appliance.events import ReleaseChange, ReleaseKind, UpdateEvent, iso, moment_of
from appliance.stores.queries import LedgerReader

_TOP = "(SELECT max(score) FROM detection WHERE seq = i.seq)"


@dataclass(frozen=True, slots=True)
class JudgedPart:
    """What was decided of one part; top_score is the highest of all detections, None if there were none.

    is_late: its deadline had passed. latency_us: trigger received -> decided.
    """

    seq: int
    verdict: str
    reason: str
    top_score: float | None
    latency_us: int
    is_late: bool


@dataclass(frozen=True, slots=True)
class ShadowPair:
    """One part, as it was decided and as a candidate would have: verdict, reason and score of what it was surest of."""

    decided: JudgedPart
    verdict: str
    reason: str
    top_score: float | None
    latency_us: int


@dataclass(frozen=True, slots=True)
class ShadowRun:
    """One time that a candidate judged beside the line; what follows ended_at is empty till then.

    problem: what was wrong with the candidate, in words; empty if nothing was.
    """

    begun_at: datetime
    who: str
    product: str
    candidate_digest: str
    candidate_revision: int
    ended_at: datetime | None
    ended_because: str
    problem: str
    judged: int
    skipped: int
    differing: int
    pictures_lost: int


class UpdateReader(LedgerReader):
    """A LedgerReader that knows of releases, shadows and updates; a ledger of an older form has none of them."""

    def shadow_pairs(self, candidate_digest: str, after_seq: int, limit: int) -> Sequence[ShadowPair]:
        """Return parts with seq > after_seq that a candidate judged, beside what was decided, in order of seq.

        Raises:
            StorageError: the disk refused.
        """
        with self._snapshot("reading what a shadow judged") as rows:
            found = _rows(
                rows,
                "shadow",
                f"SELECT i.seq, i.verdict, i.reason, {_TOP}, i.latency_us, i.late, s.verdict, s.reason, s.score,"
                " s.latency_us FROM shadow AS s JOIN inspection AS i ON i.seq = s.seq"
                " WHERE s.seq > ? AND s.candidate_digest = ? ORDER BY s.seq LIMIT ?",
                (after_seq, candidate_digest, limit),
            )
        return [ShadowPair(_part(row[:6]), *row[6:]) for row in found]

    def judged_by(self, bundle_digest: str, after_seq: int, limit: int) -> Sequence[JudgedPart]:
        """Return parts with seq > after_seq that a bundle judged, in order of seq.

        Args:
            bundle_digest: SHA-256 (hex) of the bundle.
            after_seq: the scan begins behind it, so hand over the last one seen, or last_seq of the release's change.
            limit: at most so many.

        Raises:
            StorageError: the disk refused.
        """
        with self._snapshot(f"reading what bundle {bundle_digest[:12]} judged") as rows:
            found = rows.execute(
                f"SELECT i.seq, i.verdict, i.reason, {_TOP}, i.latency_us, i.late FROM inspection AS i"
                " WHERE i.seq > ? AND json_extract(i.record, '$.versions.bundle_digest') = ? ORDER BY i.seq LIMIT ?",
                (after_seq, bundle_digest, limit),
            ).fetchall()
        return [_part(row) for row in found]

    def release_changes(self, after_seq: int = 0, limit: int = 1000) -> Sequence[ReleaseChange]:
        """Return changes of releases from that record on (last_seq >= after_seq), in their order.

        Raises:
            StorageError: the disk refused.
        """
        with self._snapshot("reading the changes of releases") as rows:
            return _changes(rows, "WHERE last_seq >= ? ORDER BY id LIMIT ?", (after_seq, limit))

    def last_release(self, product: str, kind: ReleaseKind) -> ReleaseChange | None:
        """Return the newest change of a product's bundle or recipe; None if there never was one.

        Raises:
            StorageError: the disk refused.
        """
        with self._snapshot("reading the last change of a release") as rows:
            found = _changes(rows, "WHERE product = ? AND kind = ? ORDER BY id DESC LIMIT 1", (product, kind))
        return found[0] if found else None

    def has_run(self, digest: str) -> bool:
        """Return whether a bundle or recipe with this digest was ever in force here, since the ledger notes it.

        Raises:
            StorageError: the disk refused.
        """
        with self._snapshot("looking for a release that ran here") as rows:
            query = "SELECT 1 FROM release_change WHERE ? IN (from_digest, to_digest) LIMIT 1"
            return bool(_rows(rows, "release_change", query, (digest,)))

    def shadow_runs(self, candidate_digest: str) -> Sequence[ShadowRun]:
        """Return each time that a candidate judged beside the line, the oldest first.

        Raises:
            StorageError: the disk refused.
        """
        with self._snapshot("reading the shadows") as rows:
            found = _rows(
                rows,
                "shadow_run",
                "SELECT begun_at, who, product, candidate_digest, candidate_revision, ended_at,"
                " ifnull(ended_because, ''), ifnull(problem, ''), ifnull(judged, 0), ifnull(skipped, 0),"
                " ifnull(differing, 0), ifnull(pictures_lost, 0) FROM shadow_run"
                " WHERE candidate_digest = ? ORDER BY id",
                (candidate_digest,),
            )
        return [_run(row) for row in found]

    def update_events(self, since: datetime | None = None, until: datetime | None = None) -> Sequence[UpdateEvent]:
        """Return steps of updates in their order.

        Args:
            since: noted then or later; None from the first.
            until: noted before; None up to the newest.

        Raises:
            StorageError: the disk refused.
        """
        bounds = (iso(since) if since else "", iso(until) if until else "~")
        with self._snapshot("reading the steps of updates") as rows:
            found = _rows(
                rows,
                "update_event",
                "SELECT at, who, kind, name, release_seq, sha256, state, reason FROM update_event"
                " WHERE at >= ? AND at < ? ORDER BY id",
                bounds,
            )
        return [UpdateEvent(moment_of(row[0]), *row[1:]) for row in found]


_CHANGE = (
    "SELECT at, who, product, kind, name, from_digest, from_revision, to_digest, to_revision, is_rollback, last_seq"
    " FROM {table} "
)
_BEFORE_RECIPES = "(SELECT *, 'bundle' AS kind, bundle AS name FROM release_change)"
"""The table as ledgers of an older form have it."""


def _rows(rows: sqlite3.Connection, table: str, query: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """Return what a query finds; nothing where the ledger is of a form before this table."""
    if rows.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone() is None:
        return []
    return rows.execute(query, values).fetchall()


def _part(row: tuple[Any, ...]) -> JudgedPart:
    seq, verdict, reason, top_score, latency_us, is_late = row
    return JudgedPart(seq, verdict, reason, top_score, latency_us, bool(is_late))


def _run(row: tuple[Any, ...]) -> ShadowRun:
    begun_at, *asked, ended_at, because, problem, judged, skipped, differing, lost = row
    ended = moment_of(ended_at) if ended_at else None
    return ShadowRun(*(moment_of(begun_at), *asked, ended, because, problem, judged, skipped, differing, lost))


def _changes(rows: sqlite3.Connection, where: str, values: tuple[Any, ...]) -> list[ReleaseChange]:
    is_new = rows.execute("SELECT 1 FROM pragma_table_info('release_change') WHERE name = 'kind'").fetchone()
    table = "release_change" if is_new else _BEFORE_RECIPES
    return [_change(row) for row in _rows(rows, "release_change", _CHANGE.format(table=table) + where, values)]


def _change(row: tuple[Any, ...]) -> ReleaseChange:
    at, *names, is_rollback, last_seq = row
    return ReleaseChange(*(moment_of(at), *names, bool(is_rollback), last_seq))
