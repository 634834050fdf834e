"""What a picture and its reference show unlike each other where nobody marked a defect is found, and shown."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from appliance.events import Box, Pixels
from appliance.optics.alignment import align
from tests.references import board, laid_down, write_picture
from trainer.__main__ import main
from trainer.datasets.pair_checks import Difference, differences
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


def found(picture: Pixels, reference: Pixels, boxes: tuple[Box, ...] = ()) -> list[Difference]:
    return differences(picture[:, :, 0], align(reference, picture), boxes)


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
    where = np.nonzero(laid_down(with_spot(np.zeros_like(GOOD), x, y, side_px), (right, down), turn)[:, :, 0])
    truth = (where[1].min(), where[0].min(), where[1].max() + 1, where[0].max() + 1)
    np.testing.assert_allclose(difference.box, truth, atol=4)


@given(shifts, shifts, turns, st.floats(0.85, 1.15), st.integers(2, 50))
@settings(max_examples=40, deadline=None)
def test_a_part_that_lies_otherwise_under_other_light_differs_nowhere(
    right: float, down: float, turn: float, light: float, seed: int
) -> None:
    good = board(seed)
    assert found(taken(laid_down(good, (right, down), turn), light, noise=5.0), good) == []


def test_what_is_marked_is_no_difference_but_what_lies_beside_it_is() -> None:
    part = with_spot(with_spot(GOOD, 100, 100, 20), 200, 150, 12)
    both = found(part, GOOD)
    assert [round(difference.box[0]) for difference in both] == [100, 200]
    (other,) = found(part, GOOD, ((98, 98, 122, 122),))
    assert other == both[1]
    assert other.words() == "it shows what its reference does not, at x 200 to 212, y 150 to 162"


def write_pairs(folder: Path) -> Path:
    """Write parts and their references: one is of another product; of three spots one is in a reference, one marked."""
    parts = [GOOD, with_spot(GOOD, 60, 60, 12), with_spot(GOOD, 120, 90, 16), board(2), board(3), board(4)]
    good = [GOOD, GOOD, GOOD, GOOD, with_spot(board(3), 200, 210, 10), board(4)]
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


def test_a_check_lists_them_thickest_first_and_shows_both_pictures_there(tmp_path: Path) -> None:
    data, report, target = write_pairs(tmp_path / "data"), tmp_path / "page.html", tmp_path / "found.json"
    main(["data", "check", "--data", str(data), "--report", str(report), "--json", str(target)])
    findings = {finding["name"]: finding for finding in json.loads(target.read_text())["findings"]}
    misplaced = findings["pictures that do not lie over their reference"]
    assert [Path(case["pictures"][0]).name for case in misplaced["cases"]] == ["3.png"]
    assert "matches" in misplaced["cases"][0]["says"]
    unmarked = findings["differences that nobody marked"]
    assert [
        (case["says"], case["box"], [Path(path).name for path in case["pictures"]]) for case in unmarked["cases"]
    ] == [
        ("it shows what its reference does not, at x 60 to 72, y 60 to 72", [60, 60, 72, 72], ["1.png"]),
        ("its reference shows what it does not, at x 200 to 210, y 210 to 220", [200, 210, 210, 220], ["4.png"]),
    ]
    (section,) = [part for part in report.read_text().split("<section>") if "nobody-marked" in part[:60]]
    for name in ("1.png", "1_good.png", "4.png", "4_good.png"):
        assert f"<figcaption>{name}<br>" in section
    assert section.count("<img ") == 4
    assert "reference of 4.png" in section


def test_a_training_says_so_before_it_begins(tmp_path: Path) -> None:
    split = split_by_group(read_dataset(write_pairs(tmp_path / "data")), ("2.png",))
    (words,) = [words for words in doubts(split, model_geometry(split.whole(), 1)) if "reference" in words]
    assert words.startswith("2 of 6 pictures that were looked at differ from their reference where nobody marked")
    assert f"the first {tmp_path / 'data' / '1.png'}: it shows what its reference does not, at x 60 to 72" in words
