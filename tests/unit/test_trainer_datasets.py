import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import ConfigError
from tests.tiny_boards import CLASSES, write_tiny_boards
from trainer.datasets.coco import read_coco
from trainer.datasets.deeppcb import read_deeppcb, read_labels
from trainer.datasets.reading import dataset_digest, read_dataset
from trainer.datasets.sample import load_picture, picture_size
from trainer.datasets.split import describe, split_by_group

SIZE = (640, 480)


def _deeppcb(root: Path, labels: str = "10 20 40 60 3\n", groups: tuple[str, ...] = ("g1", "g2")) -> Path:
    lines = []
    for group in groups:
        folder = root / group / "a"
        folder.mkdir(parents=True)
        (root / group / "a_not").mkdir()
        for kind in ("test", "temp"):
            cv2.imwrite(str(folder / f"1_{kind}.jpg"), np.full((480, 640), 200, np.uint8))
        (root / group / "a_not" / "1.txt").write_text(labels)
        lines.append(f"{group}/a/1.jpg {group}/a_not/1.txt")
    (root / "trainval.txt").write_text("\n".join(lines))
    return root


def _labels(folder: Path, text: str) -> Path:
    path = folder / "labels.txt"
    path.write_text(text)
    return path


def test_a_template_is_a_good_part_and_the_group_is_the_first_folder(tmp_path: Path) -> None:
    dataset = read_deeppcb(_deeppcb(tmp_path))
    assert [sample.is_good for sample in dataset.samples] == [False, False, True, True]
    assert dataset.groups() == ("g1", "g2")
    assert dataset.samples[0].image.name == "1_test.jpg"
    assert dataset.samples[2].image.name == "1_temp.jpg"
    assert dataset.boxes_per_class()["mousebite"] == 2


def test_the_folder_above_and_the_list_itself_are_found_too(tmp_path: Path) -> None:
    root = _deeppcb(tmp_path / "PCBData")
    assert len(read_dataset(tmp_path).samples) == len(read_dataset(root / "trainval.txt").samples) == 4


@settings(deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 600), st.integers(0, 440), st.integers(1, 40), st.integers(1, 40), st.integers(1, 6)),
        max_size=6,
    ),
    separator=st.sampled_from([" ", ",", ", ", "\t"]),
)
def test_labels_are_read_with_either_separator(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, ...]], separator: str
) -> None:
    text = "\n".join(separator.join(map(str, (x, y, x + w, y + h, kind))) for x, y, w, h, kind in rows)
    boxes, labels = read_labels(_labels(tmp_path_factory.mktemp("labels"), text), SIZE)
    assert boxes.tolist() == [[x, y, x + w, y + h] for x, y, w, h, _ in rows]
    assert labels.tolist() == [kind - 1 for *_, kind in rows]


@settings(deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_read_or_refused_with_its_line(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("labels") / "labels.txt"
    path.write_bytes(b"1 1 9 9 1\n" + text.encode("utf-8", "surrogatepass"))
    try:
        boxes, labels = read_labels(path, SIZE)
    except ConfigError as error:
        assert str(path) in str(error)
        assert "line" in str(error) or "text" in str(error)
    else:
        assert len(boxes) == len(labels) >= 1


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("10 20 40 60", "expected"),
        ("10 20 40 60 1 7", "expected"),
        ("a b c d 1", "expected"),
        ("10 20 40 60 1.5", "expected"),
        ("10 20 40 60 7", "unknown"),
        ("10 20 40 60 0", "unknown"),
        ("40 20 10 60 1", "no area"),
        ("10 20 10 60 1", "no area"),
        ("-1 20 40 60 1", "leaves"),
        ("10 20 641 60 1", "leaves"),
        ("10 20 40 481 1", "leaves"),
        ("nan 20 40 60 1", "not finite"),
    ],
)
def test_a_broken_label_is_refused_with_file_and_line(tmp_path: Path, line: str, word: str) -> None:
    path = _labels(tmp_path, f"1 1 9 9 1\n\n{line}\n")
    with pytest.raises(ConfigError, match=rf"labels\.txt, line 3: .*{word}"):
        read_labels(path, SIZE)


def test_a_missing_picture_is_refused_with_the_line_that_lists_it(tmp_path: Path) -> None:
    root = _deeppcb(tmp_path)
    (root / "g2" / "a" / "1_temp.jpg").unlink()
    with pytest.raises(ConfigError, match=r"trainval\.txt, line 2: .*1_temp\.jpg"):
        read_deeppcb(root)


def test_missing_labels_and_doubled_lines_are_refused(tmp_path: Path) -> None:
    root = _deeppcb(tmp_path)
    list_file = root / "trainval.txt"
    list_file.write_text(list_file.read_text() + "\n" + list_file.read_text())
    with pytest.raises(ConfigError, match=r"line 3: .*listed twice"):
        read_deeppcb(root)
    list_file.write_text("g1/a/1.jpg g1/a_not/missing.txt")
    with pytest.raises(ConfigError, match=r"missing\.txt"):
        read_deeppcb(root)


def test_a_path_without_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"trainval\.txt"):
        read_dataset(tmp_path)
    with pytest.raises(ConfigError, match="does not exist"):
        read_dataset(tmp_path / "nowhere")


