"""What a picture and its reference show unlike each other where nobody marked a defect is found, and shown."""

import base64
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from appliance.events import Box, Pixels
from appliance.optics.alignment import Alignment, align
from tests.references import board, laid_down, write_picture
from trainer.__main__ import main
from trainer.datasets.pair_differences import Difference, differences
from trainer.datasets.reading import read_dataset
from trainer.datasets.split import split_by_group
from trainer.preflight import doubts, model_geometry

GOOD = board(1)
SIDE_PX = GOOD.shape[0]

shifts = st.floats(-8, 8)
turns = st.floats(-0.5, 0.5)
places = st.integers(40, SIDE_PX - 80)


def with_spot(pixels: Pixels, x: int, y: int, side_px: int) -> Pixels:
    bad = pixels.copy()
    bad[y : y + side_px, x : x + side_px] = 255
    return bad


def taken(part: Pixels, light: float = 1.0, noise: float = 3.0) -> Pixels:
    grain = np.random.default_rng(0).normal(0, noise, part.shape)
    return np.clip(part * light + grain, 0, 255).astype(np.uint8)


def place(x: int, y: int, side_px: int, shift_px: tuple[float, float], turn: float) -> tuple[float, ...]:
    """Return where a spot of a part lies when that is laid down so."""
    rows, columns = np.nonzero(laid_down(with_spot(np.zeros_like(GOOD), x, y, side_px), shift_px, turn)[:, :, 0])
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def found(picture: Pixels, reference: Pixels, boxes: tuple[Box, ...] = ()) -> list[Difference]:
    return differences(picture, align(reference, picture), boxes)


@given(places, places, st.integers(8, 30), shifts, shifts, turns, st.floats(0.9, 1.1), st.booleans())
@example(40, 40, 8, 8.0, -8.0, 0.5, 0.9, True)
@settings(max_examples=40, deadline=None)
def test_what_only_one_of_the_two_shows_is_found_wherever_the_part_lies(
    x: int, y: int, side_px: int, right: float, down: float, turn: float, light: float, is_of_reference: bool
) -> None:
    if is_of_reference:
        reference, part = with_spot(GOOD, x, y, side_px), laid_down(GOOD, (right, down), turn)
    else:
        reference, part = GOOD, laid_down(with_spot(GOOD, x, y, side_px), (right, down), turn)
    (difference,) = found(taken(part, light), reference)
    assert difference.is_of_reference == is_of_reference
    truth = place(x, y, side_px, (right, down), turn)
    np.testing.assert_allclose(difference.box, truth, atol=4)


@given(shifts, shifts, turns, st.floats(0.6, 1.4), st.integers(2, 50))
@settings(max_examples=40, deadline=None)
def test_a_part_that_lies_otherwise_under_other_light_differs_nowhere(
    right: float, down: float, turn: float, light: float, seed: int
) -> None:
    good = board(seed)
    assert found(taken(laid_down(good, (right, down), turn), light, noise=5.0), good) == []


def test_an_exposure_of_parts_that_show_hardly_anything_is_no_difference_and_a_spot_on_them_is() -> None:
    flat = np.full((96, 96, 1), 90, np.uint8)
    laid = Alignment(flat, (0.0, 0.0), 0.0, (0.0, 0.0), 1.0, (0.0, 0.0))
    assert differences(taken(flat, 1.3), laid, ()) == []
    (difference,) = differences(taken(with_spot(flat, 30, 40, 20), 1.3), laid, ())
    assert difference.box == (30, 40, 50, 60)


def test_what_is_marked_is_no_difference_but_what_lies_beside_it_is() -> None:
    part = with_spot(with_spot(GOOD, 100, 100, 20), 200, 150, 12)
    both = found(part, GOOD)
    assert [round(difference.box[0]) for difference in both] == [100, 200]
    assert both[0].thickness_px > both[1].thickness_px > 9
    for box in ((98, 98, 122, 122), (102, 103, 119, 118)):  # as people draw them: around it, or a little inside
        assert found(part, GOOD, (box,)) == [both[1]]
    assert both[1].words() == "it shows what its reference does not, at x 200 to 212, y 150 to 162"
    outside = (-50.0, 100.0, -10.0, 150.0)  # another check tells it
    assert found(part, GOOD, ((100, 100, 106, 106), outside)) == both


def test_another_colour_of_the_same_brightness_is_a_difference() -> None:
    good = board(1, channels=3)
    part = good.copy()
    part[100:120, 140:160] = (200, 30, 30)
    grey = np.asarray(cv2.cvtColor(part, cv2.COLOR_RGB2GRAY))
    good[100:120, 140:160] = (30, 116, 30)
    assert abs(int(grey[110, 150]) - int(cv2.cvtColor(good, cv2.COLOR_RGB2GRAY)[110, 150])) <= 3
    (difference,) = found(part, good)
    np.testing.assert_allclose(difference.box, (140, 100, 160, 120), atol=3)


