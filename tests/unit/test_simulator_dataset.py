"""Data sets from the simulated line: a trainer can read them, and the command says what is wrong."""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from appliance.errors import ConfigError, StorageError
from appliance.optics.alignment import align
from appliance.simulator.command import add_arguments, execute
from appliance.simulator.dataset import write_dataset
from appliance.simulator.defects import DEFECT_KINDS, DefectStyle
from appliance.simulator.line import SimulatedLine
from appliance.simulator.optics import Optics
from tests.small_disk import small_disk

SIZE = (320, 240)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set") / "boards"
    write_dataset(folder, 24, 5, size=SIZE, defect_rate=0.6, parts_per_family=4)
    return folder


@pytest.fixture(scope="module")
def document(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "annotations.json").read_text(encoding="utf-8"))
    return loaded


def test_every_picture_is_listed_and_has_its_size(folder: Path, document: dict[str, Any]) -> None:
    listed = [image["file_name"] for image in document["images"]]
    assert sorted(listed) == sorted(f"images/{file.name}" for file in (folder / "images").iterdir())
    for image in document["images"]:
        pixels = cv2.imread(str(folder / image["file_name"]), cv2.IMREAD_UNCHANGED)
        assert pixels is not None
        assert pixels.shape == (image["height"], image["width"]) == (240, 320)


def test_pictures_and_boxes_are_those_of_the_line(folder: Path, document: dict[str, Any]) -> None:
    line = SimulatedLine(5, 0.6, *SIZE, parts_per_family=4)
    for number, image in enumerate(document["images"]):
        part = line.part(number)
        assert np.array_equal(cv2.imread(str(folder / image["file_name"]), cv2.IMREAD_UNCHANGED), part.pixels[..., 0])
        boxes = [item["bbox"] for item in document["annotations"] if item["image_id"] == image["id"]]
        kinds = [item["category_id"] for item in document["annotations"] if item["image_id"] == image["id"]]
        assert kinds == [DEFECT_KINDS.index(truth.kind) + 1 for truth in part.truth]
        assert boxes == [[t.box[0], t.box[1], t.box[2] - t.box[0], t.box[3] - t.box[1]] for t in part.truth]


def test_categories_are_the_kinds_in_order(document: dict[str, Any]) -> None:
    assert [item["name"] for item in document["categories"]] == list(DEFECT_KINDS)
    assert [item["id"] for item in document["categories"]] == [1, 2, 3, 4, 5, 6]


def test_each_family_is_a_group(document: dict[str, Any]) -> None:
    groups = [image["group"] for image in document["images"]]
    assert len(set(groups)) == 6
    assert all(groups.count(group) == 4 for group in groups)


def test_outlines_cover_the_area_they_claim(document: dict[str, Any]) -> None:
    assert len(document["annotations"]) > 8
    assert len({item["id"] for item in document["annotations"]}) == len(document["annotations"])
    for item in document["annotations"]:
        x, y, width, height = item["bbox"]
        filled = np.zeros((SIZE[1], SIZE[0]), np.uint8)
        for polygon in item["segmentation"]:
            points = np.array(polygon).reshape(-1, 2)
            assert np.all((points >= (x, y)) & (points <= (x + width, y + height)))
            cv2.fillPoly(filled, [points.astype(np.int32)], 1)
        assert filled.sum() == pytest.approx(item["area"], rel=0.2, abs=8)


def test_a_colour_picture_is_written_as_rgb(tmp_path: Path) -> None:
    write_dataset(tmp_path / "set", 1, 5, size=SIZE, channels=3)
    stored = cv2.imread(str(tmp_path / "set/images/5-000000.png"), cv2.IMREAD_COLOR)
    assert stored is not None
    expected = SimulatedLine(5, 0.5, *SIZE, channels=3, parts_per_family=8).part(0).pixels
    assert np.array_equal(stored[..., ::-1], expected)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"parts": 0}, "1 or more"),
        ({"defect_rate": 1.5}, "not in 0..1"),
        ({"defect_rate": float("nan")}, "not in 0..1"),
        ({"size": (64, 640)}, "outside"),
        ({"picture_format": "gif"}, "unknown"),
        ({"seed": -1}, "below 0"),
        ({"parts_per_family": -1}, "1 or more"),
        ({"style": DefectStyle(size_px=(20, 10))}, "no range"),
        ({"style": DefectStyle(size_px=(0, 10))}, "no range"),
        ({"style": DefectStyle(contrast=2)}, "not in 0..1"),
    ],
)
def test_a_wrong_argument_is_refused_before_anything_is_written(
    tmp_path: Path, arguments: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        write_dataset(tmp_path / "set", **{"parts": 1, "seed": 1, **arguments})
    assert not (tmp_path / "set").exists()


def test_an_earlier_data_set_is_never_overwritten(folder: Path) -> None:
    before = (folder / "annotations.json").read_bytes()
    with pytest.raises(ConfigError, match="already holds"):
        write_dataset(folder, 1, 1)
    assert (folder / "annotations.json").read_bytes() == before


@pytest.mark.parametrize("name", ["notes.txt", "images/old.png"])
def test_a_folder_with_anything_in_it_is_refused_and_stays_as_it_is(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    with pytest.raises(ConfigError, match="already holds something; name a new or an empty folder"):
        write_dataset(tmp_path, 1, 1)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / name]


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    assert write_dataset(tmp_path, 1, 1, size=(160, 160)).file == tmp_path / "annotations.json"


def test_a_full_disk_is_a_storage_error(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 200_000) as disk:
        with pytest.raises(StorageError, match=r"cannot be written .*No space"):
            write_dataset(disk / "set", 10, 1, is_quiet=True)
        assert not (disk / "set" / "annotations.json").exists()


def test_annotations_that_the_disk_refuses_are_a_storage_error(tmp_path: Path) -> None:
    def meanwhile(number: int) -> Optics:
        (tmp_path / "set" / "annotations.json.part").mkdir()
        return Optics()

    with pytest.raises(StorageError, match=r"annotations\.json"):
        write_dataset(tmp_path / "set", 1, 1, size=(160, 160), optics=meanwhile, is_quiet=True)


def test_a_folder_that_cannot_be_made_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here", encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot be made"):
        write_dataset(tmp_path / "file" / "set", 1, 1)


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


