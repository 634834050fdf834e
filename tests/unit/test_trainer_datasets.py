import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import ConfigError
from tests.tiny_boards import CLASSES, write_tiny_boards
from tests.tiny_deeppcb import write_tiny_deeppcb
from trainer.__main__ import main
from trainer.datasets.copper import COPPER
from trainer.datasets.layouts.boxes import fitted
from trainer.datasets.reading import bundle_name, dataset_digest, read_dataset
from trainer.datasets.sample import Dataset, Sample, load_picture, picture_size
from trainer.datasets.split import describe, split_by_group


def _deeppcb(root: Path) -> Path:
    return write_tiny_deeppcb(root, {"g1": 1, "g2": 1}).parent


def test_a_template_is_a_good_part_and_the_group_is_the_first_folder(tmp_path: Path) -> None:
    dataset = read_dataset(_deeppcb(tmp_path))
    assert [sample.is_good for sample in dataset.samples] == [False, False, True, True]
    assert dataset.groups() == ("g1", "g2")
    assert dataset.samples[0].boxes.tolist() == [[16, 16, 32, 32]]
    assert dataset.boxes_per_class()["open"] == 2
    assert dataset.copper == COPPER


@pytest.mark.parametrize("box", ["-2 20 40 60", "10 20 66 60", "10 20 40 65.5", "65.5 20 66 60"])
def test_a_box_that_leaves_its_picture_is_refused_with_file_and_line(tmp_path: Path, box: str) -> None:
    labels = _deeppcb(tmp_path) / "g2" / "g2_not" / "0.txt"
    labels.write_text(f"1 1 9 9 1\n\n{box} 1\n")
    with pytest.raises(ConfigError, match=rf"^{labels}:3: .*leaves the picture of 64 x 64"):
        read_dataset(tmp_path)


def test_what_a_tool_rounded_out_of_the_picture_is_cut_off(tmp_path: Path) -> None:
    labels = _deeppcb(tmp_path) / "g2" / "g2_not" / "0.txt"
    labels.write_text(f"-0.5 20 40 64.{'0' * 13}1 1\n10 -1 65 30 1\n")
    (bad,) = [sample for sample in read_dataset(tmp_path).samples if sample.group == "g2" and not sample.is_good]
    assert bad.boxes.tolist() == [[0, 20, 40, 64], [10, 0, 64, 30]]


def test_a_line_on_the_edge_is_the_last_pixel_before_it(tmp_path: Path) -> None:
    labels = _deeppcb(tmp_path) / "g2" / "g2_not" / "0.txt"
    labels.write_text("64 20 64 60 1\n-0.5 20 0 60 1\n20 64 30 64.4 1\n")
    (bad,) = [sample for sample in read_dataset(tmp_path).samples if sample.group == "g2" and not sample.is_good]
    assert bad.boxes.tolist() == [[63, 20, 64, 60], [0, 20, 1, 60], [20, 63, 30, 64]]


@pytest.mark.parametrize(
    ("line", "box", "says"),
    [
        ("10 20 10 60", [10, 20, 11, 60], "box 10.0, 20.0, 10.0, 60.0 has no area; it is taken as one pixel wide"),
        ("10 20 30 20", [10, 20, 30, 21], "box 10.0, 20.0, 30.0, 20.0 has no area; it is taken as one pixel wide"),
        (
            "40 20 40.000001 60",
            [40, 20, 41, 60],
            "box 40.0, 20.0, 40.0, 60.0 has no area; it is taken as one pixel wide",
        ),
        ("64 20 64 60", [63, 20, 64, 60], "box 64.0, 20.0, 64.0, 60.0 has no area; it is taken as one pixel wide"),
        ("10 -1 65 30", [10, 0, 64, 30], "box 10.0, -1.0, 65.0, 30.0 leaves its picture by 1 px and is cut off there"),
        (
            "-0.5 20 -0.5 60",
            [0, 20, 1, 60],
            "box -0.5, 20.0, -0.5, 60.0 leaves its picture by 0.5 px and is cut off there; what is left has no area; "
            "it is taken as one pixel wide",
        ),
        (
            "-0.5 20 0 60",
            [0, 20, 1, 60],
            "box -0.5, 20.0, 0.0, 60.0 leaves its picture by 0.5 px and is cut off there; what is left has no area; "
            "it is taken as one pixel wide",
        ),
        (
            "10 -1 10 30",
            [10, 0, 11, 30],
            "box 10.0, -1.0, 10.0, 30.0 leaves its picture by 1 px and is cut off there; what is left has no area; "
            "it is taken as one pixel wide",
        ),
        ("63.5 20 64 60", [63.5, 20, 64, 60], ""),
        ("10 20 40 64.0000001", [10, 20, 40, 64], ""),
        ("10 20 10.5 60", [10, 20, 10.5, 60], ""),
    ],
)
def test_a_label_that_is_not_taken_as_written_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, box: list[float], says: str
) -> None:
    labels = _deeppcb(tmp_path) / "g2" / "g2_not" / "0.txt"
    labels.write_text(f"{line} 1\n")
    (bad,) = [sample for sample in read_dataset(tmp_path).samples if sample.group == "g2" and not sample.is_good]
    assert bad.boxes.tolist() == [box]
    said = capsys.readouterr().err
    told = f"1 labels are not taken as they are written; the first is {labels}:1: {says} (`trainer data check` lists"
    assert (told in said) if says else ("taken as" not in said)


