"""Which picture a mask belongs to, and which folder says what it shows."""

from pathlib import Path

import pytest

from tests.masked import Read, imported, mask, photo, refused, said

MARK = (5, 10, 20, 10)
CRACK: Read = {"x": [("Crack", MARK)]}


@pytest.mark.parametrize(
    ("picture", "drawn"),
    [
        ("Crack/imgs/x.jpg", "Crack/masks/x.png"),
        ("Crack/x.jpg", "masks/x.png"),
        ("train/images/Crack/x.jpg", "train/masks/x.png"),
        ("Crack/test/x.jpg", "masks/test/x.png"),
    ],
)
def test_where_nothing_else_says_the_class_the_folder_of_the_picture_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], picture: str, drawn: str
) -> None:
    source = tmp_path / "set"
    photo(source / picture)
    mask(source / drawn, MARK)
    photo(source / "good/y.jpg")
    mask(source / "masks/y.png")
    assert imported(source) == {**CRACK, "y": []}
    assert f"of 1 masks only the folder of their picture says the class, the first {source / drawn}" in said(capsys)
    assert imported(source, "--classes", "flaw") == {"x": [("flaw", MARK)], "y": []}
    photo((source / picture).with_name("w.jpg"))
    assert "w.jpg: shows a defect and has no mask" in refused(capsys, source, "masks")


def test_a_folder_in_masks_says_the_class_before_that_of_the_picture(tmp_path: Path) -> None:
    photo(tmp_path / "set/line1/x.jpg")
    mask(tmp_path / "set/masks/Crack/x.png", MARK)
    assert imported(tmp_path / "set") == CRACK


@pytest.mark.parametrize("folder", ["images", "imgs", "train", "test/images", "Pictures"])
def test_a_folder_that_is_no_kind_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str], folder: str) -> None:
    photo(tmp_path / "set" / folder / "x.jpg")
    drawn = mask(tmp_path / "set/masks/x.png", MARK)
    assert f"{drawn}: nothing says what it shows" in refused(capsys, tmp_path / "set", "masks")


@pytest.mark.parametrize("folders", [("{}/images", "{}/masks"), ("{}/imgs", "{}/masks/Crack"), ("{}", "{}/gt")])
def test_of_pictures_of_one_name_a_mask_belongs_to_the_nearest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], folders: tuple[str, str]
) -> None:
    marks = {"train": [MARK], "test": [], "val": [(1, 1, 4, 4), (20, 20, 5, 5)]}
    pictures, masks = folders
    for part, drawn in marks.items():
        photo(tmp_path / "set" / pictures.format(part) / "x.jpg")
        mask(tmp_path / "set" / masks.format(part) / "x.png", *drawn)
    found = imported(tmp_path / "set", "--classes", "Crack", name=lambda path: path.relative_to("../set").parts[0])
    assert found == {part: [("Crack", mark) for mark in drawn] for part, drawn in marks.items()}
    odd = mask(tmp_path / "set/masks/x.png", MARK)
    assert f"{odd}: belongs to one picture called x, found" in refused(capsys, tmp_path / "set", "masks")


def test_a_picture_further_up_of_the_same_name_is_not_the_nearest(tmp_path: Path) -> None:
    photo(tmp_path / "set/images/x.jpg")
    photo(tmp_path / "set/partA/images/x.jpg")
    mask(tmp_path / "set/partA/masks/x.png", MARK)
    found = imported(tmp_path / "set", "--classes", "Crack", name=lambda path: path.relative_to("../set").parts[0])
    assert found == {"images": [], "partA": [("Crack", MARK)]}


def test_a_folder_that_is_no_kind_says_nothing_of_a_mask_beside_its_picture_either(tmp_path: Path) -> None:
    photo(tmp_path / "set/data/Crack/x.jpg")
    mask(tmp_path / "set/data/Crack/x_mask.png", MARK)
    assert imported(tmp_path / "set") == CRACK
