"""docs/ledger.md shows queries that run and tables that exist."""

import re
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from appliance.events import Challenge, Reason, ShadowJudgement, Verdict, utc_now
from tests.ledger_inspections import make_inspection, make_trigger, open_ledger, store_many

TEXT = (Path(__file__).parents[2] / "docs" / "ledger.md").read_text(encoding="utf-8")
QUERIES = re.findall(r"```sql\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    path = tmp_path / "ledger.db"
    with open_ledger(path) as ledger:
        store_many(ledger, 3)
        trigger = make_trigger("bad")
        ledger.accept(trigger)
        inspection = make_inspection(trigger, Verdict.REJECT)
        ledger.record(inspection)
        ledger.note_image(inspection.inspection_id, "top", "2026-01-01/bad_top.png", "f" * 64, 1)
        ledger.note_late(make_inspection(trigger, Verdict.ACCEPT))
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    yield connection
    connection.close()


def answers(rows: sqlite3.Connection, number: int, **parameters: str) -> list[dict[str, Any]]:
    return [dict(row) for row in rows.execute(QUERIES[number], parameters)]


def test_verdicts_per_hour_add_up(rows: sqlite3.Connection) -> None:
    found = answers(rows, 0)
    assert sum(row["parts"] for row in found) == 4
    assert {row["verdict"]: row["parts"] for row in found}["REJECT"] == 1
    assert sum(row["percent"] for row in found) == pytest.approx(100 * len({row["hour"] for row in found}))


def test_rejects_are_told_by_class(rows: sqlite3.Connection) -> None:
    (found,) = answers(rows, 1)
    assert (found["label"], found["parts"], found["weakest_score"], found["limit_score"]) == ("short", 1, 0.9, 0.5)


def test_a_parts_history_has_findings_picture_and_late_result(rows: sqlite3.Connection) -> None:
    (found,) = answers(rows, 2, part_id="part-of-bad")
    assert (found["verdict"], found["label"], found["late_verdict"]) == ("REJECT", "short", "ACCEPT")
    assert found["picture"] == "2026-01-01/bad_top.png"


def test_verdicts_are_counted_by_product(rows: sqlite3.Connection) -> None:
    found = [(row["product"], row["verdict"], row["parts"]) for row in answers(rows, 3)]
    assert found == [("board", "ACCEPT", 3), ("board", "REJECT", 1)]


def test_challenge_parts_are_counted_by_themselves(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with open_ledger(path) as ledger:
        for number, challenge in enumerate((None, Challenge.BAD, Challenge.BAD, Challenge.GOOD)):
            trigger = replace(make_trigger(f"t{number}"), challenge=challenge)
            ledger.accept(trigger)
            ledger.record(make_inspection(trigger, Verdict.REJECT if challenge is Challenge.BAD else Verdict.ACCEPT))
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    found = [tuple(row.values()) for row in answers(connection, 4)]
    assert found == [("bad", 3, "REJECT", 2), ("good", 3, "ACCEPT", 1)]
    connection.close()


def test_a_candidates_verdicts_are_counted_beside_those_that_were_given(tmp_path: Path) -> None:
    path, digest = tmp_path / "ledger.db", "b" * 64
    with open_ledger(path) as ledger:
        store_many(ledger, 3)
        given = [(seq, Verdict.REJECT if seq == 2 else Verdict.ACCEPT) for seq in (1, 2, 3)]
        judged = [ShadowJudgement(seq, digest, each, Reason.COMPLETE, None, None, 1, utc_now()) for seq, each in given]
        ledger.updates.note_shadow(judged)
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    found = [tuple(row.values()) for row in answers(connection, 5, candidate=digest)]
    assert found == [("ACCEPT", "ACCEPT", 2), ("ACCEPT", "REJECT", 1)]
    connection.close()


def test_records_without_a_clock_to_rely_on_are_found(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with open_ledger(path) as ledger:
        for number, state in enumerate((True, False, None)):
            trigger = make_trigger(f"t{number}")
            ledger.accept(trigger)
            ledger.record(replace(make_inspection(trigger), clock_synchronised=state))
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    assert [(row["seq"], row["synchronised"]) for row in answers(connection, 6)] == [(2, 0), (3, None)]
    connection.close()


@pytest.mark.parametrize("number", range(len(QUERIES)))
def test_documented_queries_join_by_index(rows: sqlite3.Connection, number: int) -> None:
    parameters = {name: "x" for name in ("part_id", "candidate") if f":{name}" in QUERIES[number]}
    plan = [row["detail"] for row in rows.execute("EXPLAIN QUERY PLAN " + QUERIES[number], parameters)]
    assert not [step for step in plan if step in ("SCAN d", "SCAN f", "SCAN p", "SCAN l")]


def test_the_documented_tables_are_the_tables(rows: sqlite3.Connection) -> None:
    documented = set(re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE))
    there = {row["name"] for row in rows.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert documented == there


def test_every_documented_column_exists(rows: sqlite3.Connection) -> None:
    for table, cells in re.findall(r"^\| `(\w+)` \|[^|]*\|(.*)\|$", TEXT, re.MULTILINE):
        columns = {row["name"] for row in rows.execute(f"SELECT name FROM pragma_table_info('{table}')")}
        assert set(re.findall(r"`(\w+)`", cells)) <= columns, table
