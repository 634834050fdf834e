"""A reference is found where the part lies, and laid over it, whatever the defect, the lamp or the layout."""

import math
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.optics.alignment import Aligner, Alignment, align
from appliance.simulator.line import SimulatedLine
from tests.references import laid_down, motion

BOARD = SimulatedLine(seed=5, defect_rate=0.0).part(0).pixels


def true_shift(
    found: Alignment, shift: tuple[float, float], turn_deg: float, stretch: tuple[float, float] = (0.0, 0.0)
) -> Any:
    """Where the middle of the reference went, within 0.3 pixels."""
    height, width = found.pixels.shape[:2]
    moved = motion((width, height), shift, turn_deg, stretch) @ (*found.middle_px, 1.0)
    return pytest.approx(tuple(moved - found.middle_px), abs=0.3)


@given(st.floats(-20, 20), st.floats(-20, 20), st.floats(-0.8, 0.8))
def test_shift_and_rotation_are_found_to_a_fraction_of_a_pixel(x: float, y: float, angle_deg: float) -> None:
    found = align(BOARD, laid_down(BOARD, (x, y), angle_deg))
    assert found.shift_px == true_shift(found, (x, y), angle_deg)
    assert found.rotation_deg == pytest.approx(angle_deg, abs=0.1)
    assert found.match > 0.95


@given(st.floats(-8, 8), st.floats(-0.8, 0.8), st.floats(-2.5, 2.5), st.floats(-2.5, 2.5))
def test_a_part_that_is_longer_one_way_is_found_and_its_length_told(
    x: float, angle_deg: float, wide: float, high: float
) -> None:
    part = laid_down(BOARD, (x, -x / 2), angle_deg, (wide, high))
    found = align(BOARD, part)
    assert found.shift_px == true_shift(found, (x, -x / 2), angle_deg, (wide, high))
    assert found.rotation_deg == pytest.approx(angle_deg, abs=0.1)
    assert found.stretch_percent == pytest.approx((wide, high), abs=0.1)
    assert found.match > 0.9


