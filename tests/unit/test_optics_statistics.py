"""What a picture looks like: light from samples, sharpness from full resolution."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.events import Pixels
from appliance.optics.statistics import measure, sharpness


def noise(height: int, width: int, channels: int = 1, low: int = 0, high: int = 256) -> Pixels:
    return np.random.default_rng(3).integers(low, high, (height, width, channels), dtype=np.uint8)


@settings(deadline=None)
@given(
    height=st.integers(1, 700),
    width=st.integers(1, 700),
    channels=st.sampled_from([1, 3]),
    grey=st.integers(0, 255),
)
def test_a_plain_picture_of_any_size_has_exactly_its_grey_value(
    height: int, width: int, channels: int, grey: int
) -> None:
    found = measure(np.full((height, width, channels), grey, np.uint8))
    assert found.brightness_mean == pytest.approx(grey)
    assert found.brightness_spread == pytest.approx(0.0, abs=1e-4)
    assert found.contrast == pytest.approx(0.0, abs=1e-4)
    assert found.sharpness == 0.0
    assert found.clipped_low_ratio == (1.0 if grey <= 2 else 0.0)
    assert found.clipped_high_ratio == (1.0 if grey >= 253 else 0.0)
    assert (found.red_green_ratio is None) == (channels == 1)


@pytest.mark.parametrize("darkest", [0, 253])
def test_a_share_is_never_more_than_the_whole(darkest: int) -> None:
    counts = (5309, 4640, 51)  # their shares, added up, are 1.0000000000000002: more than any recipe can allow
    found = measure(np.repeat(np.arange(3, dtype=np.uint8) + np.uint8(darkest), counts).reshape(100, 100, 1))
    assert max(found.clipped_low_ratio, found.clipped_high_ratio) == 1.0


@pytest.mark.parametrize("size", [(200, 300), (640, 640), (2048, 2448)])
def test_the_sample_has_the_light_of_the_whole_picture(size: tuple[int, int]) -> None:
    pixels = noise(*size)
    pixels[: size[0] // 4] = 255
    found = measure(pixels)
    assert found.brightness_mean == pytest.approx(float(pixels.mean()), rel=0.02)
    assert found.brightness_spread == pytest.approx(float(pixels.std()), rel=0.02)
    assert found.contrast == pytest.approx(float(pixels.std() / pixels.mean()), rel=0.03)
    assert found.clipped_high_ratio == pytest.approx(float((pixels >= 253).mean()), abs=0.01)
    assert found.clipped_low_ratio == pytest.approx(float((pixels <= 2).mean()), abs=0.01)


def test_colour_ratios_tell_a_warm_lamp_from_a_cold_one() -> None:
    pixels = noise(640, 640, 3, 90, 110)
    neutral = measure(pixels)
    warm = measure((pixels * np.array([1.2, 1.0, 0.8])).astype(np.uint8))
    assert neutral.red_green_ratio == pytest.approx(1.0, abs=0.02)
    assert warm.red_green_ratio == pytest.approx(1.2, abs=0.03)
    assert warm.blue_green_ratio == pytest.approx(0.8, abs=0.03)


def test_a_picture_without_green_still_has_finite_ratios() -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:, :, 0] = 100
    assert measure(pixels).red_green_ratio == 100.0


@pytest.mark.parametrize(("height", "width"), [(640, 640), (2048, 2448)])
def test_a_one_pixel_blur_shows_at_any_size(height: int, width: int) -> None:
    chart = np.kron(noise(height // 8, width // 8)[:, :, 0], np.ones((8, 8), np.uint8))[:, :, None]
    blurred = np.asarray(cv2.GaussianBlur(chart, (0, 0), 1.0), np.uint8).reshape(chart.shape)
    assert sharpness(blurred) < 0.5 * sharpness(chart)
    assert measure(blurred).sharpness == sharpness(blurred)
    assert measure(blurred).brightness_mean == pytest.approx(measure(chart).brightness_mean, rel=0.02)


def test_bands_stand_for_the_whole_picture() -> None:
    pixels = noise(2048, 2448)
    laplacian = cv2.Laplacian(pixels[:, :, 0], cv2.CV_16S, ksize=1)
    assert sharpness(pixels) == pytest.approx(float(laplacian.var()), rel=0.02)


@pytest.mark.parametrize("size", [(1, 1), (2, 700), (700, 2), (2, 100_000)])
def test_a_picture_too_thin_for_a_sharpness_has_none(size: tuple[int, int]) -> None:
    assert sharpness(noise(*size)) == 0.0


def test_a_crop_that_is_a_view_of_a_bigger_picture_is_measured_as_its_copy() -> None:
    view = noise(900, 900, 3)[100:740, 200:840]
    assert measure(view) == measure(view.copy())
