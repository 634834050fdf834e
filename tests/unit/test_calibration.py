"""calibrate baseline: limits that accept what was in control and refuse what was not."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from appliance.cameras.truth import list_recorded
from appliance.errors import ConfigError
from appliance.events import ImageStatistics, Verdict
from appliance.optics.statistics import measure
from appliance.stages.correct import correct
from appliance.stages.decide import decide
from calibration.__main__ import main
from calibration.baseline import image_limits, outliers, pictures_in, read_picture
from tests.inspections import GOOD, bind, make_frame, result, view_document

MEASURED = st.builds(
    ImageStatistics,
    brightness_mean=st.floats(0, 255),
    brightness_spread=st.just(0.0),
    contrast=st.just(0.0),
    sharpness=st.floats(0, 1e6),
    clipped_low_ratio=st.floats(0, 1),
    clipped_high_ratio=st.floats(0, 1),
)


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


@given(st.lists(MEASURED, min_size=2, max_size=40))
def test_no_picture_of_the_baseline_is_refused_whatever_was_measured(pictures: list[ImageStatistics]) -> None:
    if max(item.brightness_mean for item in pictures) == 0:
        with pytest.raises(ConfigError, match="pictures are black"):
            image_limits(pictures)
        return
    recipe = bind(view_document(image_limits=image_limits(pictures)))
    for item in pictures:
        assert decide([result(statistics=item)], recipe).verdict is Verdict.ACCEPT


def test_a_dark_and_a_blurred_picture_break_the_limits(good_parts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limits = limits_of(good_parts, capsys)
    picture = cv2.imread(str(good_parts / "part0.png"), cv2.IMREAD_GRAYSCALE)
    assert measure((picture // 2)[:, :, None]).brightness_mean < limits["brightness_min"]
    assert measure(cv2.GaussianBlur(picture, (0, 0), 4)[:, :, None]).sharpness < limits["sharpness_min"]


@pytest.mark.parametrize(
    ("name", "usual", "odd"),
    [
        ("sharpness", 100.0, 40.0),
        ("brightness_mean", 100.0, 40.0),
        ("brightness_mean", 100.0, 160.0),
        ("clipped_low_ratio", 0.01, 0.5),
        ("clipped_high_ratio", 0.01, 0.5),
    ],
)
def test_a_picture_unlike_the_others_is_named(name: str, usual: float, odd: float) -> None:
    pictures = [replace(GOOD, **{name: value}) for value in [usual] * 10 + [odd, odd]]
    paths = [Path(f"part{number}.png") for number in range(12)]
    found = outliers(paths, pictures)
    assert [(item.path.name, item.measure, item.value, item.median) for item in found] == [
        ("part10.png", name, odd, usual),
        ("part11.png", name, odd, usual),
    ]


def test_pictures_that_are_alike_are_not_named(good_parts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["baseline", str(good_parts), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["outliers"] == []


def test_the_printed_limits_are_those_of_a_recipe_and_the_odd_picture_is_named(
    good_parts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = cv2.imread(str(good_parts / "part0.png"), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(good_parts / "part99.png"), cv2.GaussianBlur(picture, (0, 0), 4))
    limits = limits_of(good_parts, capsys)
    assert main(["baseline", str(good_parts)]) == 0
    printed = capsys.readouterr().out
    bound = bind(view_document(**yaml.safe_load(printed))).views[0].image_limits
    assert bound.model_dump() == limits
    (line,) = (line for line in printed.splitlines() if "part99.png" in line)
    assert line.startswith("#")
    assert "sharpness" in line


def test_the_pictures_are_those_that_the_folder_camera_shows(good_parts: Path) -> None:
    data = (good_parts / "part0.png").read_bytes()
    for name in ("._part0.png", ".trash/part1.png", "monday/part2.PNG", "monday/.part3.png", "part.png/part4.tiff"):
        (good_parts / name).parent.mkdir(exist_ok=True)
        (good_parts / name).write_bytes(data)
    found = pictures_in(good_parts)
    assert set(found) == {image.path for image in list_recorded(good_parts)}
    assert {path.name for path in found} == {f"part{n}.png" for n in range(12)} | {"part2.PNG", "part4.tiff"}


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


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("missing", "nowhere is not a folder"),
        ("empty", "empty has no pictures"),
        ("broken", "broken.png cannot be decoded"),
        ("empty file", "broken.png cannot be decoded"),
        ("black", "all 12 pictures are black"),
        ("single", "1 picture is too few"),
    ],
)
def test_a_folder_that_will_not_do_is_refused_in_words(
    damage: str, words: str, good_parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
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
    elif damage == "black":
        for path in good_parts.iterdir():
            cv2.imwrite(str(path), np.zeros((240, 320), np.uint8))
    else:
        folder = tmp_path / "single"
        folder.mkdir()
        (good_parts / "part0.png").rename(folder / "part0.png")
    assert main(["baseline", str(folder)]) == 78
    assert words in capsys.readouterr().err


def test_a_result_that_the_disk_does_not_take_is_said(good_parts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["baseline", str(good_parts), "--out", "/dev/full"]) == 74
    assert "cannot be written: No space" in capsys.readouterr().err


def test_a_place_for_the_result_is_tried_before_the_measuring(
    good_parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (good_parts / "broken.png").touch()
    with pytest.raises(SystemExit) as ended:
        main(["baseline", str(good_parts), "--out", str(tmp_path / "no/folder.json")])
    assert ended.value.code == 2
    assert "folder.json' cannot be written" in capsys.readouterr().err
    out = tmp_path / "baseline.json"
    assert main(["baseline", str(good_parts), "--out", str(out)]) == 78
    assert not out.exists()
    out.write_text("an older result")
    assert main(["baseline", str(good_parts), "--out", str(out)]) == 78
    assert out.read_text() == "an older result"


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