@given(
    low=st.floats(-1, 65),
    length=st.sampled_from([0.0, 1e-9, 1e-6, 1e-3, 0.015625]) | st.floats(0, 66),
    is_x=st.booleans(),
)
def test_a_box_that_is_taken_lies_in_its_picture_and_has_an_area_also_in_32_bits(
    low: float, length: float, is_x: bool
) -> None:
    box = (low, 8.0, low + length, 16.0) if is_x else (8.0, low, 16.0, low + length)
    try:
        inside, _ = fitted(box, (64, 64), "here")
    except ConfigError:
        assert low + length > 65
        return
    x1, y1, x2, y2 = np.array(inside, np.float32).tolist()
    assert 0 <= x1 < x2 <= 64
    assert 0 <= y1 < y2 <= 64
    assert max(abs(one - other) for one, other in zip(inside, box, strict=True)) <= 2  # a line outside, widened inside


def test_a_picture_that_is_none_is_refused_with_the_line_that_lists_it(tmp_path: Path) -> None:
    root = _deeppcb(tmp_path)
    (root / "g2" / "g2" / "0_temp.jpg").write_bytes(b"none")
    with pytest.raises(ConfigError, match=r"trainval\.txt:2: .*0_temp\.jpg is not a picture"):
        read_dataset(root)


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


@pytest.mark.parametrize(
    ("key", "index", "change", "says"),
    [
        ("annotations", 1, {"bbox": [80, 80, 30, 10]}, "leaves the picture of 96 x 96"),
        ("annotations", 1, {"category_id": 99}, "category 99"),
        ("images", 0, {"width": 10}, "says 10 x 96 pixels, .* has 96 x 96"),
    ],
)
def test_a_broken_coco_entry_is_refused_with_its_line(
    tmp_path: Path, key: str, index: int, change: dict[str, Any], says: str
) -> None:
    path = write_tiny_boards(tmp_path)
    content = json.loads(path.read_text())
    content[key][index] |= change
    path.write_text("{" + ",\n".join(f'"{name}": [\n' + ",\n".join(map(json.dumps, content[name])) + "]"
                                     for name in content) + "}")  # fmt: skip
    line = 2 + index + (len(content["images"]) + 1 if key == "annotations" else 0)
    with pytest.raises(ConfigError, match=rf"^{path}:{line}: {key}\[{index}\]: .*{says}"):
        read_dataset(path)


def test_a_data_set_without_a_class_is_refused(tmp_path: Path) -> None:
    path = write_tiny_boards(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"categories": [], "annotations": []}))
    with pytest.raises(ConfigError, match="at least one class"):
        read_dataset(path)


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
    dataset = read_dataset(write_tiny_boards(tmp_path_factory.mktemp("boards"), groups=groups, side_px=32))
    split = split_by_group(dataset, share=share, seed=seed)
    assert not set(split.train.groups()) & set(split.validation.groups())
    assert len(split.train.samples) + len(split.validation.samples) == len(dataset.samples)
    assert split.validation.samples


def test_named_groups_are_held_out_and_told(tmp_path: Path) -> None:
    split = split_by_group(read_dataset(write_tiny_boards(tmp_path)), ("family1",))
    rows = describe(split)
    assert [(row["group"], row["split"]) for row in rows] == [
        ("family0", "train"),
        ("family2", "train"),
        ("family1", "validation"),
    ]
    assert sum(int(row["pictures"]) for row in rows) == 12
    boxes = sum(len(sample.labels) for sample in split.validation.samples)
    assert int(rows[2]["scratch"]) + int(rows[2]["dent"]) == boxes


