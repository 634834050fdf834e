"""The same few arguments name a data set in any layout, with any list, for all three commands."""

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pytest

from appliance.bundle.archive import read_bundle
from appliance.errors import ConfigError
from tests.models import spot_picture
from tests.tiny_boards import write_tiny_boards
from tests.tiny_deeppcb import write_tiny_deeppcb
from trainer.__main__ import main
from trainer.checkpoint import Checkpoint, save_checkpoint
from trainer.datasets.reading import read_dataset
from trainer.datasets.source import Source, written_source
from trainer.sizes import NetShape

pytestmark = pytest.mark.long

SHORT = ["--epochs", "30", "--batch", "4", "--crop", "64", "--workers", "1"]
FEW = ["--few-golden", "a test"]


@pytest.fixture
def pcb(tmp_path: Path) -> Path:
    folder = tmp_path / "pcb"
    write_tiny_deeppcb(folder, {"a": 4, "b": 2}, side_px=96)
    write_tiny_deeppcb(folder, {"c": 3}, "test.txt", side_px=96)
    return folder


def test_a_list_is_sought_in_the_data_folder_and_in_its_usual_place(pcb: Path, tmp_path: Path) -> None:
    assert read_dataset(Source(pcb)).groups() == ("a", "b")
    assert read_dataset(Source(pcb, Path("test.txt"))).groups() == ("c",)
    assert read_dataset(Source(pcb, pcb / "test.txt")).groups() == ("c",)
    pcb.rename(tmp_path / "PCBData")
    assert read_dataset(Source(tmp_path, Path("test.txt"), "deeppcb")).groups() == ("c",)
    with pytest.raises(ConfigError, match=r"--list none\.txt: is neither in"):
        read_dataset(Source(tmp_path, Path("none.txt")))


@pytest.mark.parametrize("line", ["c/c/1_temp.jpg", "c/c/1.jpg c/c_not/1.txt", "c/c/1.jpg", " c/c/1_temp.jpg "])
def test_a_list_of_good_parts_takes_the_place_of_the_templates(pcb: Path, line: str) -> None:
    (pcb / "good.txt").write_text(line + "\n")
    found = read_dataset(Source(pcb, Path("test.txt"), good_list=Path("good.txt")))
    good = [sample for sample in found.samples if sample.is_good]
    assert [sample.image.name for sample in good] == ["1_temp.jpg"]
    assert good[0].reference == good[0].image
    assert len(found.samples) == 4


def test_a_good_part_with_labels_or_without_a_picture_is_refused_with_its_line(pcb: Path) -> None:
    (pcb / "good.txt").write_text("c/c/1_temp.jpg\nc/c/2_test.jpg\n")
    with pytest.raises(ConfigError, match=r"good\.txt:2: .*has defects by"):
        read_dataset(Source(pcb, Path("test.txt"), good_list=Path("good.txt")))
    (pcb / "good.txt").write_text("c/c/9.jpg\n")
    with pytest.raises(ConfigError, match=r"good\.txt:1: picture .* does not exist"):
        read_dataset(Source(pcb, Path("test.txt"), good_list=Path("good.txt")))


def test_a_coco_file_lies_anywhere_and_its_pictures_in_the_data_folder(tmp_path: Path) -> None:
    written = write_tiny_boards(tmp_path / "data")
    elsewhere = written.rename(tmp_path / "labels.json")
    with pytest.raises(ConfigError, match="There are none; name one with --list"):
        read_dataset(Source(tmp_path / "data", layout="coco"))
    assert len(read_dataset(Source(tmp_path / "data", elsewhere)).samples) == 12
    (tmp_path / "data" / "annotations").mkdir()
    elsewhere.rename(tmp_path / "data" / "annotations" / "train.json")
    assert len(read_dataset(Source(tmp_path / "data", layout="coco")).samples) == 12
    assert len(read_dataset(Source(tmp_path / "data", Path("train.json"), "coco")).samples) == 12
    assert len(read_dataset(Source(tmp_path / "data" / "annotations" / "train.json")).samples) == 12


