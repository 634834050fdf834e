"""Groups that say nothing of parts are taken apart, and what each picture is called then."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from appliance.errors import ConfigError
from tests.models import tiny_bundle
from tests.tiny_boards import write_tiny_boards
from tests.tiny_deeppcb import write_tiny_deeppcb
from trainer.__main__ import main
from trainer.datasets.reading import dataset_digest, read_dataset
from trainer.datasets.source import Source
from trainer.datasets.split import split_by_group


def _in_folders(folder: Path, place: str) -> Path:
    """Move the pictures of a COCO set into folders: of one name, or of what is on them."""
    path = write_tiny_boards(folder, pictures=24, groups=4)
    content = json.loads(path.read_text())
    kinds = dict.fromkeys(range(24), "good")
    for annotation in list(content["annotations"]):
        kind = kinds[annotation["image_id"]]
        name = ("", "scratch", "dent")[annotation["category_id"]]
        if kind in ("good", name):
            kinds[annotation["image_id"]] = name
        else:
            content["annotations"].remove(annotation)
    for image in content["images"]:
        image.pop("group")
        new = f"{place.format(kinds[image['id']])}/{image['file_name']}"
        (folder / new).parent.mkdir(exist_ok=True)
        (folder / image["file_name"]).rename(folder / new)
        image["file_name"] = new
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("place", ["imgs", "{}"])
def test_folders_that_name_no_parts_are_no_groups(
    tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    split = split_by_group(read_dataset(_in_folders(tmp_path, place)))
    assert "is taken as a group of its own" in " ".join(capsys.readouterr().err.split())
    assert len(split.whole().groups()) == 24
    for half in (split.train, split.validation):
        assert all(half.boxes_per_class().values())
        assert any(sample.is_good for sample in half.samples)


def test_a_picture_that_is_a_group_of_its_own_keeps_its_name_when_another_folder_joins(tmp_path: Path) -> None:
    path = _in_folders(tmp_path, "imgs")
    names = read_dataset(tmp_path).groups()
    assert names == tuple(f"imgs/{number:03d}.png" for number in range(24))
    (tmp_path / "more").mkdir()
    cv2.imwrite(str(tmp_path / "more" / "000.png"), np.full((96, 96), 120, np.uint8))
    content = json.loads(path.read_text())
    content["images"].append({"id": 900, "file_name": "more/000.png"})
    path.write_text(json.dumps(content))
    assert read_dataset(tmp_path).groups() == (*names, "more/000.png")


def _in_several_places(root: Path) -> Path:
    """Write a COCO set of one group with some of its pictures outside of its folder, named from there."""
    path = write_tiny_boards(root / "data")
    content = json.loads(path.read_text())
    places = [
        "../day1/images/a.png",
        "../day2/images/a.png",
        "../day1/images/b.png",
        "../day1/images/c.png",
        "images/c.png",
    ]
    for image, place in zip(content["images"], places, strict=False):
        (root / "data" / place).parent.mkdir(parents=True, exist_ok=True)
        (root / "data" / image["file_name"]).rename(root / "data" / place)
        image["file_name"] = place
    for image in content["images"]:
        image["group"] = "all"
    path.write_text(json.dumps(content))
    return path


def test_pictures_in_several_places_are_groups_of_different_names_that_stay_when_the_data_move(tmp_path: Path) -> None:
    path = _in_several_places(tmp_path / "here")
    before = read_dataset(path)
    assert before.groups() == tuple(
        sorted(
            ["day1/images/a.png", "day2/images/a.png", "images/b.png", "day1/images/c.png", "images/c.png"]
            + [f"{number:03d}.png" for number in range(5, 12)]
        )
    )
    digest = dataset_digest(before)
    (tmp_path / "here").rename(tmp_path / "there")
    assert dataset_digest(read_dataset(tmp_path / "there" / "data")) == digest
    (tmp_path / "link").symlink_to(tmp_path / "there" / "data")
    assert dataset_digest(read_dataset(tmp_path / "link")) == digest


def test_data_whose_pictures_are_named_by_absolute_paths_may_move_without_them(tmp_path: Path) -> None:
    path = _in_several_places(tmp_path)
    content = json.loads(path.read_text())
    for image in content["images"]:
        if image["file_name"].startswith(".."):
            image["file_name"] = str((path.parent / image["file_name"]).resolve())
    path.write_text(json.dumps(content))
    digest = dataset_digest(read_dataset(path))
    (tmp_path / "deep" / "in").mkdir(parents=True)
    path.parent.rename(tmp_path / "deep" / "in" / "it")
    assert dataset_digest(read_dataset(tmp_path / "deep" / "in" / "it")) == digest


def test_a_picture_that_is_a_group_already_keeps_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_tiny_boards(tmp_path, pictures=2, groups=2)
    content = json.loads(path.read_text())
    for annotation in content["annotations"]:
        annotation["category_id"] = annotation["image_id"] + 1
    path.write_text(json.dumps(content))
    assert read_dataset(path).groups() == ("family0", "family1")
    assert "group of its own" not in capsys.readouterr().err


def test_good_parts_of_one_folder_are_on_both_sides_of_the_split(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_tiny_boards(tmp_path, pictures=24)
    content = json.loads(path.read_text())
    bad = {annotation["image_id"] for annotation in content["annotations"]}
    good = [image["file_name"] for image in content["images"] if image["id"] not in bad]
    content["images"] = [image | {"group": None} for image in content["images"] if image["id"] in bad]
    path.write_text(json.dumps(content))
    (tmp_path / "images").mkdir()
    for name in good:
        (tmp_path / name).rename(tmp_path / "images" / name)
    (tmp_path / "good.txt").write_text("".join(f"images/{name}\n" for name in good))
    dataset = read_dataset(Source(tmp_path, good_list=Path("good.txt")))
    split = split_by_group(dataset)
    assert "all good parts are of the group 'images'" in " ".join(capsys.readouterr().err.split())
    assert len(split.whole().groups()) == 24
    assert all(any(sample.is_good for sample in half.samples) for half in (split.train, split.validation))
    with pytest.raises(
        ConfigError, match="the group images was taken apart, because all good parts are of the group 'images'"
    ):
        split_by_group(dataset, ("images",))


def _by_kind(folder: Path, good: int, mixed: int = 0) -> Path:
    """Write a COCO set with a folder for each of five very uneven kinds, and folders of good parts."""
    counts = {"blowhole": 28, "break": 21, "crack": 14, "fray": 8, "uneven": 26}
    places = [(kind, number) for number, (kind, count) in enumerate(counts.items(), 1) for _ in range(count)]
    places += [(f"good{at % good}", 0) for at in range(100)]
    content: dict[str, list[dict[str, object]]] = {"images": [], "annotations": []}
    for at, (place, number) in enumerate(places):
        (folder / place).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / place / f"{at}.png"), np.full((40, 40), at, np.uint8))
        content["images"].append({"id": at, "file_name": f"{place}/{at}.png"})
        labels = [number, 3] if at < mixed else [number]
        for label in labels if number else ():
            box = {"image_id": at, "category_id": label, "bbox": [4, 4, 9, 9]}
            content["annotations"].append({"id": len(content["annotations"])} | box)
    content["categories"] = [{"id": number, "name": kind} for number, kind in enumerate(counts, 1)]
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("good", [1, 2, 4, 8])
@pytest.mark.parametrize("mixed", [0, 1, 4])
def test_where_folders_are_kinds_of_defect_each_kind_is_learned_and_judged_whatever_folders_hold_good_parts(
    tmp_path: Path, good: int, mixed: int
) -> None:
    split = split_by_group(read_dataset(_by_kind(tmp_path, good, mixed)))
    for half in (split.train, split.validation):
        assert all(half.boxes_per_class().values())
        assert any(sample.is_good for sample in half.samples)
    share = len(split.validation.samples) / len(split.whole().samples)
    assert 0.19 < share < 0.26
    stay = {f"good{number}" for number in range(good)} if good == 8 else set()
    assert {name for name in split.whole().groups() if "/" not in name} == stay


def test_grey_pictures_in_the_layout_of_deeppcb_are_no_copper_and_their_groups_may_be_kinds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each folder holds one kind of defect: a group held out whole would leave nothing of it to learn from."""
    listed = write_tiny_deeppcb(tmp_path, {"holes": 6, "bites": 6}, score=120)
    for labels in (tmp_path / "bites" / "bites_not").iterdir():
        labels.write_text("16 16 32 32 3\n")
    split = split_by_group(read_dataset(Source(tmp_path, listed)))
    assert "the pictures are not black and white" in " ".join(capsys.readouterr().err.split())
    for half in (split.train, split.validation):
        assert half.copper is None
        assert half.boxes_per_class()["open"] and half.boxes_per_class()["mousebite"]
        templates = {sample.image for sample in half.samples if sample.is_good}
        assert templates == {sample.reference for sample in half.samples}  # each beside its picture
    held_out = ",".join(split.validation.groups())
    assert main(["data", "check", "--data", str(listed), "--holdout", held_out]) in (0, 1)
    assert "there is no group" not in capsys.readouterr().err


