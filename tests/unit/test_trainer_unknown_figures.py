"""A figure that cannot be known is null: without a detection, a defect or a good part, and of a single picture."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.models import tiny_bundle, tiny_manifest
from tests.tiny_deeppcb import write_tiny_deeppcb
from trainer.__main__ import main
from trainer.datasets.sample import Dataset, Sample
from trainer.datasets.split import Split
from trainer.evaluate import report
from trainer.files import write_json
from trainer.metrics import Judged
from trainer.model_card import write_model_card
from trainer.operating_point import Choice
from trainer.parity import compare_all
from trainer.score_calibration import calibrate_scores
from trainer.spent import Spent

SPOT = (0.0, 0.0, 16.0, 16.0)


def part(scores: list[float], spots: int = 1, group: str = "a") -> Judged:
    """A picture with detections in the place of its first spot."""
    return Judged(
        np.array([SPOT] * len(scores), np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.zeros(len(scores), np.int64),
        np.array([SPOT] * spots, np.float32).reshape(-1, 4),
        np.zeros(spots, np.int64),
        group,
    )


def written(parts: list[Judged], folder: Path) -> dict[str, Any]:
    """What the JSON file says of these parts, limit 0.5."""
    write_json(folder / "figures.json", report(parts, tiny_manifest(), Spent.of([1.0])).as_dict())
    content: dict[str, Any] = json.loads((folder / "figures.json").read_text())
    return content


def shares(value: Any) -> Iterator[dict[str, Any]]:
    """Give every share in a file."""
    if isinstance(value, dict):
        if set(value) == {"count", "of", "low", "high"}:
            yield value
        for inner in value.values():
            yield from shares(inner)


NONE = {"count": 0, "of": 0, "low": None, "high": None}
NO_BOUNDS = {"low": None, "high": None}


def test_where_nothing_is_found_scores_and_precision_are_not_known(tmp_path: Path) -> None:
    found = written([part([]), part([]), part([], 0)], tmp_path)
    assert found["calibration_error"] is None
    assert found["at_limits"] == {"limit": 0.5, "precision": None, "recall": 0.0, "f": 0.0}
    assert found["best"] == {"limit": None, "precision": None, "recall": 0.0, "f": 0.0}
    assert (found["ap_pooled"], found["coco"]["ap50"], found["coco"]["ap50_classes"]) == (0.0, 0.0, {"spot": 0.0})
    behind = found["evidence"]
    assert (behind["detections"], behind["precision"], behind["calibration_error"]) == (0, NONE, NO_BOUNDS)
    assert behind["separation"] == {"highest_good": 0.0, "lowest_bad": 0.0, "gap": 0.0}


def test_with_good_parts_alone_nothing_of_defects_is_known(tmp_path: Path) -> None:
    found = written([part([0.9], 0), part([0.3], 0)], tmp_path)
    assert [found[key] for key in ("ap_pooled", "ap_pooled_all", "ap_class_mean")] == [None] * 3
    assert found["ap_classes"] == found["coco"]["ap50_classes"] == {"spot": None}
    assert (found["coco"]["ap50"], found["coco"]["ap50_95"]) == (None, None)
    assert found["ap_sizes"] == {"small": None, "medium": None, "large": None}
    assert set(found["best"].values()) == {None}
    assert found["at_limits"] == {"limit": 0.5, "precision": None, "recall": None, "f": None}
    assert found["calibration_error"] == pytest.approx(0.6)
    behind = found["evidence"]
    assert (behind["escapes"], behind["recall"], behind["precision"], behind["separation"]) == (NONE, NONE, NONE, None)
    assert behind["recall_by_class"] == {"spot": NONE}
    assert behind["overkill"]["count"] == 1


def test_without_a_good_part_overkill_is_not_known(tmp_path: Path) -> None:
    found = written([part([0.9]), part([0.3])], tmp_path)
    assert (found["evidence"]["overkill"], found["evidence"]["separation"]) == (NONE, None)
    assert found["evidence"]["escapes"]["count"] == 1


def test_a_group_without_a_defect_has_no_ap_and_no_escapes(tmp_path: Path) -> None:
    found = written([part([0.9]), part([0.8]), part([0.7], 0, group="b")], tmp_path)["groups"]["b"]
    assert (found["boxes"], found["ap_pooled"], found["ap_bounds"], found["escapes"]) == (0, None, NO_BOUNDS, NONE)


def test_one_picture_has_counts_with_exact_bounds_and_no_others(tmp_path: Path) -> None:
    found = written([part([0.9])], tmp_path)["evidence"]
    for name in ("ap_pooled", "ap_class_mean", "ap50", "f_at_limits", "f_best", "calibration_error"):
        assert found[name] == NO_BOUNDS, name
    assert found["escapes"] == {"count": 0, "of": 1, "low": 0.0, "high": pytest.approx(0.975)}


@settings(deadline=None, max_examples=30)
@given(
    parts=st.lists(st.tuples(st.lists(st.floats(0.06, 0.99), max_size=2), st.integers(0, 1)), min_size=1, max_size=4)
)
def test_a_share_has_bounds_if_and_only_if_there_is_something_to_count(
    tmp_path_factory: pytest.TempPathFactory, parts: list[tuple[list[float], int]]
) -> None:
    found = written([part(*each) for each in parts], tmp_path_factory.mktemp("figures"))
    told = list(shares(found))
    assert len(told) > 8
    for share in told:
        assert (share["low"] is None, share["high"] is None) == (not share["of"],) * 2
    assert (found["calibration_error"] is None) == (not found["evidence"]["detections"])
    assert (found["at_limits"]["precision"] is None) == (not found["evidence"]["precision"]["of"])
    assert (found["at_limits"]["recall"] is None) == (not found["evidence"]["recall"]["of"])


def test_two_models_that_find_nothing_have_no_score_to_differ() -> None:
    nothing, something = [part([]), part([], 0)], [part([]), part([0.3], 0)]
    table = compare_all({"f32": nothing, "int8": nothing, "fp16": something}, "f32", tiny_manifest())
    assert np.isnan(table["int8"].largest_score_difference)
    assert table["fp16"].largest_score_difference == pytest.approx(0.3)


def test_what_is_not_known_is_said_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle, page = tiny_bundle(tmp_path / "tiny.bundle"), tmp_path / "page.html"
    write_tiny_deeppcb(tmp_path / "pcb", {"a": 1})
    listed = tmp_path / "good.json"
    picture = {"id": 1, "file_name": "pcb/a/a/0_temp.jpg"}
    content = {"images": [picture], "annotations": [], "categories": [{"id": 1, "name": "spot"}]}
    listed.write_text(json.dumps(content))
    words = ["evaluate", "--bundle", str(bundle), "--data", str(listed), "--report", str(page), "--min-ap", "0.5"]
    assert main(words) == 1
    said = capsys.readouterr()
    assert "precision not known, recall not known, F not known; best F not known\n" in said.out
    assert "calibration error not known; " in said.out
    assert "nan" not in said.out
    assert "refused: AP@0.33: not known, below 0.5" in said.err
    text = page.read_text()
    assert "<td>precision at the limits</td><td>not known</td><td></td><td>0 of 0 detections</td>" in text
    assert "<td>calibration error</td><td>not known</td><td></td><td>0 detections</td>" in text
    assert "nan" not in text.partition("<h2>Parts")[0]


def test_a_card_says_what_is_not_known() -> None:
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    good = Dataset(("spot",), (Sample(Path("a.png"), *nothing, "a", is_good=True),))
    figures = report([part([], 0)], tiny_manifest(), Spent.of([1.0]))
    calibration = calibrate_scores(np.zeros(0), np.zeros(0, bool), np.zeros(0, np.str_))
    card = write_model_card(tiny_manifest(), figures, Split(good, good), calibration, Choice(0.5, "a test"), [])
    assert "| expected calibration error, before | not known |  |" in card
    assert "| precision at the limits | not known | not known |" in card
    assert "| F at the limits | not known | not known |" in card
    assert "Nobody has stated an intended use." in card
    assert "nan" not in card


def test_each_figure_of_a_card_stands_beside_its_own_bounds() -> None:
    rng = np.random.default_rng(0)
    parts = [part([float(score) for score in rng.uniform(0.1, 0.95, 2)], spots) for spots in rng.integers(0, 3, 40)]
    parts = [replace(each, is_misplaced=number < 3) for number, each in enumerate(parts)]
    figures = report(parts, tiny_manifest(), Spent.of([1.0]))
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    good = Dataset(("spot",), (Sample(Path("a.png"), *nothing, "a", is_good=True),))
    calibration = calibrate_scores(np.zeros(0), np.zeros(0, bool), np.zeros(0, np.str_))
    card = write_model_card(tiny_manifest(), figures, Split(good, good), calibration, Choice(0.5, "a test"), [])
    rows = {cells[1].strip(): cells[2:4] for line in card.splitlines() if len(cells := line.split("|")) == 5}
    behind = figures.evidence
    for name, value, bounds in (
        ("AP at IoU 0.33, pooled over the classes", figures.ap_pooled, behind.ap_pooled),
        ("COCO AP50", figures.coco.ap50, behind.ap50),
        ("COCO AP50-95", figures.coco.ap50_95, behind.ap50_95),
        ("precision at the limits", figures.at_limits.precision, behind.precision),
        ("recall at the limits", figures.at_limits.recall, behind.recall),
        ("F at the limits", figures.at_limits.f, behind.f_at_limits),
    ):
        assert rows[name] == [f" {100 * value:.1f} % ", f" {100 * bounds.low:.1f} .. {100 * bounds.high:.1f} % "]
    for name, its in (
        ("escapes (bad parts accepted)", behind.escapes),
        ("overkill (good parts rejected)", behind.overkill),
        ("parts that do not lie over their reference: a station does not judge them", behind.misplaced),
    ):
        assert rows[name] == [f" {its.count} of {its.of} ", f" {100 * its.low:.1f} .. {100 * its.high:.1f} % "]
    assert len({cells[1] for cells in rows.values()}) > 7  # no two have the same
