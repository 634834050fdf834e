"""Planted defects: each kind is what its name says, and nothing else changes."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.simulator.boards import MARGIN_PX, Board, make_board, soften
from appliance.simulator.copper import Marks
from appliance.simulator.defects import BOX_MARGIN_PX, DEFECT_KINDS, Defect, DefectStyle, plant
from appliance.simulator.line import paint
from appliance.simulator.shading import choose_palette, shade

BOARDS = 10


def planted(kind: str, style: DefectStyle | None = None) -> list[tuple[Board, Defect]]:
    """Plant a defect of a kind on each of some boards."""
    found = []
    for seed in range(BOARDS):
        board = make_board(seed, 0, 640, 640)
        defect = plant(board, kind, np.random.default_rng(seed), style)
        if defect is not None:
            found.append((board, defect))
    assert len(found) >= BOARDS - 1, "nearly every board must have room for every kind"
    return found


def around(board: Board, defect: Defect, reach: int = 12) -> tuple[Marks, Marks, np.ndarray]:
    """Give copper before and after, and the net numbers, in a window around the defect."""
    x1, y1, x2, y2 = defect.box
    rows, columns = slice(max(0, y1 - reach), y2 + reach), slice(max(0, x1 - reach), x2 + reach)
    before = board.nets != 0
    after = before.copy()
    after[y1:y2, x1:x2] ^= defect.mask
    return before[rows, columns], after[rows, columns], board.nets[rows, columns]


def pieces(copper: Marks) -> tuple[int, np.ndarray]:
    """Number the connected pieces of copper."""
    count, parts = cv2.connectedComponents(np.ascontiguousarray(copper).view(np.uint8), connectivity=8)
    return count - 1, parts


def test_the_kinds_are_those_of_the_public_data_set_in_its_order() -> None:
    assert DEFECT_KINDS == ("open", "short", "mousebite", "spur", "spurious_copper", "pin_hole")


def test_an_open_cuts_a_trace_in_two() -> None:
    for board, defect in planted("open"):
        x1, y1, x2, y2 = defect.box
        net = int(np.unique(board.nets[y1:y2, x1:x2][defect.mask]).item())
        before, after, nets = around(board, defect, 3)
        assert pieces(after & (nets == net))[0] == pieces(before & (nets == net))[0] + 1


def test_a_short_joins_exactly_two_nets() -> None:
    for board, defect in planted("short"):
        x1, y1, x2, y2 = defect.box
        grown = cv2.dilate(defect.mask.view(np.uint8), np.ones((3, 3), np.uint8)) != 0
        touched = set(np.unique(board.nets[y1:y2, x1:x2][grown]).tolist()) - {0}
        assert len(touched) == 2
        _, after, nets = around(board, defect)
        _, parts = pieces(after)
        joined = [set(parts[nets == net].tolist()) - {0} for net in touched]
        assert joined[0] & joined[1]


def test_a_mousebite_leaves_copper_behind_it() -> None:
    for board, defect in planted("mousebite"):
        before, after, _ = around(board, defect)
        assert pieces(after)[0] == pieces(before)[0]
        assert pieces(~after)[0] == pieces(~before)[0], "it must be open to the bare side"
        assert after.sum() < before.sum()


def test_a_spur_sticks_out_of_one_net_only() -> None:
    for board, defect in planted("spur"):
        before, after, _ = around(board, defect)
        assert pieces(after)[0] == pieces(before)[0]
        assert after.sum() > before.sum()
        x1, y1, x2, y2 = defect.box
        grown = cv2.dilate(defect.mask.view(np.uint8), np.ones((5, 5), np.uint8)) != 0
        assert len(set(np.unique(board.nets[y1:y2, x1:x2][grown]).tolist()) - {0}) == 1


def test_spurious_copper_touches_nothing() -> None:
    for board, defect in planted("spurious_copper"):
        before, after, _ = around(board, defect)
        assert pieces(after)[0] == pieces(before)[0] + 1
        x1, y1, x2, y2 = defect.box
        assert not np.any(cv2.dilate(defect.mask.view(np.uint8), np.ones((7, 7), np.uint8)) * board.nets[y1:y2, x1:x2])


def test_a_pin_hole_lies_inside_copper() -> None:
    for board, defect in planted("pin_hole"):
        before, after, _ = around(board, defect)
        assert pieces(~after)[0] == pieces(~before)[0] + 1
        x1, y1, x2, y2 = defect.box
        grown = cv2.dilate(defect.mask.view(np.uint8), np.ones((3, 3), np.uint8)) != 0
        assert np.all(board.nets[y1:y2, x1:x2][grown] != 0)


@given(seed=st.integers(0, 500), kind=st.sampled_from(DEFECT_KINDS), channels=st.sampled_from([1, 3]))
@settings(max_examples=40, deadline=None)
def test_a_defect_changes_pixels_inside_its_box_only(seed: int, kind: str, channels: int) -> None:
    board = make_board(seed % 7, 0, 400, 400)
    defect = plant(board, kind, np.random.default_rng(seed))
    if defect is None:
        return
    good, bad = paint(board, [], channels), paint(board, [defect], channels)
    x1, y1, x2, y2 = defect.box
    changed = np.any(good != bad, axis=2)
    assert np.any(changed[y1:y2, x1:x2])
    changed[y1:y2, x1:x2] = False
    assert not changed.any()


@pytest.mark.parametrize("kind", DEFECT_KINDS)
def test_repainting_the_box_gives_what_painting_the_whole_board_gives(kind: str) -> None:
    for board, defect in planted(kind):
        x1, y1, x2, y2 = defect.box
        copper = board.nets != 0
        copper[y1:y2, x1:x2] ^= defect.mask
        whole = shade(board, soften(copper), (slice(None), slice(None)), choose_palette(board, 1))
        assert np.array_equal(paint(board, [defect], 1), whole)


@given(seed=st.integers(0, 500), kind=st.sampled_from(DEFECT_KINDS))
@settings(max_examples=40, deadline=None)
def test_a_mask_fills_its_box_but_for_the_margin(seed: int, kind: str) -> None:
    board = make_board(seed % 7, 0, 400, 400)
    defect = plant(board, kind, np.random.default_rng(seed))
    if defect is None:
        return
    rows, columns = np.flatnonzero(defect.mask.any(axis=1)), np.flatnonzero(defect.mask.any(axis=0))
    assert (rows[0], columns[0]) == (BOX_MARGIN_PX, BOX_MARGIN_PX)
    assert defect.mask.shape == (rows[-1] + 1 + BOX_MARGIN_PX, columns[-1] + 1 + BOX_MARGIN_PX)
    x1, y1, x2, y2 = defect.box
    assert MARGIN_PX < x1 < x2 < board.layout.width - MARGIN_PX
    assert MARGIN_PX < y1 < y2 < board.layout.height - MARGIN_PX


@given(seed=st.integers(0, 500), kind=st.sampled_from(DEFECT_KINDS))
@settings(max_examples=10, deadline=None)
def test_the_same_chance_plants_the_same_defect(seed: int, kind: str) -> None:
    board = make_board(1, 0, 400, 400)
    first, second = (plant(board, kind, np.random.default_rng(seed)) for _ in range(2))
    assert (first is None) == (second is None)
    if first is not None and second is not None:
        assert first.box == second.box
        assert np.array_equal(first.coverage, second.coverage)


def test_the_good_board_is_not_touched_by_planting() -> None:
    board = make_board(2, 0, 400, 400)
    before = board.nets.copy(), board.coverage.copy(), paint(board, [], 1)
    for number, kind in enumerate(DEFECT_KINDS):
        defect = plant(board, kind, np.random.default_rng(number))
        assert defect is not None
        paint(board, [defect], 1)
    assert np.array_equal(board.nets, before[0])
    assert np.array_equal(board.coverage, before[1])
    assert np.array_equal(paint(board, [], 1), before[2])


@pytest.mark.parametrize("kind", DEFECT_KINDS)
def test_a_defect_is_seen_at_default_contrast(kind: str) -> None:
    for board, defect in planted(kind):
        x1, y1, x2, y2 = defect.box
        difference = paint(board, [], 1).astype(int) - paint(board, [defect], 1)
        assert np.max(np.abs(difference[y1:y2, x1:x2])) >= 30


@pytest.mark.parametrize("kind", DEFECT_KINDS)
def test_less_contrast_shows_less(kind: str) -> None:
    board = make_board(2, 0, 640, 640)
    steps = []
    for contrast in (0.0, 0.3, 1.0):
        defect = plant(board, kind, np.random.default_rng(4), DefectStyle(contrast=contrast))
        assert defect is not None
        steps.append(int(np.abs(paint(board, [], 1).astype(int) - paint(board, [defect], 1)).sum()))
    assert steps[0] == 0 < steps[1] < steps[2]


def test_bigger_defects_are_bigger() -> None:
    small, big = (
        np.mean([max(d.mask.shape) for _, d in planted("spurious_copper", DefectStyle(size_px=size))])
        for size in ((8, 9), (28, 30))
    )
    assert big > small + 8


def test_defects_keep_apart() -> None:
    board = make_board(3, 0, 640, 640)
    rng, taken = np.random.default_rng(0), list[Defect]()
    for number in range(30):
        defect = plant(board, DEFECT_KINDS[number % 6], rng, None, taken)
        if defect is not None:
            taken.append(defect)
    assert len(taken) > 12
    covered = np.zeros(board.nets.shape, int)
    for defect in taken:
        x1, y1, x2, y2 = defect.box
        covered[y1:y2, x1:x2] += 1
    assert covered.max() == 1
