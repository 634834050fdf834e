"""What every ledger and outbox promises (`ports.Ledger`, `ports.Outbox`)."""

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from appliance.errors import DeliveryError
from appliance.events import Verdict, utc_now
from appliance.messages import FIRST_PREVIOUS_HASH, RecordMessage
from appliance.ports import Ledger, Outbox
from appliance.stores.ledger import BROKER, SqliteLedger
from tests.ledger_inspections import make_inspection, make_trigger, open_ledger, store, store_many


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqliteLedger]:
    with open_ledger(tmp_path / "ledger.db") as opened:
        yield opened


def test_the_sqlite_ledger_offers_both_ports(ledger: SqliteLedger) -> None:
    record: Ledger = ledger
    outbox: Outbox = ledger
    assert record is outbox


def test_a_trigger_is_accepted_once(ledger: SqliteLedger) -> None:
    assert ledger.accept(make_trigger("a"))
    assert not ledger.accept(make_trigger("a"))
    assert [trigger.trigger_id for trigger in ledger.open_triggers()] == ["a"]


def test_a_trigger_with_a_verdict_is_not_accepted_again(ledger: SqliteLedger) -> None:
    store(ledger, "a")
    assert not ledger.accept(make_trigger("a"))
    assert ledger.open_triggers() == []