def test_of_many_groups_those_are_listed_that_tell_something(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tiny_deeppcb(tmp_path, {f"board{number:02}": 1 for number in range(30)})
    good, split = tmp_path / "good.txt", ["data", "split", "--data", str(tmp_path), "--holdout", "board03,board04"]

    def said(*more: str) -> str:
        assert main([*split, *more]) == 1  # these pictures are copies of each other
        return capsys.readouterr().out

    assert said().count("board") == 24 and "..." in said()
    good.write_text("board00/board00/0_temp.jpg\n")  # the only one with two pictures
    assert said("--good-list", str(good)).count("board") == 24
    (tmp_path / "other").mkdir()
    shutil.copy(tmp_path / "board00/board00/0_temp.jpg", tmp_path / "other/0_temp.jpg")
    good.write_text("other/0_temp.jpg\n")
    alone = said("--good-list", str(good))
    assert "29 groups" in alone and "2 groups" in alone and "board" not in alone


def test_an_unknown_or_only_group_cannot_be_held_out(tmp_path: Path) -> None:
    dataset = read_dataset(write_tiny_boards(tmp_path))
    with pytest.raises(ConfigError, match="no group family9"):
        split_by_group(dataset, ("family9",))
    with pytest.raises(ConfigError, match="none is left"):
        split_by_group(dataset, dataset.groups())


def test_the_digest_follows_pictures_and_labels_and_not_the_place(tmp_path: Path) -> None:
    first = dataset_digest(read_dataset(write_tiny_boards(tmp_path / "a")))
    same = dataset_digest(read_dataset(write_tiny_boards(tmp_path / "b")))
    other = dataset_digest(read_dataset(write_tiny_boards(tmp_path / "c", seed=1)))
    assert first == same != other


@given(st.lists(st.integers(1, 60), min_size=2, max_size=9), st.integers(0, 20))
def test_drawn_groups_hold_out_about_a_fifth_and_leave_the_rest_whole(sizes: list[int], seed: int) -> None:
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    samples = tuple(
        Sample(Path("p"), *nothing, f"g{group}", is_good=True) for group, size in enumerate(sizes) for _ in range(size)
    )
    split = split_by_group(Dataset(("a",), samples), seed=seed)
    held, wanted = split.validation.groups(), 0.2 * sum(sizes)
    assert not set(held) & set(split.train.groups())
    assert len(split.validation.samples) + len(split.train.samples) == sum(sizes)
    largest = max(sizes[int(name[1:])] for name in held)
    if len(split.validation.samples) > 1.25 * wanted:  # then too little was held out without the largest
        assert len(split.validation.samples) - largest < wanted / 2


def test_a_draw_leaves_every_kind_and_good_parts_on_both_sides_where_it_can(tmp_path: Path) -> None:
    dataset = read_dataset(write_tiny_boards(tmp_path, pictures=40, groups=10))
    for seed in range(10):
        split = split_by_group(dataset, seed=seed)
        for half in (split.train, split.validation):
            assert all(half.boxes_per_class().values())
            assert any(sample.is_good for sample in half.samples)


def test_a_small_group_of_good_parts_is_not_all_that_a_draw_holds_out() -> None:
    box, nothing = (
        (np.zeros((1, 4), np.float32), np.zeros(1, np.int64)),
        (np.zeros((0, 4), np.float32), np.zeros(0, np.int64)),
    )
    samples = [Sample(Path("p"), *box, f"board{board}", is_good=False) for board in (0, 0, 0, 0, 0, 1, 1, 1)]
    samples.append(Sample(Path("p"), *nothing, "golden", is_good=True))
    for seed in range(10):
        split = split_by_group(Dataset(("a",), tuple(samples)), seed=seed)
        assert split.train.boxes_per_class()["a"] == 5
        assert split.validation.boxes_per_class()["a"] == 3  # no more than is needed


@given(
    ties=st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=8),
    seed=st.integers(0, 50),
)
def test_groups_that_share_copies_are_never_drawn_apart(ties: list[tuple[int, int]], seed: int) -> None:
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    samples = tuple(Sample(Path("p"), *nothing, f"g{number % 12}", is_good=True) for number in range(48))
    named = [(f"g{one}", f"g{other}") for one, other in ties]
    held = set(split_by_group(Dataset(("a",), samples), seed=seed, ties=named).validation.groups())
    assert all((one in held) == (other in held) for one, other in named)