def test_a_linked_annotation_file_is_named_by_its_link_in_what_a_run_remembers(tmp_path: Path) -> None:
    """Its pictures lie beside the link, not beside what it leads to."""
    written = write_tiny_boards(tmp_path / "data")
    (tmp_path / "labels").mkdir()
    (tmp_path / "data" / "train.json").symlink_to(written.rename(tmp_path / "labels" / "train.json"))
    told = Source(tmp_path / "data" / "train.json").as_dict()
    assert len(read_dataset(Source(Path(str(told["data"])))).samples) == 12


def test_a_layout_that_is_not_there_is_refused(pcb: Path) -> None:
    write_tiny_boards(pcb.parent / "coco")
    with pytest.raises(ConfigError, match="is in coco's layout"):
        read_dataset(Source(pcb.parent / "coco", layout="deeppcb"))


def _small_and_large(folder: Path) -> Path:
    """Write pictures of sizes that vary as a production's do, in COCO, with class names of a labelling tool."""
    path = write_tiny_boards(folder, pictures=16, groups=16)
    content: dict[str, Any] = json.loads(path.read_text())
    rng = np.random.default_rng(0)
    for image in content["images"]:
        image.pop("group")
        file = folder / image["file_name"]
        pixels = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
        down, right = (int(side) for side in rng.integers(90, size=2))
        cv2.imwrite(str(file), cv2.copyMakeBorder(pixels, 0, down, 0, right, cv2.BORDER_REPLICATE))
    for category in content["categories"]:
        category["name"] = f"MT {category['name'].title()}"
    path.write_text(json.dumps(content))
    return path


def test_pictures_of_varying_size_go_from_a_coco_file_to_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = _small_and_large(tmp_path / "data").parent
    run, bundle, figures = (str(tmp_path / name) for name in ("My Run", "b.bundle", "figures.json"))
    named = ["--data", str(data), "--format", "coco"]
    assert main(["train", *named, "--out", run, *SHORT]) == 0
    assert main(["export", run, "--out", bundle, "--precisions", "f32", "--no-stress", *FEW]) == 0
    assert main(["evaluate", "--bundle", bundle, *named, "--json", figures]) == 0
    manifest = read_bundle(Path(bundle)).manifest
    assert manifest.name == "my_run"
    assert manifest.revision > 202601010000
    assert [item.name for item in manifest.classes] == ["mt_scratch", "mt_dent"]
    assert (manifest.geometry.fit, manifest.geometry.channels) == ("pad", 1)
    found = json.loads(Path(figures).read_text())
    held = read_bundle(Path(bundle)).manifest.lineage.held_out
    assert set(found["groups"]) == set(held)
    assert set(found["seen"]["groups"]).isdisjoint(held)
    assert found["pictures"] + found["seen"]["pictures"] == 16
    one = next(iter(found["seen"]["groups"]))
    capsys.readouterr()
    assert main(["evaluate", "--bundle", bundle, *named, "--groups", one]) == 0
    assert "trained on these very pictures" in capsys.readouterr().err


