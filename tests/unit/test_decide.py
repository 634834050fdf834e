from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from appliance.events import Detection, ImageStatistics, PartAlignment, Reason, Verdict, ViewResult
from appliance.optics.placement import cut_patch
from appliance.stages.decide import decide
from tests.inspections import GOOD, bind, make_frame, make_manifest, result, seen, view_document
from tests.references import board, reference_section

NAN = float("nan")
INF = float("inf")
SQUARE = [[0, 0], [32, 0], [32, 32], [0, 32]]
GREY_BAND = {"short": {"accept_limit": 0.3}}


def zone(kind: str, points: list[list[int]] = SQUARE, name: str = "corner") -> dict[str, object]:
    return {"name": name, "kind": kind, "points_px": points}


def test_a_complete_inspection_without_findings_is_accepted() -> None:
    decision = decide([result()], bind())
    assert (decision.verdict, decision.reason) == (Verdict.ACCEPT, Reason.COMPLETE)
    assert (decision.label, decision.score, decision.limit) == (None, None, None)


@pytest.mark.parametrize(
    ("score", "verdict", "reason"),
    [
        (0.0, Verdict.ACCEPT, Reason.COMPLETE),
        (0.2999, Verdict.ACCEPT, Reason.COMPLETE),
        (0.3, Verdict.REVIEW, Reason.GREY_BAND),
        (0.5999, Verdict.REVIEW, Reason.GREY_BAND),
        (0.6, Verdict.REJECT, Reason.DEFECT),
        (1.0, Verdict.REJECT, Reason.DEFECT),
        (NAN, Verdict.FAULT, Reason.RUNTIME),
        (INF, Verdict.FAULT, Reason.RUNTIME),
        (1.0001, Verdict.FAULT, Reason.RUNTIME),
        (-0.1, Verdict.FAULT, Reason.RUNTIME),
    ],
)
def test_the_score_decides_by_the_limits_of_its_class(score: float, verdict: Verdict, reason: Reason) -> None:
    decision = decide([result(seen(score=score))], bind(classes=GREY_BAND))
    assert (decision.verdict, decision.reason) == (verdict, reason)


def test_without_an_accept_limit_there_is_no_grey_band() -> None:
    assert decide([result(seen(score=0.5999))], bind()).verdict is Verdict.ACCEPT


def test_the_decision_names_the_limit_that_was_broken() -> None:
    review = decide([result(seen(score=0.4))], bind(classes=GREY_BAND))
    reject = decide([result(seen(score=0.7))], bind(classes=GREY_BAND))
    assert (review.label, review.score, review.limit) == ("short", 0.4, 0.3)
    assert (reject.label, reject.score, reject.limit) == ("short", 0.7, 0.6)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"brightness_mean": 39.9}, Reason.TOO_DARK),
        ({"clipped_low_ratio": 0.21}, Reason.TOO_DARK),
        ({"brightness_mean": 200.1}, Reason.TOO_BRIGHT),
        ({"clipped_high_ratio": 0.21}, Reason.TOO_BRIGHT),
        ({"sharpness": 49.9}, Reason.BLURRED),
        ({"brightness_mean": NAN}, Reason.TOO_DARK),
        ({"sharpness": NAN}, Reason.BLURRED),
        ({"clipped_low_ratio": NAN}, Reason.TOO_DARK),
        ({"clipped_high_ratio": NAN}, Reason.TOO_BRIGHT),
    ],
)
def test_a_picture_outside_its_limits_is_a_fault(change: dict[str, float], reason: Reason) -> None:
    decision = decide([result(statistics=replace(GOOD, **change))], bind())
    assert (decision.verdict, decision.reason) == (Verdict.FAULT, reason)


@pytest.mark.parametrize("mean", [40.0, 200.0])
def test_a_picture_on_its_limit_is_good(mean: float) -> None:
    statistics = ImageStatistics(mean, 1.0, 0.1, 50.0, 0.2, 0.2)
    assert decide([result(statistics=statistics)], bind()).verdict is Verdict.ACCEPT


@pytest.mark.parametrize(("width", "height", "channels"), [(65, 64, 1), (64, 32, 1), (64, 64, 3)])
def test_a_picture_of_another_form_is_a_fault(width: int, height: int, channels: int) -> None:
    frame = make_frame(width=width, height=height, channels=channels)
    decision = decide([ViewResult("top", frame, GOOD, ())], bind())
    assert (decision.verdict, decision.reason) == (Verdict.FAULT, Reason.WRONG_PICTURE)


