"""Records and pictures leave a station as files that can be verified, and the station does not notice."""

import hashlib
import json
from datetime import timedelta
from pathlib import Path

import pytest

from appliance.__main__ import main
from appliance.events import ReleaseChange, UpdateEvent
from appliance.messages import RecordMessage
from tests.feedback import MONDAY, records, write_judging_station
from tests.ledger_inspections import open_ledger
from tests.plant import Plant
from tests.stations import needs_mosquitto


@pytest.fixture
def station(tmp_path: Path) -> Path:
    return write_judging_station(tmp_path)


def export(station: Path, *words: str, code: int = 0) -> Path:
    out = station.parent / "out"
    assert main(["export", "--config", str(station), "--out", str(out), *words]) == code
    return out


def test_an_export_has_all_records_in_their_chain_and_their_pictures(station: Path) -> None:
    out = export(station)
    index = json.loads((out / "export.json").read_text())
    before = index["prev_hash"]
    lines = (out / "records.jsonl").read_bytes().splitlines()
    for number, line in enumerate(lines, start=1):
        record = RecordMessage.model_validate_json(line)
        assert (record.seq, record.prev_hash) == (number, before)
        before = hashlib.sha256(line).hexdigest()
    assert (before, len(lines), index["pictures"]) == (index["last_hash"], 6, 6)
    for line in (out / "pictures.jsonl").read_text().splitlines():
        entry = json.loads(line)
        content = (out / "pictures" / entry["path"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry["sha256"]
        assert content == (station.parent / "images" / entry["path"]).read_bytes()


@pytest.mark.parametrize(
    ("words", "triggers", "pictures"),
    [
        (["--since", "2026-11-03"], ["t3", "t4", "t5"], 3),
        (["--until", "2026-11-02T06:02Z"], ["t0", "t1"], 2),
        (["--since", "2026-11-02T07:01:00+01:00", "--until", "2026-11-03"], ["t1", "t2"], 2),
        (["--verdicts", "REJECT"], ["t0", "t1", "t2", "t3", "t4", "t5"], 3),
    ],
)
def test_times_bound_the_records_and_verdicts_the_pictures(
    station: Path, words: list[str], triggers: list[str], pictures: int
) -> None:
    out = export(station, *words)
    assert [record["trigger_id"] for record in records(out)] == triggers
    assert len(list((out / "pictures").rglob("*.png"))) == pictures


def test_steps_of_updates_and_releases_come_along_by_time(station: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digest = "a" * 64
    with open_ledger(station.parent / "ledger.db", device_id="d") as ledger:
        for hours, state in ((0, "VERIFY"), (2, "COMMIT"), (48, "WATCH")):
            event = UpdateEvent(MONDAY + timedelta(hours=hours), "agent", "model", "tiny", 2, digest, state, "")
            ledger.updates.note_update(event)
        at = MONDAY + timedelta(hours=1)
        change = ReleaseChange(at, "me", "spots", "bundle", "tiny", "b" * 64, 1, digest, 2, False)
        ledger.updates.note_release(change)
    out = export(station, "--since", MONDAY.isoformat(), "--until", (MONDAY + timedelta(days=1)).isoformat())
    told = [json.loads(line) for line in (out / "updates.jsonl").read_text().splitlines()]
    assert [(each["schema"], each.get("state"), each.get("to_digest")) for each in told] == [
        ("vi.update-event/1", "VERIFY", None),
        ("vi.release-change/2", None, digest),
        ("vi.update-event/1", "COMMIT", None),
    ]
    assert "3 steps of updates" in capsys.readouterr().out


def test_a_station_without_updates_exports_no_file_of_them(station: Path) -> None:
    assert not (export(station) / "updates.jsonl").exists()


def test_pictures_that_are_gone_or_damaged_are_told_and_left_out(
    station: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, *_ = sorted((station.parent / "images").rglob("*.png"))
    first.unlink()
    second.write_bytes(b"?")
    out = export(station)
    told = capsys.readouterr().err
    assert f"1 pictures made room and are gone; the first is {first.parent.name}/{first.name}" in told
    assert f"1 pictures are not as recorded; check the disk; the first is {second.parent.name}/{second.name}" in told
    assert len((out / "pictures.jsonl").read_text().splitlines()) == 4


def test_a_picture_that_cannot_be_read_is_named(station: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = min((station.parent / "images").rglob("*.png"))
    first.unlink()
    first.mkdir()
    out = export(station, code=74)
    assert f"{first}: cannot be read (Is a directory); check the disk" in capsys.readouterr().err
    assert not out.exists()


def test_what_is_left_after_a_purge_is_exported_with_its_chain(station: Path) -> None:
    with open_ledger(station.parent / "ledger.db", device_id="d") as ledger:
        ledger.acknowledge("plant", 6)
        assert ledger.purge(MONDAY.replace(day=3)) == 3
    out = export(station)
    assert json.loads((out / "export.json").read_text())["from_seq"] == 4
    assert records(out)[0]["prev_hash"] == json.loads((out / "export.json").read_text())["prev_hash"] != "0" * 64


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--since", "2030-01-01"], 78, "has no record of that time"),
        (["--since", "yesterday"], 2, "'yesterday' is no time"),
        (["--verdicts", "GOOD"], 2, "GOOD: no such verdict"),
    ],
)
def test_a_mistake_is_said_and_leaves_nothing(
    station: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, says: str
) -> None:
    before = set(station.parent.iterdir())
    try:
        found = main(["export", "--config", str(station), "--out", str(station.parent / "out"), *words])
    except SystemExit as ended:
        found = int(ended.code or 0)
    assert found == code
    assert says in capsys.readouterr().err
    assert {path.name for path in set(station.parent.iterdir()) - before} <= {"ledger.db-wal", "ledger.db-shm"}


def test_a_folder_that_is_there_is_kept(station: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = station.parent / "out"
    out.mkdir()
    (out / "mine").touch()
    export(station, code=78)
    assert "is there already and is kept" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["mine"]


@needs_mosquitto
def test_a_running_station_is_exported_and_goes_on(tmp_path: Path) -> None:
    with Plant(tmp_path) as plant:
        for number in range(4):
            plant.announce(f"part-{number}", deadline_ms=5000)
        plant.wait_for_outcomes(4)
        out = export(tmp_path / "config.yaml")
        for number in range(4, 6):
            plant.announce(f"part-{number}", deadline_ms=5000)
        plant.wait_for_outcomes(6)
        assert plant.stop() == 0
        assert plant.query("SELECT count(*) FROM inspection") == [(6,)]
        plant.start()
    assert [record["seq"] for record in records(out)] == [1, 2, 3, 4]