def test_where_every_picture_has_a_reference_the_model_compares_unless_told_otherwise(pcb: Path) -> None:
    bundle, figures = str(pcb / "b.bundle"), str(pcb / "figures.json")
    train = ["train", "--data", str(pcb), "--list", "trainval.txt", *SHORT]
    assert main([*train, "--out", str(pcb / "run")]) == 0
    assert main([*train, "--out", str(pcb / "alone"), "--reference", "no"]) == 0
    for run, channels in (("run", 2), ("alone", 1)):
        assert main(["export", str(pcb / run), "--out", bundle, "--precisions", "f32", "--no-stress", *FEW]) == 0
        written = read_bundle(Path(bundle))
        assert written.manifest.geometry.channels == channels
        assert {image.pixels().shape[2] for image in written.golden} == {channels}
        assert (written.manifest.lineage.backbone is None) == (channels == 1)  # the shipped ones help beside it alone
        judged = ["--data", str(pcb), "--list", "test.txt", "--json", figures]
        assert main(["evaluate", "--bundle", bundle, *judged]) == 0
        found = json.loads(Path(figures).read_text())
        assert (found["pictures"], found["seen_by"], found["seen"]) == (6, "pictures", None)
        assert found["unseen"]["pictures"] == 6  # the bundle tells what it learned from, and it is none of these
        assert 0.0 < found["detect_ms_p50"] <= found["detect_ms_p99"]
        assert found["peak_memory_mib"] > 30.0  # an interpreter with numpy alone takes more
        (pcb / "good.txt").write_text("c/c/0_temp.jpg\nc/c/2_temp.jpg\n")
        assert main(["evaluate", "--bundle", bundle, *judged, "--good-list", "good.txt"]) == 0
        parts = json.loads(Path(figures).read_text())["parts"]
        assert (parts["bad"], parts["good"]) == (3, 2)


