"""Pictures that are there twice: what is a copy, and whether its labels contradict the other's."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.data_checks import add, change, checked, sound_data
from tests.tiny_boards import board
from trainer.datasets.sample import load_picture


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return sound_data(tmp_path / "data")


def test_a_copy_in_one_group_is_a_warning(data: Path) -> None:
    (data / "copy.png").write_bytes((data / "000.png").read_bytes())
    add(data, "copy.png", "family0", like=0)
    assert checked(data) == {"warning: exact copies": [("2 files are the same", ["000.png", "copy.png"])]}


def test_a_copy_with_other_labels_is_a_contradiction(data: Path) -> None:
    (data / "copy.png").write_bytes((data / "000.png").read_bytes())
    add(data, "copy.png", "family0")
    assert [files for _, files in checked(data, code=1)["wrong: contradicting labels"]] == [["000.png", "copy.png"]]


@pytest.mark.parametrize(("light", "shift_px"), [(1.0, 1), (1.0, 6), (0.5, 0), (1.3, 3)])
@pytest.mark.parametrize("labelled", ["both", "first", "second"])
def test_labels_of_a_copy_under_other_light_or_aside_contradict_each_other_only_if_one_lacks_them(
    data: Path, light: float, shift_px: int, labelled: str
) -> None:
    bad = board(7)
    bad[42:50, 42:52] = 190
    again = np.clip(np.roll(bad, shift_px, axis=1) * light, 0, 255).astype(np.uint8)
    for name, pixels in (("a.png", bad), ("b.png", again)):
        cv2.imwrite(str(data / name), pixels)
        add(data, name, "family0")
    marks = [
        {"id": 900 + at, "image_id": 12 + at, "category_id": 1, "bbox": [42 + at * shift_px, 42, 10, 8]}
        for at, whose in enumerate(("first", "second"))
        if labelled in ("both", whose)
    ]
    change(data, lambda content: content["annotations"].extend(marks))
    found = checked(data, code=0 if labelled == "both" else 1)
    assert "warning: near-duplicates" in found
    expected = [] if labelled == "both" else [["a.png", "b.png"]]
    assert [files for _, files in found.get("wrong: contradicting labels", [])] == expected


@pytest.mark.parametrize("good_is_first", [True, False])
def test_a_defect_on_a_board_that_lies_aside_of_a_good_one_contradicts_nothing(data: Path, good_is_first: bool) -> None:
    good, bad = board(7), board(7)
    bad[42:48, 42:48] = 255
    pictures = [good, np.roll(bad, 5, axis=1)] if good_is_first else [np.roll(bad, 5, axis=1), good]
    for name, pixels in zip(("a.png", "b.png"), pictures, strict=True):
        cv2.imwrite(str(data / name), pixels)
        add(data, name, "family0")
    mark = {"id": 900, "image_id": 13 if good_is_first else 12, "category_id": 1, "bbox": [47, 42, 6, 6]}
    change(data, lambda content: content["annotations"].append(mark))
    assert checked(data).keys() == {"warning: near-duplicates", "warning: thin boxes"}


def test_a_picture_saved_again_with_other_labels_is_a_contradiction(data: Path) -> None:
    cv2.imwrite(str(data / "again.jpg"), load_picture(data / "000.png", 3))
    add(data, "again.jpg", "family0", like=0)
    assert checked(data).keys() == {"warning: mixed channels or depths", "warning: near-duplicates"}
    change(data, lambda content: content["annotations"].pop())
    assert [files for _, files in checked(data, code=1)["wrong: contradicting labels"]] == [["000.png", "again.jpg"]]


@pytest.mark.parametrize("bbox", [(40, 40, 12, 8), (10, 10, 80, 70)], ids=["tight", "loose"])
def test_a_good_part_and_the_same_board_with_a_defect_contradict_nothing(
    data: Path, bbox: tuple[int, int, int, int]
) -> None:
    good = board(7)
    bad = good.copy()
    bad[42:46, 42:50] = 255
    for name, pixels in (("good.png", good), ("bad.png", bad)):
        cv2.imwrite(str(data / name), pixels)
        add(data, name, "family0")
    change(
        data,
        lambda content: content["annotations"].append({"id": 900, "image_id": 13, "category_id": 1, "bbox": bbox}),
    )
    assert checked(data).keys() == {"warning: near-duplicates"}