@pytest.mark.parametrize(
    ("results", "reason"),
    [
        ([], Reason.CAMERA),
        ([result(), result()], Reason.CAMERA),
        ([ViewResult("top", None, None, ())], Reason.CAMERA),
        ([ViewResult("top", make_frame(), None, ())], Reason.WRONG_PICTURE),
        ([ViewResult("top", make_frame("side"), GOOD, ())], Reason.WRONG_PICTURE),
        ([result(), result(view="side")], Reason.WRONG_PICTURE),
    ],
)
def test_an_incomplete_or_confused_inspection_is_a_fault(results: list[ViewResult], reason: Reason) -> None:
    decision = decide(results, bind())
    assert (decision.verdict, decision.reason) == (Verdict.FAULT, reason)


@pytest.mark.parametrize(
    "detection",
    [
        Detection("unheard_of", 0.1, (1, 1, 2, 2)),
        Detection("short", 0.1, (NAN, 1, 2, 2)),
        Detection("short", 0.1, (1, 1, INF, 2)),
        Detection("short", 0.1, (5, 1, 2, 2)),
        Detection("short", 0.1, (1, 5, 2, 2)),
    ],
)
def test_an_answer_outside_the_models_contract_is_a_fault(detection: Detection) -> None:
    decision = decide([result(detection)], bind())
    assert (decision.verdict, decision.reason) == (Verdict.FAULT, Reason.RUNTIME)


def test_the_worst_view_wins() -> None:
    recipe = bind(view_document("top"), view_document("side"), classes=GREY_BAND)
    grey, bad, good = seen(score=0.4), seen(score=0.9), ()
    assert decide([result(*good), result(grey, view="side")], recipe).verdict is Verdict.REVIEW
    assert decide([result(bad), result(grey, view="side")], recipe).verdict is Verdict.REJECT
    assert decide([result(grey), result(bad, view="side")], recipe).verdict is Verdict.REJECT


def test_a_fault_comes_before_a_defect_and_the_record_keeps_both() -> None:
    recipe = bind(view_document("top"), view_document("side"))
    decision = decide([result(seen(score=0.93))], recipe)
    assert (decision.verdict, decision.reason) == (Verdict.FAULT, Reason.CAMERA)
    assert "side: no picture" in decision.detail
    assert "short 0.930" in decision.detail


def test_the_most_severe_class_decides_then_the_score() -> None:
    decision = decide([result(seen("scratch", 0.99), seen("short", 0.7), seen("short", 0.8))], bind())
    assert (decision.label, decision.score) == ("short", 0.8)


@pytest.mark.parametrize(
    ("box", "verdict"),
    [
        ((2, 2, 30, 30), Verdict.ACCEPT),  # completely inside
        ((0, 0, 32, 32), Verdict.ACCEPT),  # fills it
        ((2, 2, 32.5, 30), Verdict.REJECT),  # reaches out
        ((40, 40, 50, 50), Verdict.REJECT),  # outside
    ],
)
def test_only_what_lies_completely_in_an_ignore_zone_is_ignored(
    box: tuple[float, float, float, float], verdict: Verdict
) -> None:
    recipe = bind(view_document(zones=[zone("ignore")]))
    assert decide([result(seen(box=box))], recipe).verdict is verdict


def test_a_detection_across_two_ignore_zones_counts() -> None:
    beside = [[32, 0], [64, 0], [64, 32], [32, 32]]
    recipe = bind(view_document(zones=[zone("ignore"), zone("ignore", beside, "beside")]))
    assert decide([result(seen(box=(20, 5, 40, 15)))], recipe).verdict is Verdict.REJECT


@pytest.mark.parametrize(
    ("box", "verdict"),
    [
        ((2, 2, 30, 30), Verdict.REJECT),
        ((31, 31, 60, 60), Verdict.REJECT),  # overlaps a corner, its centre is far outside
        ((32, 10, 40, 20), Verdict.REJECT),  # touches
        ((33, 33, 60, 60), Verdict.ACCEPT),
    ],
)
def test_with_inspect_zones_what_touches_one_counts(box: tuple[float, float, float, float], verdict: Verdict) -> None:
    recipe = bind(view_document(zones=[zone("inspect")]))
    assert decide([result(seen(box=box))], recipe).verdict is verdict