def test_groups_called_like_those_of_the_training_are_told_apart(pcb: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, bundle, figures = (str(pcb / name) for name in ("run", "b.bundle", "figures.json"))
    data = ["--data", str(pcb)]
    assert main(["train", *data, "--out", run, *SHORT]) == 0
    assert main(["export", run, "--out", bundle, "--precisions", "f32", "--no-stress", *FEW]) == 0
    lineage = read_bundle(Path(bundle)).manifest.lineage
    trained, held = lineage.learned_from, lineage.held_out
    assert sorted((*trained, *held)) == ["a", "b"]
    lines = ((pcb / name).read_text() for name in ("trainval.txt", "test.txt"))
    (pcb / "mixed.txt").write_text("".join(text if text.endswith("\n") else text + "\n" for text in lines))
    for picture in pcb.rglob("*.jpg"):  # other pictures, as far as a digest tells
        picture.write_bytes(picture.read_bytes() + b"\0")
    capsys.readouterr()
    assert main(["evaluate", "--bundle", bundle, *data, "--list", "mixed.txt", "--json", figures]) == 0
    found = json.loads(Path(figures).read_text())
    assert found["seen_by"] == "names"
    assert set(found["seen"]["groups"]) == set(trained)
    assert set(found["unseen"]["groups"]) == {*held, "c"}
    assert found["pictures"] == found["seen"]["pictures"] + found["unseen"]["pictures"]
    assert "groups that are called like those that the model was trained on" in capsys.readouterr().out


def test_pictures_of_the_training_are_known_under_other_names_and_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _small_and_large(tmp_path / "data")
    run, bundle, figures = (str(tmp_path / name) for name in ("run", "b.bundle", "figures.json"))
    assert main(["train", "--data", str(path), "--out", run, *SHORT]) == 0
    assert main(["export", run, "--out", bundle, "--precisions", "f32", "--no-stress", *FEW]) == 0
    lineage = read_bundle(Path(bundle)).manifest.lineage
    assert (lineage.learned_from, len(lineage.learned_pictures)) == ((), 12 * (16 - len(lineage.held_out)))
    content = json.loads(path.read_text())
    trained = [image["file_name"] for image in content["images"] if image["file_name"] not in lineage.held_out][:2]
    content["images"] = [im for im in content["images"] if im["file_name"] in (*lineage.held_out, *trained)]
    for image in content["images"]:
        old, image["file_name"] = image["file_name"], f"renamed_{image['id']}.png"
        (path.parent / old).rename(path.parent / image["file_name"])
    ids = {image["id"] for image in content["images"]}
    content["annotations"] = [each for each in content["annotations"] if each["image_id"] in ids]
    path.write_text(json.dumps(content))
    capsys.readouterr()
    assert main(["evaluate", "--bundle", bundle, "--data", str(path), "--json", figures]) == 0
    said, found = capsys.readouterr(), json.loads(Path(figures).read_text())
    assert f"was trained on 2 of these {len(lineage.held_out) + 2} pictures" in said.err
    assert (found["seen_by"], found["seen"]["pictures"]) == ("pictures", 2)
    assert found["unseen"]["pictures"] == len(lineage.held_out) == found["pictures"] - 2
    new = next(iter(found["unseen"]["groups"]))
    assert main(["evaluate", "--bundle", bundle, "--data", str(path), "--groups", new]) == 0
    assert "was trained on" not in capsys.readouterr().err


def test_a_picture_without_a_reference_among_others_that_have_one_is_told(
    pcb: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cv2.imwrite(str(pcb / "extra.png"), spot_picture(96, 96, []))
    (pcb / "good.txt").write_text("a/a/0_temp.jpg\nb/b/0_temp.jpg\nextra.png\n")
    words = ["train", "--data", str(pcb), "--good-list", "good.txt", *SHORT, "--epochs", "1"]
    assert main([*words, "--out", str(pcb / "run")]) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert f"1 of 9 pictures name no reference, the first {pcb}/extra.png: so the model does not compare" in told
    assert main([*words, "--out", str(pcb / "meant"), "--reference", "no"]) == 0
    assert "name no reference" not in capsys.readouterr().err


def test_a_reference_that_is_asked_for_and_not_named_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tiny_boards(tmp_path / "data")
    words = ["train", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "run"), "--reference", "yes"]
    assert main(words) == 78
    assert ".png names no reference" in capsys.readouterr().err


def test_a_good_part_keeps_what_the_annotations_say_of_it(tmp_path: Path) -> None:
    path = write_tiny_boards(tmp_path, groups=3)
    content = json.loads(path.read_text())
    content["images"][3] |= {"reference": "007.png"}
    path.write_text(json.dumps(content))
    (tmp_path / "good.txt").write_text(f"003.png\n{tmp_path / '007.png'}\n")
    found = {s.image.name: s for s in read_dataset(Source(tmp_path, good_list=Path("good.txt"))).samples if s.is_good}
    assert {name: sample.group for name, sample in found.items()} == {"003.png": "family0", "007.png": "family1"}
    assert found["003.png"].reference == tmp_path / "007.png"


@pytest.mark.parametrize(("name", "layout"), [("some.txt", "coco"), ("some.txt", None), ("some", "coco")])
@pytest.mark.parametrize("data", ["", "annotations.json"])
def test_a_list_of_pictures_takes_these_of_a_coco_file(
    tmp_path: Path, name: str, layout: Literal["coco"] | None, data: str
) -> None:
    write_tiny_boards(tmp_path, groups=3)
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf002.png\r\n\r\n./001.png\r\n003.png\r\n007.png\r\n")
    (tmp_path / "good.txt").write_text("007.png\n011.png\n")
    source = Source(tmp_path / data, Path(name), layout)
    found = read_dataset(source).samples
    asked = [("002.png", 2, False), ("001.png", 2, False), ("003.png", 0, True), ("007.png", 0, True)]
    assert [(s.image.name, len(s.boxes), s.is_good) for s in found] == asked
    with_good = read_dataset(replace(source, good_list=Path("good.txt"))).samples
    assert [s.image.name for s in with_good] == ["001.png", "002.png", "007.png", "011.png"]
    again = read_dataset(written_source(source.as_dict())).samples
    assert [s.image for s in again] == [s.image for s in found]


def test_what_a_split_says_comes_next_names_the_same_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tiny_boards(tmp_path / "my boards", pictures=16, groups=4)
    (tmp_path / "my boards" / "some.txt").write_text("".join(f"{number:03d}.png\n" for number in range(14)))
    asked = ["--data", str(tmp_path / "my boards"), "--list", "some.txt", "--format", "coco"]
    assert main(["data", "split", *asked, "--out", str(tmp_path / "held.txt")]) == 0
    next_line = capsys.readouterr().out.splitlines()[-1]
    _, program, *words = shlex.split(next_line)
    assert (program, words[:-1]) == ("trainer", ["train", *asked, "--holdout", f"@{tmp_path / 'held.txt'}", "--out"])


def test_boxes_in_shares_of_the_picture_are_refused(tmp_path: Path) -> None:
    path = write_tiny_boards(tmp_path)
    content = json.loads(path.read_text())
    for annotation in content["annotations"]:
        annotation["bbox"] = [value / 96 for value in annotation["bbox"]]
    content["annotations"][0]["bbox"] = [0.5, 0.5, 0.5000001, 0.5]
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=r"annotations\.json.*: this box and all others lie within one pixel"):
        read_dataset(tmp_path)


