"""One way from a picture to the model's input, and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.bundle.geometry import to_channels, to_model_input, with_reference
from appliance.bundle.manifest import Geometry
from appliance.errors import BundleFormatError

LETTERBOX = Geometry(width=64, height=96, channels=1, fit="letterbox", pad_value=7)
PAD = Geometry(width=64, height=96, channels=1, fit="pad", pad_value=7)
EXACT = Geometry(width=64, height=96, channels=3, fit="exact", pad_value=7)


def test_a_picture_of_the_right_size_is_passed_on_uncopied() -> None:
    picture = np.zeros((96, 64, 3), np.uint8)
    image, placement = to_model_input(picture, EXACT)
    assert image is picture
    assert placement.to_picture(np.array([[1, 2, 3, 4]], np.float32)).tolist() == [[1, 2, 3, 4]]


@given(
    width=st.integers(1, 400),
    height=st.integers(1, 400),
    corner=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_a_box_goes_to_the_model_s_input_and_back(width: int, height: int, corner: tuple[float, float]) -> None:
    image, placement = to_model_input(np.full((height, width, 1), 200, np.uint8), LETTERBOX)
    assert image.shape == (96, 64, 1)
    x, y = corner[0] * width, corner[1] * height
    offset = np.array([placement.offset_x_px, placement.offset_y_px] * 2, np.float32)
    scale = np.array([placement.scale_x, placement.scale_y] * 2, np.float32)
    in_input = np.array([[0, 0, x, y]], np.float32) * scale + offset
    assert placement.to_picture(in_input)[0] == pytest.approx([0, 0, x, y], abs=0.01)
    beyond = placement.to_picture(np.array([[-500, -500, 5000, 5000]], np.float32))
    assert beyond.tolist() == [[0, 0, width, height]]


def test_a_letterboxed_picture_lies_in_the_middle_of_its_padding() -> None:
    image, _ = to_model_input(np.full((32, 64, 1), 200, np.uint8), LETTERBOX)
    rows = image[:, :, 0]
    assert (rows[:32] == 7).all()
    assert (rows[32:64] == 200).all()
    assert (rows[64:] == 7).all()


@pytest.mark.parametrize(("width", "height"), [(400, 3), (3, 400), (333, 7), (64, 32)])
def test_the_whole_of_a_scaled_picture_comes_back_as_the_whole(width: int, height: int) -> None:
    image, placement = to_model_input(np.full((height, width, 1), 200, np.uint8), LETTERBOX)
    rows, columns = np.flatnonzero((image == 200).any(axis=1)), np.flatnonzero((image == 200).any(axis=0))
    seen = np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], np.float32)
    assert placement.to_picture(seen)[0] == pytest.approx([0, 0, width, height], rel=1e-5)


def test_a_thin_scratch_keeps_its_contrast_when_scaled() -> None:
    picture = np.zeros((192, 128, 1), np.uint8)
    picture[:, 60:62] = 255
    image, _ = to_model_input(picture, LETTERBOX)
    assert image.max() == 255


def test_an_exact_model_refuses_other_sizes_and_says_what_to_do() -> None:
    with pytest.raises(BundleFormatError, match=r"takes 64x96 pictures and got 64x64; set the recipe's crop or tiles"):
        to_model_input(np.zeros((64, 64, 3), np.uint8), EXACT)


def test_grey_and_colour_become_each_other() -> None:
    colour = np.zeros((4, 4, 3), np.uint8)
    colour[:, :, 1] = 100
    grey = to_channels(colour, 1)
    assert grey.shape == (4, 4, 1)
    assert grey[0, 0, 0] == 59  # ITU-R BT.601 gives green 0.587
    assert to_channels(grey, 3)[0, 0].tolist() == [59, 59, 59]
    assert to_channels(grey, 1) is grey


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 2), (4, 4, 4)])
def test_other_numbers_of_channels_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(BundleFormatError, match="cannot become"):
        to_channels(np.zeros(shape, np.uint8), 1)


def test_a_smaller_picture_is_filled_up_and_boxes_stay_where_they_are() -> None:
    geometry = PAD
    pixels = np.arange(40 * 50, dtype=np.uint32).reshape(40, 50, 1).astype(np.uint8)
    image, placement = to_model_input(pixels, geometry)
    assert image.shape == (96, 64, 1)
    assert np.array_equal(image[:40, :50], pixels)
    assert set(np.unique(image[40:])) == set(np.unique(image[:, 50:])) == {7}
    boxes = np.array([[1, 2, 30, 39], [45, 30, 60, 50]], np.float32)
    assert placement.to_picture(boxes).tolist() == [[1, 2, 30, 39], [45, 30, 50, 40]]


def test_a_larger_picture_is_refused_where_nothing_is_scaled() -> None:
    with pytest.raises(BundleFormatError, match="takes 64x96 pictures and got 65x40"):
        to_model_input(np.zeros((40, 65, 1), np.uint8), PAD)


def test_a_picture_with_its_reference_behind_it_is_taken_as_one() -> None:
    picture, reference = (np.full((8, 9, 3), value, np.uint8) for value in (50, 80))
    both = with_reference(picture, reference, 1)
    assert both.shape == (8, 9, 2)
    assert both[0, 0].tolist() == [50, 80]
    assert to_channels(with_reference(picture, reference, 3), 2)[0, 0].tolist() == [50, 80]
    with pytest.raises(BundleFormatError, match="needs the reference behind it"):
        to_channels(picture, 2)
