"""calibrate reference: what it prints is what a recipe takes, and pictures of several products are refused."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from appliance.recipe import load_recipe
from calibration.__main__ import main
from tests.inspections import make_document, make_manifest, view_document
from tests.references import board, laid_down, write_picture

GEOMETRY = {"width": 320, "height": 320, "channels": 2, "fit": "exact", "pad_value": 114}


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """Pictures of one product, a and b, and of another, other."""
    folder = tmp_path / "good parts"
    folder.mkdir()
    write_picture(folder / "a.png", board(1))
    write_picture(folder / "b.png", laid_down(board(1), (3, -2), 0.2))
    write_picture(folder / "other.png", board(2))
    return folder


def write_recipe(path: Path, printed: str) -> Path:
    view = view_document(width_px=320, height_px=320) | yaml.safe_load(printed)
    path.write_text(json.dumps(make_document(view).data))
    return path


def test_the_section_goes_into_a_recipe_as_it_is_printed(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "recipes" / "own.yaml"
    path.parent.mkdir()
    assert main(["reference", str(good / "a.png"), str(good / "b.png"), "--recipe", str(path)]) == 0
    recipe, document = load_recipe(write_recipe(path, capsys.readouterr().out))
    bound = recipe.bind(make_manifest(geometry=GEOMETRY), document)
    first, second = bound.references["top"]
    assert (first.file, second.file) == ("../good parts/a.png", "../good parts/b.png")
    assert np.array_equal(first.pixels, board(1))
    check = bound.views[0].reference
    assert check is not None
    assert (check.max_shift_px, check.max_rotation_deg, check.min_match) == (20, 1, 0.7)
    assert check.max_stretch_percent == 1


def test_good_parts_that_differ_in_length_by_more_than_usual_are_allowed_half_as_much_again(
    good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_picture(good / "c.png", laid_down(board(1), (0, 0), 0, (0.2, -1.4)))
    assert main(["reference", str(good / "a.png"), str(good / "b.png"), str(good / "c.png")]) == 0
    printed = capsys.readouterr().out
    assert "# more stretch than usual" in printed
    assert yaml.safe_load(printed)["reference"]["max_stretch_percent"] == pytest.approx(2.1, abs=0.15)


def test_it_says_how_the_pictures_lie_against_the_first(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reference", str(good / "a.png"), str(good / "b.png")]) == 0
    comment = capsys.readouterr().out.splitlines()[1]
    assert 'b.png": shift 3.' in comment or 'b.png": shift 2.9' in comment
    assert ", rotation 0." in comment
    assert ", stretch " in comment
    assert main(["reference", str(good / "a.png")]) == 0
    assert "#" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ['it\'s "good".png', "# 1: a.png", "grün €.png", "12", "null"])
def test_any_file_name_stays_what_it_is(name: str, good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (good / name).write_bytes((good / "a.png").read_bytes())
    assert main(["reference", str(good / name), str(good / "b.png"), "--recipe", str(good / "r.yaml")]) == 0
    section = yaml.safe_load(capsys.readouterr().out)["reference"]
    assert [picture["file"] for picture in section["pictures"]] == [name, "b.png"]


def spoiled(folder: Path, how: str) -> list[str]:
    """Make pictures that cannot be references of one view; their names."""
    if how == "size":
        write_picture(folder / "c.png", board(1, side_px=300))
    elif how == "colour":
        write_picture(folder / "c.png", board(1, channels=3))
    elif how == "flat":
        write_picture(folder / "c.png", np.full((320, 320, 1), 90, np.uint8))
    elif how == "damaged":
        (folder / "c.png").write_bytes((folder / "a.png").read_bytes()[:40])
    elif how == "far off":
        write_picture(folder / "c.png", laid_down(board(1), (60, 0)))
    elif how == "turned":
        write_picture(folder / "c.png", laid_down(board(1), (0, 0), 2.0))
    elif how == "another":
        return ["a.png", "other.png"]
    elif how == "twice":
        return ["a.png", "b.png", "a.png"]
    elif how == "nine":
        return ["a.png", *(f"{copy(folder, number)}" for number in range(8))]
    return ["a.png", "c.png"]


def copy(folder: Path, number: int) -> str:
    cv2.imwrite(str(folder / f"{number}.png"), board(1))
    return f"{number}.png"


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("size", ("c.png has 300x300 px and 1 channel(s) and ", "a.png 320x320 px and 1 channel(s)")),
        ("colour", ("c.png has 320x320 px and 3 channel(s)",)),
        ("flat", ("c.png is flat",)),
        ("damaged", ("c.png cannot be decoded",)),
        ("missing", ("c.png cannot be read (No such file or directory); check the path",)),
        (
            "another",
            ("other.png: the part matches ", "a.png by ", ", below 0.7; give pictures of one product"),
        ),
        ("far off", ("c.png: the part lies 60.", "a.png, over 20; give pictures of one product")),
        ("turned", ("c.png: the part is turned by 2.0", "a.png, over 1; give pictures of one product")),
        ("twice", ("a.png is named more than once",)),
        ("nine", ("at most 8 items",)),
    ],
)
def test_pictures_that_no_recipe_could_name_together_are_refused(
    how: str, words: tuple[str, ...], good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures: list[Any] = [str(good / name) for name in spoiled(good, how)]
    assert main(["reference", *pictures]) == 78
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    for each in words:
        assert each in captured.err
