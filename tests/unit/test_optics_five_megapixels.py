"""A five-megapixel picture through tiles and model: each small spot comes out once, also where tiles meet."""

import numpy as np
import pytest

from appliance.bundle.manifest import Geometry
from appliance.events import Pixels
from appliance.optics.detector import Detector
from appliance.optics.tiles import Region, TileGrid, tile_grid
from appliance.runtimes.onnx import OnnxRuntime
from appliance.simulator.line import SimulatedLine
from tests.models import CELL_PX, tiny_manifest, tiny_model

WIDTH, HEIGHT, TILE, OVERLAP = 2944, 1792, 640, 64  # tiles then begin on cells of the model: 576 px apart
GREY = 240


@pytest.fixture(scope="module")
def board() -> Pixels:
    """A simulated board under so little light that the model is quiet."""
    return SimulatedLine(1, 0.0, WIDTH, HEIGHT).part(0).pixels // 8


@pytest.fixture(scope="module")
def detector() -> Detector:
    manifest = tiny_manifest(geometry=Geometry(width=TILE, height=TILE, channels=1, fit="exact", pad_value=114))
    runtime = OnnxRuntime(tiny_model(TILE, TILE), manifest)
    return Detector(runtime, manifest, grid(), max_batch=4)


def grid() -> TileGrid:
    return tile_grid(Region(0, 0, WIDTH, HEIGHT), tile_width_px=TILE, tile_height_px=TILE, overlap_px=OVERLAP)


def near_borders(starts: set[int], length: int) -> list[int]:
    """Cells that begin or end a tile, lie in the overlap, or reach over a border with a 20-pixel spot."""
    edges = set(starts) | {start + TILE for start in starts}
    near = {edge + cells * CELL_PX for edge in edges for cells in (-2, -1, 0, 1)}
    return sorted(place for place in near if 0 <= place <= length - CELL_PX)


def planted(side: int, chance: np.random.Generator) -> list[tuple[int, int]]:
    """Corners of spots, two cells apart, around every inner border and crossing of the tiles."""
    tiles = grid().tiles
    xs = near_borders({tile.x_px for tile in tiles}, WIDTH)
    ys = near_borders({tile.y_px for tile in tiles}, HEIGHT)
    anywhere = [(int(chance.integers(WIDTH // 16)) * 16, int(chance.integers(HEIGHT // 16)) * 16) for _ in range(60)]
    corners: list[tuple[int, int]] = []
    places = [(x, y) for x in xs for y in ys] + anywhere
    for place in chance.permutation(len(places)).tolist():
        x, y = places[place]
        lies_inside = x + side <= WIDTH and y + side <= HEIGHT
        if lies_inside and all(max(abs(x - a), abs(y - b)) >= 3 * CELL_PX for a, b in corners):
            corners.append((x, y))
    return corners


@pytest.mark.parametrize("side", [16, 18, 20])
def test_each_spot_of_a_five_megapixel_picture_is_found_exactly_once(
    side: int, board: Pixels, detector: Detector
) -> None:
    assert detector.detect(board) == ()
    corners = planted(side, np.random.default_rng(side))
    picture = board.copy()
    for x, y in corners:
        picture[y : y + side, x : x + side] = GREY
    found = detector.detect(picture)
    assert sorted(item.box[:2] for item in found) == sorted((float(x), float(y)) for x, y in corners)
    assert min(item.score for item in found) == pytest.approx(GREY / 255, abs=0.01)
    owners = [
        sum(t.x_px <= x < t.x_px + TILE and t.y_px <= y < t.y_px + TILE for t in grid().tiles) for x, y in corners
    ]
    assert {1, 2, 4} <= set(owners)