def test_of_many_threads_that_bring_one_trigger_one_is_first(ledger: SqliteLedger) -> None:
    answers: list[bool] = []
    barrier = threading.Barrier(8)

    def bring() -> None:
        barrier.wait()
        answers.append(ledger.accept(make_trigger("a")))

    threads = [threading.Thread(target=bring) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [False] * 7 + [True]


def test_a_verdict_closes_its_trigger_and_can_be_found(ledger: SqliteLedger) -> None:
    assert ledger.find("a") is None
    ledger.accept(make_trigger("a"))
    assert ledger.find("a") is None
    record = ledger.record(make_inspection(make_trigger("a"), Verdict.REJECT))
    assert ledger.find("a") == record
    assert ledger.open_triggers() == []


def test_a_second_verdict_is_a_bug_and_changes_nothing(ledger: SqliteLedger) -> None:
    record = store(ledger, "a")
    with pytest.raises(RuntimeError, match="has a verdict already"):
        ledger.record(make_inspection(make_trigger("a"), Verdict.REJECT))
    assert ledger.find("a") == record
    assert ledger.replay(1, 99, 99) == [record]


def test_a_verdict_without_a_trigger_is_a_bug(ledger: SqliteLedger) -> None:
    with pytest.raises(RuntimeError, match="never accepted"):
        ledger.record(make_inspection(make_trigger("a")))
    assert ledger.pending(0, 99) == []


def test_a_verdict_with_nan_in_it_is_refused_and_its_trigger_stays_open(ledger: SqliteLedger) -> None:
    ledger.accept(make_trigger("a"))
    with pytest.raises(ValueError, match="not JSON compliant"):
        ledger.record(make_inspection(make_trigger("a"), Verdict.REJECT, score=float("nan")))
    assert len(ledger.open_triggers()) == 1
    assert ledger.record(make_inspection(make_trigger("a"))).seq == 1


def test_numbers_have_no_gaps_and_each_record_names_the_one_before(ledger: SqliteLedger) -> None:
    records = store_many(ledger, 5)
    assert [record.seq for record in records] == [1, 2, 3, 4, 5]
    before = FIRST_PREVIOUS_HASH
    for record in records:
        message = RecordMessage.model_validate(json.loads(record.payload))
        assert (message.seq, message.prev_hash, message.trigger_id) == (record.seq, before, record.trigger_id)
        assert record.record_hash == hashlib.sha256(record.payload.encode()).hexdigest()
        before = record.record_hash


def test_open_triggers_come_oldest_first_with_everything_but_the_old_clock(ledger: SqliteLedger) -> None:
    sent = [make_trigger(name) for name in ("z", "a", "m")]
    for trigger in sent:
        ledger.accept(trigger)
    assert ledger.open_triggers() == [replace(trigger, received_ns=0, deadline_ns=0) for trigger in sent]


def test_pending_is_what_somebody_has_not_acknowledged(tmp_path: Path) -> None:
    with open_ledger(tmp_path / "two.db", ["plant", "archive"]) as ledger:
        records = store_many(ledger, 6)
        ledger.acknowledge("plant", 5)
        assert (ledger.depth(), ledger.pending(0, 99)) == (6, records)
        ledger.acknowledge("archive", 2)
        assert (ledger.depth(), ledger.pending(0, 99)) == (4, records[2:])
        assert ledger.pending(4, 1) == [records[4]]
        ledger.acknowledge("archive", 6)
        assert (ledger.depth(), ledger.pending(0, 99)) == (1, records[5:])


def test_an_older_acknowledgement_takes_nothing_back(ledger: SqliteLedger) -> None:
    store_many(ledger, 3)
    ledger.acknowledge("plant", 3)
    ledger.acknowledge("plant", 1)
    assert ledger.depth() == 0


def test_an_acknowledgement_of_the_future_does_not_cover_what_comes_later(ledger: SqliteLedger) -> None:
    store_many(ledger, 2)
    ledger.acknowledge("plant", 1 << 40)
    later = store(ledger, "later")
    assert ledger.pending(0, 99) == [later]


def test_a_stranger_cannot_acknowledge(ledger: SqliteLedger) -> None:
    store_many(ledger, 2)
    with pytest.raises(DeliveryError, match=r"'who'.*registered: plant.*configuration"):
        ledger.acknowledge("who", 2)
    assert ledger.depth() == 2


def test_without_consumers_the_broker_is_the_one_who_acknowledges(tmp_path: Path) -> None:
    with open_ledger(tmp_path / "none.db", []) as ledger:
        store_many(ledger, 2)
        ledger.acknowledge(BROKER, 1)
        assert ledger.depth() == 1


def test_replay_gives_a_range_whether_acknowledged_or_not(ledger: SqliteLedger) -> None:
    records = store_many(ledger, 6)
    ledger.acknowledge("plant", 4)
    assert ledger.replay(2, 5, 99) == records[1:5]
    assert ledger.replay(2, 5, 2) == records[1:3]
    assert ledger.replay(5, 2, 99) == []


def test_purging_keeps_what_is_owed_and_what_is_young(ledger: SqliteLedger) -> None:
    old = utc_now() - timedelta(days=30)
    store_many(ledger, 4, decided_at=old, prefix="old")
    young = store(ledger, "young")
    ledger.acknowledge("plant", 2)
    before = utc_now() - timedelta(days=7)
    assert ledger.purge(before) == 2
    ledger.acknowledge("plant", 5)
    assert ledger.purge(before) == 2
    assert ledger.replay(1, 99, 99) == [young]


def test_numbers_and_chain_go_on_after_everything_was_purged(ledger: SqliteLedger, tmp_path: Path) -> None:
    last = store_many(ledger, 3)[-1]
    ledger.acknowledge("plant", 3)
    assert ledger.purge(utc_now() + timedelta(seconds=1)) == 3
    ledger.close()
    with open_ledger(tmp_path / "ledger.db") as again:
        following = store(again, "next")
        assert (following.seq, json.loads(following.payload)["prev_hash"]) == (4, last.record_hash)
        assert again.verify_chain() is None


def test_everything_is_there_again_after_closing(ledger: SqliteLedger, tmp_path: Path) -> None:
    records = store_many(ledger, 3)
    ledger.accept(make_trigger("open"))
    ledger.acknowledge("plant", 1)
    ledger.close()
    with open_ledger(tmp_path / "ledger.db") as again:
        assert again.replay(1, 99, 99) == records
        assert again.pending(0, 99) == records[1:]
        assert [trigger.trigger_id for trigger in again.open_triggers()] == ["open"]
        assert again.last_seq() == 3
