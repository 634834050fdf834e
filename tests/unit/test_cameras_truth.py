import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.cameras.truth import DEEPPCB_LABELS, TruthBox, list_recorded, read_coco, read_deeppcb_labels
from appliance.errors import ConfigError


def save(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((8, 8), 90, np.uint8))
    return path


def write_coco(directory: Path, **changes: object) -> Path:
    document: dict[str, object] = {
        "images": [{"id": 7, "file_name": "a.png"}, {"id": 9, "file_name": "b.png"}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4]}],
        "categories": [{"id": 3, "name": "short"}],
    }
    path = directory / "annotations.json"
    path.write_text(json.dumps({**document, **changes}, indent=1))
    return path


def test_coco_boxes_become_corners_and_an_image_without_boxes_is_a_good_part(tmp_path: Path) -> None:
    a, b, unknown = save(tmp_path / "a.png"), save(tmp_path / "b.png"), save(tmp_path / "c.png")
    write_coco(tmp_path)
    truths = {image.path: image.truth for image in list_recorded(tmp_path)}
    assert truths == {a: (TruthBox("short", (1.0, 2.0, 4.0, 6.0)),), b: (), unknown: None}


def test_coco_pictures_may_lie_in_the_images_folder(tmp_path: Path) -> None:
    inside = save(tmp_path / "images" / "a.png")
    write_coco(tmp_path, images=[{"id": 7, "file_name": "a.png"}])
    assert [image.path for image in list_recorded(tmp_path)] == [inside]


@pytest.mark.parametrize(
    ("changes", "needle", "says"),
    [
        (
            {"annotations": [{"image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 0]}]},
            '"image_id": 7',
            "bbox [1, 2, 3, 0]",
        ),
        ({"annotations": [{"image_id": 7, "category_id": 3, "bbox": [1, 2]}]}, '"image_id": 7', "annotations[0]"),
        ({"annotations": [{"image_id": 8, "category_id": 3, "bbox": [1, 2, 3, 4]}]}, '"image_id": 8', "8 is missing"),
        ({"images": [{"id": 7, "file_name": "a.png"}, {"id": 9, "file_name": "gone.png"}]}, '"id": 9', "'gone.png'"),
        ({"categories": [{"id": 3}]}, '"id": 3', "'name' is missing"),
        ({"annotations": ["x"]}, '"x"', "annotations[0]"),
    ],
)
def test_a_broken_coco_entry_is_named_with_its_line(
    tmp_path: Path, changes: dict[str, object], needle: str, says: str
) -> None:
    save(tmp_path / "a.png"), save(tmp_path / "b.png")
    path = write_coco(tmp_path, **changes)
    lines = path.read_text().split("\n")
    where = next(number for number, line in enumerate(lines, start=1) if needle in line)
    with pytest.raises(ConfigError) as raised:
        read_coco(path)
    named = int(str(raised.value).split(":")[1])
    assert where - 1 <= named <= where  # the entry's brace is on the line above its first key
    assert says in str(raised.value)


def test_annotations_that_are_not_json_are_refused_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "annotations.json"
    path.write_text('{"images": [],\n"annotations": [,]}')
    with pytest.raises(ConfigError, match=r"annotations\.json:2: not JSON"):
        list_recorded(tmp_path)


@pytest.mark.parametrize("text", ["[]", "{}", '{"images": 3}', '{"categories": [], "images": []}', "\xff"])
def test_a_json_file_that_is_not_coco_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "annotations.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"annotations\.json"):
        read_coco(path)


@given(st.text(max_size=60) | st.from_regex(r"[0-9]{1,4}([ ,][0-9]{1,4}){3,5}(\n.*)?", fullmatch=True))
def test_deeppcb_labels_are_read_or_refused_with_the_line(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("labels") / "x.txt"
    path.write_text(text, encoding="utf-8", errors="replace", newline="")
    try:
        boxes = read_deeppcb_labels(path)
    except ConfigError as error:
        assert str(error).startswith(f"{path}:")
        return
    for box in boxes:
        assert box.label in DEEPPCB_LABELS
        assert box.box[0] < box.box[2]
        assert box.box[1] < box.box[3]


def test_deeppcb_pairs_give_a_bad_part_and_a_good_one(tmp_path: Path) -> None:
    root = tmp_path / "PCBData"
    tested, template = save(root / "g" / "1" / "0001_test.jpg"), save(root / "g" / "1" / "0001_temp.jpg")
    save(root / "g" / "1" / "0002_test.jpg")
    (root / "g" / "1_not").mkdir()
    (root / "g" / "1_not" / "0001.txt").write_text("1 2 3 4 1\n5,6,7,8,6\n")
    (root / "trainval.txt").write_text("g/1/0001.jpg g/1_not/0001.txt\n")
    truths = {image.path: image.truth for image in list_recorded(tmp_path)}
    assert truths == {
        tested: (TruthBox("open", (1.0, 2.0, 3.0, 4.0)), TruthBox("pin_hole", (5.0, 6.0, 7.0, 8.0))),
        template: (),
    }


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("g/1/0001.jpg", "expected"),
        ("g/1/0009.jpg g/1_not/0001.txt", "does not exist"),
        ("g/1/0001.jpg g/1_not/0009.txt", "cannot be read"),
    ],
)
def test_a_broken_deeppcb_list_is_refused_with_file_and_line(tmp_path: Path, line: str, says: str) -> None:
    save(tmp_path / "g" / "1" / "0001_test.jpg"), save(tmp_path / "g" / "1" / "0001_temp.jpg")
    (tmp_path / "trainval.txt").write_text("\n" + line + "\n")
    with pytest.raises(ConfigError, match=says) as raised:
        list_recorded(tmp_path)
    assert "trainval.txt:2" in str(raised.value) or "0009.txt" in str(raised.value)


@pytest.mark.parametrize(
    ("line", "says"),
    [("1 2 3 4 7", "type 7"), ("3 2 1 4 1", "empty or negative"), ("1 2 3 4", "expected"), ("1 2 3 4 x", "expected")],
)
def test_a_broken_deeppcb_label_is_refused_with_file_and_line(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "x.txt"
    path.write_text("1 2 3 4 1\n\n" + line)
    with pytest.raises(ConfigError, match=rf"x\.txt:3: .*{says}"):
        read_deeppcb_labels(path)


def test_pictures_come_in_natural_order_with_sub_folders_and_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("part10.png", "part2.JPG", "b/part1.bmp", ".cache/part0.png", "part03.tif"):
        save(tmp_path / name.replace("JPG", "jpg")).rename(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a picture")
    names = [str(image.path.relative_to(tmp_path)) for image in list_recorded(tmp_path)]
    assert names == ["b/part1.bmp", "part2.JPG", "part03.tif", "part10.png"]


def test_a_missing_or_empty_folder_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no picture here"):
        list_recorded(tmp_path)
    with pytest.raises(ConfigError, match="cannot be read"):
        list_recorded(tmp_path / "gone")


def test_deeppcb_itself_is_read_as_many_good_as_bad_parts(deeppcb: Path) -> None:
    truths = [image.truth for image in list_recorded(deeppcb)]
    assert sum(truth == () for truth in truths) == sum(bool(truth) for truth in truths) == len(truths) // 2
    assert {box.label for truth in truths for box in truth or ()} == set(DEEPPCB_LABELS)
