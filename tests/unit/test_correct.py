import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from appliance.events import Pixels, Reason, Verdict, ViewResult
from appliance.optics.placement import cut_patch
from appliance.recipe import View
from appliance.stages.correct import correct, is_as_agreed
from appliance.stages.decide import decide
from tests.inspections import bind, make_frame, view_document


def a_board(seed: int = 0, side: int = 64) -> Pixels:
    """A grey picture with blocks, in tolerance of the tests' image limits."""
    blocks = np.random.default_rng(seed).integers(60, 180, (side // 8, side // 8), dtype=np.uint8)
    return np.kron(blocks, np.ones((8, 8), np.uint8))[:, :, None]


def view_with(**changes: Any) -> View:
    return bind(view_document(**changes)).views[0]


def with_placement(board: Pixels, max_offset_px: float = 5) -> dict[str, object]:
    patch = cut_patch(board, 24, 24, 16)
    return {"max_offset_px": max_offset_px, "patches": [{"x_px": 24, "y_px": 24, "png": patch.png}]}


def verdict_on(pixels: Pixels, **changes: Any) -> tuple[Verdict, Reason]:
    recipe = bind(view_document(**changes))
    frame = replace(make_frame(), pixels=pixels)
    corrected = correct(frame, recipe.views[0])
    result = ViewResult("top", frame, corrected.statistics, (), corrected.offset_px)
    decision = decide([result], recipe)
    return decision.verdict, decision.reason


def test_a_good_picture_is_as_agreed_and_measured() -> None:
    frame = replace(make_frame(), pixels=a_board())
    corrected = correct(frame, view_with())
    assert is_as_agreed(frame, view_with())
    assert corrected.statistics is not None
    assert corrected.statistics.brightness_mean == pytest.approx(float(a_board().mean()), abs=1)
    assert corrected.offset_px is None


def test_a_good_picture_is_accepted() -> None:
    assert verdict_on(a_board()) == (Verdict.ACCEPT, Reason.COMPLETE)


@pytest.mark.parametrize("shape", [(64, 64, 3), (32, 64, 1), (64, 64, 2), (64, 64), (0, 64, 1)])
def test_a_picture_of_another_form_is_a_finding_and_no_exception(shape: tuple[int, ...]) -> None:
    pixels = np.full(shape, 120, np.uint8)
    assert not is_as_agreed(replace(make_frame(), pixels=pixels), view_with())
    assert verdict_on(pixels) == (Verdict.FAULT, Reason.WRONG_PICTURE)


def test_only_the_inspected_part_is_measured() -> None:
    pixels = np.full((64, 96, 1), 255, np.uint8)
    pixels[:, 32:] = 100
    view = bind(
        view_document(width_px=96, crop={"x_px": 32, "y_px": 0, "width_px": 64, "height_px": 64}),
    ).views[0]
    corrected = correct(replace(make_frame(), pixels=pixels), view)
    assert corrected.statistics is not None
    assert corrected.statistics.brightness_mean == pytest.approx(100, abs=0.5)


def test_a_dark_a_bright_and_a_blurred_picture_are_faults() -> None:
    board = a_board()
    assert verdict_on(board // 8) == (Verdict.FAULT, Reason.TOO_DARK)
    assert verdict_on(np.minimum(board.astype(int) + 90, 255).astype(np.uint8))[1] is Reason.TOO_BRIGHT
    assert verdict_on(np.full_like(board, 120)) == (Verdict.FAULT, Reason.BLURRED)


@pytest.mark.parametrize(("right", "down"), [(0, 0), (3, -4), (-5, 0), (6, 0), (-5, 5), (30, 0)])
def test_the_measured_offset_is_the_parts_displacement(right: int, down: int) -> None:
    board = a_board()
    moved = np.roll(board, (down, right), (0, 1))
    verdict = verdict_on(moved, placement=with_placement(board))
    if np.hypot(right, down) <= 5:
        assert verdict == (Verdict.ACCEPT, Reason.COMPLETE)
        view = view_with(placement=with_placement(board))
        assert correct(replace(make_frame(), pixels=moved), view).offset_px == (right, down)
    else:
        assert verdict == (Verdict.FAULT, Reason.MISPLACED)


def test_another_product_at_the_same_place_is_a_fault() -> None:
    assert verdict_on(a_board(7), placement=with_placement(a_board(1))) == (Verdict.FAULT, Reason.MISPLACED)


def test_a_rotation_shows_on_the_second_patch() -> None:
    board = a_board(side=64)
    first, second = cut_patch(board, 4, 4, 16), cut_patch(board, 44, 44, 16)
    turned = board.copy()
    turned[36:, 36:] = np.roll(board, (0, 7), (0, 1))[36:, 36:]  # the near corner stays, the far one moves
    patches = [
        {"x_px": 4, "y_px": 4, "png": first.png},
        {"x_px": 44, "y_px": 44, "png": second.png},
    ]
    assert verdict_on(turned, placement={"max_offset_px": 5, "patches": patches})[1] is Reason.MISPLACED
    assert verdict_on(turned, placement={"max_offset_px": 5, "patches": patches[:1]})[0] is Verdict.ACCEPT


def test_the_placement_of_one_patch_takes_less_than_a_few_milliseconds() -> None:
    board = a_board(side=640)
    patch = cut_patch(board, 300, 300, 48)
    view = bind(
        view_document(
            width_px=640,
            height_px=640,
            placement={"max_offset_px": 12, "patches": [{"x_px": 300, "y_px": 300, "png": patch.png}]},
        ),
        geometry={"width": 640, "height": 640, "channels": 1, "fit": "exact", "pad_value": 114},
    ).views[0]
    frame = replace(make_frame(), pixels=board)
    spent_ns = []
    for _ in range(20):
        started_ns = time.monotonic_ns()
        corrected = correct(frame, view)
        spent_ns.append(time.monotonic_ns() - started_ns)
        assert corrected.offset_px == (0, 0)
    assert min(spent_ns) < 5_000_000
