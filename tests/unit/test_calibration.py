"""calibrate baseline: limits that accept what was in control and refuse what was not."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from appliance.optics.statistics import measure
from appliance.stages.correct import correct
from calibration.__main__ import main
from calibration.baseline import read_picture
from tests.inspections import bind, make_frame, view_document


@pytest.fixture
def good_parts(tmp_path: Path) -> Path:
    rng = np.random.default_rng(5)
    folder = tmp_path / "good"
    folder.mkdir()
    for number in range(12):
        texture = rng.normal(110 + rng.normal(0, 1), 20, (240, 320, 1))
        cv2.imwrite(str(folder / f"part{number}.png"), np.clip(texture, 0, 255).astype(np.uint8))
    return folder


def limits_of(folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, float]:
    assert main(["baseline", str(folder), "--json"]) == 0
    limits = json.loads(capsys.readouterr().out)["image_limits"]
    assert isinstance(limits, dict)
    return limits


def test_the_limits_hold_every_picture_that_they_were_made_from(
    good_parts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = limits_of(good_parts, capsys)
    for path in good_parts.iterdir():
        statistics = measure(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)[:, :, None])
        assert limits["brightness_min"] < statistics.brightness_mean < limits["brightness_max"]
        assert statistics.sharpness > limits["sharpness_min"]
        assert statistics.clipped_low_ratio <= limits["clipped_low_max_ratio"]
        assert statistics.clipped_high_ratio <= limits["clipped_high_max_ratio"]


def test_a_dark_and_a_blurred_picture_break_the_limits(good_parts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limits = limits_of(good_parts, capsys)
    picture = cv2.imread(str(good_parts / "part0.png"), cv2.IMREAD_GRAYSCALE)
    assert measure((picture // 2)[:, :, None]).brightness_mean < limits["brightness_min"]
    assert measure(cv2.GaussianBlur(picture, (0, 0), 4)[:, :, None]).sharpness < limits["sharpness_min"]


def test_the_printed_limits_are_yaml_for_a_recipe(good_parts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["baseline", str(good_parts)]) == 0
    printed = capsys.readouterr().out
    assert "image_limits:\n  brightness_min: " in printed


def test_the_baseline_is_written_where_asked(good_parts: Path, tmp_path: Path) -> None:
    out = tmp_path / "baseline.json"
    assert main(["baseline", str(good_parts), "--out", str(out)]) == 0
    assert json.loads(out.read_text())["baseline"]["count"] == 12


def test_the_crop_is_what_the_station_measures(good_parts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in good_parts.iterdir():
        picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        picture[:, :100] = 255  # the belt beside the part
        cv2.imwrite(str(path), picture)
    assert main(["baseline", str(good_parts), "--json", "--crop", "100,20,200,180"]) == 0
    limits = json.loads(capsys.readouterr().out)["image_limits"]
    crop = {"x_px": 100, "y_px": 20, "width_px": 200, "height_px": 180}
    view = bind(view_document(width_px=320, height_px=240, crop=crop, tiles={"overlap_px": 16})).views[0]
    for path in good_parts.iterdir():
        statistics = correct(replace(make_frame(), pixels=read_picture(path, 1)), view).statistics
        assert statistics is not None
        assert limits["brightness_min"] < statistics.brightness_mean < limits["brightness_max"]
        assert statistics.clipped_high_ratio <= limits["clipped_high_max_ratio"] < 0.1
    assert limits["brightness_max"] < limits_of(good_parts, capsys)["brightness_max"]


def test_a_crop_that_leaves_a_picture_is_refused(good_parts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["baseline", str(good_parts), "--crop", "200,0,121,240"]) == 78
    assert "320x240 pixels and the crop ends at 321, 240" in capsys.readouterr().err


@pytest.mark.parametrize("crop", ["1,2,3", "1,2,3,4,5", "a,b,c,d", "0,0,0,5", "-1,0,5,5", "1,2,3,٣", ""])
def test_a_crop_is_four_whole_numbers(crop: str, good_parts: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["baseline", str(good_parts), f"--crop={crop}"])
    assert caught.value.code == 2


@pytest.mark.parametrize("damage", ["missing", "empty", "broken", "empty file", "folder", "single"])
def test_a_folder_that_will_not_do_is_refused_in_words(
    damage: str, good_parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = good_parts
    if damage == "missing":
        folder = tmp_path / "nowhere"
    elif damage == "empty":
        folder = tmp_path / "empty"
        folder.mkdir()
    elif damage == "broken":
        (good_parts / "broken.png").write_bytes(b"not a picture")
    elif damage == "empty file":
        (good_parts / "broken.png").touch()
    elif damage == "folder":
        (good_parts / "broken.png").mkdir()
    else:
        folder = tmp_path / "single"
        folder.mkdir()
        (good_parts / "part0.png").rename(folder / "part0.png")
    assert main(["baseline", str(folder)]) == 78
    captured = capsys.readouterr()
    assert str(folder) in captured.err or "too few" in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.parametrize("out", ["no/folder.json", "/dev/full"])
def test_a_result_that_cannot_be_written_is_said(
    out: str, good_parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["baseline", str(good_parts), "--out", str(tmp_path / out)]) == 74
    assert "cannot be written: No s" in capsys.readouterr().err


def test_a_patch_goes_into_the_recipe_as_it_is_printed(good_parts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = good_parts / "part3.png"
    assert main(["patch", str(picture), "--x", "120", "--y", "60", "--side", "32"]) == 0
    patches = yaml.safe_load(capsys.readouterr().out)
    view = bind(
        view_document(
            width_px=320,
            height_px=240,
            tiles={"overlap_px": 16},
            placement={"max_offset_px": 8, "patches": patches},
        )
    ).views[0]
    pixels = read_picture(picture, 1)
    assert correct(replace(make_frame(), pixels=pixels), view).offset_px == (0.0, 0.0)
    moved = np.roll(pixels, (3, -2), axis=(0, 1))
    assert correct(replace(make_frame(), pixels=moved), view).offset_px == (-2.0, 3.0)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (("--x", "300", "--y", "10"), "does not lie in the picture"),
        (("--x", "0", "--y", "0", "--side", "130"), "8 to 128 pixels a side"),
        (("--x", "0", "--y", "0"), "the patch is flat"),
    ],
)
def test_a_patch_that_would_not_be_found_is_refused(
    place: tuple[str, ...], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "flat.png"
    cv2.imwrite(str(file), np.full((240, 320), 90, np.uint8))
    assert main(["patch", str(file), *place]) == 78
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.out == ""
