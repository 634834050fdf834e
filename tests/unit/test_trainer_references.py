"""A picture that does not lie over its reference is not learned from, nor judged, in silence."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from appliance.bundle.archive import read_bundle
from appliance.events import Pixels
from tests.models import tiny_bundle
from tests.references import board, laid_down, with_defect, write_picture
from trainer.__main__ import main
from trainer.datasets.sample import Dataset, Sample
from trainer.evaluate import BundleRunner, judge_samples, report
from trainer.evaluate_command import show_report
from trainer.pictures import Pictures
from trainer.plan import Plan
from trainer.references import MisplacedPairs, load_input
from trainer.report_page import write_page

GOOD = board(1)


def sample(folder: Path, name: str, part: Pixels) -> Sample:
    write_picture(folder / "good.png", GOOD)
    write_picture(folder / name, part)
    boxes = np.zeros((0, 4), np.float32)
    return Sample(folder / name, boxes, np.zeros(0, np.int64), "board", True, folder / "good.png")


def dataset(folder: Path) -> Dataset:
    parts = {
        "0.png": GOOD,
        "1.png": laid_down(GOOD, (40, 0)),  # as found, out of a station's usual limits
        "2.png": with_defect(laid_down(GOOD, (-7, 4), 0.5), 4, 5),
        "3.png": board(2),  # another product
        "4.png": laid_down(GOOD, (0, 0), 5),
    }
    return Dataset(("spot",), tuple(sample(folder, name, part) for name, part in parts.items()))


def test_an_evaluation_warns_once_of_pairs_that_a_station_would_call_misplaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = read_bundle(tiny_bundle(tmp_path / "tiny.bundle", 320, 320, channels=2))
    classes = tuple(item.name for item in bundle.manifest.classes)
    runner, data = BundleRunner(bundle.model_onnx, bundle.manifest), dataset(tmp_path)
    data = Dataset(classes, data.samples)
    judged, _ = judge_samples(runner, data, is_quiet=True)
    told = " ".join(capsys.readouterr().err.split())
    assert len(judged) == 5
    assert told.count("warning: 3 picture(s) do not lie over their reference") == 1
    assert f"The first is {tmp_path / '1.png'}: the part lies 4" in told
    judge_samples(runner, data, is_quiet=True)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("channels", "is_compared"), [(2, True), (1, False)])
def test_an_evaluation_counts_the_parts_that_a_station_would_call_misplaced(
    channels: int, is_compared: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = read_bundle(tiny_bundle(tmp_path / "tiny.bundle", 320, 320, channels=channels))
    pairs = tuple(replace(each, group=f"lot {number % 2}") for number, each in enumerate(dataset(tmp_path).samples))
    good = replace(pairs[0], image=tmp_path / "good.png")  # its own reference: not compared
    data = Dataset(tuple(item.name for item in bundle.manifest.classes), (*pairs, good))
    judged, _ = judge_samples(BundleRunner(bundle.model_onnx, bundle.manifest), data, is_quiet=True)
    figures = report(judged, bundle.manifest)
    counted = {"all": figures.evidence.misplaced} | {name: row.misplaced for name, row in figures.groups.items()}
    expected = {"all": (3, 5), "lot 0": (1, 3), "lot 1": (2, 2)}
    assert {name: (its.count, its.of) for name, its in counted.items()} == (
        expected if is_compared else dict.fromkeys(expected, (0, 0))
    )
    capsys.readouterr()
    show_report(figures)
    assert ("FAULT at a station: at least 3 of 5 parts" in capsys.readouterr().out) == is_compared
    assert ("do not lie over their reference: FAULT" in write_page(bundle, data, judged, figures)) == is_compared


def test_the_parts_that_a_station_would_judge_have_all_figures_by_themselves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tiny_bundle(tmp_path / "tiny.bundle", 320, 320, channels=2)
    name = read_bundle(bundle).manifest.classes[0].name
    images, marks = [], []
    for number, each in enumerate(dataset(tmp_path).samples):
        images.append({"id": number, "file_name": each.image.name, "group": "lot", "reference": "good.png"})
        marks.append({"id": number, "image_id": number, "category_id": 1, "bbox": [64, 80, 48, 48]})
    content = {"images": images, "annotations": marks, "categories": [{"id": 1, "name": name}]}
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    told = tmp_path / "told.json"
    words = ["evaluate", "--bundle", str(bundle), "--data", str(tmp_path), "--json", str(told)]
    assert main(words) == 0
    assert "without the parts that do not lie over their reference: 2 pictures, AP@0.33" in capsys.readouterr().out
    whole = json.loads(told.read_text())
    assert (whole["pictures"], whole["placed"]["pictures"]) == (5, 2)
    assert (whole["parts"]["bad"], whole["placed"]["parts"]["bad"]) == (5, 2)
    (tmp_path / "annotations.json").write_text(json.dumps(content | {"images": images[:1], "annotations": marks[:1]}))
    assert main(words) == 0
    assert json.loads(told.read_text())["placed"] is None


def test_a_part_that_is_displaced_on_purpose_is_not_taken_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = sample(tmp_path, "part.png", GOOD)
    shown = load_input(one, 2, laid_down(GOOD, (40, 0)))
    assert shown.shape == (320, 320, 2)
    MisplacedPairs().tell()
    assert capsys.readouterr().err == ""


def test_training_warns_of_them_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = dataset(tmp_path)
    box, label = np.array([[9, 9, 60, 60]], np.float32), np.zeros(1, np.int64)
    bad = [replace(each, is_good=False, boxes=box, labels=label) for each in data.samples]
    Pictures(Dataset(("spot",), tuple(bad)), Plan(epochs=1, side_px=64, batch=2, reference=True))
    assert "warning: 3 picture(s) do not lie over their reference" in " ".join(capsys.readouterr().err.split())
