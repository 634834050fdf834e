"""What a mask's pixels become where it was not drawn with 0 and 255 alone, and what the import says of it."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.masked import HEIGHT, WIDTH, imported, mask, photo, refused, said


def soft(path: Path, *cells: tuple[int, int]) -> None:
    """Write a mask with defects of 8 x 8 pixels and a rim of two weaker pixels around, cut off from them by noise."""
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
    for x, y in cells:
        pixels[y - 2 : y + 10 : 2, x - 2 : x + 10 : 2] = 60
        pixels[y : y + 8, x : x + 8] = 200
        pixels[y + 3, x + 3] = 250
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels)


@pytest.mark.parametrize("words", [(), ("--classes", "dent")])
def test_of_a_mask_with_soft_edges_what_is_above_half_of_its_brightest_is_the_defect(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    photo(tmp_path / "set/dent/a.jpg")
    soft(tmp_path / "set/dent/a_mask.png", (4, 4), (40, 20))
    photo(tmp_path / "set/dent/b.jpg")
    mask(tmp_path / "set/dent/b_mask.png", (1, 1, 5, 6), values=(100,))
    assert imported(tmp_path / "set", *words) == {
        "a": [("dent", (4, 4, 8, 8)), ("dent", (40, 20, 8, 8))],
        "b": [("dent", (1, 1, 5, 6))],
    }
    told = said(capsys)
    assert "1 masks have values between their ground and their brightest, the first" in told
    assert "fewer than" not in told


def test_numbers_in_a_mask_of_one_class_are_all_the_defect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo(tmp_path / "set/dent/a.jpg")
    mask(tmp_path / "set/dent/a_mask.png", (1, 1, 5, 6), (20, 20, 4, 4), values=(1, 9))
    assert imported(tmp_path / "set") == {"a": [("dent", (1, 1, 5, 6)), ("dent", (20, 20, 4, 4))]}
    assert "values between" not in said(capsys)


def test_weaker_regions_of_a_drawn_mask_are_defects_too(tmp_path: Path) -> None:
    photo(tmp_path / "set/dent/a.jpg")
    marks = [(1, 1, 5, 6), (20, 1, 4, 4), (40, 30, 3, 3)]
    mask(tmp_path / "set/dent/a_mask.png", *marks, values=(50, 100, 255))
    assert sorted(imported(tmp_path / "set")["a"]) == sorted(("dent", mark) for mark in marks)


def test_regions_of_one_or_two_pixels_are_defects_and_counted_aloud(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo(tmp_path / "set/dent/a.jpg")
    drawn = mask(tmp_path / "set/dent/a_mask.png", (1, 1, 5, 6), (20, 20, 1, 1), (30, 30, 1, 2), (40, 40, 1, 3))
    assert len(imported(tmp_path / "set")["a"]) == 4
    assert f"beware: 2 regions have fewer than 3 pixels, the first in {drawn}: each is taken as a defect" in said(
        capsys
    )


def test_masks_with_a_white_ground_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b", "c"):
        photo(tmp_path / f"set/dent/{name}.jpg")
    first = mask(tmp_path / "set/dent/a_mask.png", (20, 20, 5, 5), values=(0,), ground=255)
    mask(tmp_path / "set/dent/b_mask.png", (0, 5, 3, 4), values=(0,), ground=255)
    mask(tmp_path / "set/dent/c_mask.png", (20, 20, 5, 5))
    imported(tmp_path / "set")
    told = said(capsys)
    assert f"beware: 2 of 3 masks mark their border nearly all around, the first {first}: " in told
    assert "invert them (0 = background)" in told
    mask(tmp_path / "set/dent/b_mask.png", (0, 0, 40, HEIGHT))  # a large defect, and one that marks its whole border
    imported(tmp_path / "set")
    assert "border" not in said(capsys)


@pytest.mark.parametrize("colour", [0, 255])
def test_a_shape_that_only_transparency_shows_is_the_defect(tmp_path: Path, colour: int) -> None:
    photo(tmp_path / "set/dent/a.jpg")
    pixels = np.full((HEIGHT, WIDTH, 4), colour, np.uint8)
    pixels[:, :, 3] = 0
    pixels[4:10, 6:9, 3] = 255
    cv2.imwrite(str(tmp_path / "set/dent/a_mask.png"), pixels)
    assert imported(tmp_path / "set") == {"a": [("dent", (6, 4, 3, 6))]}


def test_an_empty_mask_among_defects_of_a_kind_is_told_where_good_parts_lie_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b", "c"):
        photo(tmp_path / f"set/dent/{name}.jpg")
        mask(tmp_path / f"set/dent/{name}_mask.png", *([(20, 20, 5, 5)] if name == "a" else []))
    imported(tmp_path / "set")
    assert "are empty" not in said(capsys)  # good parts and bad ones may lie in one folder
    photo(tmp_path / "set/clean/y.jpg")
    mask(tmp_path / "set/clean/y_mask.png")  # a folder of good parts alone is no kind, if there is no good/
    assert imported(tmp_path / "set") == {"a": [("dent", (20, 20, 5, 5))], "b": [], "c": [], "y": []}
    told = said(capsys)
    first = tmp_path / "set/dent/b_mask.png"
    assert f"beware: 2 masks in the folder of a kind of defect are empty, the first {first}, and" in told
    photo(tmp_path / "set/good/z.jpg")
    imported(tmp_path / "set")
    assert "beware: 3 masks in the folder of a kind of defect are empty" in said(capsys)
    imported(tmp_path / "set", "--classes", "flaw")
    assert "are empty" not in said(capsys)  # the folder is no kind then


@pytest.mark.parametrize(("brightest", "ground"), [(1.0, 0.1), (0.8, 0.0), (255.0, 0.5)])
def test_a_mask_of_floats_is_one_of_soft_edges(tmp_path: Path, brightest: float, ground: float) -> None:
    photo(tmp_path / "set/dent/a.jpg")
    shares = np.full((HEIGHT, WIDTH), ground, np.float32)
    shares[4:10, 1:9] = 0.3 * brightest
    shares[5:9, 2:8] = brightest
    cv2.imwrite(str(tmp_path / "set/dent/a_mask.tif"), shares)
    assert imported(tmp_path / "set") == {"a": [("dent", (2, 5, 6, 4))]}


@pytest.mark.parametrize("brightest", [1e-38, 2e-5, 0.4])
def test_shares_below_one_half_are_no_defect(tmp_path: Path, brightest: float) -> None:
    photo(tmp_path / "set/dent/a.jpg")
    shares = np.zeros((HEIGHT, WIDTH), np.float32)
    shares[5:9, 2:8] = brightest
    cv2.imwrite(str(tmp_path / "set/dent/a_mask.tif"), shares)
    assert imported(tmp_path / "set") == {"a": []}


def test_whole_numbers_of_a_mask_of_floats_are_its_classes(tmp_path: Path) -> None:
    photo(tmp_path / "set/a.jpg")
    numbers = np.zeros((HEIGHT, WIDTH), np.float32)
    numbers[5:9, 2:8] = 2
    cv2.imwrite(str(tmp_path / "set/a_mask.tif"), numbers)
    assert imported(tmp_path / "set", "--classes", "dent,pit") == {"a": [("pit", (2, 5, 6, 4))]}


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.5, "has fractions"), (np.nan, "no number"), (-1.0, "has pixels below 0"), (3e9, "above 1073741824")],
)
def test_a_mask_whose_floats_say_nothing_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], value: float, words: str
) -> None:
    photo(tmp_path / "set/a.jpg")
    numbers = np.zeros((HEIGHT, WIDTH), np.float32)
    numbers[5:9, 2:8] = value
    drawn = tmp_path / "set/a_mask.tif"
    cv2.imwrite(str(drawn), numbers)
    told = refused(capsys, tmp_path / "set", "masks", "--classes", "dent,pit")
    assert words in told
    assert str(drawn) in told
