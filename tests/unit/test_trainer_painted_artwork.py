import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.painted_artwork import POUR_PX, paint_artwork

SIDE = 200
COPPER, GAP = 0, 255
DEFECT = np.array([[80, 90, 120, 130]], np.float32)
POUR, TRACES = slice(0, 90), slice(110, SIDE)
"""Rows: a pour on top, then nothing, and traces too thin for artwork below."""


def board() -> np.ndarray:
    picture = np.full((SIDE, SIDE, 2), GAP, np.uint8)
    picture[POUR] = COPPER
    for row in range(TRACES.start, TRACES.stop, POUR_PX // 2):
        picture[row : row + 8] = COPPER
    return picture


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_artwork_is_in_part_and_reference_alike_and_covers_neither_defects_nor_what_is_narrow(seed: int) -> None:
    picture = board()
    paint_artwork(picture, DEFECT, np.random.default_rng(seed))
    assert np.array_equal(picture[:, :, 0], picture[:, :, 1])
    assert np.isin(picture, (COPPER, GAP)).all()
    changed = picture[:, :, 0] != board()[:, :, 0]
    assert not changed[90:130, 80:120].any()
    assert not changed[TRACES].any()


def test_lines_tapers_and_pads_come_in_copper_and_in_gap() -> None:
    shares = []
    for seed in range(60):
        picture = np.full((SIDE, SIDE, 1), COPPER if seed % 2 else GAP, np.uint8)
        paint_artwork(picture, np.zeros((0, 4), np.float32), np.random.default_rng(seed))
        shares.append(float((picture != (COPPER if seed % 2 else GAP)).mean()))
    assert np.mean(np.array(shares) > 0) > 0.8
    assert max(shares) < 0.8


def test_where_there_is_no_room_nothing_is_painted() -> None:
    picture = np.full((SIDE, SIDE, 1), GAP, np.uint8)
    picture[:: POUR_PX // 2] = COPPER
    before = picture.copy()
    for seed in range(20):
        paint_artwork(picture, np.zeros((0, 4), np.float32), np.random.default_rng(seed))
    assert np.array_equal(picture, before)
