"""The limit that a cost or a target chooses, against counting by hand, and what the parts cannot support."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from appliance.arguments import percent
from appliance.bundle.archive import read_bundle
from appliance.errors import ConfigError
from tests.tiny_boards import write_tiny_boards
from trainer.__main__ import main
from trainer.evidence import gather
from trainer.intervals import share
from trainer.metrics import Judged, Parts, judge_parts
from trainer.operating_point import FLOORS, LIMITS, MOST_NOISE, Wish, choose, choose_floor, doubtful, parts_needed, roc
from trainer.rankings import Rankings

SCORES = st.lists(st.integers(0, 100).map(lambda hundredths: hundredths / 100), min_size=1, max_size=30)


def part(score: float, is_bad: bool) -> Judged:
    box, label = np.array([[0, 0, 10, 10]], np.float32), np.zeros(1, np.int64)
    truth = (box, label) if is_bad else (box[:0], label[:0])
    return Judged(box, np.array([score], np.float32), label, *truth)


def parts(bad: list[float], good: list[float]) -> list[Judged]:
    return [part(score, True) for score in bad] + [part(score, False) for score in good]


def counted(judged: list[Judged], limit: float) -> Parts:
    return judge_parts(judged, np.array([limit]))


def counted_by_hand(bad: list[float], good: list[float]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the escapes and the overkill at each of LIMITS: a part with such a score is rejected up to there."""
    of_bad, of_good = (np.array(scores, np.float32)[:, None].astype(np.float64) for scores in (bad, good))
    return (of_bad < LIMITS).sum(axis=0), (of_good >= LIMITS).sum(axis=0)


def index_of(limit: float) -> int:
    (at,) = np.flatnonzero(limit == LIMITS)
    return int(at)


@given(bad=SCORES, good=SCORES)
def test_each_point_of_the_roc_is_what_counting_gives_there(bad: list[float], good: list[float]) -> None:
    judged = parts(bad, good)
    points = roc(judged)
    assert points[0].limit == LIMITS[0]
    assert all(a.escapes <= b.escapes and a.overkill >= b.overkill for a, b in pairwise(points))
    for point in points:
        found = counted(judged, point.limit)
        assert (found.escapes, found.overkill) == (point.escapes, point.overkill)
        of_bad, of_good = share(found.escapes, found.bad), share(found.overkill, found.good)
        assert (point.escape_bounds.low, point.escape_bounds.high) == (of_bad.low, of_bad.high)
        assert (point.overkill_bounds.low, point.overkill_bounds.high) == (of_good.low, of_good.high)


@given(
    st.lists(st.lists(st.sampled_from([0.0005, 0.001, 0.003, 0.005, 0.02]), max_size=14), min_size=1, max_size=4),
    st.booleans(),
)
def test_the_floor_is_the_lowest_that_leaves_few_wrong_detections_a_part(
    noise: list[list[float]], is_found: bool
) -> None:
    judged = []
    for scores in noise:
        found = [*([0.9] if is_found else []), *scores]
        boxes = np.array([[20 * at, 0, 20 * at + 10, 10] for at in range(len(found))], np.float32).reshape(-1, 4)
        truth = boxes[: int(is_found)]
        labels = np.zeros(len(found), np.int64)
        judged.append(Judged(boxes, np.array(found), labels, truth, labels[: len(truth)]))
    told = {floor: sum(score >= floor for scores in noise for score in scores) for floor in FLOORS}
    few = [floor for floor in FLOORS if told[floor] <= MOST_NOISE * len(judged)]
    assert choose_floor(judged) == min(few, default=max(FLOORS))


@given(bad=SCORES, good=SCORES, cost=st.sampled_from([0.1, 1.0, 100.0]), bad_share=st.sampled_from([0.01, 0.3]))
def test_no_limit_costs_less_than_the_chosen_one(
    bad: list[float], good: list[float], cost: float, bad_share: float
) -> None:
    escapes, overkill = counted_by_hand(bad, good)
    prices = bad_share * cost * escapes / len(bad) + (1 - bad_share) * overkill / len(good)
    choice = choose(parts(bad, good), Wish(cost_escape=cost, cost_overkill=1.0, bad_share=bad_share))
    assert prices[index_of(choice.limit)] <= prices.min() * (1 + 1e-6)


def test_a_dear_escape_lowers_the_limit_and_a_dear_overkill_raises_it() -> None:
    judged = parts([0.3, *[0.9] * 9], [0.5, *[0.1] * 9])
    careful = choose(judged, Wish(cost_escape=100, cost_overkill=1))
    lenient = choose(judged, Wish(cost_escape=1, cost_overkill=100))
    assert careful.limit <= 0.3
    assert lenient.limit > 0.5
    assert "100 for an escape and 1 for an overkill, at 50 % bad parts (as on the held-out groups)" in careful.reason


