"""Simulated lamp, lens, sensor and placement: each parameter does what its name and unit say."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.simulator.boards import MARGIN_PX, Pixels
from appliance.simulator.optics import Optics, move_box, photograph

STILL = Optics(lamp_falloff=0.0, vignetting=0.0, noise_sigma=0.0, defocus_px=0.0)
SIZE = 200


def canvas(channels: int = 1, level: int = 100) -> Pixels:
    side = SIZE + 2 * MARGIN_PX
    return np.full((side, side, channels), level, np.uint8)


def picture(optics: Optics, pixels: Pixels | None = None, seed: int = 0) -> np.ndarray:
    taken = photograph(canvas() if pixels is None else pixels, optics, np.random.default_rng(seed))
    return taken.astype(float)


def test_perfect_optics_show_the_board_itself() -> None:
    pixels = np.random.default_rng(1).integers(0, 255, canvas().shape).astype(np.uint8)
    inner = pixels[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]
    assert np.array_equal(photograph(pixels, STILL, np.random.default_rng(0)), inner)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"lamp_brightness": 0.5}, 50),
        ({"exposure_us": 1000.0}, 50),
        ({"exposure_us": 4000.0}, 200),
        ({"gain_db": 6.0206}, 200),
        ({"lamp_brightness": 0.5, "exposure_us": 4000.0}, 100),
        ({"lamp_brightness": 0.0}, 0),
        ({"exposure_us": 20_000.0}, 255),
    ],
)
def test_light_exposure_and_gain_multiply(change: dict[str, float], expected: float) -> None:
    assert picture(replace(STILL, **change)).mean() == pytest.approx(expected, abs=1.5)


def test_falloff_darkens_the_side_away_from_the_lamp() -> None:
    shown = picture(replace(STILL, lamp_falloff=0.4, lamp_direction_deg=0.0))[..., 0]
    assert shown[:, -1].mean() == pytest.approx(100, abs=2)
    assert shown[:, 0].mean() == pytest.approx(60, abs=2)
    from_below = picture(replace(STILL, lamp_falloff=0.4, lamp_direction_deg=90.0))[..., 0]
    assert from_below[0].mean() < from_below[-1].mean() - 30


def test_vignetting_darkens_the_corners_and_not_the_middle() -> None:
    shown = picture(replace(STILL, vignetting=0.5))[..., 0]
    assert shown[SIZE // 2, SIZE // 2] == pytest.approx(100, abs=2)
    assert shown[0, 0] == pytest.approx(50, abs=3)


def test_a_warm_lamp_is_red_and_a_cold_one_blue() -> None:
    warm = picture(replace(STILL, colour_temperature_k=3500.0), canvas(3)).mean(axis=(0, 1))
    cold = picture(replace(STILL, colour_temperature_k=8000.0), canvas(3)).mean(axis=(0, 1))
    assert warm[0] > warm[1] > warm[2]
    assert cold[0] < cold[1] < cold[2]


def test_a_grey_camera_does_not_see_the_colour_temperature() -> None:
    assert np.array_equal(picture(STILL), picture(replace(STILL, colour_temperature_k=3000.0)))


@pytest.mark.parametrize(("gain_db", "sigma"), [(0.0, 3.0), (6.0206, 6.0), (12.0412, 12.0)])
def test_gain_raises_the_noise(gain_db: float, sigma: float) -> None:
    optics = replace(STILL, noise_sigma=3.0, gain_db=gain_db, lamp_brightness=10 ** (-gain_db / 20))
    assert picture(optics).std() == pytest.approx(sigma, rel=0.1)


def test_defocus_softens_an_edge() -> None:
    pixels = canvas()
    pixels[:, : pixels.shape[1] // 2] = 0
    steepest = [
        np.abs(np.diff(picture(replace(STILL, defocus_px=sigma), pixels)[..., 0], axis=1)).max() for sigma in (0, 1, 4)
    ]
    assert steepest[0] > 1.5 * steepest[1] > 3 * steepest[2]


def test_dust_stays_where_it_is_and_more_dust_is_darker() -> None:
    means = [picture(replace(STILL, dust_specks=specks)).mean() for specks in (0.0, 0.5, 1.0, 6.0)]
    assert means[0] > means[1] > means[2] > means[3]
    few, more = (picture(replace(STILL, dust_specks=specks)) < 90 for specks in (2.0, 5.0))
    assert np.all(more[few])
    assert not np.array_equal(more, picture(replace(STILL, dust_specks=5.0, dust_seed=1)) < 90)


def test_a_shifted_part_is_shifted() -> None:
    pixels = np.random.default_rng(1).integers(0, 255, canvas().shape).astype(np.uint8)
    straight, shifted = picture(STILL, pixels), picture(replace(STILL, shift_x_px=7.0, shift_y_px=-3.0), pixels)
    assert np.array_equal(shifted[:-3, 7:], straight[3:, :-7])


def test_a_part_knocked_far_away_shows_the_dark_belt() -> None:
    shown = picture(replace(STILL, shift_x_px=float(MARGIN_PX + 50)))[..., 0]
    assert shown[:, :48].max() < 40
    assert shown[:, 60:].min() > 90


def test_rotation_is_clockwise_about_the_middle() -> None:
    pixels = canvas(level=0)
    pixels[MARGIN_PX + 95 : MARGIN_PX + 105, MARGIN_PX + 170 : MARGIN_PX + 180] = 255
    turned = picture(replace(STILL, rotation_deg=90.0), pixels)[..., 0]
    rows, columns = np.nonzero(turned > 128)
    assert (rows.mean(), columns.mean()) == pytest.approx((174.5, 100), abs=1.5)


@given(
    shift=st.tuples(st.floats(-20, 20), st.floats(-20, 20)),
    turn=st.floats(-8, 8),
    corner=st.tuples(st.integers(60, 150), st.integers(60, 150)),
    size=st.tuples(st.integers(8, 40), st.integers(8, 40)),
)
def test_a_box_moves_with_its_pixels(
    shift: tuple[float, float], turn: float, corner: tuple[int, int], size: tuple[int, int]
) -> None:
    optics = replace(STILL, shift_x_px=shift[0], shift_y_px=shift[1], rotation_deg=turn)
    (left, top), (width, height) = corner, size
    pixels = canvas(level=22)
    pixels[top : top + height, left : left + width] = 255
    box = move_box((left, top, left + width, top + height), optics, SIZE, SIZE)
    rows, columns = np.nonzero(picture(optics, pixels)[..., 0] > 140)
    if box is None:
        assert not len(rows) or min(np.ptp(rows), np.ptp(columns)) < 4
        return
    x1, y1, x2, y2 = box
    assert x1 <= columns.min() and columns.max() < x2
    assert y1 <= rows.min() and rows.max() < y2
    assert columns.min() - x1 <= 3 and x2 - columns.max() <= 4
    assert rows.min() - y1 <= 3 and y2 - rows.max() <= 4


def test_a_box_out_of_the_picture_is_gone() -> None:
    assert move_box((100, 100, 120, 120), replace(STILL, shift_x_px=500.0), SIZE, SIZE) is None


def test_a_box_at_the_border_is_cut() -> None:
    box = move_box((100, 100, 140, 120), replace(STILL, shift_x_px=-88.0), SIZE, SIZE)
    assert box == (0, 100 - MARGIN_PX, 20, 120 - MARGIN_PX)


def test_noise_depends_on_the_seed_only() -> None:
    optics = Optics()
    assert np.array_equal(picture(optics, seed=3), picture(optics, seed=3))
    assert not np.array_equal(picture(optics, seed=3), picture(optics, seed=4))
