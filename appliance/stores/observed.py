"""What releases judged, as the ledger says: for whoever judges a release."""

from collections.abc import Iterator
from dataclasses import dataclass

from appliance.events import ReleaseKind
from appliance.stores.queries import ROWS_PER_READ, LedgerReader


@dataclass(frozen=True, slots=True)
class ObservedPart:
    """One record, and what a release said of the same part beside the line; challenger_* is None without.

    latency_us: in the model; None where it was not asked, as for a part that no camera saw. challenge: "good" or "bad"
    of a part that was known before, None of all others.
    """

    seq: int
    verdict: str
    reason: str
    score: float | None
    latency_us: int | None
    is_late: bool
    label: str | None
    at: str
    challenge: str | None = None
    challenger_verdict: str | None = None
    challenger_reason: str | None = None
    challenger_label: str | None = None
    challenger_score: float | None = None


_JUDGED = (
    "SELECT seq, verdict, reason, score,"
    " CAST(json_extract(record, '$.stage_ms.infer') * 1000 AS INTEGER), late, label, decided_at,"
    " json_extract(record, '$.challenge')"
    " FROM inspection"
    " WHERE seq > ? AND json_extract(record, '$.versions.{kind}_digest') = ? ORDER BY seq LIMIT ?"
)
_BESIDE = (
    "SELECT i.seq, i.verdict, i.reason, i.score, s.latency_us, 0, i.label, i.decided_at,"
    " json_extract(i.record, '$.challenge'), s.verdict, s.reason, s.label, s.score"
    " FROM shadow AS s JOIN inspection AS i ON i.seq = s.seq"
    " WHERE s.seq > ? AND s.candidate_digest = ? ORDER BY s.seq LIMIT ?"
)


class ObservedLedger(LedgerReader):
    """A ledger's parts by the release that judged them."""

    def judged_by(self, digest: str, after_seq: int, kind: ReleaseKind = "bundle") -> Iterator[ObservedPart]:
        """Return the parts after a number that a release judged, in order.

        Args:
            digest: SHA-256 of the release.
            after_seq: a record's number.
            kind: whose release it is.

        Raises:
            StorageError: the disk refused.
        """
        yield from self._parts(_JUDGED.format(kind=kind), digest, after_seq)

    def judged_beside_by(self, digest: str, after_seq: int) -> Iterator[ObservedPart]:
        """Return the parts after a number that a release judged in shadow; none where the ledger knows no shadow.

        Args:
            digest: SHA-256 of the release.
            after_seq: a record's number.

        Raises:
            StorageError: the disk refused.
        """
        with self._snapshot("looking for the shadow") as rows:
            is_there = rows.execute("SELECT 1 FROM sqlite_master WHERE name = 'shadow'").fetchone() is not None
        if is_there:
            yield from self._parts(_BESIDE, digest, after_seq)

    def _parts(self, sql: str, digest: str, after_seq: int) -> Iterator[ObservedPart]:
        while True:
            with self._snapshot(f"reading the parts after {after_seq}") as rows:
                found = rows.execute(sql, (after_seq, digest, ROWS_PER_READ)).fetchall()
            for row in found:
                seq, verdict, reason, score, latency_us, is_late, label, at, *beside = row
                yield ObservedPart(seq, verdict, reason, score, latency_us, bool(is_late), label, at, *beside)
            if len(found) < ROWS_PER_READ:
                return
            after_seq = found[-1][0]
