"""A version of a data set stays as it was written, and two of them tell what changed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.tiny_boards import write_tiny_boards
from tests.tiny_deeppcb import write_tiny_deeppcb
from trainer.__main__ import main

Content = dict[str, Any]


def version(data: Path, out: Path, *words: str, why: str = "a test") -> Path:
    before = set(out.glob("*.json"))
    assert (
        main(["data", "version", "--data", str(data), "--out", str(out), "--why", why, "--who", "A. P.", *words]) == 0
    )
    (path,) = set(out.glob("*.json")) - before
    return path


def change(data: Path, edit: Callable[[Content], object]) -> None:
    path = data / "annotations.json"
    content: Content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def difference(first: Path, second: Path) -> list[tuple[str, str]]:
    target = first.parent.parent / "changes.json"
    assert main(["data", "diff", str(first), str(second), "--json", str(target)]) == 0
    return [(item["kind"], item["name"]) for item in json.loads(target.read_text())["changes"]]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_tiny_boards(tmp_path / "data").parent


def test_a_version_says_what_it_holds_and_what_it_came_from(data: Path, tmp_path: Path) -> None:
    first = version(data, tmp_path / "v")
    change(data, lambda content: content["annotations"].pop(0))
    second = json.loads(version(data, tmp_path / "v", "--parent", str(first), why="a box less").read_text())
    content = json.loads(first.read_text())
    assert (content["schema"], content["parent"], content["who"]) == ("vi.dataset/1", None, "A. P.")
    assert (second["parent"], second["why"]) == (content["digest"], "a box less")
    assert len(content["pictures"]) == 12
    assert {entry["name"] for entry in content["pictures"] if not entry["boxes"]} == {"003.png", "007.png", "011.png"}
    assert first.stat().st_mode & 0o222 == 0


def test_a_version_is_never_written_over(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = version(data, tmp_path / "v")
    before = first.read_bytes()
    words = ["data", "version", "--data", str(data), "--out", str(tmp_path / "v"), "--why", "x", "--who", "y"]
    assert main(words) == 78
    assert "has this version already" in capsys.readouterr().err
    assert first.read_bytes() == before
    with pytest.raises(SystemExit):
        main([*words, "--why", " "])


def test_the_same_data_has_the_same_name_wherever_it_lies_and_whatever_its_files_are_called(
    data: Path, tmp_path: Path
) -> None:
    shutil.copytree(data, tmp_path / "other")
    (tmp_path / "other" / "000.png").rename(tmp_path / "other" / "z.png")
    change(tmp_path / "other", lambda content: content["images"][0].update(file_name="z.png"))
    change(tmp_path / "other", lambda content: content["images"].reverse())
    first, second = version(data, tmp_path / "v"), version(tmp_path / "other", tmp_path / "w")
    assert first.name == second.name
    assert difference(first, second) == []


def test_every_kind_of_change_is_told(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = version(data, tmp_path / "v")
    (data / "004.png").rename(data / "renamed.png")
    cv2.imwrite(str(data / "new.png"), np.full((96, 96), 7, np.uint8))

    def edit(content: Content) -> None:
        content["images"][4]["file_name"] = "renamed.png"
        content["images"][3] |= {"file_name": "new.png"}
        content["images"][5]["group"] = "elsewhere"
        content["annotations"][0]["category_id"] = 3 - content["annotations"][0]["category_id"]

    change(data, edit)
    second = version(data, tmp_path / "v")
    capsys.readouterr()
    expected = [("added", "new.png"), ("regrouped", "005.png"), ("relabelled", "000.png"), ("removed", "003.png")]
    assert difference(first, second) == expected
    assert "1 added, 1 regrouped, 1 relabelled, 1 removed" in capsys.readouterr().out


def test_another_reference_is_told(tmp_path: Path) -> None:
    data = write_tiny_deeppcb(tmp_path / "data", {"a": 1, "b": 1}).parent
    first = version(data, tmp_path / "v")
    cv2.imwrite(str(data / "a/a/0_temp.jpg"), np.full((64, 64), 9, np.uint8))
    kinds = [kind for kind, name in difference(first, version(data, tmp_path / "v")) if name == "a/a/0_test.jpg"]
    assert kinds == ["other reference"]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"why": "a test"', '"why": "another"', "was changed after it was written"),
        ('"group": "family0"', '"group": "family1"', "was changed after it was written"),
        ("vi.dataset/1", "vi.dataset/2", "no version of a data set: schema"),
        ('"classes"', '"klasses"', "no version of a data set: classes"),
        ("{", "", "no version of a data set: file"),
    ],
)
def test_a_version_that_was_changed_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, says: str
) -> None:
    first = version(data, tmp_path / "v")
    forged = tmp_path / "forged.json"
    forged.write_text(first.read_text().replace(old, new, 1))
    assert main(["data", "diff", str(first), str(forged)]) == 78
    assert f"{forged}: {says}" in capsys.readouterr().err
