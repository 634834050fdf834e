"""A station's own pictures become training data by what people say of them, and only where they agree."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.__main__ import main as appliance
from appliance.annotations.feedback import HumanBox, HumanVerdict, line_of
from tests.feedback import box, judge, records, write_judging_station
from trainer.__main__ import main as trainer
from trainer.datasets.reading import read_dataset


@pytest.fixture
def export(tmp_path: Path) -> Path:
    (tmp_path / "station").mkdir()
    config = write_judging_station(tmp_path / "station")
    assert appliance(["export", "--config", str(config), "--out", str(tmp_path / "out")]) == 0
    return tmp_path / "out"


def taken(export: Path, *words: str) -> dict[str, dict[str, Any]]:
    """Import; returns part -> its image entry with "boxes"."""
    out = export.parent / "set"
    assert trainer(["data", "import", "--from", "feedback", str(export), "--out", str(out), *words]) == 0
    content = json.loads((out / "annotations.json").read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    for image in content["images"]:
        image["boxes"] = [
            (names[item["category_id"]], item["bbox"])
            for item in content["annotations"]
            if item["image_id"] == image["id"]
        ]
    return {image["origin"]["part_id"]: image for image in content["images"]}


def aside(export: Path) -> dict[str, str]:
    path = export.parent / "set" / "set_aside.json"
    return {part["part_id"]: part["why"] for part in json.loads(path.read_text())["parts"]} if path.exists() else {}


def test_agreed_verdicts_become_good_parts_and_boxes(export: Path) -> None:
    judge(export, "t0", "ACCEPT")
    judge(export, "t1", "REJECT", boxes=[box(10, 10)])
    judge(export, "t1", "REJECT", "Bob", boxes=[box(12, 11)], at="2026-11-11T08:00:00.000Z")
    judge(export, "t3", "REJECT", boxes=[box(50, 60, "dent"), box(5, 5)])
    judge(export, "t3", "REJECT", "Bob")
    found = taken(export)
    assert {part: image["boxes"] for part, image in found.items()} == {
        "part-of-t0": [],
        "part-of-t1": [("scratch", [12, 11, 20, 20])],
        "part-of-t3": [("dent", [50, 60, 20, 20]), ("scratch", [5, 5, 20, 20])],
    }
    assert aside(export) == {}
    assert {image["group"] for image in found.values()} == {"d/2026-11-02", "d/2026-11-03"}
    assert len(read_dataset(export.parent / "set").samples) == 3


def test_a_label_says_where_it_comes_from(export: Path) -> None:
    judge(export, "t1", "REJECT", boxes=[box(10, 10)])
    judge(export, "t0", "ACCEPT", "Bob")
    image = taken(export)["part-of-t1"]
    origin = image["origin"]
    assert image["camera"] == "d/top"
    record = records(export)[1]
    assert (origin["device_id"], origin["seq"], origin["inspection_id"]) == ("d", 2, record["inspection_id"])
    assert origin["record_sha256"] == records(export)[2]["prev_hash"]
    assert origin["verdicts"] == [{"who": "Ann", "at": "2026-11-10T08:00:00.000Z", "verdict": "REJECT"}]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ([("ACCEPT", "Ann", {}), ("REJECT", "Bob", {"boxes": [box(1, 1)]})], "people disagree on the verdict"),
        (
            [("REJECT", "Ann", {"boxes": [box(1, 1)]}), ("REJECT", "Bob", {"boxes": [box(60, 60)]})],
            "people disagree on what is where",
        ),
        (
            [("REJECT", "Ann", {"boxes": [box(1, 1)]}), ("REJECT", "Bob", {"boxes": [box(1, 1, "dent")]})],
            "people disagree on what is where",
        ),
        (
            [("REJECT", "Ann", {"boxes": [box(1, 1)]}), ("REJECT", "Bob", {"boxes": [box(1, 1), box(60, 60)]})],
            "people disagree on what is where",
        ),
        ([("REJECT", "Ann", {})], "bad, and nobody marked where"),
        ([("REJECT", "Ann", {"boxes": []})], "bad, and nobody marked where"),
        (
            [("REJECT", "Ann", {"boxes": [box(1, 1), box(1, 1, view="side")]})],
            "a defect is marked in view side, of which there is no picture here",
        ),
    ],
)
def test_a_part_on_which_people_disagree_is_set_aside_and_listed(
    export: Path, capsys: pytest.CaptureFixture[str], said: list[tuple[str, str, dict[str, Any]]], why: str
) -> None:
    judge(export, "t0", "ACCEPT")
    for verdict, who, more in said:
        judge(export, "t1", verdict, who, **more)
    assert set(taken(export)) == {"part-of-t0"}
    assert aside(export) == {"part-of-t1": why}
    told = " ".join(capsys.readouterr().err.split())
    assert "1 parts are set aside, see set_aside.json" in told
    assert "4 parts that nobody judged are left out" in told


def test_people_who_mark_the_same_line_agree(export: Path) -> None:
    line = {"view": "top", "label": "scratch", "box_px": [10, 20, 10, 60]}
    judge(export, "t1", "REJECT", boxes=[line])
    judge(export, "t1", "REJECT", "Bob", boxes=[line | {"box_px": [10.25, 20, 10.25, 60]}])
    judge(export, "t3", "REJECT", boxes=[line])
    judge(export, "t3", "REJECT", "Bob", boxes=[line | {"box_px": [12, 20, 12, 60]}])
    assert {part: image["boxes"] for part, image in taken(export).items()} == {
        "part-of-t1": [("scratch", [10.25, 20, 1, 40])]
    }
    assert aside(export) == {"part-of-t3": "people disagree on what is where"}


def test_who_changes_their_mind_counts_once(export: Path) -> None:
    judge(export, "t0", "REJECT", at="2026-11-10T09:00:00.000Z", boxes=[box(1, 1)])
    judge(export, "t0", "ACCEPT", at="2026-11-10T10:00:00.000Z")
    judge(export, "t1", "REJECT", boxes=[box(1, 1)])
    judge(export, "t1", "REJECT", boxes=[box(60, 60)])
    judge(export, "t2", "ACCEPT", at="2026-11-10T06:00:00.500Z")
    judge(export, "t2", "REJECT", at="2026-11-10T06:00:00Z", boxes=[box(1, 1)])
    found = taken(export)
    assert found["part-of-t2"]["boxes"] == []
    assert found["part-of-t0"]["boxes"] == []
    assert found["part-of-t1"]["boxes"] == [("scratch", [60, 60, 20, 20])]


def test_on_a_single_day_each_part_is_a_group(export: Path) -> None:
    for trigger in ("t0", "t2"):
        judge(export, trigger, "ACCEPT")
    judge(export, "t1", "REJECT", boxes=[box(1, 1)])
    groups = {image["group"] for image in taken(export).values()}
    assert groups == {"d/part-of-t0", "d/part-of-t1", "d/part-of-t2"}


def test_verdicts_on_parts_of_elsewhere_are_counted(export: Path, capsys: pytest.CaptureFixture[str]) -> None:
    judge(export, "t0", "ACCEPT")
    judge(export, "unknown", "ACCEPT")
    taken(export)
    assert "1 verdicts are about parts that are not in this export" in " ".join(capsys.readouterr().err.split())


def swap(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def _drop_record(export: Path) -> None:
    lines = (export / "records.jsonl").read_text().splitlines(keepends=True)
    (export / "records.jsonl").write_text("".join(lines[:2] + lines[3:]))


def _cut_records(export: Path) -> None:
    lines = (export / "records.jsonl").read_text().splitlines(keepends=True)
    (export / "records.jsonl").write_text("".join(lines[:-1]))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda export: swap(export / "records.jsonl", '"REJECT"', '"ACCEPT"'), "records.jsonl:3: record 3 is missing"),
        (_drop_record, "records.jsonl:3: record 3 is missing or was altered"),
        (_cut_records, "ends with another record than it had"),
        (lambda export: min((export / "pictures").rglob("*.png")).write_bytes(b"?"), "is not as it was exported"),
        (lambda export: (export / "human.jsonl").unlink(), "write people's verdicts there, one a line"),
        (lambda export: swap(export / "human.jsonl", '"who"', '"why"'), "human.jsonl:1: who: Field required"),
        (
            lambda export: judge(export, "t1", "ACCEPT", boxes=[box(1, 1)]),
            "human.jsonl:2: file: Value error, an",
        ),
        (lambda export: judge(export, "t1", "REJECT", boxes=[box(90, 1)]), "human.jsonl:2: box 90.0, 1.0, 110.0"),
        (lambda export: judge(export, "t1", "ACCEPT", at="2026-13-10T08:00:00Z"), "human.jsonl:2: at: Value error"),
        (
            lambda export: swap(export / "pictures.jsonl", '"path":"', '"path":"../'),
            "pictures.jsonl:1: path: Value error, '../",
        ),
        (
            lambda export: swap(export / "pictures.jsonl", '"path":"', '"path":"/'),
            "pictures.jsonl:1: path: Value error, '/",
        ),
        (lambda export: judge(export, "t1", "REJECT", device_id="e"), "is about device 'e', the records are of 'd'"),
        (lambda export: judge(export, "t0", "REJECT", "Bob"), "no part has a picture and people who agree"),
    ],
)
def test_what_is_broken_is_refused_with_its_line(
    export: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None], says: str
) -> None:
    judge(export, "t0", "ACCEPT")
    damage(export)
    assert trainer(["data", "import", "--from", "feedback", str(export), "--out", str(export.parent / "set")]) == 78
    assert says in capsys.readouterr().err
    assert not (export.parent / "set").exists()


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
SIDES = st.floats(-1e6, 1e6)
BOXES = st.builds(HumanBox, view=TEXT, label=TEXT, box_px=st.tuples(SIDES, SIDES, SIDES, SIDES))


@given(
    who=TEXT,
    part=TEXT,
    boxes=st.none()
    | st.lists(
        st.builds(HumanBox, view=TEXT, label=TEXT, box_px=st.tuples(SIDES, SIDES, SIDES, SIDES)).map(lambda b: b)
    ).map(tuple),
)
def test_a_verdict_is_read_as_it_was_written(who: str, part: str, boxes: tuple[HumanBox, ...] | None) -> None:
    said = HumanVerdict(
        device_id="d", inspection_id=part, verdict="REJECT", who=who, at="2026-11-10T08:00:00.000Z", boxes=boxes
    )
    line = line_of(said)
    assert line.count(b"\n") == 1
    assert HumanVerdict.model_validate_json(line) == said
