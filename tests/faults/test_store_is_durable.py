"""Invariants 1, 4 and 5 at the disk: what was confirmed is there after `kill -9` and after a full disk."""

import json
import os
import random
import selectors
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from appliance.errors import StorageError
from appliance.events import Record, Verdict
from appliance.stores.ledger import SqliteLedger
from appliance.stores.schema import connect, prepare
from appliance.stores.writer import Writer
from tests.ledger_inspections import make_inspection, make_trigger, open_ledger, store, store_many
from tests.small_disk import fill, small_disk

KILLS = 8


def read_until_killed(path: Path, start: int, run_s: float) -> list[list[str]]:
    """Start the child, let it record for run_s, kill it, and return the lines that it had finished."""
    command = [sys.executable, "-m", "tests.recording_child", str(path), str(start)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child, selectors.DefaultSelector() as selector:
        assert child.stdout is not None
        selector.register(child.stdout, selectors.EVENT_READ)
        assert selector.select(30), "the child never began"
        until_ns = time.monotonic_ns() + int(run_s * 1e9)
        heard = b""
        while time.monotonic_ns() < until_ns:
            if selector.select((until_ns - time.monotonic_ns()) / 1e9):
                heard += child.stdout.read1()
        child.kill()
        heard += child.stdout.read()
    finished = heard.decode().splitlines() if heard.endswith(b"\n") else heard.decode().splitlines()[:-1]
    return [line.split() for line in finished]


def kept(ledger: SqliteLedger) -> dict[str, Record]:
    return {record.trigger_id: record for record in ledger.replay(0, 1 << 40, 1 << 40)}


@pytest.mark.faults
def test_what_was_confirmed_is_there_after_every_kill(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    chance = random.Random(7)
    accepted: set[str] = set()
    recorded: dict[str, tuple[int, str]] = {}
    for start in range(KILLS):
        for what, *rest in read_until_killed(path, start, chance.uniform(0.02, 0.6)):
            if what == "accepted":
                accepted.add(rest[0])
            elif what == "recorded":
                recorded[rest[0]] = (int(rest[1]), rest[2])
        with open_ledger(path) as ledger:
            assert ledger.verify_chain() is None
            still_open = {trigger.trigger_id for trigger in ledger.open_triggers()}
            there = kept(ledger)
            seqs = sorted(record.seq for record in there.values())
            assert seqs == list(range(ledger.last_seq() - len(seqs) + 1, ledger.last_seq() + 1))
            purged_upto = ledger.last_seq() - len(seqs)
            for trigger_id, (seq, record_hash) in recorded.items():
                assert seq <= purged_upto or there[trigger_id].record_hash == record_hash
            numbers = {trigger_id: seq for trigger_id, (seq, _) in recorded.items()}
            lost = {name for name in accepted - still_open - there.keys() if numbers.get(name, 0) > purged_upto}
            assert lost == set()
            assert not still_open & there.keys()
            assert not [name for name in accepted - still_open - there.keys() - recorded.keys() if purged_upto == 0]
    assert len(recorded) > KILLS


def test_accepting_and_recording_wait_for_the_disk_and_acknowledging_does_not(tmp_path: Path) -> None:
    with open_ledger(tmp_path / "ledger.db", ["plant"]) as ledger:
        connection = ledger._writer._connection

        def synchronous_after(write: Callable[[], object]) -> int:
            write()
            return int(connection.execute("PRAGMA synchronous").fetchone()[0])

        trigger = make_trigger("t-1")
        full, normal = 2, 1
        assert synchronous_after(lambda: ledger.accept(trigger)) == full
        assert synchronous_after(lambda: ledger.acknowledge("plant", 0)) == normal
        assert synchronous_after(lambda: ledger.record(make_inspection(trigger, Verdict.ACCEPT))) == full
        assert synchronous_after(lambda: ledger.note_image("i", "top", "p.png", "0" * 64, 1)) == normal
        assert synchronous_after(lambda: ledger.accept(make_trigger("t-2"))) == full


def test_the_writer_waits_for_the_disk_where_it_is_asked_to(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    connection = connect(path)
    prepare(connection, path, "device-1")
    with closing(Writer(connection, path)) as writer:
        for is_durable, level in ((True, 2), (False, 1), (True, 2)):
            with writer.transaction("looking", durable=is_durable) as tx:
                assert tx.execute("PRAGMA synchronous").fetchone() == (level,)


def until_refused(ledger: SqliteLedger, prefix: str) -> tuple[int, StorageError]:
    for number in range(100_000):
        try:
            store(ledger, f"{prefix}{number}", Verdict.REJECT)
        except StorageError as error:
            return number, error
    raise AssertionError("the disk was never full")


@pytest.mark.parametrize("free_bytes", [0, 700_000, 1_500_000])
def test_a_full_disk_refuses_in_words_keeps_everything_and_goes_on_when_freed(tmp_path: Path, free_bytes: int) -> None:
    with small_disk(tmp_path / "disk", 3 << 20) as disk:
        path = disk / "ledger.db"
        with open_ledger(path) as ledger:
            first = store(ledger, "first")
            ballast = fill(disk)
            os.truncate(ballast, ballast.stat().st_size - free_bytes)
            stored, error = until_refused(ledger, "a")
            assert stored >= free_bytes // 100_000
            assert "free disk space" in str(error)
            assert str(path) in str(error)
            for attempt in range(5):
                with pytest.raises(StorageError, match="free disk space"):
                    store_many(ledger, 100, prefix=f"refused-{attempt}-")
            open_now = {trigger.trigger_id for trigger in ledger.open_triggers()}
            there = kept(ledger)
            assert there["first"] == first
            assert {f"a{number}" for number in range(stored)} <= there.keys()
            assert not open_now & there.keys()
            assert ledger.verify_chain() is None
            before = ledger.last_seq()
            ballast.unlink()
            assert store(ledger, "again").seq == before + 1
            for trigger in ledger.open_triggers():
                ledger.record(make_inspection(trigger, Verdict.FAULT))
        with open_ledger(path) as ledger:
            assert ledger.verify_chain() is None
            assert ledger.open_triggers() == []
            assert [json.loads(record.payload)["seq"] for record in ledger.replay(1, 1 << 40, 1 << 40)] == list(
                range(1, ledger.last_seq() + 1)
            )


def test_a_refused_record_leaves_its_trigger_open_and_can_be_recorded_later(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 2 << 20) as disk, open_ledger(disk / "ledger.db") as ledger:
        trigger = make_trigger("a")
        ledger.accept(trigger)
        ballast = fill(disk)
        inspection = make_inspection(trigger, Verdict.REJECT)
        refused = 0
        for number in range(5000):
            try:
                ledger.accept(make_trigger(f"filler-{number}"))
            except StorageError:
                refused += 1
                break
        assert refused == 1
        with pytest.raises(StorageError):
            ledger.record(inspection)
        assert ledger.find("a") is None
        assert ledger.open_triggers()[0].trigger_id == "a"
        ballast.unlink()
        assert ledger.record(inspection).seq == 1


def test_a_ledger_is_not_begun_on_a_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1 << 20) as disk:
        ballast = fill(disk)
        with pytest.raises(StorageError, match=r"free disk space|not full"):
            open_ledger(disk / "ledger.db")
        ballast.unlink()
        with open_ledger(disk / "ledger.db") as ledger:
            assert store(ledger, "a").seq == 1


def test_a_limit_inside_sqlite_is_refused_like_a_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with open_ledger(path) as ledger:
        store(ledger, "a")
    connection = connect(path)
    prepare(connection, path, "device-1")
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    with closing(Writer(connection, path)) as writer:
        with pytest.raises(StorageError, match="full; free disk space"), writer.transaction("growing") as tx:
            tx.execute("INSERT INTO image VALUES ('p', 'i', 'v', ?, 1, 't')", ("f" * 100_000,))
        with writer.transaction("looking") as tx:
            assert tx.execute("SELECT count(*) FROM image").fetchone() == (0,)
            tx.execute("UPDATE meta SET software = 'still writable'")
