"""The ledger's own habits: tables for people, consumers that come and go, tampering, purging beside the line."""

import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from appliance.errors import StorageError
from appliance.events import PartAlignment, Verdict, utc_now
from appliance.stores.ledger import SqliteLedger
from appliance.stores.queries import LedgerReader
from tests.ledger_inspections import LONG_AGO, make_inspection, make_trigger, open_ledger, store, store_many


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[SqliteLedger]:
    with open_ledger(path) as opened:
        yield opened


def rows(path: Path, sql: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def tamper(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def test_a_record_has_rows_for_its_detections_frames_and_stage_times(ledger: SqliteLedger, path: Path) -> None:
    store(ledger, "bad", Verdict.REJECT)
    assert rows(path, "SELECT verdict, reason, label, score, limit_score, late FROM inspection") == [
        ("REJECT", "defect", "short", 0.9, 0.5, 0)
    ]
    assert rows(path, "SELECT seq, view, label, score, x1_px, y2_px FROM detection") == [
        (1, "top", "short", 0.9, 1.0, 12.0)
    ]
    assert rows(path, "SELECT brightness_mean, sharpness, exposure_us, offset_y_px, red_green_ratio FROM frame") == [
        (120.0, 200.0, 800.0, -0.25, None)
    ]
    assert rows(path, "SELECT stage, spent_us FROM stage_time") == [("capture", 2000), ("infer", 9000)]


def test_a_view_without_a_picture_still_has_its_row(ledger: SqliteLedger, path: Path) -> None:
    store(ledger, "dark", Verdict.FAULT)
    assert rows(path, "SELECT view, frame_id, brightness_mean FROM frame") == [("top", None, None)]


def test_how_a_part_lay_against_its_reference_is_kept(ledger: SqliteLedger, path: Path) -> None:
    for number, alignment in enumerate((None, PartAlignment("good.png", (1.25, -3.5), 0.125, (0.75, -0.25), 0.96875))):
        trigger = make_trigger(f"t{number}")
        ledger.accept(trigger)
        inspection = make_inspection(trigger)
        ledger.record(replace(inspection, views=(replace(inspection.views[0], alignment=alignment),)))
    columns = "reference, shift_x_px, shift_y_px, rotation_deg, stretch_x_percent, stretch_y_percent, reference_match"
    assert rows(path, f"SELECT {columns} FROM frame ORDER BY seq") == [
        (None,) * 7,
        ("good.png", 1.25, -3.5, 0.125, 0.75, -0.25, 0.96875),
    ]
    sent = rows(path, "SELECT json_extract(record, '$.views[0].alignment') FROM inspection ORDER BY seq")
    assert sent[0] == (None,)
    assert json.loads(str(sent[1][0])) == {
        "reference": "good.png", "shift_px": [1.25, -3.5], "rotation_deg": 0.125, "stretch_percent": [0.75, -0.25],
        "match": 0.9688,
    }  # fmt: skip


def test_a_late_result_is_a_note_and_no_second_verdict(ledger: SqliteLedger, path: Path) -> None:
    record = store(ledger, "slow", Verdict.FAULT)
    ledger.note_late(make_inspection(make_trigger("slow"), Verdict.ACCEPT))
    assert rows(path, "SELECT seq, trigger_id, verdict, reason FROM late_result") == [(1, "slow", "ACCEPT", "complete")]
    assert ledger.find("slow") == record
    assert ledger.last_seq() == 1


def test_a_late_result_needs_a_verdict_to_be_late_for(ledger: SqliteLedger) -> None:
    ledger.accept(make_trigger("open"))
    with pytest.raises(RuntimeError, match="no verdict"):
        ledger.note_late(make_inspection(make_trigger("open")))


def test_pictures_are_noted_and_forgotten(ledger: SqliteLedger, path: Path) -> None:
    ledger.note_image("id-1", "top", "2026-01-01/id-1_top.png", "f" * 64, 1234)
    ledger.note_image("id-1", "side", "2026-01-01/id-1_side.png", "e" * 64, 99)
    ledger.forget_image("2026-01-01/id-1_side.png")
    assert rows(path, "SELECT inspection_id, view, bytes FROM image") == [("id-1", "top", 1234)]


def test_purging_takes_everything_that_hangs_on_an_inspection(ledger: SqliteLedger, path: Path) -> None:
    trigger = make_trigger("bad")
    ledger.accept(trigger)
    inspection = make_inspection(trigger, Verdict.REJECT)
    ledger.record(inspection)
    ledger.note_late(inspection)
    ledger.note_image(inspection.inspection_id, "top", "x.png", "f" * 64, 9)
    assert ledger.purge(utc_now() + timedelta(seconds=1), keep_unacknowledged=False) == 1
    for table in ("inspection", "detection", "frame", "stage_time", "late_result", "image"):
        assert rows(path, f"SELECT count(*) FROM {table}") == [(0,)], table
    assert ledger.depth() == 0


def test_purging_ends_at_the_first_record_that_is_not_older(ledger: SqliteLedger) -> None:
    store_many(ledger, 2, decided_at=LONG_AGO, prefix="old")
    store(ledger, "young")
    store(ledger, "clock-was-set-back", decided_at=LONG_AGO)
    assert ledger.purge(utc_now() - timedelta(days=1), keep_unacknowledged=False) == 2
    assert ledger.verify_chain() is None


def test_the_line_goes_on_while_records_are_purged(ledger: SqliteLedger) -> None:
    store_many(ledger, 400, decided_at=LONG_AGO)
    ledger.acknowledge("plant", 400)
    purged: list[int] = []
    purge = threading.Thread(target=lambda: purged.append(ledger.purge(utc_now() - timedelta(days=1))))
    purge.start()
    recorded_meanwhile, longest_ns = 0, 0
    while purge.is_alive():
        started_ns = time.monotonic_ns()
        store(ledger, f"new-{recorded_meanwhile}")
        longest_ns = max(longest_ns, time.monotonic_ns() - started_ns)
        recorded_meanwhile += 1
    purge.join()
    assert purged == [400]
    assert recorded_meanwhile > 3
    assert longest_ns < 1_000_000_000
    assert ledger.verify_chain() is None


def test_a_removed_consumer_holds_nothing_back_and_a_new_one_starts_at_the_end(path: Path) -> None:
    with open_ledger(path, ["plant", "archive"]) as ledger:
        store_many(ledger, 4)
        ledger.acknowledge("plant", 3)
    with open_ledger(path, ["plant", "dashboard"]) as ledger:
        assert ledger.acknowledged() == {"dashboard": 4, "plant": 3}
        assert ledger.depth() == 1


def test_a_consumer_in_place_of_all_others_is_owed_what_they_were(path: Path) -> None:
    with open_ledger(path, []) as ledger:
        store_many(ledger, 4)
        ledger.acknowledge("broker", 1)
    with open_ledger(path, ["plant"]) as ledger:
        assert ledger.acknowledged() == {"plant": 1}
        assert [record.seq for record in ledger.pending(0, 99)] == [2, 3, 4]


@pytest.mark.parametrize(
    ("statements", "broken"),
    [
        (["UPDATE inspection SET record = replace(record, 'said so', 'all good') WHERE seq = 4"], 4),
        (["UPDATE inspection SET verdict = 'ACCEPT' WHERE seq = 3"], 3),
        (["UPDATE inspection SET record_hash = lower(hex(randomblob(32))) WHERE seq = 5"], 5),
        (["UPDATE inspection SET record = 'no json' WHERE seq = 2"], 2),
        (["DELETE FROM inspection WHERE seq = 4"], 4),
        (["DELETE FROM inspection WHERE seq <= 3"], 1),
        (["DELETE FROM inspection WHERE seq >= 5"], 5),
        (["UPDATE inspection SET seq = 60 WHERE seq = 6"], 6),
        (
            [
                "UPDATE inspection SET record = (SELECT record FROM inspection WHERE seq = 2),"
                " record_hash = (SELECT record_hash FROM inspection WHERE seq = 2) WHERE seq = 4"
            ],
            4,
        ),
    ],
)
def test_the_first_altered_or_missing_record_is_found(
    ledger: SqliteLedger, path: Path, statements: list[str], broken: int
) -> None:
    for number in range(6):
        store(ledger, f"t{number}", Verdict.REJECT)
    assert ledger.verify_chain() is None
    tamper(path, *statements)
    assert ledger.verify_chain() == broken


@pytest.mark.parametrize(("rewritten", "betrayed_by"), [(2, 3), (3, 3)])
def test_a_record_rewritten_with_a_matching_hash_is_betrayed_by_its_successor_or_by_being_the_last(
    ledger: SqliteLedger, path: Path, rewritten: int, betrayed_by: int
) -> None:
    store_many(ledger, 3)
    connection = sqlite3.connect(path)
    connection.create_function("sha256", 1, lambda text: hashlib.sha256(text.encode()).hexdigest())
    changed = f"replace(record, 'said so', 'all good') WHERE seq = {rewritten}"
    with connection:
        connection.execute(f"UPDATE inspection SET record = {changed}")
        connection.execute(f"UPDATE inspection SET record_hash = sha256(record) WHERE seq = {rewritten}")
    connection.close()
    assert ledger.verify_chain() == betrayed_by


def test_a_range_of_the_chain_is_verified_alone(ledger: SqliteLedger, path: Path) -> None:
    store_many(ledger, 620)
    tamper(path, "UPDATE inspection SET record = record || ' ' WHERE seq IN (100, 610)")
    assert ledger.verify_chain() == 100
    assert ledger.verify_chain(102) == 610
    assert ledger.verify_chain(102, 609) is None
    assert ledger.verify_chain(5000) is None


def test_a_reader_beside_the_writer_sees_what_was_committed_and_cannot_write(ledger: SqliteLedger, path: Path) -> None:
    reader = LedgerReader(path)
    record = store(ledger, "a")
    assert reader.find("a") == record
    assert reader.last_seq() == 1
    reader.close()
    reader.close()
    with pytest.raises(RuntimeError, match="closed"):
        reader.depth()


def test_a_closed_ledger_says_so(ledger: SqliteLedger) -> None:
    ledger.close()
    ledger.close()
    with pytest.raises(RuntimeError, match="closed"):
        ledger.accept(make_trigger("a"))
    with pytest.raises(RuntimeError, match="closed"):
        ledger.find("a")


def test_a_write_lock_held_by_a_stranger_is_a_storage_error_and_passes(ledger: SqliteLedger, path: Path) -> None:
    stranger = sqlite3.connect(path, isolation_level=None)
    stranger.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match=r"accepting trigger a in .*ledger.db failed: .*locked; another program"):
        ledger.accept(make_trigger("a"))
    stranger.execute("ROLLBACK")
    stranger.close()
    assert ledger.accept(make_trigger("a"))


def test_committed_pages_are_moved_into_the_file_so_that_the_log_stays_small(ledger: SqliteLedger, path: Path) -> None:
    store_many(ledger, 300)
    assert path.with_name("ledger.db-wal").stat().st_size < 4 << 20
    assert path.stat().st_size > 100_000