@pytest.mark.parametrize(
    ("rule", "box", "verdict"),
    [
        ({"min_width_px": 8, "min_height_px": 8}, (0, 0, 7, 7), Verdict.ACCEPT),
        ({"min_width_px": 8, "min_height_px": 8}, (0, 0, 2, 60), Verdict.REJECT),  # a long thin scratch
        ({"min_width_px": 8, "min_height_px": 8}, (0, 0, 60, 2), Verdict.REJECT),
        ({"min_width_px": 8}, (0, 0, 7, 60), Verdict.ACCEPT),
        ({"min_width_px": 8}, (0, 0, 8, 1), Verdict.REJECT),
        ({"min_area_px": 50}, (0, 0, 7, 7), Verdict.ACCEPT),
        ({"min_area_px": 50}, (0, 0, 5, 10), Verdict.REJECT),
        ({}, (0, 0, 0, 0), Verdict.REJECT),
    ],
)
def test_what_is_below_every_given_minimum_is_ignored(
    rule: dict[str, float], box: tuple[float, float, float, float], verdict: Verdict
) -> None:
    assert decide([result(seen(box=box))], bind(classes={"short": rule})).verdict is verdict


@pytest.mark.parametrize(
    ("offset", "verdict"),
    [
        ((0.0, 0.0), Verdict.ACCEPT),
        ((3.0, 4.0), Verdict.ACCEPT),
        ((3.1, 4.0), Verdict.FAULT),
        ((NAN, 0.0), Verdict.FAULT),
        (None, Verdict.FAULT),
    ],
)
def test_a_part_that_is_not_at_its_place_is_a_fault(offset: tuple[float, float] | None, verdict: Verdict) -> None:
    mark = np.zeros((64, 64, 1), np.uint8)
    mark[20:28, 20:28] = 255
    patch = cut_patch(mark, 16, 16, 16)
    placement = {"max_offset_px": 5, "patches": [{"x_px": 16, "y_px": 16, "png": patch.png}]}
    decision = decide([result(offset_px=offset)], bind(view_document(placement=placement)))
    assert decision.verdict is verdict
    assert verdict is Verdict.ACCEPT or decision.reason is Reason.MISPLACED


@pytest.mark.parametrize(
    ("alignment", "verdict"),
    [
        (PartAlignment("good.png", (3.0, -4.0), 1.0, (0.0, 0.0), 0.7), Verdict.ACCEPT),
        (PartAlignment("good.png", (3.1, -4.0), 0.0, (0.0, 0.0), 0.9), Verdict.FAULT),
        (PartAlignment("good.png", (0.0, 0.0), -1.01, (0.0, 0.0), 0.9), Verdict.FAULT),
        (PartAlignment("good.png", (0.0, 0.0), 0.0, (1.0, -1.0), 0.9), Verdict.ACCEPT),
        (PartAlignment("good.png", (0.0, 0.0), 0.0, (1.01, 0.0), 0.9), Verdict.FAULT),
        (PartAlignment("good.png", (0.0, 0.0), 0.0, (0.0, -1.01), 0.9), Verdict.FAULT),
        (PartAlignment("good.png", (0.0, 0.0), 0.0, (0.0, 0.0), 0.69), Verdict.FAULT),
        (PartAlignment("good.png", (NAN, 0.0), 0.0, (0.0, 0.0), 0.9), Verdict.FAULT),
        (PartAlignment("good.png", (0.0, 0.0), NAN, (0.0, 0.0), 0.9), Verdict.FAULT),
        (PartAlignment("good.png", (0.0, 0.0), 0.0, (0.0, NAN), 0.9), Verdict.FAULT),
        (PartAlignment("good.png", (0.0, 0.0), 0.0, (0.0, 0.0), NAN), Verdict.FAULT),
        (None, Verdict.FAULT),
    ],
)
def test_a_part_that_does_not_lie_against_its_reference_as_agreed_is_a_fault(
    alignment: PartAlignment | None, verdict: Verdict, tmp_path: Path
) -> None:
    section = reference_section(tmp_path, board(side_px=64), max_shift_px=5)
    geometry = make_manifest().geometry.model_dump() | {"channels": 2}
    decision = decide(
        [replace(result(), alignment=alignment)], bind(view_document(reference=section), geometry=geometry)
    )
    assert decision.verdict is verdict
    assert verdict is Verdict.ACCEPT or decision.reason is Reason.MISPLACED
    assert verdict is Verdict.ACCEPT or decision.detail.startswith("top: the part ")


def test_a_thousand_findings_keep_the_detail_short() -> None:
    many = [seen(score=0.7, box=(i % 50, i // 50, 60, 60)) for i in range(1000)]
    decision = decide([result(seen(score=0.95), *many)], bind())
    assert len(decision.detail) <= 1000
    assert "short 0.950" in decision.detail
