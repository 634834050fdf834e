"""Pictures in DeepPCB's layout through the whole station: truth, confusion matrix and exit code."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from appliance.__main__ import main
from appliance.demo.station import SHIPPED_BUNDLE
from tests.end_to_end.test_commands import appliance
from tests.models import tiny_bundle
from tests.tiny_deeppcb import write_tiny_deeppcb

FOUND, FAINT = 200, 90  # grey values of a spot: over and below the limit of tiny_bundle's model


@pytest.fixture
def pcb(tmp_path: Path) -> Path:
    """Seven pairs: `trainval.txt` lists g1 and g2, whose spots are found; `test.txt` lists g3, 08 and g4, too faint."""
    root = tmp_path / "PCBData"
    write_tiny_deeppcb(root, {"g1": 1, "g2": 2}, score=FOUND)
    write_tiny_deeppcb(root, {"g3": 2, "08": 1, "g4": 1}, "test.txt", score=FAINT)
    return root


def replay(source: Path, tmp_path: Path, *words: str) -> tuple[int, dict[str, Any]]:
    """Replay with the tiny model, named as a person would; the exit code, and the confusion matrix without zeros."""
    report = tmp_path / "report.json"
    bundle = tiny_bundle(tmp_path / "tiny.bundle")
    code = main(["replay", os.path.relpath(source), "--bundle", str(bundle), "--json", str(report), *words])
    confusion = json.loads(report.read_text())["confusion"]
    return code, {truth: {name: n for name, n in row.items() if n} for truth, row in confusion.items()}


@pytest.mark.parametrize(
    ("source", "words", "code", "confusion"),
    [
        ("", ["--max-escapes", "0"], 0, {"good": {"ACCEPT": 3}, "defective": {"REJECT": 3}}),
        ("", ["--groups", "g2"], 0, {"good": {"ACCEPT": 2}, "defective": {"REJECT": 2}}),
        ("PCBData/test.txt", ["--groups", "08"], 0, {"good": {"ACCEPT": 1}, "defective": {"ACCEPT": 1}}),
        ("PCBData/test.txt", [], 0, {"good": {"ACCEPT": 4}, "defective": {"ACCEPT": 4}}),
        ("PCBData/test.txt", ["--max-escapes", "3"], 1, {"good": {"ACCEPT": 4}, "defective": {"ACCEPT": 4}}),
        ("PCBData/test.txt", ["--groups", "g3,", "--max-escapes", "2"], 0,
         {"good": {"ACCEPT": 2}, "defective": {"ACCEPT": 2}}),
    ],
)  # fmt: skip
def test_a_list_and_its_groups_decide_which_parts_are_counted(
    pcb: Path, tmp_path: Path, source: str, words: list[str], code: int, confusion: dict[str, Any]
) -> None:
    assert replay(tmp_path / source, tmp_path, *words) == (code, confusion)


def test_groups_may_be_named_in_a_file(pcb: Path, tmp_path: Path) -> None:
    (tmp_path / "groups.txt").write_text("g2\n")
    asked = [replay(tmp_path, tmp_path, "--groups", named) for named in ("g2", f"@{tmp_path}/groups.txt")]
    assert asked[0] == asked[1] != replay(tmp_path, tmp_path)


def test_a_group_that_is_not_there_is_refused_with_those_that_are(
    pcb: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["replay", str(pcb)], ["demo", "--parts", "1", "--images", str(pcb)]):
        assert main([*command, "--groups", "g2,g3"]) == 78
        assert "no group g3; the groups are g1, g2" in capsys.readouterr().err
    assert main(["demo", "--parts", "1", "--groups", "g1"]) == 78
    assert "--images" in capsys.readouterr().err


def test_a_demo_shows_the_parts_of_the_chosen_groups(pcb: Path, tmp_path: Path) -> None:
    bundle, report = tiny_bundle(tmp_path / "tiny.bundle"), tmp_path / "report.json"
    words = ["--images", str(pcb / "test.txt"), "--groups", "g4", "--parts", "4", "--rate", "20"]
    ended = appliance("demo", *words, "--bundle", bundle, "--json", report)
    assert ended.returncode == 0, ended.stderr
    confusion = json.loads(report.read_text())["confusion"]
    assert (confusion["good"]["ACCEPT"], confusion["defective"]["ACCEPT"]) == (2, 2)


def test_real_boards_get_one_verdict_each_from_the_shipped_model(deeppcb: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    words = ["--groups", "group44000", "--limit", "6", "--bundle", str(SHIPPED_BUNDLE), "--json", str(report)]
    assert main(["replay", str(deeppcb), *words]) == 0
    document = json.loads(report.read_text())
    assert document["triggers"] == sum(document["verdicts"].values()) == 6
    assert document["confusion"]["good"].keys() == document["verdicts"].keys()
    assert sum(sum(row.values()) for row in document["confusion"].values()) == 6
