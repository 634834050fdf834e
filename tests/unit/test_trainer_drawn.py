import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.augment import Augment
from trainer.datasets.reading import COPPER
from trainer.drawn import LEAST_PIECE_PX, draw_board
from trainer.strengths import Strengths

SIDE = 320

MORE_THAN_A_LINE = 0.15
"""Of a crop: a single line that is painted as artwork covers less."""


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), channels=st.sampled_from([1, 2, 3, 6]), side=st.sampled_from([96, 320, 640]))
def test_a_board_is_clean_copper_alike_in_all_channels_and_follows_from_the_seed(
    seed: int, channels: int, side: int
) -> None:
    board = draw_board(side, channels, np.random.default_rng(seed))
    assert board.shape == (side, side, channels)
    assert all(np.array_equal(board[:, :, 0], board[:, :, each]) for each in range(channels))
    assert set(np.unique(board).tolist()) <= {0, 255}
    assert np.array_equal(board, draw_board(side, channels, np.random.default_rng(seed)))


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_no_piece_of_copper_or_gap_is_as_small_as_a_defect(seed: int) -> None:
    board = draw_board(SIDE, 1, np.random.default_rng(seed))[:, :, 0]
    for solid in (board == 0, board == 255):
        _, _, stats, _ = cv2.connectedComponentsWithStats(solid.astype(np.uint8), connectivity=4)
        assert stats[1:, cv2.CC_STAT_AREA].min(initial=LEAST_PIECE_PX) >= LEAST_PIECE_PX


def test_boards_differ_and_most_have_more_gap_than_copper() -> None:
    boards = [draw_board(SIDE, 1, np.random.default_rng(seed)) for seed in range(50)]
    shares = [float((board == 0).mean()) for board in boards]
    with_copper = [board.tobytes() for board, share in zip(boards, shares, strict=True) if 0.02 < share < 0.98]
    assert len(set(with_copper)) == len(with_copper) >= 35
    assert np.median(shares) < 0.5


def test_crops_of_copper_show_boards_that_no_picture_has_and_defects_on_them() -> None:
    """The picture has nothing on it: what covers much of a crop, and of its reference too, was drawn."""
    blank = np.full((SIDE, SIDE, 2), 255, np.uint8)
    there = np.array([[100, 100, 130, 130]], np.float32)
    augment = Augment(SIDE, Strengths().times(0), copper=COPPER)
    seen: set[int] = set()
    drawn = 0
    for seed in range(60):
        crop, boxes, labels = augment(blank, there, np.array([2]), np.random.default_rng(seed))
        assert np.array_equal(crop, augment(blank, there, np.array([2]), np.random.default_rng(seed))[0])
        if (crop[:, :, 1] < 128).mean() < MORE_THAN_A_LINE:
            continue
        drawn += 1
        seen |= set(labels.tolist())
        for x1, y1, x2, y2 in boxes.round().astype(int):
            part, reference = crop[y1:y2, x1:x2, 0], crop[y1:y2, x1:x2, 1]
            assert not np.array_equal(part, reference)  # labels of the picture do not stay where its board is gone
    assert 8 <= drawn <= 40  # a third
    assert len(seen) >= 4