@given(st.floats(0.5, 1.5), st.integers(0, 1), st.integers(10, 100), st.floats(0, 3))
@settings(max_examples=40, deadline=None)
def test_a_marked_defect_does_not_change_what_the_exposure_is_taken_for(
    light: float, shade: int, side_px: int, noise: float
) -> None:
    good = np.full((480, 480, 1), 40, np.uint8)  # hardly anything but ground
    good[:, 6::40] = good[:, 7::40] = good[:, 8::40] = good[:, 9::40] = 150
    part = taken(good, light, noise)
    part[200 : 200 + side_px, 100 : 100 + side_px] = 255 * shade
    marked = (100.0, 200.0, 100.0 + side_px, 200.0 + side_px)
    assert (
        differences(part, Alignment(taken(good, 1.0, noise), (0.0, 0.0), 0.0, (0.0, 0.0), 1.0, (0.0, 0.0)), (marked,))
        == []
    )


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 40), (8, 8)])
def test_pictures_that_are_too_small_for_a_difference_have_none(height: int, width: int) -> None:
    small = board(1)[:height, :width].copy()
    other = with_spot(small, 0, 0, 3)
    assert differences(other, Alignment(small, (0.0, 0.0), 0.0, (0.0, 0.0), 1.0, (0.0, 0.0)), ()) == []


def write_pairs(folder: Path) -> Path:
    """Write parts and their references; of four spots one is in a reference whose part lies otherwise, one marked."""
    far = laid_down(board(3), (12, -10), 1.0)
    parts = [GOOD, with_spot(GOOD, 60, 60, 12), with_spot(GOOD, 120, 90, 16), board(2), far, board(4)]
    parts[1] = with_spot(parts[1], 200, 60, 8)
    good = [GOOD, GOOD, GOOD, GOOD, with_spot(board(3), 240, 250, 10), board(4)]
    images: list[dict[str, Any]] = []
    folder.mkdir()
    for number, (part, reference) in enumerate(zip(parts, good, strict=True)):
        write_picture(folder / f"{number}.png", part)
        write_picture(folder / f"{number}_good.png", reference)
        entry = {"id": number, "file_name": f"{number}.png", "group": f"lot{number}"}
        images.append(entry | {"reference": f"{number}_good.png"})
    images.append({"id": 9, "file_name": "4_good.png", "group": "lot4", "reference": "4_good.png"})
    marks = [{"id": 0, "image_id": 2, "category_id": 1, "bbox": [118, 88, 20, 20]}]
    content = {"images": images, "annotations": marks, "categories": [{"id": 1, "name": "spot"}]}
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


def pictures_on(section: str) -> dict[str, Pixels]:
    """Return the pictures of a page's section by name."""
    found = {}
    for figure in section.split("<figure ")[1:]:
        data = base64.b64decode(figure.partition("base64,")[2].partition('"')[0])
        name = figure.partition("<figcaption>")[2].partition("<br>")[0]
        found[name] = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE), np.uint8)
    return found


def test_a_check_lists_them_thickest_first_and_shows_both_pictures_there(tmp_path: Path) -> None:
    data, report, target = write_pairs(tmp_path / "data"), tmp_path / "page.html", tmp_path / "found.json"
    main(["data", "check", "--data", str(data), "--report", str(report), "--json", str(target)])
    findings = {finding["name"]: finding["cases"] for finding in json.loads(target.read_text())["findings"]}
    (misplaced,) = findings["pictures that do not lie over their reference"]
    assert Path(misplaced["pictures"][0]).name == "3.png"
    assert "matches" in misplaced["says"]
    first, second = findings["differences that nobody marked"]
    assert first["says"] == "; ".join(
        f"it shows what its reference does not, at {place}"
        for place in ("x 60 to 72, y 60 to 72", "x 200 to 208, y 60 to 68")
    )
    assert first["boxes"] == [[60, 60, 72, 72], [200, 60, 208, 68]]
    assert Path(second["pictures"][0]).name == "4.png"
    assert second["says"].startswith("its reference shows what it does not, at x 2")
    np.testing.assert_allclose(second["boxes"][0], place(240, 250, 10, (12, -10), 1.0), atol=3)
    sections = {part.partition('"')[0]: part for part in report.read_text().split('<section><h2 id="')[1:]}
    shown = pictures_on(sections["differences-that-nobody-marked"])
    assert list(shown) == ["1.png", "1_good.png", "4.png", "4_good.png"]
    for name, is_there in (("1.png", True), ("1_good.png", False), ("4.png", False), ("4_good.png", True)):
        middle = shown[name].shape[0] // 2
        assert bool(shown[name][middle - 4 : middle + 4, middle - 4 : middle + 4].min() > 230) is is_there
    assert list(pictures_on(sections["pictures-that-do-not-lie-over-their-reference"])) == ["3.png", "3_good.png"]


def test_a_training_says_so_before_it_begins(tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "data")
    split = split_by_group(read_dataset(data), ("2.png",))
    (words,) = [words for words in doubts(split, model_geometry(split.whole(), 1)) if "reference" in words]
    assert words.startswith("2 of 5 pictures that were compared differ from their reference where nobody marked")
    assert f"the first {data / '1.png'}: it shows what its reference does not, at x 60 to 72" in words
    damaged = data / "1_good.png"
    damaged.write_bytes(damaged.read_bytes()[:-400])  # nothing says that it is needed
    (words,) = [words for words in doubts(split, model_geometry(split.whole(), 1)) if "reference" in words]
    assert words.startswith("1 of 4 pictures")