def test_a_list_of_pictures_that_the_annotations_do_not_know_is_refused(tmp_path: Path) -> None:
    write_tiny_boards(tmp_path)
    cv2.imwrite(str(tmp_path / "other.png"), np.zeros((96, 96), np.uint8))
    source = Source(tmp_path, Path("some.txt"), "coco")
    for line, words in (("other.png", "not among the 12 pictures"), ("012.png", "012.png does not exist")):
        (tmp_path / "some.txt").write_text(f"001.png\n{line}\n")
        with pytest.raises(ConfigError, match=rf"some\.txt:2: .*{words}"):
            read_dataset(source)
    (tmp_path / "good.txt").write_text("002.png\n")
    (tmp_path / "some.txt").write_text("001.png\n")
    with pytest.raises(ConfigError, match=r"002\.png has defects"):
        read_dataset(replace(source, good_list=Path("good.txt")))
    (tmp_path / "annotations.json").rename(tmp_path / "a.json")
    (tmp_path / "b.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"There are a\.json, b\.json; name one with --list, or with --data"):
        read_dataset(source)
    assert len(read_dataset(Source(tmp_path / "a.json", Path("some.txt"))).samples) == 1


def test_a_good_list_may_hold_blanks_and_names_of_nothing_are_refused(tmp_path: Path) -> None:
    write_tiny_boards(tmp_path)
    (tmp_path / "003.png").rename(tmp_path / "my part.png")
    (tmp_path / "more.json").write_text((tmp_path / "annotations.json").read_text().replace("003.png", "my part.png"))
    (tmp_path / "good.txt").write_text("my part.png\n")
    found = read_dataset(Source(tmp_path, Path("more.json"), good_list=Path("good.txt")))
    assert [sample.image.name for sample in found.samples if sample.is_good] == ["my part.png"]
    for name in (".", "/"):
        (tmp_path / "good.txt").write_text(name + "\n")
        with pytest.raises(ConfigError, match=r"good\.txt:1: .* is no name of a picture"):
            read_dataset(Source(tmp_path, Path("more.json"), good_list=Path("good.txt")))


@pytest.mark.parametrize("line", ["good/part.png", "part.png", "other/good/part.png"])
def test_a_good_list_names_pictures_from_the_annotations_or_its_own_folder_or_by_their_name_alone(
    tmp_path: Path, line: str
) -> None:
    path = write_tiny_boards(tmp_path / "sub" / "anns", groups=3)
    (path.parent / "good").mkdir()
    (path.parent / "003.png").rename(path.parent / "good" / "part.png")
    path.write_text(path.read_text().replace("003.png", "good/part.png"))
    (tmp_path / "lists" / "other" / "good").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "lists" / "other" / "good" / "part.png"), np.full((96, 96), 120, np.uint8))
    (tmp_path / "lists" / "good.txt").write_text(line + "\n")
    source = Source(tmp_path / "sub", Path("anns/annotations.json"), "coco", tmp_path / "lists" / "good.txt")
    (good,) = (sample for sample in read_dataset(source).samples if sample.is_good)
    top = tmp_path / "lists" if line.startswith("other") else path.parent
    assert good.image == top / (line if "/" in line else f"good/{line}")


