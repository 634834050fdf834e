import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from appliance.annotations.deeppcb import CLASSES
from appliance.annotations.pictures import TruthBox
from appliance.cameras.truth import list_recorded
from appliance.errors import ConfigError
from tests.tiny_deeppcb import write_tiny_deeppcb


def save(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((8, 8), 90, np.uint8))
    return path


def write_coco(directory: Path) -> Path:
    document = {
        "images": [{"id": 7, "file_name": "a.png", "group": "monday"}, {"id": 9, "file_name": "b.png"}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4]}],
        "categories": [{"id": 3, "name": "short"}],
    }
    path = directory / "annotations.json"
    path.write_text(json.dumps(document))
    return path


def test_a_picture_that_coco_names_has_truth_and_another_beside_it_has_none(tmp_path: Path) -> None:
    a, b, unknown = save(tmp_path / "a.png"), save(tmp_path / "b.png"), save(tmp_path / "c.png")
    path = write_coco(tmp_path)
    truths = {image.path: image.truth for image in list_recorded(tmp_path)}
    assert truths == {a: (TruthBox("short", (1.0, 2.0, 4.0, 6.0)),), b: (), unknown: None}
    assert [image.path for image in list_recorded(path)] == [a, b]


def test_only_listed_pictures_of_deeppcb_are_shown_and_any_list_will_do(tmp_path: Path) -> None:
    root = tmp_path / "PCBData"
    write_tiny_deeppcb(root, {"g1": 2})
    other = write_tiny_deeppcb(root, {"g2": 1}, "test.txt")
    names = [str(image.path.relative_to(root)) for image in list_recorded(tmp_path)]
    assert names == [f"g1/g1/{number}_{kind}.jpg" for number in (0, 1) for kind in ("temp", "test")]
    assert [(image.path.name, bool(image.truth)) for image in list_recorded(other)] == [
        ("0_temp.jpg", False),
        ("0_test.jpg", True),
    ]


def test_groups_choose_among_the_annotated_pictures(tmp_path: Path) -> None:
    listed = write_tiny_deeppcb(tmp_path / "pcb", {"g1": 1, "g2": 2, "g3": 1})
    assert {image.group for image in list_recorded(listed, ["g1", "g3"])} == {"g1", "g3"}
    assert len(list_recorded(listed.parent, ["g2"])) == 4
    a = save(tmp_path / "coco" / "a.png")
    save(tmp_path / "coco" / "b.png"), save(tmp_path / "coco" / "monday" / "unknown.png")
    write_coco(tmp_path / "coco")
    assert [image.path for image in list_recorded(tmp_path / "coco", ["monday"])] == [a]


def test_a_group_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    listed = write_tiny_deeppcb(tmp_path / "pcb", {f"g{number:02}": 1 for number in range(22)})
    with pytest.raises(ConfigError, match=r"trainval\.txt: no group h1; the groups are g00, .*, g19 and 2 more$"):
        list_recorded(listed, ["g01", "h1"])
    save(tmp_path / "plain" / "monday" / "a.png")
    with pytest.raises(ConfigError, match="no annotations name groups here; name a folder below"):
        list_recorded(tmp_path / "plain", ["monday"])


def test_broken_annotations_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    (tmp_path / "annotations.json").write_text('{"images": [],\n"annotations": [,]}')
    with pytest.raises(ConfigError, match=r"annotations\.json:2: not JSON"):
        list_recorded(tmp_path)


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
    assert {box.label for truth in truths for box in truth or ()} == set(CLASSES)