def test_lots_in_which_every_kind_occurs_stay_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = _by_kind(tmp_path, 2)
    content = json.loads((folder / "annotations.json").read_text())
    for image in content["images"]:
        image["group"] = f"lot{image['id'] % 7}"
    (folder / "annotations.json").write_text(json.dumps(content))
    assert read_dataset(folder).groups() == tuple(f"lot{number}" for number in range(7))
    assert "group of its own" not in capsys.readouterr().err


@pytest.mark.parametrize("place", ["imgs", "{}"])
def test_a_group_that_was_taken_apart_cannot_be_named_and_that_is_said_with_a_few_of_what_there_is(
    tmp_path: Path, place: str
) -> None:
    dataset = read_dataset(_in_folders(tmp_path, place))
    name = place.format("good")
    with pytest.raises(ConfigError) as refused:
        split_by_group(dataset, (name,))
    said = str(refused.value)
    assert (
        f"holdout: the group {name} was taken apart, because all pictures are of one group, or the groups are" in said
    )
    assert "the 24 groups are" in said
    assert said.endswith(" and 16 more")
    assert said.count(".png") == 8


def test_groups_that_are_not_there_are_answered_with_a_few_of_those_that_are(tmp_path: Path) -> None:
    dataset = read_dataset(write_tiny_boards(tmp_path, pictures=20, groups=20))
    with pytest.raises(ConfigError, match=r"no group a; the groups are family0, .* and 12 more$"):
        split_by_group(dataset, ("a",))
    with pytest.raises(ConfigError, match=r"of the groups family0, .* and 12 more none is left on one side"):
        split_by_group(dataset, dataset.groups())


