"""What releases judged, read from a real ledger."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from appliance.events import Challenge, Verdict
from appliance.stores.observed import ObservedLedger
from appliance.stores.queries import ROWS_PER_READ
from tests.answering_station import SHADOW_TABLE
from tests.ledger_inspections import make_inspection, make_trigger, open_ledger

OLD, NEW = "a" * 64, "b" * 64


def test_parts_are_told_by_the_release_that_judged_them(tmp_path: Path) -> None:
    with open_ledger(tmp_path / "ledger.db") as ledger:
        for number in range(1, 641):
            trigger = make_trigger(f"t{number}")
            made = make_inspection(trigger, Verdict.REJECT if number % 10 == 0 else Verdict.ACCEPT)
            digest = OLD if number <= 100 else NEW
            ledger.accept(trigger)
            ledger.record(replace(made, versions=replace(made.versions, bundle_digest=digest)))
        with closing(ObservedLedger(tmp_path / "ledger.db")) as observed:
            seen = list(observed.judged_by(NEW, 0))
            assert [part.seq for part in seen] == list(range(101, 641))
            assert len(seen) > ROWS_PER_READ
            assert {(part.verdict, part.reason, part.label) for part in seen} == {
                ("ACCEPT", "complete", None), ("REJECT", "defect", "short"),
            }  # fmt: skip
            assert [part.seq for part in observed.judged_by(OLD, 98)] == [99, 100]
            assert all(part.challenger_verdict is None and not part.is_late for part in seen)
            assert list(observed.judged_beside_by(NEW, 0)) == []


def test_what_judged_beside_comes_with_what_acted(tmp_path: Path) -> None:
    with open_ledger(tmp_path / "ledger.db") as ledger:
        for number in (1, 2):
            trigger = make_trigger(f"t{number}")
            ledger.accept(trigger)
            ledger.record(make_inspection(trigger))
        with closing(sqlite3.connect(tmp_path / "ledger.db")) as writer:
            writer.execute(SHADOW_TABLE)
            row = (2, NEW, "REJECT", "defect", "open", 0.7, 900, "2026-01-01T00:00:00.000Z")
            writer.execute("INSERT INTO shadow VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
            writer.commit()
        with closing(ObservedLedger(tmp_path / "ledger.db")) as observed:
            (part,) = observed.judged_beside_by(NEW, 0)
            assert list(observed.judged_beside_by(OLD, 0)) == list(observed.judged_beside_by(NEW, 2)) == []
    assert (part.seq, part.verdict, part.latency_us) == (2, "ACCEPT", 900)
    assert (part.challenger_verdict, part.challenger_label, part.challenger_score) == ("REJECT", "open", 0.7)


def test_known_parts_are_told_apart_and_records_of_before_have_none(tmp_path: Path) -> None:
    with open_ledger(tmp_path / "ledger.db") as ledger:
        for number, challenge in enumerate((None, Challenge.GOOD, Challenge.BAD), 1):
            trigger = replace(make_trigger(f"t{number}"), challenge=challenge)
            made = make_inspection(trigger)
            ledger.accept(trigger)
            ledger.record(replace(made, versions=replace(made.versions, bundle_digest=NEW)))
        with closing(sqlite3.connect(tmp_path / "ledger.db")) as writer:
            writer.execute("UPDATE inspection SET record = json_remove(record, '$.challenge') WHERE seq = 1")
            writer.executemany(
                "INSERT INTO shadow VALUES (?, ?, 'ACCEPT', 'complete', NULL, NULL, 900, '2026-01-01T00:00:00.000Z')",
                [(number, NEW) for number in (1, 2, 3)],
            )
            writer.commit()
        with closing(ObservedLedger(tmp_path / "ledger.db")) as observed:
            assert [part.challenge for part in observed.judged_by(NEW, 0)] == [None, "good", "bad"]
            assert [part.challenge for part in observed.judged_beside_by(NEW, 0)] == [None, "good", "bad"]


def test_a_part_that_the_model_never_saw_has_no_time_in_it(tmp_path: Path) -> None:
    with open_ledger(tmp_path / "ledger.db") as ledger:
        for number, stage_us in enumerate(({"capture": 100, "infer": 7000}, {"capture": 4_000_000}), 1):
            trigger = make_trigger(f"t{number}")
            made = make_inspection(trigger, Verdict.FAULT if number == 2 else Verdict.ACCEPT)
            versions = replace(made.versions, bundle_digest=NEW)
            ledger.accept(trigger)
            ledger.record(replace(made, versions=versions, stage_us=stage_us))
        with closing(ObservedLedger(tmp_path / "ledger.db")) as observed:
            assert [part.latency_us for part in observed.judged_by(NEW, 0)] == [7000, None]
