"""Releases, shadows and steps of updates in the ledger, and what the agent reads of them while the line writes."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from appliance.errors import StorageError
from appliance.events import (
    Reason,
    ReleaseChange,
    ShadowEnd,
    ShadowJudgement,
    UpdateEvent,
    Verdict,
    iso,
    utc_now,
)
from appliance.stores.ledger import SqliteLedger
from appliance.stores.schema import CHANGEOVERS, FIRST_TABLES, REFERENCE_COLUMNS, UPDATES, connect, prepare
from appliance.stores.update_queries import JudgedPart, UpdateReader
from tests.ledger_inspections import VERSIONS, make_inspection, make_trigger, open_ledger, store, store_many

OLD, NEW = "a" * 64, "b" * 64


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[SqliteLedger]:
    with open_ledger(path) as opened:
        yield opened


@pytest.fixture
def reader(ledger: SqliteLedger, path: Path) -> Iterator[UpdateReader]:
    with closing(UpdateReader(path)) as opened:
        yield opened


def change(to: str = NEW, before: str = OLD, product: str = "board", rollback: bool = False) -> ReleaseChange:
    return ReleaseChange(utc_now(), "A. Person", product, "bundle", "boards", before, 1, to, 2, rollback)


def judgement(
    seq: int, verdict: Verdict = Verdict.REJECT, digest: str = NEW, score: float | None = 0.7
) -> ShadowJudgement:
    reason = Reason.DEFECT if verdict is Verdict.REJECT else Reason.COMPLETE
    label = "short" if score else None
    return ShadowJudgement(seq, digest, verdict, reason, label, score, 1234, utc_now())


def test_a_release_is_noted_with_the_number_of_the_newest_record(ledger: SqliteLedger, reader: UpdateReader) -> None:
    store_many(ledger, 3)
    assert ledger.updates.note_release(change()) == 3
    (found,) = reader.release_changes()
    assert (found.who, found.name, found.from_digest, found.to_digest, found.last_seq) == (
        "A. Person", "boards", OLD, NEW, 3
    )  # fmt: skip
    assert reader.last_release("board", "bundle") == found
    assert reader.last_release("board", "recipe") is None
    assert reader.last_release("another", "bundle") is None
    assert reader.release_changes(after_seq=4) == []


def test_what_was_in_force_has_run_and_nothing_else_has(ledger: SqliteLedger) -> None:
    assert not ledger.updates.has_run(NEW)
    ledger.updates.note_release(change())
    assert ledger.updates.has_run(OLD)
    assert ledger.updates.has_run(NEW)
    assert not ledger.updates.has_run("c" * 64)


def test_what_a_shadow_judged_stands_beside_what_was_decided(ledger: SqliteLedger, reader: UpdateReader) -> None:
    store(ledger, "good")
    store(ledger, "bad", Verdict.REJECT)
    store(ledger, "gone", Verdict.FAULT)
    ledger.updates.note_shadow([judgement(1), judgement(2, Verdict.ACCEPT, score=None), judgement(3, digest=OLD)])
    first, second = reader.shadow_pairs(NEW, 0, 10)
    assert (first.decided.seq, first.decided.verdict, first.decided.top_score) == (1, "ACCEPT", None)
    assert (first.verdict, first.reason, first.top_score, first.latency_us) == ("REJECT", "defect", 0.7, 1234)
    assert (second.decided.verdict, second.decided.reason, second.decided.top_score) == ("REJECT", "defect", 0.9)
    assert (second.verdict, second.top_score) == ("ACCEPT", None)
    assert [each.decided.seq for each in reader.shadow_pairs(NEW, 1, 10)] == [2]
    assert [each.decided.seq for each in reader.shadow_pairs(NEW, 0, 1)] == [1]
    assert [each.decided.seq for each in reader.shadow_pairs(OLD, 0, 10)] == [3]


def test_judgements_go_with_their_record_and_one_that_comes_too_late_is_passed_over(
    ledger: SqliteLedger, reader: UpdateReader
) -> None:
    store_many(ledger, 2, decided_at=utc_now() - timedelta(days=2))
    ledger.updates.note_shadow([judgement(1), judgement(2)])
    ledger.acknowledge("plant", 1)
    assert ledger.purge(utc_now() - timedelta(days=1)) == 1
    ledger.updates.note_shadow([judgement(1)])
    assert [each.decided.seq for each in reader.shadow_pairs(NEW, 0, 10)] == [2]


def test_parts_are_found_by_the_bundle_that_judged_them(ledger: SqliteLedger, reader: UpdateReader) -> None:
    for number, digest in enumerate((OLD, NEW, NEW, OLD)):
        trigger = make_trigger(f"t-{number}")
        ledger.accept(trigger)
        verdict = Verdict.REJECT if number == 2 else Verdict.ACCEPT
        ledger.record(replace(make_inspection(trigger, verdict), versions=replace(VERSIONS, bundle_digest=digest)))
    found = reader.judged_by(NEW, 0, 10)
    assert [(each.seq, each.verdict, each.top_score) for each in found] == [(2, "ACCEPT", None), (3, "REJECT", 0.9)]
    assert isinstance(found[0], JudgedPart)
    assert not found[0].is_late
    assert [each.seq for each in reader.judged_by(NEW, 2, 10)] == [3]
    assert [each.seq for each in reader.judged_by(OLD, 0, 1)] == [1]


def test_how_a_shadow_ended_is_kept_and_one_that_a_crash_left_open_ended_with_it(
    ledger: SqliteLedger, reader: UpdateReader
) -> None:
    log = ledger.updates
    first = log.begin_shadow(utc_now(), "agent", "board", NEW, 7)
    log.end_shadow(first, utc_now(), ShadowEnd("problem", "it hangs", 5, 4, 3, 2))
    log.begin_shadow(utc_now(), "agent", "board", NEW, 7)
    ended, running = reader.shadow_runs(NEW)
    assert (ended.ended_because, ended.problem) == ("problem", "it hangs")
    assert (ended.judged, ended.skipped, ended.differing, ended.pictures_lost) == (5, 4, 3, 2)
    assert (running.ended_at, running.ended_because, running.candidate_revision) == (None, "", 7)
    log.end_open_shadows(utc_now())
    assert [each.ended_because for each in reader.shadow_runs(NEW)] == ["problem", "restart"]


def test_steps_of_updates_come_back_in_their_order_and_by_time(ledger: SqliteLedger, reader: UpdateReader) -> None:
    now = utc_now()
    for number, state in enumerate(("VERIFY", "COMMIT")):
        moment = now + timedelta(hours=number)
        ledger.updates.note_update(UpdateEvent(moment, "agent", "model", "boards", 12, NEW, state, "as planned"))
    assert [each.state for each in reader.update_events()] == ["VERIFY", "COMMIT"]
    assert [each.state for each in reader.update_events(since=now + timedelta(minutes=1))] == ["COMMIT"]
    assert [each.state for each in reader.update_events(until=now + timedelta(minutes=1))] == ["VERIFY"]
    assert reader.update_events()[0].release_seq == 12


def test_a_ledger_from_before_updates_has_none_and_is_migrated_by_its_writer(path: Path) -> None:
    connection = connect(path)
    prepare(connection, path, "device-1", migrations=(FIRST_TABLES, REFERENCE_COLUMNS, CHANGEOVERS))
    connection.close()
    with closing(UpdateReader(path)) as reader:
        assert (reader.shadow_pairs(NEW, 0, 9), reader.release_changes(), reader.shadow_runs(NEW)) == ([], [], [])
        assert (reader.update_events(), reader.last_release("board", "bundle")) == ([], None)
        assert not reader.has_run(NEW)
    with open_ledger(path) as ledger:
        store(ledger, "t")
        ledger.updates.note_shadow([judgement(1)])
        ledger.updates.note_release(change())
        assert ledger.updates.has_run(NEW)
        assert ledger.verify_chain() is None


def test_releases_in_a_ledger_from_before_recipes_were_of_bundles(path: Path) -> None:
    connection = connect(path)
    prepare(connection, path, "device-1", migrations=(FIRST_TABLES, REFERENCE_COLUMNS, CHANGEOVERS, UPDATES))
    row = (iso(utc_now()), "A. Person", "board", "boards", OLD, 1, NEW, 2, 0, 3)
    connection.execute(
        "INSERT INTO release_change (at, who, product, bundle, from_digest, from_revision, to_digest, to_revision,"
        " is_rollback, last_seq) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row
    )  # fmt: skip
    connection.close()
    with closing(UpdateReader(path)) as reader:
        (before,) = reader.release_changes()
    with open_ledger(path) as ledger:
        assert ledger.updates.last_release("board", "bundle") == before
        assert ledger.updates.last_release("board", "recipe") is None
    assert (before.kind, before.name, before.to_digest) == ("bundle", "boards", NEW)


def test_a_disk_that_refuses_notes_nothing(path: Path) -> None:
    with open_ledger(path) as ledger:
        blocker = connect(path)
        blocker.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="another program has the ledger open for writing"):
            ledger.updates.note_release(change())
        blocker.execute("ROLLBACK")
        blocker.close()
        assert not ledger.updates.has_run(NEW)