def test_a_group_that_was_taken_apart_is_refused_by_the_option_that_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", str(_in_folders(tmp_path, "imgs"))]
    bundle = str(tiny_bundle(tmp_path / "tiny.bundle"))
    assert main(["evaluate", "--bundle", bundle, *data, "--groups", "imgs"]) == 78
    assert "--groups: the group imgs was taken apart, because" in " ".join(capsys.readouterr().err.split())
    assert main(["train", "--out", str(tmp_path / "run"), *data, "--holdout", "imgs"]) == 78
    assert "holdout: the group imgs was taken apart, because" in " ".join(capsys.readouterr().err.split())


def test_a_camera_may_be_the_group(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_tiny_boards(tmp_path / "coco", pictures=4)
    content = json.loads(path.read_text())
    for image, camera in zip(content["images"], ("left", "right", "left"), strict=False):
        image["camera"] = camera
    path.write_text(json.dumps(content))
    words = ["data", "import", "--from", "coco", str(tmp_path / "coco"), "--group-by", "camera", "--out"]
    assert main([*words, str(tmp_path / "refused")]) == 78
    told = " ".join(capsys.readouterr().err.split())
    assert f"of 1 of 4 pictures nobody says what took them, the first is {tmp_path}/coco/003.png; COCO says it" in told
    content["images"][3]["camera"] = "right"
    path.write_text(json.dumps(content))
    assert main([*words, str(tmp_path / "grouped")]) == 0
    found = read_dataset(Source(tmp_path / "grouped")).samples
    assert [(sample.group, sample.camera) for sample in found] == [(name, name) for name in ("left", "right") * 2]