def test_the_command_writes_what_it_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--parts", "3", "--seed", "9", "--defect-rate", "1", "--size", "200x180", "--colour", "--format", "jpg")
    assert execute(parsed(str(tmp_path / "set"), *words, "--defect-size", "12", "14", "--contrast", "0.8")) == 0
    document = json.loads((tmp_path / "set/annotations.json").read_text(encoding="utf-8"))
    assert [(image["width"], image["height"]) for image in document["images"]] == [(200, 180)] * 3
    assert document["info"]["channels"] == 3
    assert "3 parts, 3 of them defective" in capsys.readouterr().out


def test_the_command_stages_drift(tmp_path: Path) -> None:
    script = tmp_path / "drift.yaml"
    script.write_text("lamp_brightness: [[0, 1], [1, 0.4]]", encoding="utf-8")
    words = ("--parts", "5", "--size", "200x180", "--optics", str(script), "--parts-per-second", "4")
    assert execute(parsed(str(tmp_path / "set"), *words)) == 0
    files = sorted((tmp_path / "set/images").iterdir())
    light = [cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) for file in files]
    means = [float(np.mean(pixels)) for pixels in light if pixels is not None]
    assert means == sorted(means, reverse=True)
    assert means[-1] < 0.55 * means[0]


@pytest.mark.parametrize("words", [("--optics", "none.yaml"), ("--parts-per-second", "0")])
def test_a_wrong_script_or_rate_is_a_config_error(tmp_path: Path, words: tuple[str, str]) -> None:
    with pytest.raises(ConfigError, match=words[1]):
        execute(parsed(str(tmp_path / "set"), *words))


@pytest.mark.parametrize("words", [("--size", "640"), ("--seed", "-1"), ("--format", "bmp"), ("--parts", "many")])
def test_the_command_refuses_what_it_cannot_read(words: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed("here", *words)
    assert words[0].lstrip("-") in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("sheet.png", "--seed", "-1"), 2, "'-1' is not a whole number"),
        (("nowhere/sheet.png",), 2, "name a file in a folder that takes files"),
        (("sheet.gif",), 2, "end it in .png or .jpg"),
        (("full.png",), 74, "full.png cannot be written: No space left"),
    ],
)
def test_a_contact_sheet_that_cannot_be_made_is_refused_in_words(
    tmp_path: Path, words: tuple[str, ...], code: int, told: str
) -> None:
    (tmp_path / "full.png").symlink_to("/dev/full")
    ended = subprocess.run(
        [sys.executable, "-m", "appliance.simulator.contact_sheet", *words],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ended.returncode, "Traceback" in ended.stderr) == (code, False), ended.stderr
    assert told in ended.stderr


@pytest.mark.parametrize("channels", [1, 3])
def test_each_picture_names_a_good_part_of_its_layout_if_asked_to(tmp_path: Path, channels: int) -> None:
    folder = tmp_path / "boards"
    write_dataset(folder, 9, 5, size=SIZE, parts_per_family=3, channels=channels, has_references=True, is_quiet=True)
    images = json.loads((folder / "annotations.json").read_text(encoding="utf-8"))["images"]
    named = {image["group"]: image["reference"] for image in images}
    assert len(set(named.values())) == len(list((folder / "references").iterdir())) == 3
    pictures = {name: cv2.imread(str(folder / name)) for name in named.values()}
    for image in images:
        part = cv2.imread(str(folder / image["file_name"]))
        match = {name: align(reference, part).match for name, reference in pictures.items()}
        assert max(match, key=lambda name: match[name]) == image["reference"]
        assert match[image["reference"]] > 0.8