@pytest.mark.parametrize(("width", "height"), [(640, 64), (64, 640), (2048, 128)])
@pytest.mark.parametrize("stretch", [(2.5, 0.0), (0.0, 2.5), (-1.5, 1.5)])
def test_the_length_of_a_narrow_picture_is_told_along_both_sides(
    width: int, height: int, stretch: tuple[float, float]
) -> None:
    blocks = np.random.default_rng(1).integers(60, 180, (height // 8, width // 8, 1))
    good = np.kron(blocks, np.ones((8, 8, 1))).astype(np.uint8)
    found = align(good, laid_down(good, (0.0, 0.0), 0.0, stretch))
    half_px = np.array([width, height]) / 2
    assert np.abs((found.stretch_percent - np.array(stretch)) / 100 * half_px).max() < 0.25
    assert found.match > 0.9


@given(
    left=st.integers(0, 540),
    wide=st.floats(-2.5, 2.5),
    spot=st.integers(10, 90),
    x=st.floats(-15, 15),
    y=st.floats(-6, 6),
)
def test_a_narrow_reference_tells_its_place_and_no_length_that_it_does_not_show(
    left: int, wide: float, spot: int, x: float, y: float
) -> None:
    good = np.full((640, 640, 1), 60, np.uint8)
    good[:, left : left + 100] = BOARD[:, 200:300]
    part = laid_down(good, (x, y), 0.0, (0.0, wide))
    cv2.circle(part, (left + spot + round(x), 300), 10, (250,), -1)
    found = align(good, part)
    assert found.shift_px == true_shift(found, (x, y), 0.0, (0.0, wide))
    assert found.stretch_percent[0] == pytest.approx(0.0, abs=0.1)
    assert found.stretch_percent[1] == pytest.approx(wide, abs=0.1)


def test_the_motion_that_is_told_is_the_one_that_was_made() -> None:
    found = align(BOARD, laid_down(BOARD, (7.5, -3.25), 0.3, (1.2, -0.7)))
    again = cv2.warpAffine(BOARD, found.motion(), BOARD.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    assert np.array_equal(found.pixels[:, :, 0], again)


def test_what_is_stretched_more_than_any_recipe_allows_matches_nothing() -> None:
    assert align(BOARD, laid_down(BOARD, (0.0, 0.0), 0.0, (5.0, 0.0))).match < 0.3


def test_the_reference_is_moved_onto_the_part_and_the_part_stays() -> None:
    part = laid_down(BOARD, (7.5, -3.25), 0.3, (0.6, -0.3))
    before = part.copy()
    found = align(BOARD, part)
    inner = (slice(30, -30), slice(30, -30))
    assert np.abs(found.pixels[inner].astype(int) - part[inner]).mean() < 4
    assert np.abs(BOARD[inner].astype(int) - part[inner]).mean() > 15
    assert np.array_equal(part, before)


def test_a_part_in_its_place_gets_the_reference_itself() -> None:
    found = align(BOARD, BOARD.copy())
    assert found.pixels is BOARD
    assert found.match == pytest.approx(1.0)


def test_a_defect_and_another_lamp_move_nothing() -> None:
    part = laid_down(BOARD, (4.0, 6.0), 0.0).astype(float) * 0.6 + 20
    part[200:240, 250:290] = 250
    found = align(BOARD, part.astype(np.uint8))
    assert found.shift_px == pytest.approx((4.0, 6.0), abs=0.3)
    assert found.stretch_percent == pytest.approx((0.0, 0.0), abs=0.1)
    assert found.match > 0.8


def test_another_layout_does_not_match() -> None:
    other = SimulatedLine(seed=6, defect_rate=0.0).part(0).pixels
    assert align(BOARD, other).match < 0.5


def test_flat_pictures_lie_in_their_place() -> None:
    grey = np.full((640, 640, 1), 90, np.uint8)
    found = align(grey, grey + 5)
    assert (found.shift_px, found.rotation_deg, found.match) == ((0.0, 0.0), 0.0, 1.0)
    assert align(BOARD, grey).match == 0.0


@pytest.mark.parametrize("size", [(40, 60), (33, 500), (1000, 1300)])
def test_any_size_is_aligned(size: tuple[int, int]) -> None:
    board = cv2.resize(BOARD, size[::-1])[:, :, None]
    part = np.roll(board, (3, 2), axis=(0, 1))
    found = align(board, part)
    assert found.shift_px == pytest.approx((2.0, 3.0), abs=0.3)
    assert found.match > 0.5


def test_colour_is_moved_as_a_whole() -> None:
    colour = np.concatenate((BOARD, BOARD // 2, 255 - BOARD), axis=2)
    found = align(colour, laid_down(colour, (5.0, 0.0), 0.0))
    assert found.pixels.shape == colour.shape
    assert found.shift_px == pytest.approx((5.0, 0.0), abs=0.3)


def test_pictures_of_different_sizes_are_a_wrong_call() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        align(BOARD[:-1], BOARD)


def test_conductors_that_are_alike_along_their_length_are_held_by_what_ends_on_them() -> None:
    conductors = np.full((640, 640, 1), 60, np.uint8)
    conductors[:, np.arange(640) % 16 < 8] = 180
    for x, y in np.random.default_rng(2).integers(1, 19, (12, 2)) * 32:
        conductors[y : y + 20, x : x + 24] = 180
    found = align(conductors, laid_down(conductors, (3.5, -9.0), 0.4))
    assert found.shift_px == true_shift(found, (3.5, -9.0), 0.4)
    assert found.rotation_deg == pytest.approx(0.4, abs=0.1)


@pytest.mark.parametrize("angle_deg", [-4.0, -2.0, 2.0, 4.0])
def test_a_turn_that_a_recipe_may_allow_is_found(angle_deg: float) -> None:
    found = align(BOARD, laid_down(BOARD, (9.0, -12.0), angle_deg))
    assert found.shift_px == true_shift(found, (9.0, -12.0), angle_deg)
    assert found.rotation_deg == pytest.approx(angle_deg, abs=0.1)


@pytest.mark.parametrize("shift", [(30.0, 0.0), (0.0, -60.0), (64.0, 64.0)])
def test_a_part_far_off_is_found_where_it_is(shift: tuple[float, float]) -> None:
    found = align(BOARD, laid_down(BOARD, shift, 0.0))
    assert found.shift_px == pytest.approx(shift, abs=0.3)
    assert found.match > 0.9


@pytest.mark.parametrize(("shift", "angle_deg"), [((100.0, 0.0), 0.0), ((0.0, 0.0), 12.0), ((0.0, 0.0), 180.0)])
def test_a_part_that_is_not_found_matches_nothing(shift: tuple[float, float], angle_deg: float) -> None:
    found = align(BOARD, laid_down(BOARD, shift, angle_deg))
    assert found.match < 0.3
    place = *found.shift_px, found.rotation_deg, *found.stretch_percent, found.match
    assert all(map(math.isfinite, place))  # a record holds no NaN


def test_one_reference_that_is_kept_does_for_every_part_what_it_does_for_one() -> None:
    kept = Aligner(BOARD)
    for shift in ((3.0, 1.5), (-8.25, 6.0)):
        part = laid_down(BOARD, shift, 0.2)
        mine, once = kept(part), align(BOARD, part)
        assert np.array_equal(mine.pixels, once.pixels)
        assert replace(mine, pixels=BOARD) == replace(once, pixels=BOARD)