def test_a_name_that_two_folders_have_is_refused_on_a_good_list(tmp_path: Path) -> None:
    path = write_tiny_boards(tmp_path, groups=3)
    for name, folder in (("003.png", "one"), ("007.png", "two")):
        (tmp_path / folder).mkdir()
        (tmp_path / name).rename(tmp_path / folder / "part.png")
        path.write_text(path.read_text().replace(name, f"{folder}/part.png"))
    (tmp_path / "good.txt").write_text("part.png\n")
    with pytest.raises(ConfigError, match=r"good\.txt:1: 2 pictures are called part\.png; name the one"):
        read_dataset(Source(tmp_path, good_list=Path("good.txt")))


def test_good_parts_beside_coco_are_of_their_whole_folder_as_there(tmp_path: Path) -> None:
    path = write_tiny_boards(tmp_path, pictures=24, groups=3)
    content = json.loads(path.read_text())
    for number in range(6):
        folder = tmp_path / "day" / f"lot{number}"
        folder.mkdir(parents=True)
        for name in ("a.png", "b.png"):
            cv2.imwrite(str(folder / name), np.full((96, 96), 120, np.uint8))
    known = {"id": 900, "file_name": "day/lot0/a.png"}
    path.write_text(json.dumps(content | {"images": [*content["images"], known]}))
    names = [f"day/lot{number}/{name}.png" for number in range(6) for name in "ab"]
    (tmp_path / "good.txt").write_text("\n".join(names))
    found = read_dataset(Source(tmp_path, good_list=Path("good.txt"))).samples
    assert {sample.group for sample in found if sample.is_good} == {f"day/lot{number}" for number in range(6)}


def test_pictures_are_found_beside_their_annotations_in_a_subfolder(tmp_path: Path) -> None:
    write_tiny_boards(tmp_path / "train")
    assert len(read_dataset(Source(tmp_path, Path("train/annotations.json"))).samples) == 12


def test_pictures_that_no_good_list_names_are_left_out_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tiny_boards(tmp_path, groups=3)
    (tmp_path / "good.txt").write_text("003.png\n007.png\n")
    read_dataset(Source(tmp_path, good_list=Path("good.txt")))
    assert "trainer: 1 pictures without boxes are not in" in " ".join(capsys.readouterr().err.split())
    (tmp_path / "good.txt").write_text("003.png\n007.png\n011.png\n")
    read_dataset(Source(tmp_path, good_list=Path("good.txt")))
    assert "without boxes" not in capsys.readouterr().err


def test_export_asks_for_the_data_that_its_list_belongs_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "run", "--out", str(tmp_path / "b.bundle"), "--list", "test.txt"]) == 78
    assert "name that too" in capsys.readouterr().err


def test_a_run_that_says_nothing_of_its_data_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "source.json").write_text("[]")
    save_checkpoint(tmp_path / "final.pt", Checkpoint({}, NetShape(1, 1, 8), ("a",)))
    assert main(["export", str(tmp_path), "--out", str(tmp_path / "b.bundle")]) == 78
    assert "not what `trainer train` writes" in capsys.readouterr().err


def test_a_run_or_bundle_that_is_not_there_is_told_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", str(tmp_path / "neither")]
    assert main(["export", str(tmp_path / "run"), "--out", str(tmp_path / "b.bundle"), *data]) == 78
    assert "cannot be read: No such file or directory; train first" in capsys.readouterr().err
    assert main(["evaluate", "--bundle", str(tmp_path / "b.bundle"), *data]) == 65
    assert "b.bundle cannot be read" in capsys.readouterr().err