def test_a_drawn_split_holds_out_about_the_same_share_of_every_kind() -> None:
    rng = np.random.default_rng(0)
    samples = []
    for group in range(40):
        rare = group % 8 == 0
        for _ in range(int(rng.integers(4, 12))):
            labels = np.array([int(rare and rng.random() < 0.9)], np.int64)
            samples.append(Sample(Path("p"), np.zeros((1, 4), np.float32), labels, f"g{group:02d}", is_good=False))
        samples.append(replace(samples[-1], boxes=np.zeros((0, 4), np.float32), labels=labels[:0], is_good=True))
    dataset = Dataset(("often", "rare"), tuple(samples))
    whole = dataset.boxes_per_class()
    for seed in range(20):
        half = split_by_group(dataset, seed=seed).validation
        share = len(half.samples) / len(samples)
        for name, count in half.boxes_per_class().items():
            tolerance = max(0.05, (share * (1 - share) / whole[name]) ** 0.5)
            assert abs(count / whole[name] - share) <= tolerance + 1e-9


def test_a_kind_that_one_group_alone_has_is_learned_and_not_held_out() -> None:
    often, rare, nothing = (np.array(labels, np.int64) for labels in ([0], [1], []))
    samples = [Sample(Path("p"), np.zeros((1, 4), np.float32), often, f"g{at}", is_good=False) for at in range(8)]
    samples += [Sample(Path("p"), np.zeros((0, 4), np.float32), nothing, f"g{at}", is_good=True) for at in range(8, 11)]
    samples.append(Sample(Path("p"), np.zeros((1, 4), np.float32), rare, "g11", is_good=False))
    for seed in range(30):
        split = split_by_group(Dataset(("often", "rare"), tuple(samples)), seed=seed)
        assert split.train.boxes_per_class()["rare"] == 1


def test_a_kind_that_one_group_alone_has_does_not_hide_how_the_others_lie() -> None:
    rng = np.random.default_rng(1)
    samples = []
    for day in range(40):
        kinds = [0, 0, *([1 + day % 5] * 3 if day % 5 < 3 else []), *([4] * 5 if day == 17 else [])]
        for kind in kinds * int(rng.integers(1, 4)):
            box, label = np.zeros((1, 4), np.float32), np.array([kind], np.int64)
            samples.append(Sample(Path("p"), box, label, f"day{day:02d}", is_good=False))
        samples += [replace(samples[-1], boxes=box[:0], labels=label[:0], is_good=True)] * 2
    dataset = Dataset(tuple("abcde"), tuple(samples))
    whole = dataset.boxes_per_class()
    for seed in range(20):
        half = split_by_group(dataset, seed=seed).validation
        share, held = len(half.samples) / len(samples), half.boxes_per_class()
        assert held.pop("e") == 0
        assert all(abs(count / whole[kind] - share) <= 0.1 for kind, count in held.items()), seed


def test_one_of_several_coco_files_beside_a_folder_of_pictures_is_imported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = write_tiny_boards(tmp_path / "pictures")
    (tmp_path / "pictures" / "annotations").mkdir()
    train = pictures.rename(tmp_path / "pictures" / "annotations" / "train.json")
    (train.parent / "empty.json").write_text(json.dumps({"images": [], "annotations": [], "categories": []}))
    words = ["data", "import", str(tmp_path / "pictures"), "--out", str(tmp_path / "taken")]
    assert main([*words, "--from", "yolo", "--list", "train.json"]) == 78
    assert "--list train.json: belongs to --from coco or deeppcb" in capsys.readouterr().err
    assert main([*words, "--from", "coco"]) == 78
    assert "which COCO file? There are empty.json, train.json; name one with --list" in capsys.readouterr().err
    assert main([*words, "--from", "coco", "--list", "train.json"]) == 0
    assert len(read_dataset(tmp_path / "taken").samples) == 12


@given(name=st.text(min_size=1, max_size=80))
def test_any_name_can_be_spelt_in_a_bundle(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,63}", bundle_name(name, "class_2"))


@pytest.mark.parametrize(
    ("name", "spelt"),
    [
        ("spur", "spur"),
        ("Éraflure profonde", "eraflure_profonde"),
        ("划痕", "class_c7003078"),
        ("Øje 1", "class_875a89db"),
    ],
)
def test_a_class_keeps_what_a_bundle_can_spell_of_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, spelt: str
) -> None:
    path = write_tiny_boards(tmp_path)
    content = json.loads(path.read_text())
    content["categories"][0]["name"] = name
    path.write_text(json.dumps(content))
    assert read_dataset(path).classes == (spelt, "dent")
    assert (f"class '{name}' is called {spelt} in the bundle" in capsys.readouterr().err) == (name != spelt)
