"""What is wrong with a data set is found before training, counted, and named by file."""

import json
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data_checks import Content, add, change, checked, sound_data
from tests.tiny_boards import board
from tests.tiny_deeppcb import write_tiny_deeppcb
from tests.turned_picture import AS_STORED, HALF_ROUND, turned
from trainer.__main__ import main
from trainer.datasets.examination import is_cut_off
from trainer.datasets.sample import load_picture

SIDE_PX = 96


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return sound_data(tmp_path / "data")


def test_an_import_needs_no_torch(data: Path) -> None:
    words = "import sys; from trainer.__main__ import main; sys.exit(main(sys.argv[1:]) or 'torch' in sys.modules)"
    into = str(data.parent / "imported")
    command = [sys.executable, "-c", words, "data", "import", "--from", "coco", str(data), "--out", into]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_sound_data_set_is_told_so(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert checked(data) == {}
    assert "leakage" in capsys.readouterr().out


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
def test_a_picture_that_ends_too_early_is_found_although_it_decodes(data: Path, suffix: str) -> None:
    add(data, f"late{suffix}", "family0")
    cv2.imwrite(str(data / f"late{suffix}"), board())
    assert checked(data) == {}
    cut(data / f"late{suffix}")
    ((says, files),) = checked(data, code=1)["wrong: unreadable pictures"]
    assert (says[:14], files) == ("ends too early", [f"late{suffix}"])
    (data / f"late{suffix}").write_bytes(b"no picture")
    assert checked(data, code=1)["wrong: unreadable pictures"] == [("cannot be decoded", [f"late{suffix}"])]


@given(seed=st.integers(0, 50), share=st.floats(0.1, 0.95), suffix=st.sampled_from([".png", ".jpg", ".bmp"]))
def test_whatever_is_missing_at_the_end_shows(seed: int, share: float, suffix: str) -> None:
    data = cv2.imencode(suffix, board(seed))[1].tobytes()
    assert not is_cut_off(data)
    assert is_cut_off(data[: int(share * len(data))])


def test_sizes_depths_empty_and_dark_pictures_are_counted(data: Path) -> None:
    for name, pixels in (
        ("small.png", board()[:64, :80]),
        ("colour.png", cv2.merge([board(1), board(2), board(3)])),
        ("deep.png", board(4).astype(np.uint16) * 257),
        ("empty.png", np.full((SIDE_PX, SIDE_PX), 118, np.uint8)),
        ("dark.png", board(5) // 8),
    ):
        cv2.imwrite(str(data / name), pixels)
        add(data, name, "family0")
    found = checked(data)
    sizes = dict(found["warning: mixed sizes"])
    assert sizes["1 pictures of 80 x 64 pixels"] == ["small.png"]
    assert len(sizes["16 pictures of 96 x 96 pixels"]) == 16
    kinds = dict(found["warning: mixed channels or depths"])
    assert kinds["1 pictures of 3 x 8 bit"] == ["colour.png"]
    assert kinds["1 pictures of 1 x 16 bit"] == ["deep.png"]
    assert found["warning: empty pictures"] == [("grey values spread by 0.0", ["empty.png"])]
    assert ["dark.png"] in [files for _, files in found["warning: brightness outliers"]]


def test_of_pictures_that_are_each_of_another_size_the_frequent_ones_are_listed(data: Path) -> None:
    for number in range(12):
        cv2.imwrite(str(data / f"tile{number}.png"), board(number)[:, : 40 + 4 * number])
        add(data, f"tile{number}.png", "family0")
    (rare, files), *listed = checked(data)["warning: mixed sizes"]
    assert rare == "5 pictures of 5 kinds more, none more frequent than those below"
    assert len(files) == 5
    assert len(listed) == 8
    assert listed[-1][0] == "12 pictures of 96 x 96 pixels"


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_picture_that_a_note_in_its_file_turns_is_told(data: Path, suffix: str) -> None:
    add(data, f"noted{suffix}", "family0")
    stored = cv2.imencode(suffix, board())[1].tobytes()
    (data / f"noted{suffix}").write_bytes(turned(stored, AS_STORED))
    assert checked(data) == {}
    (data / f"noted{suffix}").write_bytes(turned(stored, HALF_ROUND))
    told = checked(data)["warning: turned pictures"]
    assert told == [("is shown otherwise than it is stored", [f"noted{suffix}"])]


@pytest.mark.parametrize(("rare", "is_told"), [(1, True), (2, False)])
def test_a_class_with_less_than_a_tenth_of_the_most_frequent_one_s_boxes_is_told(
    data: Path, rare: int, is_told: bool
) -> None:
    def edit(content: Content) -> None:
        for number, annotation in enumerate(content["annotations"]):
            annotation["category_id"] = 2 if number < rare else 1

    change(data, edit)
    told = [("dent: 1 boxes, the most frequent class has 17", ["000.png"])] if is_told else []
    assert checked(data).get("warning: rare classes", []) == told


def test_labels_that_contradict_themselves_are_found(data: Path) -> None:
    def edit(content: Content) -> None:
        first = content["annotations"][0]
        content["annotations"].append(first | {"id": 900, "category_id": 3 - first["category_id"]})
        content["annotations"].append(content["annotations"][1] | {"id": 901})
        content["annotations"][2]["bbox"][2] = 5
        content["annotations"][4]["bbox"] = [80, 80, 30, 10]
        content["annotations"][6]["bbox"] = [80, 80, 16.5, 16]
        content["annotations"][5] |= {"bbox": [20, 20, 30, 0], "iscrowd": 1}
        content["images"][1]["width"] = 95
        content["categories"].append({"id": 3, "name": "pit"})

    change(data, edit)
    found = checked(data, code=1)
    told, outside = found["wrong: labels that do not fit their picture"]
    assert told[0].endswith("images[1] says 95 x 96 pixels, the picture has 96 x 96")
    assert outside[0].endswith("box 80.0, 80.0, 110.0, 90.0 leaves the picture of 96 x 96 pixels; repair or remove it")
    assert [told[1], outside[1]] == [["001.png"], ["002.png"]]
    assert [files for _, files in found["warning: one place, two classes"]] == [["000.png"]]
    ((twice, where),) = found["warning: one defect, two boxes"]
    assert "is written twice" in twice
    assert where == ["000.png"]
    (words, files), (cut, of_cut) = found["warning: labels taken otherwise than they are written"]
    assert "annotations[5]: it is marked as a crowd" in words
    assert "no area; it is taken as one pixel wide" in words
    assert cut.endswith("annotations[6]: box 80.0, 80.0, 96.5, 96.0 leaves its picture by 0.5 px and is cut off there")
    assert [files, of_cut] == [["002.png"], ["004.png"]]
    assert found["warning: thin boxes"] == [("1.0 pixels", ["002.png"]), ("5.0 pixels", ["001.png"])]
    assert [files for says, files in found["warning: rare classes"] if says.startswith("pit: 0 boxes")] == [[]]


def test_what_reading_refuses_keeps_its_words(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(data, lambda content: content["annotations"][0].update(bbox=[1, 1, -2, 4]))
    assert main(["data", "check", "--data", str(data)]) == 78
    assert "annotations[0]: box" in capsys.readouterr().err


@pytest.mark.parametrize("quality", [None, 60])
def test_a_copy_on_both_sides_of_the_split_is_leakage_and_training_refuses_it(
    data: Path, capsys: pytest.CaptureFixture[str], quality: int | None
) -> None:
    pixels = load_picture(data / "000.png", 1)
    name = "copy.png" if quality is None else "copy.jpg"
    cv2.imwrite(str(data / name), pixels, [] if quality is None else [cv2.IMWRITE_JPEG_QUALITY, quality])
    add(data, name, "family1", like=0)
    divided = ["--holdout", "family0"]
    found = checked(data, *divided, code=1)
    assert found["wrong: leakage"] == [("group family0 and group family1", ["000.png", name])]
    for words in ((), ("--holdout", "family2")):
        assert checked(data, *words)["warning: copies in several groups"] == found["wrong: leakage"]
    capsys.readouterr()
    train = ["train", "--data", str(data), "--epochs", "1", "--batch", "4", "--crop", "64", "--workers", "1"]
    assert main([*train, *divided, "--out", str(data.parent / "refused")]) == 78
    told = capsys.readouterr().err
    assert "1 of 4 held-out pictures are there for training too" in told
    assert f"{data}/000.png (group family0) is like {data}/{name} (group family1)" in told
    assert not (data.parent / "refused").exists()
    assert main([*train, *divided, "--allow-leakage", "--out", str(data.parent / "allowed")]) == 0
    assert "beware: 1 of 4 held-out pictures are there" in " ".join(capsys.readouterr().err.split())
    assert main([*train, "--out", str(data.parent / "drawn")]) == 0
    assert "held-out pictures are there" not in capsys.readouterr().err


def test_the_split_is_shown_and_written_down_with_copies_on_one_side(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(data / "000.png", data / "copy.png")
    add(data, "copy.png", "family1", like=0)
    for seed in range(4):
        words = ["--seed", str(seed), "--json", str(data / "s.json"), "--out", str(data / "held.txt")]
        assert main(["data", "split", "--data", str(data), *words]) == 0
        rows = {row["group"]: row["split"] for row in json.loads((data / "s.json").read_text())["groups"]}
        assert rows["family0"] == rows["family1"] != rows["family2"]
        held = (data / "held.txt").read_text().split()
        assert held == sorted(group for group, half in rows.items() if half == "validation")
    assert "2 groups share copies" in capsys.readouterr().out
    assert main(["data", "split", "--data", str(data), "--holdout", f"@{data / 'held.txt'}"]) == 0
    assert main(["data", "split", "--data", str(data), "--holdout", "family1"]) == 1
    assert "refused: 1 of " in capsys.readouterr().err


def test_where_all_groups_share_copies_nothing_is_held_out_without_a_word(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for group in ("family1", "family2"):
        shutil.copy(data / "000.png", data / f"{group}.png")
        add(data, f"{group}.png", group, like=0)
    assert ("each group shares copies with the others") in checked(data, code=1)["wrong: groups"][0][0]
    capsys.readouterr()
    assert main(["train", "--data", str(data), "--out", str(data.parent / "run")]) == 78
    assert "nothing can be held out: pictures of all groups are alike" in capsys.readouterr().err


def test_one_group_and_an_unknown_one_cannot_be_divided(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "--data", str(data), "--holdout", "family9"]) == 78
    assert "no group family9" in capsys.readouterr().err
    write_tiny_deeppcb(data.parent / "pcb", {"a": 2}, side_px=SIDE_PX)
    ((says, files),) = checked(data.parent / "pcb", code=1)["wrong: groups"]
    assert (says, len(files)) == ("all pictures are of group a", 4)


def test_a_check_divides_the_groups_that_training_does(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(data, lambda content: [image.update(group="all") for image in content["images"]])
    shutil.copy(data / "000.png", data / "copy.png")
    add(data, "copy.png", "all", like=0)
    assert main(["data", "split", "--data", str(data)]) == 0
    assert "2 groups share copies" in capsys.readouterr().out
    assert "warning: copies in several groups" in checked(data)
    for command in ("split", "check"):
        assert main(["data", command, "--data", str(data), "--holdout", "000.png,004.png"]) == 1
    assert [files for _, files in checked(data, "--holdout", "000.png,004.png", code=1)["wrong: leakage"]] == [
        ["000.png", "copy.png"]
    ]
    capsys.readouterr()
    assert main(["data", "check", "--data", str(data), "--holdout", "all"]) == 78
    assert "the group all was taken apart, because" in " ".join(capsys.readouterr().err.split())


def test_a_template_is_no_duplicate_of_the_picture_that_it_belongs_to(tmp_path: Path) -> None:
    write_tiny_deeppcb(tmp_path / "data", {"a": 1, "b": 1, "c": 1}, side_px=SIDE_PX)
    for seed, group in enumerate("abc"):
        for kind in ("test", "temp"):
            pixels = board(seed)
            pixels[:2, :2] = 0 if kind == "test" else 255
            cv2.imwrite(str(tmp_path / "data" / group / group / f"0_{kind}.jpg"), pixels)
    assert checked(tmp_path / "data").keys() == {"warning: rare classes"}


def test_references_that_are_damaged_or_of_another_size_are_found(data: Path) -> None:
    for name, height in (("whole.jpg", SIDE_PX), ("cut.jpg", SIDE_PX), ("low.jpg", 64)):
        cv2.imwrite(str(data / name), cv2.resize(board(7), (SIDE_PX, height)))
    (data / "cut.jpg").write_bytes((data / "cut.jpg").read_bytes()[:-60])
    names = ["cut.jpg", "cut.jpg", "low.jpg", *["whole.jpg"] * 9]

    def name_them(content: Content) -> None:
        for image, name in zip(content["images"], names, strict=True):
            image["reference"] = name

    change(data, name_them)
    found = checked(data, code=1)
    ((says, files),) = found["wrong: unreadable pictures"]
    assert f"their reference {data / 'cut.jpg'} ends too early" in says
    assert files == ["000.png", "001.png"]
    assert found["wrong: references that do not fit their picture"] == [
        (f"{data / 'low.jpg'} has 96 x 64 pixels, the picture 96 x 96", ["002.png"])
    ]


def test_sixteen_bits_of_which_a_camera_fills_twelve_are_told(data: Path) -> None:
    for path in data.glob("*.png"):
        cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(np.uint16) * 16)
    ((says, files),) = checked(data)["warning: bits without use"]
    assert "none of 12 pictures of 16 bits goes above" in says
    assert len(files) == 12
    for path in data.glob("*.png"):
        cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_UNCHANGED) * 16)
    assert "warning: bits without use" not in checked(data)


class Outside(HTMLParser):
    """Collects what a page would have to fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.pictures = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        addresses = [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]
        self.found += [value for value in addresses if not value.startswith(("data:image/jpeg;base64,", "#"))]
        self.found += [tag] if tag in ("script", "link", "iframe", "object") else []
        self.pictures += tag == "img"


def test_the_page_shows_at_most_twelve_pictures_of_a_finding_and_fetches_nothing(data: Path, tmp_path: Path) -> None:
    for number in range(15):
        cv2.imwrite(str(data / f"e{number}.png"), np.full((SIDE_PX, SIDE_PX), 110 + number, np.uint8))
        add(data, f"e{number}.png", "family0")
    change(data, lambda content: content["images"][12].update(group="<b>&"))
    checked(data, "--report", str(tmp_path / "page.html"))
    text = (tmp_path / "page.html").read_text()
    page = Outside()
    page.feed(text)
    assert page.found == []
    assert page.pictures == 12
    assert "3 more pictures" in text
    assert "<b>&" not in text
