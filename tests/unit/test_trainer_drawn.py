import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.augment import Augment
from trainer.datasets.reading import COPPER
from trainer.drawn import drawn_board
from trainer.strengths import Strengths

SIDE = 320

MORE_THAN_A_LINE = 0.15
"""Of a crop: a single line that is painted as artwork covers less."""


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), channels=st.sampled_from([1, 2]))
def test_a_drawn_board_is_clean_copper_and_its_reference_shows_the_same(seed: int, channels: int) -> None:
    board = drawn_board(SIDE, channels, np.random.default_rng(seed))
    assert board.shape == (SIDE, SIDE, channels)
    assert np.array_equal(board[:, :, 0], board[:, :, -1])
    assert np.isin(board, (0, 255)).mean() > 0.6  # the rest is on its edges


def test_drawn_boards_differ() -> None:
    boards = [drawn_board(SIDE, 1, np.random.default_rng(seed)) for seed in range(20)]
    with_copper = [board for board in boards if 0.02 < (board < 128).mean() < 0.98]
    assert len(with_copper) >= 15
    assert len({board.tobytes() for board in with_copper}) == len(with_copper)


def test_crops_of_copper_show_boards_that_no_picture_has_and_defects_on_them() -> None:
    """The picture has nothing on it: what covers much of a crop, and of its reference too, was drawn."""
    blank = np.full((SIDE, SIDE, 2), 255, np.uint8)
    there = np.array([[100, 100, 130, 130]], np.float32)
    augment = Augment(SIDE, Strengths().times(0), copper=COPPER)
    seen: set[int] = set()
    drawn = 0
    for seed in range(60):
        crop, boxes, labels = augment(blank, there, np.array([2]), np.random.default_rng(seed))
        if (crop[:, :, 1] < 128).mean() < MORE_THAN_A_LINE:
            continue
        drawn += 1
        seen |= set(labels.tolist())
        for x1, y1, x2, y2 in boxes.round().astype(int):
            part, reference = crop[y1:y2, x1:x2, 0], crop[y1:y2, x1:x2, 1]
            assert not np.array_equal(part, reference)  # labels of the picture do not stay where its board is gone
    assert drawn >= 8
    assert len(seen) >= 4
