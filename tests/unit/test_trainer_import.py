"""Pictures labelled elsewhere become one COCO file that every command reads; a broken label is named with its line."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.annotations.coco import read_coco
from appliance.annotations.pictures import Annotations
from appliance.errors import ConfigError
from tests.tiny_boards import write_tiny_boards
from tests.tiny_deeppcb import write_tiny_deeppcb
from trainer.__main__ import main
from trainer.datasets.layouts.regions import defects_of, load_mask
from trainer.datasets.layouts.yolo import read_yolo_labels
from trainer.datasets.reading import read_dataset

WIDTH, HEIGHT = 64, 48
XML = """<annotation>
<filename>{name}</filename>
<size><width>64</width><height>48</height><depth>1</depth></size>
<object>
<name>{label}</name>
<bndbox><xmin>{xmin}</xmin><ymin>11</ymin><xmax>30</xmax><ymax>20</ymax></bndbox>
</object>
</annotation>
"""


def picture(path: Path, marks: tuple[tuple[int, int, int, int], ...] = (), value: int = 255, ground: int = 90) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((HEIGHT, WIDTH), ground, np.uint8)
    for x, y, width, height in marks:
        pixels[y : y + height, x : x + width] = value
    assert cv2.imwrite(str(path), pixels)
    return path


def mask(path: Path, *marks: tuple[int, int, int, int], value: int = 255) -> Path:
    return picture(path, marks, value, ground=0)


def taken(source: Path, layout: str, *words: str) -> Annotations:
    """Import, and read back as the appliance does."""
    out = source.parent / "out"
    assert main(["data", "import", "--from", layout, str(source), "--out", str(out), *words]) == 0
    read_dataset(out)
    found = read_coco(out / "annotations.json")
    (out / "annotations.json").rename(out / "read.json")
    return found


def refusal(capsys: pytest.CaptureFixture[str], source: Path, layout: str, *words: str) -> str:
    assert main(["data", "import", "--from", layout, str(source), "--out", str(source.parent / "out"), *words]) == 78
    assert not (source.parent / "out" / "annotations.json").exists()
    return " ".join(capsys.readouterr().err.split())


def boxes(found: Annotations) -> dict[str, list[tuple[str, tuple[float, ...]]]]:
    return {item.path.name: [(truth.label, truth.box) for truth in item.boxes] for item in found.pictures}


@pytest.fixture
def yolo(tmp_path: Path) -> Path:
    source = tmp_path / "yolo"
    for name in ("train/a", "train/b", "val/c"):
        picture(source / "images" / f"{name}.png")
        (source / "labels" / name).parent.mkdir(parents=True, exist_ok=True)
    (source / "labels/train/a.txt").write_text("1 0.5 0.5 0.25 0.5\n\n0 0.0 0.0 0.5 0.0 0.5 0.25\n")
    (source / "labels/train/b.txt").write_text("")
    (source / "data.yaml").write_text("names: {0: dent, 1: scratch}\n")
    return source


def test_yolo_boxes_and_polygons_become_coco_and_the_pictures_stay_where_they_are(
    yolo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = taken(yolo, "yolo")
    assert list(found.classes) == ["dent", "scratch"]
    assert boxes(found) == {
        "a.png": [("scratch", (24.0, 12.0, 40.0, 36.0)), ("dent", (0.0, 0.0, 32.0, 12.0))],
        "b.png": [],
        "c.png": [],
    }
    assert [item.group for item in found.pictures] == ["train", "train", "val"]
    assert "1 pictures have no label file" in capsys.readouterr().err
    content = json.loads((yolo.parent / "out" / "read.json").read_text())
    assert content["images"][0]["file_name"] == "../yolo/images/train/a.png"
    assert content["annotations"][1]["segmentation"] == [[0.0, 0.0, 32.0, 0.0, 32.0, 12.0]]
    assert list((yolo.parent / "out").iterdir()) == [yolo.parent / "out" / "read.json"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("0 0.5 0.5 0.5", "expected 'class cx cy width height'"),
        ("0 0.5 0.5 0.5 0.5 0.9", "expected 'class cx cy width height'"),
        ("dent 0.5 0.5 0.5 0.5", "expected 'class cx cy width height'"),
        ("7 0.5 0.5 0.5 0.5", "class 7 is unknown; there are 0 dent, 1 scratch"),
        ("-1 0.5 0.5 0.5 0.5", "class -1 is unknown"),
        ("0 32 24 10 10", "export it normalised"),
        ("0 nan 0.5 0.5 0.5", "export it normalised"),
        ("0 0.9 0.5 0.5 0.5", "leaves the picture of 64 x 48"),
        ("0 0.5 0.5 -0.1 0.5", "no area"),
    ],
)
def test_a_broken_yolo_line_is_refused_with_file_and_line(
    yolo: Path, capsys: pytest.CaptureFixture[str], line: str, says: str
) -> None:
    (yolo / "labels/val/c.txt").write_text(f"0 0.5 0.5 0.5 0.5\n\n{line}\n")
    told = refusal(capsys, yolo, "yolo")
    assert f"{yolo}/labels/val/c.txt:3: " in told
    assert says in told


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("data.yaml", "nc: 2\nnames: [a\n", "data.yaml:3: is not YAML"),
        ("data.yaml", "names: {0: a, 2: b}", "from 0 on without a gap"),
        ("data.yaml", "nc: 3", "data.yaml:1: 'names'"),
        ("labels/val/gone.txt", "", "gone.txt:1: no picture belongs"),
    ],
)
def test_what_does_not_fit_together_in_yolo_is_refused(
    yolo: Path, capsys: pytest.CaptureFixture[str], file: str, text: str, says: str
) -> None:
    (yolo / file).write_text(text)
    assert says in refusal(capsys, yolo, "yolo")


def test_labels_that_somebody_may_have_corrected_are_not_written_over(
    yolo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["data", "import", "--from", "yolo", str(yolo), "--out", str(yolo)]
    assert main(words) == 0
    (yolo / "annotations.json").write_text("corrected")
    assert main(words) == 78
    assert "is there already and is kept" in capsys.readouterr().err
    assert (yolo / "annotations.json").read_text() == "corrected"


def test_names_come_from_a_list_or_from_the_command_line(yolo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (yolo / "data.yaml").unlink()
    assert "--classes" in refusal(capsys, yolo, "yolo")
    (yolo / "labels/classes.txt").write_text("pit\nline\n")
    assert list(taken(yolo, "yolo").classes) == ["pit", "line"]
    assert list(taken(yolo, "yolo", "--classes", "x,y").classes) == ["x", "y"]


def test_a_group_is_found_in_the_name_or_the_name_is_refused(yolo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "a.png: --group-pattern" in refusal(capsys, yolo, "yolo", "--group-pattern", r"_(\d+)")
    assert [item.group for item in taken(yolo, "yolo", "--group-pattern", r"(\w)\.").pictures] == ["a", "b", "c"]
    for odd in ("(", "abc", "(a)(b)"):
        with pytest.raises(SystemExit):
            main(["data", "import", "--from", "yolo", str(yolo), "--out", "x", "--group-pattern", odd])


@given(
    st.lists(
        st.tuples(st.integers(0, 620), st.integers(0, 460), st.integers(1, 20), st.integers(1, 20), st.integers(0, 2)),
        max_size=5,
    )
)
def test_yolo_shares_come_back_as_the_pixels_they_were(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, int, int, int]]
) -> None:
    path = tmp_path_factory.mktemp("yolo") / "a.txt"
    path.write_text(
        "\n".join(f"{k} {(x + w / 2) / 640:.6f} {(y + h / 2) / 480:.6f} {w / 640:.6f} {h / 480:.6f}"
                  for x, y, w, h, k in rows)
    )  # fmt: skip
    found = read_yolo_labels(path, ("a", "b", "c"), (640, 480))
    assert [(defect.label, defect.box) for defect in found] == [
        ("abc"[k], (float(x), float(y), float(x + w), float(y + h))) for x, y, w, h, k in rows
    ]


@given(st.text(max_size=60) | st.from_regex(r"[0-2]( -?[01]?\.?[0-9]{1,3}){3,9}(\n.*)?", fullmatch=True))
def test_any_yolo_text_is_read_or_refused_with_its_line(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("yolo") / "a.txt"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        found = read_yolo_labels(path, ("a", "b"), (640, 480))
    except ConfigError as error:
        assert str(error).startswith(f"{path}:")
        return
    for x1, y1, x2, y2 in (defect.box for defect in found):
        assert 0 <= x1 < x2 <= 640
        assert 0 <= y1 < y2 <= 480


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    source = tmp_path / "voc"
    (source / "Annotations").mkdir(parents=True)
    for name in ("a", "b"):
        picture(source / "JPEGImages" / f"{name}.png")
    (source / "Annotations/a.xml").write_text(XML.format(name="a.png", label="scratch", xmin="1"))
    (source / "Annotations/b.xml").write_text("<annotation><filename>b.png</filename></annotation>")
    return source


def test_voc_counts_pixels_from_one_and_includes_the_last(voc: Path) -> None:
    found = taken(voc, "voc")
    assert boxes(found) == {"a.png": [("scratch", (0.0, 10.0, 30.0, 20.0))], "b.png": []}
    assert [item.group for item in found.pictures] == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("<xmin>1<", "<xmin>many<", "a.xml:6: <xmin> is no number: 'many'"),
        ("<xmin>1<", "<xmin>nan<", "a.xml:6: <xmin> is no number"),
        ("<xmin>1<", "<xmin>31<", "a.xml:6: box (31.0, 11.0, 30.0, 20.0) has no area"),
        ("<xmax>30<", "<xmax>90<", "a.xml:6: box 0.0, 10.0, 90.0, 20.0 leaves the picture of 64 x 48"),
        ("<name>scratch</name>", "", "a.xml:4: <object> needs one <name>, found 0"),
        ("scratch", " ", "a.xml:5: <name> is empty"),
        ("<width>64<", "<width>63<", "a.xml:3: says 63 x 48 pixels"),
        ("</annotation>", "", "not XML"),
        ("a.png", "gone.png", "a.xml:2: picture"),
        ("<annotation>", '<!DOCTYPE a [<!ENTITY e "x">]><annotation>', "a.xml:1: declares an entity"),
    ],
)
def test_a_broken_voc_entry_is_refused_with_file_and_line(
    voc: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, says: str
) -> None:
    path = voc / "Annotations/a.xml"
    path.write_text(path.read_text().replace(old, new))
    if old == "a.png":
        path.rename(voc / "Annotations/z.xml")
        says = says.replace("a.xml", "z.xml")
    assert says in refusal(capsys, voc, "voc")


def test_a_voc_picture_without_xml_and_a_class_that_was_not_named_are_refused(
    voc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "a.xml:5: class 'scratch' is not in --classes dent" in refusal(capsys, voc, "voc", "--classes", "dent")
    picture(voc / "JPEGImages/c.png")
    assert "c.png: has no XML file" in refusal(capsys, voc, "voc")


@pytest.fixture
def mvtec(tmp_path: Path) -> Path:
    source = tmp_path / "bottle"
    for name in ("train/good/000", "test/good/001", "test/crack/000", "test/hole/000"):
        picture(source / f"{name}.png")
    mask(source / "ground_truth/crack/000_mask.png", (1, 2, 10, 5), (30, 30, 1, 1))
    mask(source / "ground_truth/hole/000_mask.png", (40, 20, 24, 28))
    return source


def test_masks_give_a_box_and_an_outline_to_each_region_and_the_class_of_their_folder(mvtec: Path) -> None:
    found = taken(mvtec, "masks")
    assert list(found.classes) == ["crack", "hole"]
    by_folder = {item.path.parent.name: item.boxes for item in found.pictures}
    assert [truth.box for truth in by_folder["crack"]] == [(1.0, 2.0, 11.0, 7.0), (30.0, 30.0, 31.0, 31.0)]
    assert [(truth.label, truth.box) for truth in by_folder["hole"]] == [("hole", (40.0, 20.0, 64.0, 48.0))]
    assert by_folder["good"] == ()
    content = json.loads((mvtec.parent / "out" / "read.json").read_text())
    assert content["annotations"][0]["segmentation"] == [[1.5, 2.5, 1.5, 6.5, 10.5, 6.5, 10.5, 2.5]]


def test_pixel_values_are_the_numbers_of_the_classes_that_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "set"
    picture(source / "images/a.png")
    picture(source / "images/b.png")
    mask(source / "masks/a.png", (1, 1, 4, 4), value=2)
    mask(source / "masks/b.png")
    assert "a.png: nothing says what it shows" in refusal(capsys, source, "masks")
    assert boxes(taken(source, "masks", "--classes", "dent,pit"))["a.png"] == [("pit", (1.0, 1.0, 5.0, 5.0))]
    assert boxes(taken(source, "masks", "--classes", "dent"))["a.png"] == [("dent", (1.0, 1.0, 5.0, 5.0))]
    mask(source / "masks/b.png", (1, 1, 4, 4), value=3)
    assert "b.png: has the value 3, --classes names the grey values 1 to 2" in refusal(
        capsys, source, "masks", "--classes", "dent,pit"
    )


def test_a_coloured_mask_shows_one_class_and_never_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "set"
    picture(source / "images/a.png")
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[2:4, 2:4] = (0, 0, 128)
    (source / "masks").mkdir()
    cv2.imwrite(str(source / "masks/a.png"), pixels)
    assert "has a colour, --classes names the grey values" in refusal(capsys, source, "masks", "--classes", "dent,pit")
    assert boxes(taken(source, "masks", "--classes", "dent"))["a.png"] == [("dent", (2.0, 2.0, 4.0, 4.0))]
    cv2.imwrite(str(source / "masks/a.jpg"), pixels)
    (source / "masks/a.png").unlink()
    assert main(["data", "import", "--from", "masks", str(source), "--out", str(source), "--classes", "dent"]) == 78
    assert "a JPEG blurs the values of a mask" in capsys.readouterr().err


def test_a_mask_that_fits_no_picture_or_is_missing_is_refused(mvtec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture(mvtec / "test/hole/005.png")
    assert "hole/005.png: shows a defect and has no mask" in refusal(capsys, mvtec, "masks")
    (mvtec / "test/hole/005.png").unlink()
    odd = mask(mvtec / "ground_truth/hole/007_mask.png")
    assert "007_mask.png: belongs to one picture called 007, found none" in refusal(capsys, mvtec, "masks")
    odd.unlink()
    cv2.imwrite(str(mvtec / "ground_truth/hole/000_mask.png"), np.zeros((9, 9), np.uint8))
    assert "has 9 x 9 pixels, its picture 64 x 48" in refusal(capsys, mvtec, "masks")


def test_folders_need_masks_for_bad_parts_and_good_parts_by_themselves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "parts"
    picture(source / "bad/x.png")
    mask(source / "bad/x_mask.png", (3, 3, 9, 9))
    assert "has no pictures in good/" in refusal(capsys, source, "folders")
    picture(source / "good/y.png")
    found = taken(source, "folders", "--classes", "dent")
    assert boxes(found) == {"x.png": [("dent", (3.0, 3.0, 12.0, 12.0))], "y.png": []}
    assert [item.group for item in found.pictures] == ["bad", "good"]
    mask(source / "bad/x_mask.png")
    assert "its mask is empty" in refusal(capsys, source, "folders", "--classes", "dent")


CELLS = st.sets(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=8)


@given(cells=CELLS, width=st.integers(1, 8), height=st.integers(1, 8))
def test_boxes_drawn_into_a_mask_come_back(
    tmp_path_factory: pytest.TempPathFactory, cells: set[tuple[int, int]], width: int, height: int
) -> None:
    marks = [(10 * column, 10 * row, width, height) for column, row in cells]
    path = mask(tmp_path_factory.mktemp("mask") / "m.png", *marks)
    found = defects_of(load_mask(path, (WIDTH, HEIGHT)), ("dent",), path)
    assert {defect.box for defect in found} == {(x, y, x + w, y + h) for x, y, w, h in marks}
    for defect in found:
        (outline,) = defect.outlines
        assert min(outline[::2]) - defect.box[0] <= 0.5
        assert defect.box[3] - max(outline[1::2]) <= 0.5


def test_deeppcb_and_coco_keep_groups_and_references(tmp_path: Path) -> None:
    write_tiny_deeppcb(tmp_path / "pcb", {"g1": 1, "g2": 1})
    found = taken(tmp_path / "pcb", "deeppcb")
    assert [item.group for item in found.pictures] == ["g1", "g2", "g1", "g2"]
    assert [item.reference and item.reference.name for item in found.pictures] == ["0_temp.jpg"] * 4
    before = read_coco(write_tiny_boards(tmp_path / "coco"))
    after = taken(tmp_path / "coco", "coco")
    assert [(item.path.resolve(), item.group, item.boxes) for item in after.pictures] == [
        (item.path.resolve(), item.group, item.boxes) for item in before.pictures
    ]


def test_what_is_not_taken_as_it_is_written_is_told_at_the_import(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_tiny_boards(tmp_path / "coco")
    taken(tmp_path / "coco", "coco")
    assert "not taken" not in capsys.readouterr().err
    content = json.loads(path.read_text())
    content["annotations"][0]["iscrowd"] = 1
    content["annotations"][1]["bbox"] = [10, 20, 30, 0]
    path.write_text(json.dumps(content))
    assert [truth.box for truth in taken(tmp_path / "coco", "coco").pictures[0].boxes][1] == (10, 20, 40, 21)
    said = " ".join(capsys.readouterr().err.split())
    assert f"beware: 2 labels are not taken as they are written; the first is {path}" in said
    assert "it is marked as a crowd; it is taken as one defect" in said
    write_tiny_deeppcb(tmp_path / "pcb", {"g1": 1})
    labels = tmp_path / "pcb" / "g1" / "g1_not" / "0.txt"
    labels.write_text("10 20 10 60 1\n")
    taken(tmp_path / "pcb", "deeppcb")
    said = " ".join(capsys.readouterr().err.split())
    assert f"1 labels are not taken as they are written; the first is {labels}:1: box 10.0, 20.0, 10.0, 60.0" in said


def test_a_line_is_one_pixel_wide_and_told_whatever_layout_it_comes_from(
    yolo: Path, voc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (yolo / "labels/val/c.txt").write_text("0 0.5 0.5 0 0.5\n0 -0.005 0.5 0.01 0.5\n1 0.25 0 0.2501 0.25 0.25 0.5\n")
    lines = [("dent", (32, 12, 33, 36)), ("dent", (0, 12, 1, 36)), ("scratch", (16, 0, 17, 24))]
    assert boxes(taken(yolo, "yolo"))["c.png"] == lines
    content = json.loads((yolo.parent / "out/read.json").read_text())
    assert content["annotations"][-1]["segmentation"] == [[16, 0, 17, 0, 17, 24, 16, 24]]
    said = " ".join(capsys.readouterr().err.split())
    assert f"3 labels are not taken as they are written; the first is {yolo}/labels/val/c.txt:1: box 32.0, 12" in said
    path = voc / "Annotations/a.xml"
    path.write_text(path.read_text().replace("<xmin>1<", "<xmin>65<").replace("<xmax>30<", "<xmax>65<"))
    assert boxes(taken(voc, "voc"))["a.png"] == [("scratch", (63, 10, 64, 20))]
    told = f"the first is {path}:6: box 64.0, 10.0, 65.0, 20.0 leaves its picture by 1 px and is cut off there; what is"
    assert f"{told} left has no area; it is taken as one pixel wide" in " ".join(capsys.readouterr().err.split())


def test_a_source_that_is_not_there_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "nowhere: does not exist" in refusal(capsys, tmp_path / "nowhere", "voc")
    (tmp_path / "empty").mkdir()
    for layout in ("yolo", "voc", "masks", "folders", "coco", "deeppcb"):
        assert f"{tmp_path}/empty: " in refusal(capsys, tmp_path / "empty", layout)