def test_a_limit_keeps_away_from_the_parts_that_it_was_chosen_on() -> None:
    """F alone would take 0.611: the faint second defect of the bad part lies just above the good part."""
    box = np.array([[0, 0, 10, 10], [50, 50, 60, 60]], np.float32)
    bad = Judged(box, np.array([0.9, 0.62]), np.zeros(2, np.int64), box, np.zeros(2, np.int64))
    assert choose([bad, part(0.61, False)], Wish()).limit == pytest.approx(0.66, abs=0.0011)
    assert choose([part(0.984, True), part(0.98, False)], Wish()).limit == pytest.approx(0.982)


@given(bad=SCORES, good=SCORES)
def test_no_limit_with_as_many_mistakes_is_further_from_the_parts(bad: list[float], good: list[float]) -> None:
    escapes, overkill = counted_by_hand(bad, good)
    distances = np.abs(LIMITS - np.array([bad + good]).T) / [doubtful(float(limit)) for limit in LIMITS]
    doubts = np.minimum(distances.min(axis=0), 1.0)
    at = index_of(choose(parts(bad, good), Wish()).limit)
    are_equal = (escapes == escapes[at]) & (overkill == overkill[at])
    assert doubts[at] >= doubts[are_equal].max() - 1e-6


@pytest.mark.parametrize(
    ("judged", "wish"),
    [
        (parts([0.9] * 197 + [0.55] * 3, [0.5] * 200), Wish(max_escapes=0.05)),
        (parts([0.96] * 97 + [0.3] * 3, [0.24] * 98 + [0.97] * 2), Wish()),
    ],
)
def test_no_part_is_given_away_for_a_limit_that_is_further_from_the_others(judged: list[Judged], wish: Wish) -> None:
    assert counted(judged, choose(judged, wish).limit).escapes == 0


def test_where_no_limit_keeps_the_usual_targets_that_is_said() -> None:
    assert not choose(parts([0.9] * 100, [0.1] * 99 + [0.95]), Wish()).doubt
    mixed = parts([0.2] * 5 + [0.9] * 20, [0.1] * 20 + [0.5] * 10)
    choice = choose(mixed, Wish())
    found = counted(mixed, choice.limit)
    assert found.escapes / 25 > 0.02 or found.overkill / 30 > 0.01
    told = f"{found.escapes} of 25 bad parts accepted, {found.overkill} of 30 good ones rejected"
    assert choice.doubt.startswith(f"no limit keeps 2 % escapes and 1 % overkill: {told}")


def test_a_target_that_the_parts_support_is_kept_by_its_bound() -> None:
    judged = parts([*[0.2] * 4, *[0.9] * 196], [0.1] * 150 + [0.4] * 50)
    choice = choose(judged, Wish(max_escapes=0.06))  # 4 of 200: bound 5.04 %, so no good part need be rejected
    assert not choice.doubt
    assert choice.reason.endswith(
        "4 of 200 on the held-out groups (95 % bound 5.04 %, on the parts that it was chosen on)"
    )
    assert counted(judged, choice.limit).overkill == 0
    assert share(counted(judged, choice.limit).escapes, 200).high <= 0.06
    strict = choose(judged, Wish(max_escapes=0.05))
    assert strict.limit <= 0.2
    assert counted(judged, strict.limit).overkill == 50


def test_a_target_that_the_parts_cannot_support_says_so_and_how_many_it_takes() -> None:
    judged = parts([0.8] * 200, [0.1] * 150 + [0.9] * 50)
    choice = choose(judged, Wish(max_escapes=0.001))
    assert counted(judged, choice.limit).escapes == 0
    assert choice.doubt == (
        "--max-escapes 0.1 %: cannot be supported by 200 parts: the true share may be 1.83 % (95 % bound); "
        "it takes 3688 of them without a failure"
    )
    strict = choose(judged, Wish(max_overkill=0.005))
    assert counted(judged, strict.limit).overkill == 0
    assert "--max-overkill 0.5 %" in strict.doubt


