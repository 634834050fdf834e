"""Plain folders of good and bad parts: what nobody has marked is not learned; whether it is rejected is counted."""

import json
from pathlib import Path
from typing import Any

import cv2
import pytest

from tests.models import spot_picture, tiny_bundle
from tests.tiny_deeppcb import write_tiny_deeppcb
from trainer.__main__ import main


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """A bundle that rejects what is brighter than half; three good parts, and four bad ones of which one is faint."""
    tiny_bundle(tmp_path / "tiny.bundle")
    for name, levels in (("good", (0, 0, 40)), ("bad", (200, 220, 240, 100))):
        (tmp_path / "parts" / name).mkdir(parents=True)
        for number, level in enumerate(levels):
            picture = spot_picture(64, 64, [(1, 1, level)])
            cv2.imwrite(str(tmp_path / "parts" / name / f"{name}{number}.png"), picture)
    assert imported(tmp_path, "set") == 0
    return tmp_path


def imported(root: Path, name: str) -> int:
    return main(["data", "import", "--from", "folders", str(root / "parts"), "--out", str(root / name)])


def evaluated(parts: Path, *more: str, code: int = 0) -> dict[str, Any]:
    words = ["evaluate", "--bundle", str(parts / "tiny.bundle"), "--data", str(parts / "set"), *more]
    assert main([*words, "--json", str(parts / "f.json")]) == code
    content: dict[str, Any] = json.loads((parts / "f.json").read_text())
    return content


def test_bad_parts_that_nobody_marked_are_listed_and_not_taken_as_good(
    parts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert imported(parts, "again") == 0
    told = " ".join(capsys.readouterr().err.split())
    assert f"beware: 4 pictures of bad parts have no mask, the first {parts}/parts/bad/bad0.png" in told
    listed = (parts / "again" / "unmarked.txt").read_text().split()
    assert listed == [f"../parts/bad/bad{number}.png" for number in range(4)]
    assert evaluated(parts)["parts"] == {"bad": 0, "good": 3, "escapes": 0, "overkill": 0}


def test_whether_they_are_rejected_is_counted_with_bounds_and_told_and_asked_for(
    parts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = parts / "page.html"
    found = evaluated(parts, "--bad-list", "unmarked.txt", "--report", str(page))["unmarked"]
    assert {name: found["escapes"][name] for name in ("count", "of")} == {"count": 1, "of": 4}
    assert found["escapes"]["high"] == pytest.approx(0.806, abs=1e-3)
    assert found["lowest_bad"] == 0.0  # below the bundle's score floor
    assert [Path(path).name for path in found["accepted"]] == ["bad3.png"]
    assert "bad parts that nobody marked: 1 of 4 accepted" in " ".join(capsys.readouterr().out.split())
    assert "<td>bad parts that nobody marked, accepted</td><td>25.00 %</td>" in page.read_text()
    refused = evaluated(parts, "--bad-list", "unmarked.txt", "--max-escapes", "20", code=1)["refused"]
    assert refused == [
        "escapes: 1 of 4 parts, 4 of them by --bad-list, more than 20.0 % allowed (or nothing to measure on)"
    ]
    assert evaluated(parts, "--bad-list", "unmarked.txt", "--max-escapes", "25")["refused"] == []


def test_a_list_that_contradicts_the_data_or_names_nothing_is_refused(
    parts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "--bundle", str(parts / "tiny.bundle"), "--data", str(parts / "set"), "--bad-list"]
    (parts / "set" / "bad.txt").write_text("../parts/bad/bad0.png\n../parts/good/good0.png\n")
    assert main([*words, "bad.txt"]) == 78
    told = " ".join(capsys.readouterr().err.split())
    assert "bad.txt:2: " in told and "is in the data set, as a good part; take it off the list" in told
    (parts / "set" / "bad.txt").write_text("nowhere.png\n")
    assert main([*words, "bad.txt"]) == 78
    assert "bad.txt:1: picture " in capsys.readouterr().err
    assert main([*words, "no.txt"]) == 78
    assert "--bad-list no.txt: is neither in " in capsys.readouterr().err


def test_pictures_that_lie_in_no_folder_of_their_own_are_of_one_kind(tmp_path: Path) -> None:
    (tmp_path / "parts" / "good").mkdir(parents=True)
    for name in ("good/a.png", "b.png", "B.png"):
        cv2.imwrite(str(tmp_path / "parts" / name), spot_picture(64, 64, []))
    assert imported(tmp_path, "set") == 0
    content = json.loads((tmp_path / "set" / "annotations.json").read_text())
    assert [category["name"] for category in content["categories"]] == ["defect"]
    assert (tmp_path / "set" / "unmarked.txt").read_text() == "../parts/B.png\n../parts/b.png\n"


def test_a_template_is_no_bad_part_and_what_has_boxes_is_judged_already(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tiny_deeppcb(tmp_path / "PCBData", {"a": 2})
    tiny_bundle(tmp_path / "tiny.bundle", labels=("open",))
    (tmp_path / "PCBData" / "good.txt").write_text("a/a/0_temp.jpg\n")
    words = ["evaluate", "--bundle", str(tmp_path / "tiny.bundle"), "--data", str(tmp_path), "--good-list", "good.txt"]
    for line, what in (("a/a/1.jpg a/a_not/1.txt", "a template, "), ("a/a/1_test.jpg", "in the data set, with boxes")):
        (tmp_path / "PCBData" / "bad.txt").write_text(f"{line}\n")
        assert main([*words, "--bad-list", "bad.txt"]) == 78
        assert f"is {what}" in " ".join(capsys.readouterr().err.split())


def test_a_model_that_compares_refuses_the_list_before_it_judges(
    parts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_bundle(parts / "pair.bundle", channels=2)
    words = ["evaluate", "--bundle", str(parts / "pair.bundle"), "--data", str(parts / "set")]
    assert main([*words, "--bad-list", "unmarked.txt"]) == 78
    said = capsys.readouterr()
    assert "the model compares each picture with its reference, and a list names none" in " ".join(said.err.split())
    assert not said.out