def test_coco_boxes_become_corners_and_empty_images_good_parts(tmp_path: Path) -> None:
    content = json.loads(write_tiny_boards(tmp_path).read_text())
    dataset = read_dataset(tmp_path)
    x, y, width, height = content["annotations"][0]["bbox"]
    assert dataset.classes == CLASSES
    assert dataset.samples[0].boxes[0].tolist() == [x, y, x + width, y + height]
    assert [sample.is_good for sample in dataset.samples] == [number % 4 == 3 for number in range(12)]
    assert dataset.groups() == ("family0", "family1", "family2")


def _break(content: dict[str, Any], case: str) -> None:
    first = content["annotations"][1]
    if case == "outside":
        first["bbox"] = [80, 80, 30, 10]
    elif case == "zero":
        first["bbox"] = [8, 8, 0, 10]
    elif case == "category":
        first["category_id"] = 99
    elif case == "image":
        first["image_id"] = 99
    elif case == "text":
        first["bbox"] = ["8", 8, 1, 1]
    elif case == "size":
        content["images"][0] |= {"width": 10, "height": 10}
    elif case == "twice":
        content["images"][1]["id"] = 0
    elif case == "file":
        content["images"][2]["file_name"] = "gone.png"
    elif case == "crowd":
        first["iscrowd"] = 1


@pytest.mark.parametrize(
    ("case", "entry"),
    [
        ("outside", r"annotations\[1\] .*leaves"),
        ("zero", r"annotations\[1\] .*no area"),
        ("category", r"annotations\[1\] .*category 99"),
        ("image", r"annotations\[1\] .*no image 99"),
        ("text", r"annotations\[1\] .*bbox"),
        ("size", r"images\[0\].*96 x 96"),
        ("twice", r"images\[1\].*twice"),
        ("file", r"images\[2\].*gone\.png"),
        ("crowd", r"annotations\[1\] .*iscrowd"),
    ],
)
def test_a_broken_coco_entry_is_refused_by_name(tmp_path: Path, case: str, entry: str) -> None:
    path = write_tiny_boards(tmp_path)
    content = json.loads(path.read_text())
    _break(content, case)
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=rf"annotations\.json: {entry}"):
        read_coco(path)


def test_broken_json_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "annotations.json"
    path.write_text('{"images": [],\n "annotations": [}\n')
    with pytest.raises(ConfigError, match=r"annotations\.json, line 2"):
        read_coco(path)


@settings(deadline=None)
@given(st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3)))
def test_odd_coco_content_is_a_config_error(tmp_path_factory: pytest.TempPathFactory, odd: Any) -> None:
    path = tmp_path_factory.mktemp("coco") / "annotations.json"
    path.write_text(json.dumps({"images": odd, "annotations": odd, "categories": odd}))
    with pytest.raises(ConfigError, match=r"annotations\.json"):
        read_coco(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
def test_a_pictures_size_is_the_decoded_one(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"picture{suffix}"
    cv2.imwrite(str(path), np.zeros((37, 53, 3), np.uint8))
    assert picture_size(path, "here") == (53, 37)
    assert load_picture(path, 3).shape == (37, 53, 3)
    assert load_picture(path, 1).shape == (37, 53, 1)


def test_a_colour_picture_is_read_as_rgb(tmp_path: Path) -> None:
    path = tmp_path / "red.png"
    cv2.imwrite(str(path), np.full((8, 8, 3), (0, 0, 255), np.uint8))
    assert load_picture(path, 3)[0, 0].tolist() == [255, 0, 0]


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"not a picture")
    with pytest.raises(ConfigError, match=r"here: .*not a picture"):
        picture_size(path, "here")


@settings(deadline=None)
@given(share=st.floats(0.05, 0.6), seed=st.integers(0, 1000), groups=st.integers(2, 6))
def test_no_group_is_in_two_splits(
    tmp_path_factory: pytest.TempPathFactory, share: float, seed: int, groups: int
) -> None:
    dataset = read_coco(write_tiny_boards(tmp_path_factory.mktemp("boards"), groups=groups, side_px=32))
    split = split_by_group(dataset, share=share, seed=seed)
    assert not set(split.train.groups()) & set(split.validation.groups())
    assert len(split.train.samples) + len(split.validation.samples) == len(dataset.samples)
    assert split.validation.samples


def test_named_groups_are_held_out_and_told(tmp_path: Path) -> None:
    split = split_by_group(read_coco(write_tiny_boards(tmp_path)), ("family1",))
    rows = describe(split)
    assert [(row["group"], row["split"]) for row in rows] == [
        ("family0", "train"),
        ("family2", "train"),
        ("family1", "validation"),
    ]
    assert sum(int(row["pictures"]) for row in rows) == 12
    boxes = sum(len(sample.labels) for sample in split.validation.samples)
    assert int(rows[2]["scratch"]) + int(rows[2]["dent"]) == boxes


def test_an_unknown_or_only_group_cannot_be_held_out(tmp_path: Path) -> None:
    dataset = read_coco(write_tiny_boards(tmp_path))
    with pytest.raises(ConfigError, match="no group family9"):
        split_by_group(dataset, ("family9",))
    with pytest.raises(ConfigError, match="none is left"):
        split_by_group(dataset, dataset.groups())


def test_the_digest_follows_pictures_and_labels_and_not_the_place(tmp_path: Path) -> None:
    first = dataset_digest(read_coco(write_tiny_boards(tmp_path / "a")))
    same = dataset_digest(read_coco(write_tiny_boards(tmp_path / "b")))
    other = dataset_digest(read_coco(write_tiny_boards(tmp_path / "c", seed=1)))
    assert first == same != other
