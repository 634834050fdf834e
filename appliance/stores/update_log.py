"""Releases, shadows and steps of updates in the ledger; written by its one writer, never in a verdict's way."""

from collections.abc import Sequence
from datetime import datetime

from appliance.events import ReleaseChange, ReleaseKind, ShadowEnd, ShadowJudgement, UpdateEvent, iso
from appliance.stores.update_queries import UpdateReader
from appliance.stores.writer import Writer

ENDED_BY_RESTART = "restart"


class UpdateLog:
    """`ports.ReleaseLog` and `ports.ShadowLog` in a ledger's file; any thread may call any method."""

    def __init__(self, writer: Writer, reader: UpdateReader) -> None:
        """Share a ledger's writer and reader; SqliteLedger does."""
        self._writer = writer
        self._reader = reader

    def note_release(self, change: ReleaseChange) -> int:
        """Write down, durably, that another release judges a product, before any part is judged by it.

        Returns:
            The number of the newest record at that moment, 0 before the first; the change's own does not count.

        Raises:
            StorageError: nothing was written; the former release stays in force.
        """
        with self._writer.transaction(f"putting {change.kind} {change.name} {change.to_revision} in force") as tx:
            last_seq = int(tx.execute("SELECT last_seq FROM meta").fetchone()[0])
            tx.execute(
                "INSERT INTO release_change (at, who, product, kind, name, from_digest, from_revision, to_digest,"
                " to_revision, is_rollback, last_seq) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    iso(change.at),
                    change.who,
                    change.product,
                    change.kind,
                    change.name,
                    change.from_digest,
                    change.from_revision,
                    change.to_digest,
                    change.to_revision,
                    change.is_rollback,
                    last_seq,
                ),
            )
        return last_seq

    def has_run(self, digest: str) -> bool:
        """Return whether a release was ever in force here; see UpdateReader.has_run."""
        return self._reader.has_run(digest)

    def last_release(self, product: str, kind: ReleaseKind) -> ReleaseChange | None:
        """Return the newest release of a product's bundle or recipe; see UpdateReader.last_release."""
        return self._reader.last_release(product, kind)

    def begin_shadow(self, at: datetime, who: str, product: str, digest: str, revision: int) -> int:
        """Note that a candidate judges beside the line from now on.

        Returns:
            The number of this shadow, for end_shadow.

        Raises:
            StorageError: nothing was written.
        """
        with self._writer.transaction(f"noting the shadow {digest[:12]}", durable=False) as tx:
            row = tx.execute(
                "INSERT INTO shadow_run (begun_at, who, product, candidate_digest, candidate_revision)"
                " VALUES (?, ?, ?, ?, ?)",
                (iso(at), who, product, digest, revision),
            )
            return int(row.lastrowid or 0)

    def note_shadow(self, judgements: Sequence[ShadowJudgement]) -> None:
        """Keep judgements of a candidate; those of parts whose records were purged meanwhile are passed over.

        They do not wait for the disk: a power cut may take the last ones.

        Raises:
            StorageError: nothing was written.
        """
        with self._writer.transaction("noting what a shadow judged", durable=False) as tx:
            tx.executemany(
                "INSERT OR REPLACE INTO shadow (seq, candidate_digest, verdict, reason, label, score, latency_us, at)"
                " SELECT ?, ?, ?, ?, ?, ?, ?, ? WHERE EXISTS (SELECT 1 FROM inspection WHERE seq = ?)",
                [
                    (
                        each.seq,
                        each.candidate_digest,
                        each.verdict.value,
                        each.reason.value,
                        each.label,
                        each.score,
                        each.latency_us,
                        iso(each.at),
                        each.seq,
                    )
                    for each in judgements
                ],
            )

    def end_shadow(self, number: int, at: datetime, end: ShadowEnd) -> None:
        """Note why a shadow ended, and what it came to.

        Raises:
            StorageError: nothing was written.
        """
        with self._writer.transaction(f"noting the end of shadow {number}", durable=False) as tx:
            tx.execute(
                "UPDATE shadow_run SET ended_at = ?, ended_because = ?, problem = ?, judged = ?, skipped = ?,"
                " differing = ?, pictures_lost = ? WHERE id = ?",
                (
                    iso(at),
                    end.because,
                    end.problem,
                    end.judged,
                    end.skipped,
                    end.differing,
                    end.pictures_lost,
                    number,
                ),
            )

    def end_open_shadows(self, at: datetime) -> None:
        """Note that shadows which the last process left open ended with it; what they judged is in their rows.

        Raises:
            StorageError: nothing was written.
        """
        with self._writer.transaction("noting the end of open shadows", durable=False) as tx:
            tx.execute(
                "UPDATE shadow_run SET ended_at = ?, ended_because = ? WHERE ended_at IS NULL",
                (iso(at), ENDED_BY_RESTART),
            )

    def note_update(self, event: UpdateEvent) -> None:
        """Write down, durably, a step of an update.

        Raises:
            StorageError: nothing was written.
        """
        with self._writer.transaction(f"noting {event.state} of {event.kind} {event.name}") as tx:
            tx.execute(
                "INSERT INTO update_event (at, who, kind, name, release_seq, sha256, state, reason)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    iso(event.at),
                    event.who,
                    event.kind,
                    event.name,
                    event.release_seq,
                    event.sha256,
                    event.state,
                    event.reason,
                ),
            )
