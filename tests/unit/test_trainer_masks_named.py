"""What a mask may be called; one whose name says nothing is refused, and never a picture of a good part."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.masked import imported, mask, photo, refused


@pytest.mark.parametrize(
    ("picture", "name"),
    [
        ("a.jpg", "a_label.bmp"),
        ("a.jpg", "a_MASK.png"),
        ("a.jpg", "a_Seg.tif"),
        ("a.png", "a_Gt.bmp"),
        ("a.jpg", "a.bmp"),
        ("a.jpg", "a.tiff"),
        ("images/a.jpg", "labels/a.png"),
        ("train/images/a.png", "train/GT/a.png"),
        ("images/a.jpg", "Segmentation/a_label.bmp"),
        ("images/a.jpg", "annotations/a.tif"),
    ],
)
def test_a_mask_is_known_by_its_end_its_folder_or_the_name_of_a_jpeg(tmp_path: Path, picture: str, name: str) -> None:
    source = tmp_path / "set"
    photo(source / picture)
    mask(source / name, (5, 10, 20, 10))
    photo(source / "good/y.jpg")
    assert imported(source, "--classes", "flaw") == {"a": [("flaw", (5, 10, 20, 10))], "y": []}


def test_bitmaps_beside_jpegs_are_taken_as_masks_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo(tmp_path / "set/dent/a.jpg")
    mask(tmp_path / "set/dent/a.bmp", (5, 10, 20, 10))
    assert imported(tmp_path / "set") == {"a": [("dent", (5, 10, 20, 10))]}
    assert "1 BMP files are taken as the masks of JPEGs beside" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("layout", ["masks", "folders"])
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("bad/{}_something.png", (255,)),
        ("bad/{}-truth.bmp", (1, 2, 3)),
        ("marked/{}.png", (255,)),
        ("bad/mask_{}.png", (255,)),
        ("marked/gt {}.bmp", (1, 2)),
    ],
)
def test_masks_of_an_unknown_name_are_refused_by_their_pixels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], layout: str, name: str, values: tuple[int, ...]
) -> None:
    photo(tmp_path / "set/good/y.jpg")
    for number in range(6):
        photo(tmp_path / f"set/bad/a{number}.jpg")
        marks = [(5 + 8 * at, 10, 6, 4) for at in range(len(values))] if number else []
        mask(tmp_path / "set" / name.format(f"a{number}"), *marks, values=values)
    told = refused(capsys, tmp_path / "set", layout)
    assert f"{tmp_path}/set/{name.format('a1')}: is called like {tmp_path}/set/bad/a1.jpg and shows " in told
    assert f"{len(values) + 1} values only, as a mask does" in told
    assert "rename such masks to a1_mask" in told


def test_a_coloured_mask_and_one_taken_for_the_picture_of_a_png_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo(tmp_path / "set/a.png")
    mask(tmp_path / "set/a.bmp", (5, 10, 20, 10))
    assert "set/a.bmp: is called like" in refused(capsys, tmp_path / "set", "masks", "--classes", "flaw")
    (tmp_path / "set/a.bmp").unlink()
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[5:9, 5:9] = (0, 0, 128)
    cv2.imwrite(str(tmp_path / "set/a colour.png"), pixels)
    assert "set/a colour.png: is called like" in refused(capsys, tmp_path / "set", "masks", "--classes", "flaw")


def test_pictures_that_are_called_like_another_and_more_stay_pictures(tmp_path: Path) -> None:
    for name in ("part.png", "part_1.png", "part_2.png", "part_label_2.png", "other/part.png", "mask_part.png"):
        photo(tmp_path / "set" / name)
    for name in ("edge.png", "edge_1.png"):  # both of two values: a camera that thresholds
        mask(tmp_path / "set" / name, (5, 10, 20, 10))
    for name in ("a_seg.jpg", "b_label.jpg"):  # no picture is called a or b: it is what they show
        photo(tmp_path / "set" / name)
    mask(tmp_path / "set/part_mask.png", (5, 10, 20, 10))
    found = imported(tmp_path / "set", "--classes", "flaw", name=lambda path: str(path.relative_to("../set")))
    assert sorted(path for path, boxes in found.items() if not boxes) == [
        "a_seg.jpg", "b_label.jpg", "edge.png", "edge_1.png", "mask_part.png", "other/part.png", "part_1.png",
        "part_2.png", "part_label_2.png",
    ]  # fmt: skip
    assert found["part.png"] == [("flaw", (5, 10, 20, 10))]


@pytest.mark.parametrize(
    ("picture", "drawn"),
    [
        ("segmentation/images/x.jpg", "segmentation/masks/x.png"),
        ("annotations/x.jpg", "annotations/x_mask.png"),
        ("labels/x.jpg", "labels/x.png"),
    ],
)
def test_a_folder_called_labels_may_hold_the_pictures(tmp_path: Path, picture: str, drawn: str) -> None:
    photo(tmp_path / "set" / picture)
    mask(tmp_path / "set" / drawn, (5, 10, 20, 10))
    assert imported(tmp_path / "set", "--classes", "flaw") == {"x": [("flaw", (5, 10, 20, 10))]}


@pytest.mark.parametrize("name", ["a.tif", "a_label.png", "labels/a.png"])
def test_a_photograph_that_is_called_like_a_mask_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    photo(tmp_path / "set/a.jpg")
    taken = photo(tmp_path / "set" / name)
    assert f"{taken}: is called like a mask of a, but" in refused(
        capsys, tmp_path / "set", "masks", "--classes", "flaw"
    )


def test_a_photograph_that_no_png_could_hold_stays_one(tmp_path: Path) -> None:
    for name in ("a.png", "a_label.jpg"):
        photo(tmp_path / "set" / name)
    mask(tmp_path / "set/a_mask.png", (5, 10, 20, 10))
    assert imported(tmp_path / "set", "--classes", "flaw") == {"a": [("flaw", (5, 10, 20, 10))], "a_label": []}
