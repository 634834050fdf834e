"""COCO and DeepPCB are read in one way for trainer and replay, and each mistake is told with file and line."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.annotations.coco import entry_lines, read_coco
from appliance.annotations.deeppcb import CLASSES, read_deeppcb, read_labels
from appliance.annotations.layouts import read_annotations
from appliance.annotations.picture_list import read_picture_list
from appliance.annotations.pictures import TruthBox
from appliance.errors import ConfigError
from tests.tiny_deeppcb import write_tiny_deeppcb

Content = dict[str, Any]
BLANK = st.text(" \n\t", max_size=3)
VALUES = st.recursive(
    st.none() | st.integers() | st.text('ab"\\[]{},:\n', max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab[{,", max_size=3), inner, max_size=3),
    max_leaves=8,
)


def write_coco(folder: Path, change: Callable[[Content], object] = lambda content: None) -> Path:
    """Write three pictures, of which the last is good; every entry stands on lines of its own."""
    for name in ("a.png", "b.png", "monday/c.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), np.full((32, 32), 90, np.uint8))
    content: Content = {
        "info": {"images": ["[", "]"]},
        "images": [
            {"id": 7, "file_name": "a.png", "group": "tuesday"},
            {"id": 8, "file_name": "b.png"},
            {"id": 9, "file_name": "monday/c.png"},
        ],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4]},
            {"id": 2, "image_id": 8, "category_id": 1, "bbox": [8, 8, 8.5, 8]},
        ],
        "categories": [{"id": 3, "name": "short"}, {"id": 1, "name": "open"}],
    }
    change(content)
    path = folder / "annotations.json"
    path.write_text(json.dumps(content, indent=1))
    return path


def test_coco_boxes_become_corners_groups_are_known_and_classes_go_by_their_number(tmp_path: Path) -> None:
    found = read_coco(write_coco(tmp_path))
    assert list(found.classes) == ["open", "short"]
    assert [(picture.group, picture.boxes) for picture in found.pictures] == [
        ("tuesday", (TruthBox("short", (1.0, 2.0, 4.0, 6.0)),)),
        ("b.png", (TruthBox("open", (8.0, 8.0, 16.5, 16.0)),)),
        ("monday", ()),
    ]


def test_coco_pictures_may_lie_in_the_images_folder(tmp_path: Path) -> None:
    path = write_coco(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "a.png").rename(tmp_path / "images" / "a.png")
    assert read_coco(path).pictures[0].path == tmp_path / "images" / "a.png"


def test_folders_may_be_written_as_windows_writes_them(tmp_path: Path) -> None:
    path = write_coco(tmp_path, lambda content: content["images"][2].update(file_name="monday\\c.png"))
    known = read_coco(path)
    assert (known.pictures[2].path, known.pictures[2].group) == (tmp_path / "monday" / "c.png", "monday")
    listed = tmp_path / "list.txt"
    listed.write_text("monday\\c.png\n")
    assert read_picture_list(listed, [tmp_path], known)[0].path == tmp_path / "monday" / "c.png"
    listed.write_text("monday\\c.png monday_not\\c.txt\n")  # as DeepPCB's own
    assert read_picture_list(listed, [tmp_path], known)[0].path == tmp_path / "monday" / "c.png"
    listed.write_text("\\\n")
    with pytest.raises(ConfigError, match="does not exist"):
        read_picture_list(listed, [tmp_path], known)
    deep = "\\".join(["no such folder " * 3] * 7)
    with pytest.raises(ConfigError, match="does not exist"):
        read_coco(write_coco(tmp_path / "deep", lambda content: content["images"][2].update(file_name=deep)))
    (tmp_path / "monday\\c.png").write_bytes((tmp_path / "a.png").read_bytes())  # elsewhere a name may hold one
    assert read_coco(path).pictures[2].path == tmp_path / "monday\\c.png"


@pytest.mark.parametrize("kind", [float, str], ids=["as tables write them", "as texts"])
def test_ids_may_be_other_than_whole_numbers_and_a_byte_order_mark_is_none_of_the_text(
    tmp_path: Path, kind: Callable[[int], float | str]
) -> None:
    before = read_coco(write_coco(tmp_path))

    def change(content: Content) -> None:
        for entry in (*content["images"], *content["annotations"], *content["categories"]):
            entry |= {key: kind(value) for key, value in entry.items() if key.endswith("id")}

    path = write_coco(tmp_path, change)
    path.write_text(path.read_text(), encoding="utf-8-sig")
    after = read_coco(path)
    assert [(picture.path, picture.boxes) for picture in after.pictures] == [
        (picture.path, picture.boxes) for picture in before.pictures
    ]
    assert list(after.classes) == list(before.classes)


@pytest.mark.parametrize(
    ("key", "index", "change", "says"),
    [
        ("annotations", 1, {"image_id": 8.5}, "'image_id' must be int, found 8.5"),
        ("annotations", 1, {"bbox": [8, 8, -1, 10]}, "no area"),
        ("annotations", 1, {"bbox": [8, 8, 1]}, "bbox"),
        ("annotations", 1, {"bbox": ["8", 8, 1, 1]}, "bbox"),
        (
            "annotations",
            1,
            {"bbox": None, "segmentation": [[8, 8, 9, 9]]},
            "'bbox' must be .* or export masks",
        ),
        ("annotations", 1, {"bbox": [], "segmentation": {"counts": [1, 2], "size": [4, 1]}}, "'bbox' must be"),
        ("annotations", 1, {"bbox": [8, 8, float("nan"), 1]}, "not finite"),
        ("annotations", 0, {"bbox": [1, 1, 10**400, 5]}, "no picture has"),
        ("annotations", 1, {"category_id": 99}, "category 99 .*1 open, 3 short"),
        ("annotations", 0, {"image_id": 99}, "no image 99"),
        ("images", 1, {"id": 7}, "id 7 is used twice"),
        ("images", 1, {"id": ""}, "'id' must be int"),
        ("annotations", 0, {"image_id": "7"}, "there is no image '7';"),
        ("images", 1, {"file_name": "a.png"}, r"a\.png is listed twice, first at .*images\[0\]; remove one"),
        ("images", 2, {"file_name": "monday/../b.png"}, r"b\.png is listed twice, first at .*images\[1\]; remove one"),
        ("images", 2, {"file_name": "gone.png"}, r"gone\.png does not exist"),
        ("images", 1, {"file_name": "a\0.png"}, "'file_name'"),
        ("images", 1, {"file_name": "a" * 5000}, "'file_name'"),
        ("images", 1, {"file_name": "a/" * 5000}, "does not exist"),
        ("images", 1, {"file_name": "a/" + "é" * 130}, "'file_name'"),
        ("images", 1, {"group": "\ud800"}, "'group'"),
        ("images", 1, {"origin": {"seq": float("nan")}}, "'origin' holds what no JSON file can"),
        ("images", 1, {"origin": {"who": "\ud800"}}, "'origin' holds what no JSON file can"),
        (
            "images",
            1,
            {"origin": {"a": json.loads("[" * 16 + "]" * 16)}},
            "'origin' is nested more than 16 levels deep",
        ),
        ("categories", 1, {"id": 3}, "id 3 is used twice"),
        ("categories", 1, {"name": "short"}, "'short' is used twice"),
        ("categories", 0, {"name": None}, "'name' must be str"),
        ("annotations", 1, "a word", "no object"),
    ],
)
def test_a_broken_coco_entry_is_named_with_its_line(
    tmp_path: Path, key: str, index: int, change: Content | str, says: str
) -> None:
    def break_it(content: Content) -> None:
        content[key][index] = {**content[key][index], **change} if isinstance(change, dict) else change

    path = write_coco(tmp_path, break_it)
    lines = path.read_text().split("\n")
    first = lines.index(f' "{key}": [') + 1
    begins = [number for number, line in enumerate(lines[first:], first + 1) if line[:2] == "  " and line[2] in '{"']
    with pytest.raises(ConfigError, match=rf"^{path}:{begins[index]}: {key}\[{index}\]: .*{says}"):
        read_coco(path)


@pytest.mark.parametrize(
    ("change", "box", "says"),
    [
        ({"bbox": [8, 8, 0, 10]}, (8.0, 8.0, 8.0, 18.0), "^$"),
        ({"bbox": [], "segmentation": [[8, 9, 20, 9, 14.5, 30], [6, 10, 7, 10, 7, 12]]}, (6.0, 9.0, 20.0, 30.0), "^$"),
        ({"bbox": None, "segmentation": [[8, 9, 20, 9, 14, 30]]}, (8.0, 9.0, 20.0, 30.0), "^$"),
        ({"iscrowd": 1}, (8.0, 8.0, 16.5, 16.0), "crowd; it is taken as one defect"),
        ({}, (8.0, 8.0, 16.5, 16.0), "^$"),
    ],
)
def test_lines_crowds_and_polygons_are_boxes_and_of_a_crowd_it_is_said(
    tmp_path: Path, change: Content, box: tuple[float, ...], says: str
) -> None:
    def change_it(content: Content) -> None:
        content["annotations"][1] |= change

    (truth,) = read_coco(write_coco(tmp_path, change_it)).pictures[1].boxes
    assert truth.box == box
    assert re.search(says, truth.taken_as)


@given(
    lists=st.dictionaries(st.text('ab"[\\\n', max_size=4), st.lists(VALUES, max_size=4), max_size=4),
    blanks=st.lists(BLANK, min_size=60, max_size=60),
    indent=st.none() | st.integers(0, 3),
)
def test_every_entry_is_found_on_the_line_where_it_begins(
    lists: dict[str, list[Any]], blanks: list[str], indent: int | None
) -> None:
    text, expected = "{", {key: [] for key in lists}  # type: ignore[var-annotated]
    for number, (key, entries) in enumerate(lists.items()):
        text += ("," if number else "") + blanks.pop() + json.dumps(key) + blanks.pop() + ":" + blanks.pop() + "["
        for position, entry in enumerate(entries):
            text += ("," if position else "") + blanks.pop()
            expected[key].append(text.count("\n") + 1)
            text += json.dumps(entry, indent=indent) + blanks.pop()
        text += blanks.pop() + "]" + blanks.pop()
    assert json.loads(text + "}") == lists
    assert entry_lines(text + "}") == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"images": [],\n"annotations": [,]}', ":2: not JSON"),
        ("[]", ":1: expected a JSON object"),
        ('{"categories": [], "images": 3}', ":1: 'images' is missing or no list"),
        ('{"categories": [], "images": [], "annotations": []}', "has no images"),
        ('{"images": ' + "9" * 5000 + "}", ":1: no JSON text"),
        ('{"images": ' + "[" * 100_000, ":1: "),
        ("\xff", "not UTF-8"),
    ],
)
def test_a_file_that_is_not_coco_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "annotations.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=rf"annotations\.json.*{says}"):
        read_coco(path)


@given(st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3)))
def test_odd_coco_content_is_a_config_error(tmp_path_factory: pytest.TempPathFactory, odd: Any) -> None:
    path = tmp_path_factory.mktemp("coco") / "annotations.json"
    path.write_text(json.dumps({"images": odd, "annotations": odd, "categories": odd}))
    with pytest.raises(ConfigError, match=r"annotations\.json"):
        read_coco(path)


def test_deeppcb_pairs_give_a_bad_part_and_a_good_one_of_their_first_folders_group(tmp_path: Path) -> None:
    found = read_deeppcb(write_tiny_deeppcb(tmp_path, {"g1": 1, "g2": 1}))
    assert [(picture.path.name, picture.group, len(picture.boxes)) for picture in found.pictures] == [
        ("0_test.jpg", "g1", 1),
        ("0_test.jpg", "g2", 1),
        ("0_temp.jpg", "g1", 0),
        ("0_temp.jpg", "g2", 0),
    ]


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
    path = tmp_path_factory.mktemp("labels") / "labels.txt"
    path.write_text("\n".join(separator.join(map(str, (x, y, x + w, y + h, kind))) for x, y, w, h, kind in rows))
    assert read_labels(path) == tuple(TruthBox(CLASSES[k - 1], (x, y, x + w, y + h)) for x, y, w, h, k in rows)


@given(st.text(max_size=60) | st.from_regex(r"[0-9]{1,4}([ ,][0-9]{1,4}){3,5}(\n.*)?", fullmatch=True))
def test_any_text_is_read_or_refused_with_its_line(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("labels") / "x.txt"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        boxes = read_labels(path)
    except ConfigError as error:
        assert str(error).startswith(f"{path}:")
        return
    assert all(box.box[0] <= box.box[2] and box.box[1] <= box.box[3] for box in boxes)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("10 20 40 60", "expected"),
        ("10 20 40 60 1 7", "expected"),
        ("a b c d 1", "expected"),
        ("10 20 40 60 1.5", "expected"),
        ("10 20 40 60 7", "type 7 is unknown"),
        ("10 20 40 60 0", "type 0 is unknown"),
        ("40 20 10 60 1", "no area"),
        ("nan 20 40 60 1", "not finite"),
    ],
)
def test_a_broken_label_is_refused_with_file_and_line(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "labels.txt"
    path.write_text(f"1 1 9 9 1\n\n{line}\n")
    with pytest.raises(ConfigError, match=rf"^{path}:3: .*{says}"):
        read_labels(path)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("g1/g1/0.jpg", "expected"),
        ("g1/g1/9.jpg g1/g1_not/0.txt", r"9_test\.jpg does not exist"),
        ("g1/g1/0.jpg g1/g1_not/0.txt", "listed twice"),
        ("./g1/g1/0.jpg g1/g1_not/0.txt", "listed twice"),
    ],
)
def test_a_broken_list_is_refused_with_file_and_line(tmp_path: Path, line: str, says: str) -> None:
    path = write_tiny_deeppcb(tmp_path, {"g1": 1})
    path.write_text(path.read_text() + "\n" + line)
    with pytest.raises(ConfigError, match=rf"^{path}:3: .*{says}"):
        read_deeppcb(path)


def test_without_any_template_there_are_neither_references_nor_good_parts(tmp_path: Path) -> None:
    path = write_tiny_deeppcb(tmp_path, {"g1": 2})
    templates = sorted(tmp_path.rglob("*_temp.jpg"))
    templates[1].unlink()
    with pytest.raises(ConfigError, match=rf"^{path}:2: .*1_temp\.jpg does not exist"):
        read_deeppcb(path)
    templates[0].unlink()
    found = read_deeppcb(path).pictures
    assert [(part.reference, bool(part.boxes)) for part in found] == [(None, True)] * 2


def test_missing_labels_are_named(tmp_path: Path) -> None:
    path = write_tiny_deeppcb(tmp_path, {"g1": 1})
    (tmp_path / "g1" / "g1_not" / "0.txt").unlink()
    with pytest.raises(ConfigError, match=r"g1_not/0\.txt: cannot be read"):
        read_deeppcb(path)


def test_a_source_is_a_file_of_either_layout_or_a_folder_with_one(tmp_path: Path) -> None:
    coco = write_coco(tmp_path / "coco")
    listed = write_tiny_deeppcb(tmp_path / "above" / "PCBData", {"g1": 1})
    other = write_tiny_deeppcb(tmp_path / "other", {"g1": 2}, "test.txt")
    layouts = {
        source: found and (found.layout, len(found.pictures))
        for source in (coco, coco.parent, listed, listed.parent, tmp_path / "above", other, other.parent)
        for found in [read_annotations(source)]
    }
    assert list(layouts.values()) == [*[("coco", 3)] * 2, *[("deeppcb", 2)] * 3, ("deeppcb", 4), None]
    with pytest.raises(ConfigError, match=r"a\.png: no annotations; give a COCO \.json"):
        read_annotations(coco.parent / "a.png")


def test_a_mask_of_run_lengths_stands_for_a_box_that_is_not_there(tmp_path: Path) -> None:
    def change(content: Content) -> None:
        mask = {"size": [8, 10], "counts": [8 * 3 + 2, 4, 4, 4, 8 * 5 + 2]}
        content["annotations"][0] = {**content["annotations"][0], "bbox": None, "segmentation": mask}

    boxes = [truth.box for picture in read_coco(write_coco(tmp_path, change)).pictures for truth in picture.boxes]
    assert (3.0, 2.0, 5.0, 6.0) in boxes


def test_an_id_may_be_larger_than_any_float(tmp_path: Path) -> None:
    path = write_coco(tmp_path, lambda content: content["categories"].append({"id": 10**400, "name": "dent"}))
    assert list(read_coco(path).classes)[-1] == "dent"