@given(st.sampled_from([0.0005, 0.001, 0.01, 0.02, 0.1, 0.5]))
def test_so_many_parts_support_a_target_and_one_less_does_not(most: float) -> None:
    needed = parts_needed(most)
    assert share(0, needed).high <= most * (1 + 1e-9)
    assert share(0, needed - 1).high > most


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (Wish(cost_escape=1.0), "give both"),
        (Wish(cost_escape=1.0, cost_overkill=1.0, max_escapes=0.1), "give one of them"),
        (Wish(bad_share=0.1), "--bad-share"),
        (Wish(cost_escape=1.0, cost_overkill=1.0), "2 bad and 0 good"),
        (Wish(max_overkill=0.1), "no such part"),
        (Wish(max_escapes=0.1), "1 of 2 at the best limit"),
    ],
)
def test_a_wish_that_cannot_be_weighed_is_refused(wish: Wish, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        choose(parts([0.0, 0.9], []), wish)


def test_a_share_may_carry_its_percent_sign() -> None:
    assert (percent("0.1%"), percent("2 %"), percent("3")) == (0.1, 2.0, 3.0)


def test_what_is_found_is_told_by_class() -> None:
    found = gather(Rankings.of(parts([0.9, 0.2], [0.1]), ("open", "short"), np.array([0.5, 0.5])))
    assert [(name, it.count, it.of) for name, it in found.recall_by_class.items()] == [("open", 1, 2), ("short", 0, 0)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on pictures of two cameras: data/ and run/."""
    root = tmp_path_factory.mktemp("cameras")
    path = write_tiny_boards(root / "data", pictures=20, groups=5)
    content = json.loads(path.read_text())
    for image in content["images"]:
        image["camera"] = ("left", "right")[image["id"] % 2]
    path.write_text(json.dumps(content))
    dials = ["--holdout", "family0,family1", "--epochs", "30", "--batch", "4", "--crop", "64", "--workers", "1"]
    assert main(["train", "--data", str(root / "data"), "--out", str(root / "run"), *dials]) == 0
    return root


@pytest.mark.long
def test_export_chooses_the_limit_by_a_wish_and_says_what_it_is_worth(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = []
    for wish in (["--cost-escape", "100", "--cost-overkill", "1"], ["--max-overkill", "0.5%"]):
        file = trained / f"{len(limits)}.bundle"
        words = ["export", str(trained / "run"), "--out", str(file), "--name", "t", "--golden", "4"]
        words += ["--precisions", "f32", "--no-stress", "--few-golden", "a test"]
        assert main([*words, *wish, "--json", str(trained / "export.json")]) == 0
        said, bundle = capsys.readouterr(), read_bundle(file)
        limits.append(bundle.manifest.classes[0].limit)
        choice = json.loads((trained / "export.json").read_text())["choice"]
        assert choice["limit"] == limits[-1]
        assert choice["reason"] in said.out
        assert choice["reason"] in bundle.model_card
    assert "cannot be supported by 2 parts" in said.err
    assert "cannot be supported by 2 parts" in bundle.model_card


@pytest.mark.long
def test_an_evaluation_tells_the_roc_and_the_cameras(trained: Path) -> None:
    file, page = trained / "judged.bundle", trained / "page.html"
    few = ["--no-stress", "--few-golden", "a test"]
    assert main(["export", str(trained / "run"), "--out", str(file), "--name", "t", *few]) == 0
    words = ["evaluate", "--bundle", str(file), "--data", str(trained / "data")]
    assert main([*words, "--json", str(trained / "r.json"), "--report", str(page)]) == 0
    figures = json.loads((trained / "r.json").read_text())
    assert set(figures["cameras"]) == {"left", "right"}
    assert sum(row["parts"]["bad"] for row in figures["cameras"].values()) == figures["parts"]["bad"]
    points = figures["evidence"]["roc"]
    assert set(points[0]) == {"limit", "escapes", "escape_bounds", "overkill", "overkill_bounds"}
    assert set(figures["coco"]["ap50_classes"]) == set(figures["at_limits_classes"]) == {"scratch", "dent"}
    text = page.read_text()
    assert "Escapes against overkill" in text
    assert "camera, worst first" in text
    assert ">F at the limit<" in text
    assert f"<td>small</td><td>{100 * figures['ap_sizes']['small']:.2f} %</td>" in text
    by_class = figures["at_limits_classes"].values()
    assert {row["limit"] for row in by_class} == {figures["at_limits"]["limit"]}
    found = sum(row["recall"] * of for row, of in zip(by_class, figures["evidence"]["boxes"].values(), strict=True))
    assert found == pytest.approx(figures["evidence"]["recall"]["count"])
    for row in figures["groups"].values():
        assert row["f_bounds"]["low"] <= row["at_limits"]["f"] <= row["f_bounds"]["high"]
    assert "<polyline" in text
