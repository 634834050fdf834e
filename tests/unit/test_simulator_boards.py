"""Simulated boards: what a faultless board may never show."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.simulator.boards import MARGIN_PX, Board, make_board
from appliance.simulator.routing import RoutingGrid, ways
from appliance.simulator.shading import choose_palette, shade

SEEDS = range(12)
LEAST_GAP_PX = 4


def windows_with_two_nets(board: Board, size: int) -> int:
    """Count the windows of size x size px that hold copper of two nets."""
    window = np.ones((size, size), np.uint8)
    highest = cv2.dilate(board.nets, window)
    without_bare = np.where(board.nets == 0, 30_000, board.nets).astype(np.int16)
    lowest = cv2.erode(without_bare, window)
    return int(np.count_nonzero((highest > 0) & (lowest < 30_000) & (highest != lowest)))


@pytest.mark.parametrize("seed", SEEDS)
def test_two_nets_keep_their_distance(seed: int) -> None:
    assert windows_with_two_nets(make_board(seed, 0, 640, 640), LEAST_GAP_PX + 1) == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_a_trace_ends_at_a_pad_or_leaves_the_board(seed: int) -> None:
    layout = make_board(seed, 0, 640, 640).layout
    homes = {(round(pad.x), round(pad.y)) for pad in layout.pads}
    for trace in layout.traces:
        for x, y in (trace.points[0], trace.points[-1]):
            outside = not (0 < x < layout.width and 0 < y < layout.height)
            assert outside or (round(x), round(y)) in homes


@pytest.mark.parametrize("seed", SEEDS)
def test_traces_run_in_45_degree_steps(seed: int) -> None:
    for trace in make_board(seed, 0, 640, 640).layout.traces:
        steps = np.abs(np.diff(np.array(trace.points), axis=0))
        assert np.all((steps[:, 0] == 0) | (steps[:, 1] == 0) | (steps[:, 0] == steps[:, 1]))


@pytest.mark.parametrize("seed", SEEDS)
def test_no_loose_copper_lies_on_a_good_board(seed: int) -> None:
    board = make_board(seed, 0, 640, 640)
    count, parts, stats, _ = cv2.connectedComponentsWithStats((board.nets != 0).astype(np.uint8))
    for number in range(1, count):
        left, top, width, height, area = stats[number].tolist()
        at_border = left == 0 or top == 0 or left + width == board.layout.width or top + height == board.layout.height
        is_pad = bool(np.any(board.openings[parts == number]))
        assert at_border or is_pad or area > 2000


@pytest.mark.parametrize("seed", SEEDS)
def test_no_hole_in_copper_is_as_small_as_a_pin_hole(seed: int) -> None:
    board = make_board(seed, 0, 640, 640)
    _, _, stats, _ = cv2.connectedComponentsWithStats((board.nets == 0).astype(np.uint8), connectivity=4)
    for left, top, width, height, area in stats[1:].tolist():
        at_border = left == 0 or top == 0 or left + width == board.layout.width or top + height == board.layout.height
        assert at_border or area > 600


@pytest.mark.parametrize("seed", SEEDS)
def test_print_never_lies_on_a_pad(seed: int) -> None:
    board = make_board(seed, 0, 640, 640)
    assert not np.any((board.silk != 0) & (board.openings != 0))


@given(seed=st.integers(0, 10_000), index=st.integers(0, 50))
@settings(max_examples=8, deadline=None)
def test_the_same_seed_gives_the_same_board(seed: int, index: int) -> None:
    first = make_board(seed, index, 320, 240)
    make_board.cache_clear()
    second = make_board(seed, index, 320, 240)
    assert first is not second
    assert first.layout == second.layout
    assert np.array_equal(first.nets, second.nets)


def test_another_family_is_another_layout() -> None:
    assert make_board(1, 0, 640, 640).layout != make_board(1, 1, 640, 640).layout
    assert make_board(1, 0, 640, 640).layout != make_board(2, 0, 640, 640).layout


@pytest.mark.parametrize("size", [(160, 160), (333, 217), (1280, 720), (2592, 1944)])
def test_a_board_has_any_size(size: tuple[int, int]) -> None:
    board = make_board(3, 0, *size)
    assert (board.width, board.height) == size
    assert board.nets.shape == (size[1] + 2 * MARGIN_PX, size[0] + 2 * MARGIN_PX)
    assert 0.05 < float(np.mean(board.nets != 0)) < 0.7


@pytest.mark.parametrize("channels", [1, 3])
def test_copper_stands_out_from_laminate_under_the_mask(channels: int) -> None:
    whole = (slice(None), slice(None))
    for seed in SEEDS:
        board = make_board(seed, 0, 320, 320)
        pixels = shade(board, board.coverage, whole, choose_palette(board, channels)).astype(float).mean(axis=2)
        masked = (board.openings == 0) & (board.silk == 0) & (board.drills == 0)
        copper, bare = masked & (board.coverage == 255), masked & (board.coverage == 0)
        assert pixels[copper].mean() - pixels[bare].mean() > 40


def test_a_grey_board_has_one_channel_and_a_colour_board_three() -> None:
    board = make_board(3, 0, 320, 320)
    whole = (slice(None), slice(None))
    for channels in (1, 3):
        assert shade(board, board.coverage, whole, choose_palette(board, channels)).shape[2] == channels


class TestRouting:
    def test_crossing_diagonals_are_refused(self) -> None:
        grid = RoutingGrid(5, 5)
        first = grid.find((0, 0), [(1, 1, 4)], (0, 0), False)
        assert first is not None
        grid.take(first, 1)
        assert grid.find((1, 0), [(-1, 1, 1)], (0, 0), False) is None

    def test_a_route_stays_on_the_grid(self) -> None:
        assert RoutingGrid(5, 5).find((2, 2), [(1, 0, 9)], (0, 0), False) is None

    def test_a_cell_wanted_by_two_pads_is_closed_to_both(self) -> None:
        grid = RoutingGrid(5, 5)
        grid.claim(0, 0, 2, 2, 1)
        grid.claim(2, 2, 4, 4, 2)
        assert grid.find((1, 1), [(1, 1, 1)], (1, 2), False) is None
        assert grid.find((1, 1), [(1, 0, 1)], (1, 2), False) is not None

    def test_a_wide_route_needs_room_beside_it(self) -> None:
        grid = RoutingGrid(9, 9)
        grid.claim(4, 3.5, 4, 3.5, 1)
        assert grid.find((0, 4), [(1, 0, 8)], (0, 0), False) is not None
        assert grid.find((0, 4), [(1, 0, 8)], (0, 0), True) is None

    @given(
        start=st.tuples(st.integers(0, 30), st.integers(0, 30)),
        end=st.tuples(st.integers(0, 30), st.integers(0, 30)),
        seed=st.integers(0, 99),
    )
    def test_every_way_leads_to_its_end(self, start: tuple[int, int], end: tuple[int, int], seed: int) -> None:
        found = list(ways(start, end, np.random.default_rng(seed)))
        assert found
        for legs in found:
            across = sum(column * count for column, _, count in legs)
            down = sum(row * count for _, row, count in legs)
            assert (start[0] + across, start[1] + down) == end
            assert all(count >= 0 for _, _, count in legs)
