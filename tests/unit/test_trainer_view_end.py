"""The view of a part may end elsewhere than that of its reference, and what lies behind the end is not labelled."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.optics.reference import USUAL_SHIFT_PX
from tests.crops import NO_CHANGE, NOTHING
from tests.references import write_picture
from trainer.augment import Augment
from trainer.datasets.sample import Dataset, Sample
from trainer.pictures import Pictures
from trainer.plan import Plan
from trainer.view_end import LEAST_SEEN, end_view

SIDE = 96


def _noise(channels: int) -> np.ndarray:
    """Part and reference are the same noise, so that rows that are of one level are told."""
    half = np.random.default_rng(7).integers(0, 255, (SIDE, SIDE, channels // 2), dtype=np.uint8)
    return np.concatenate((half, half), axis=2)


@given(st.integers(0, 2**32), st.floats(0.1, 60), st.sampled_from([2, 6]))
def test_both_views_are_as_they_were_before_their_ends_and_of_one_level_behind(
    seed: int, apart_px: float, channels: int
) -> None:
    whole, half = _noise(channels), channels // 2
    piece, end = end_view(whole, apart_px, np.random.default_rng(seed))
    ends = [_end(piece[:, :, where]) for where in (slice(half), slice(half, None))]
    assert ends[0] == end >= round(LEAST_SEEN * SIDE)
    assert abs(ends[1] - ends[0]) <= USUAL_SHIFT_PX
    levels = set()
    for its_end, where in zip(ends, (slice(half), slice(half, None)), strict=True):
        assert np.array_equal(piece[:its_end, :, where], whole[:its_end, :, where])
        levels |= {tuple(level) for level in piece[its_end:, :, where].reshape(-1, half).tolist()}
    assert len(levels) <= 1
    assert levels <= {tuple(level) for level in whole[:, :, :half].reshape(-1, half).tolist()}


def _end(view: np.ndarray) -> int:
    """Return the first of the last rows that are all of the last pixel's level."""
    other = np.flatnonzero((view != view[-1, -1]).any(axis=(1, 2)))
    return int(other[-1]) + 1 if len(other) else 0


def test_the_ends_lie_apart_by_their_pixels() -> None:
    apart = []
    for seed in range(400):
        piece, end = end_view(_noise(2), 4.0, np.random.default_rng(seed))
        if end < SIDE - 20:
            apart.append(_end(piece[:, :, 1:]) - end)
    assert np.std(apart) == pytest.approx(4.0, rel=0.15)


def _crops(channels: int, view_end_px: float, boxes: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Cut 300 crops as large as the picture, each with its boxes; one whose view ends is turned until it ends below."""
    augment = Augment(SIDE, replace(NO_CHANGE, view_end_px=view_end_px))
    picture, labels = _noise(2 * channels)[:, :, :channels], np.zeros(len(boxes), np.int64)
    crops = []
    for seed in range(300):
        crop, found, _ = augment(picture, boxes, labels, np.random.default_rng(seed))
        for _ in range(4):
            if _end(crop[:, :, :1]) < SIDE:
                break
            crop, found = (
                np.rot90(crop),
                np.stack((found[:, 1], SIDE - found[:, 2], found[:, 3], SIDE - found[:, 0]), 1),
            )
        crops.append((crop, found))
    return crops


@pytest.mark.parametrize(
    ("channels", "view_end_px", "least", "most"), [(2, 6.0, 15, 45), (2, 0.0, 0, 0), (1, 6.0, 0, 0)]
)
def test_a_tenth_of_the_views_beside_a_reference_end(channels: int, view_end_px: float, least: int, most: int) -> None:
    crops = _crops(channels, view_end_px, NOTHING[0])
    assert least <= sum(_end(crop[:, :, :1]) < SIDE for crop, _ in crops) <= most


def test_no_view_ends_in_the_quarter_of_a_mosaic(tmp_path: Path) -> None:
    half = SIDE // 2  # pictures of that size: three crops of four are mosaics, and their quarters are full
    samples = []
    for number in range(8):
        path = tmp_path / f"{number}.png"
        write_picture(path, np.random.default_rng(number).integers(0, 255, (half, half, 1), dtype=np.uint8))
        box = np.array([[9, 9, 30, 30]], np.float32)
        samples.append(Sample(path, box, np.zeros(1, np.int64), "g", is_good=False, reference=path))
    vary = asdict(replace(NO_CHANGE, view_end_px=6.0))
    plan = Plan(epochs=1, passes=60, batch=4, side_px=SIDE, vary=vary, reference=True)
    crops = np.concatenate([its.numpy() for its, _, _ in Pictures(Dataset(("a",), tuple(samples)), plan).batches(0)])
    quarters = crops[:, :, :, 0].reshape(-1, 2, half, 2, half).swapaxes(2, 3)
    middles = quarters[:, :, :, half // 2 - 4 : half // 2 + 4, half // 2 - 4 : half // 2 + 4]
    mosaics = quarters[(np.ptp(middles, axis=(3, 4)) > 0).all(axis=(1, 2))]  # in others three quarters are filled up
    assert len(mosaics) > 150
    assert (np.ptp(mosaics, axis=3) > 0).all()
    assert (np.ptp(mosaics, axis=4) > 0).all()


def test_a_box_is_clipped_where_the_view_ends_and_gone_if_most_of_it_is_behind() -> None:
    clipped = gone = 0
    for crop, found in _crops(2, 6.0, np.array([[20, 60, 50, 90]], np.float32)):
        end = _end(crop[:, :, :1])
        assert (found[:, 3] <= end).all()
        heights = found[:, 3] - found[:, 1]
        assert (heights >= 15).all()
        clipped += int((heights < 30).any())
        gone += not len(found)
    assert clipped
    assert gone
