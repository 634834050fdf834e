"""A version of a data set stays as it was written, and two of them tell what changed."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from appliance.annotations.file_name import FileName
from appliance.events import Box
from tests.tiny_boards import write_tiny_boards
from tests.tiny_deeppcb import write_tiny_deeppcb
from trainer.__main__ import main
from trainer.datasets.sample import Dataset, Sample
from trainer.datasets.version import read_version, version_of, write_version

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


def outlined(segmentation: object) -> Callable[[Content], object]:
    return lambda content: content["annotations"][0].update(segmentation=segmentation)


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
    assert (content["schema"], content["parent"], content["who"]) == ("vi.dataset/2", None, "A. P.")
    assert (second["parent"], second["why"]) == (content["digest"], "a box less")
    assert len(content["pictures"]) == 12
    assert {entry["name"] for entry in content["pictures"] if not entry["labels"]} == {"003.png", "007.png", "011.png"}
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


def test_another_camera_is_told_and_data_that_names_none_keeps_its_digest(data: Path, tmp_path: Path) -> None:
    first = version(data, tmp_path / "v")
    assert "camera" not in json.loads(first.read_text())["pictures"][0]
    change(data, lambda content: content["images"][2].update(camera="left"))
    second = version(data, tmp_path / "v")
    assert difference(first, second) == [("other camera", "002.png")]
    assert {entry.camera for entry in read_version(second).pictures} == {"", "left"}


def test_an_outline_drawn_anew_is_a_new_label_and_data_without_outlines_keeps_its_digest(
    data: Path, tmp_path: Path
) -> None:
    first = version(data, tmp_path / "v")
    assert "outlines" not in first.read_text()
    change(data, outlined([[1, 2, 30, 2, 30.5, 40]]))
    second = version(data, tmp_path / "v")
    change(data, outlined([[1, 2, 30, 2, 31.5, 40]]))
    third = version(data, tmp_path / "v")
    kinds = [difference(one, other) for one, other in ((first, second), (second, third))]
    assert kinds == [[("relabelled", "000.png")]] * 2
    drawn = [box.outlines for entry in read_version(third).pictures for box in entry.labels if box.outlines]
    assert drawn == [((1.0, 2.0, 30.0, 2.0, 31.5, 40.0),)]
    for broken in ({"counts": [1, 2], "size": [3, 1]}, [[1, 2, 30, 2, float("nan"), 40]], [[1, 2, 30, 2, 10**400, 4]]):
        change(data, outlined(broken))
        assert version(data, tmp_path / f"v{len(str(broken))}").stem == first.stem


def test_who_labelled_a_picture_anew_is_told_and_data_that_says_nothing_keeps_its_digest(
    data: Path, tmp_path: Path
) -> None:
    first = version(data, tmp_path / "v")
    assert "origin" not in json.loads(first.read_text())["pictures"][0]
    said = {"verdicts": [{"who": "Ann", "verdict": "REJECT"}], "seq": 2, "scale": 1.0, "far": 1e300}
    change(data, lambda content: content["images"][2].update(origin=said))
    second = version(data, tmp_path / "v")
    assert difference(first, second) == [("other origin", "002.png")]
    assert [entry.origin for entry in read_version(second).pictures if entry.origin] == [said]


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
        ('"name": "000.png"', '"name": "../000.png"', "is no name of a file below a folder"),
        ('"label": "dent"', '"label": "bump"', "labels of no class: bump"),
        ("vi.dataset/2", "vi.dataset/1", "no version of a data set: schema"),
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
    told = capsys.readouterr().err
    assert f"{forged}: " in told
    assert says in told


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=20).filter(
    lambda name: name not in (".", "..")
)
SIDES = st.floats(0, 500, width=32)


@given(
    names=st.lists(NAMES, min_size=1, max_size=5, unique=True),
    classes=st.lists(NAMES, min_size=1, max_size=3, unique=True),
    boxes=st.lists(st.tuples(SIDES, SIDES, SIDES, SIDES), max_size=4),
    group=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    why=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
)
def test_a_version_is_read_as_it_was_written(
    names: list[str], classes: list[str], boxes: list[Box], group: str, why: str
) -> None:
    with TemporaryDirectory() as place:
        folder = Path(place)
        samples = []
        for number, name in enumerate(names):
            path = folder / f"{number}" / name
            path.parent.mkdir()
            path.write_bytes(name.encode())
            truth = np.array(boxes[number:], np.float32).reshape(-1, 4)
            labels = np.arange(len(truth)) % len(classes)
            samples.append(Sample(path, truth, labels, group, not len(truth), path if number else None))
        written = version_of(Dataset(tuple(classes), tuple(samples)), folder, why, "A. P.", None)
        path = write_version(written, folder / "v")
        found = read_version(path)
    assert found == written
    for sample, entry in zip(samples, sorted(found.pictures, key=lambda entry: entry.name), strict=True):
        assert entry.name == f"{sample.image.parent.name}/{sample.image.name}"
        back = sorted((item.label, *item.box) for item in entry.labels)
        assert back == sorted((classes[k], *box) for k, box in zip(sample.labels, sample.boxes.tolist(), strict=True))


@given(
    name=st.text(max_size=12)
    | st.sampled_from(["/", "/a", "../a", "a/../b", "a//b", "a/", "", ".", "..", "a\0b", "./a"])
)
def test_no_name_in_a_version_leads_out_of_its_folder(name: str) -> None:
    try:
        found = TypeAdapter(FileName).validate_python(name)
    except ValidationError:
        return
    place = Path(os.path.normpath(Path("/folder") / found))
    assert place.is_relative_to("/folder/")
    assert place != Path("/folder")
    assert place.relative_to("/folder").as_posix() == name
