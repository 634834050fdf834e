"""One decoder: the same bytes are the same pixels for the line, the proof and the calibration."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.bundle.golden import decode_png
from appliance.bundle.picture import decode

COLOURS = np.random.default_rng(3).integers(0, 255, (20, 30, 3), dtype=np.uint8)


def encoded(ending: str, pixels: np.ndarray) -> bytes:
    return bytes(cv2.imencode(ending, pixels)[1].tobytes())


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif"])
def test_colours_come_as_red_green_blue(ending: str) -> None:
    pixels = decode(encoded(ending, COLOURS[..., ::-1].copy()), 3)
    assert pixels is not None
    assert np.array_equal(pixels, COLOURS)
    assert pixels.flags["C_CONTIGUOUS"]


def test_grey_is_decoded_straight_to_grey() -> None:
    data = encoded(".jpg", COLOURS)
    pixels = decode(data, 1)
    assert pixels is not None
    assert pixels.shape == (20, 30, 1)
    assert np.array_equal(pixels[..., 0], cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE))


def test_a_grey_picture_becomes_colour_and_sixteen_bits_become_eight() -> None:
    grey = decode(encoded(".png", np.full((4, 5, 1), 100, np.uint8)), 3)
    assert grey is not None
    assert grey.tolist() == np.full((4, 5, 3), 100).tolist()
    deep = decode(encoded(".png", np.full((4, 5), 100 * 257, np.uint16)), 1)
    assert deep is not None
    assert deep.dtype == np.uint8
    assert deep.max() == deep.min() == 100


def test_a_golden_image_is_decoded_like_any_other() -> None:
    data = encoded(".png", COLOURS)
    assert np.array_equal(decode_png(data, "golden"), decode(data, 3))


@given(st.binary(max_size=60), st.integers(0, 200), st.sampled_from([1, 3]))
def test_what_is_no_picture_is_none_and_never_an_exception(noise: bytes, kept: int, channels: int) -> None:
    assert decode(noise, channels) is None
    cut = decode(encoded(".png", COLOURS)[:kept], channels)
    assert cut is None or cut.shape == (20, 30, channels)


def test_a_picture_that_claims_to_be_huge_is_none() -> None:
    data = bytearray(encoded(".bmp", COLOURS))
    data[18:26] = (2**30).to_bytes(4, "little") * 2
    assert decode(bytes(data), 1) is None
