"""Tiles cover a view, and a defect that two of them saw comes out once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.bundle.manifest import Geometry
from appliance.errors import ConfigError
from appliance.optics.detections import Boxes, Candidates, ious, join
from appliance.optics.tiles import Region, TileGrid, merge, model_grid, tile_grid, whole

FIVE_MEGAPIXELS = Region(0, 0, 2448, 2048)


def see(grid: TileGrid, objects: Boxes, labels: list[int] | None = None, jitter: float = 0.0) -> list[Candidates]:
    """What a good detector finds on each tile: every object that shows at least 6x6 pixels, cut at the border."""
    noise = np.random.default_rng(1)
    per_tile = []
    for tile in grid.tiles:
        low = np.array([tile.x_px, tile.y_px], np.float32)
        high = low + np.array([tile.width_px, tile.height_px], np.float32)
        shifted = objects + noise.uniform(-jitter, jitter, objects.shape).astype(np.float32)
        boxes = np.concatenate((np.maximum(shifted[:, :2], low), np.minimum(shifted[:, 2:], high)), axis=1)
        seen = ((boxes[:, 2:] - boxes[:, :2]) >= 6).all(axis=1)
        shown = (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1) / (objects[:, 2:] - objects[:, :2]).prod(axis=1)
        scores = (0.5 + 0.4 * shown).astype(np.float32)
        classes = np.array(labels or [0] * len(objects), np.int64)
        per_tile.append(Candidates(boxes[seen], scores[seen], classes[seen]))
    return per_tile


def boxes_of(*boxes: tuple[float, float, float, float]) -> Boxes:
    return np.array(boxes, np.float32).reshape(-1, 4)


def row(box: tuple[float, float, float, float], score: float) -> Candidates:
    return Candidates(boxes_of(box), np.array([score], np.float32), np.zeros(1, np.int64))


@given(
    width=st.integers(64, 900),
    height=st.integers(64, 900),
    tile=st.sampled_from([(64, 64), (64, 48), (32, 64)]),
    overlap=st.integers(0, 31),
    corner=st.tuples(st.integers(0, 50), st.integers(0, 50)),
)
def test_every_pixel_of_the_region_lies_on_a_tile_and_no_tile_leaves_it(
    width: int, height: int, tile: tuple[int, int], overlap: int, corner: tuple[int, int]
) -> None:
    region = Region(*corner, width, height)
    grid = tile_grid(region, tile_width_px=tile[0], tile_height_px=tile[1], overlap_px=overlap)
    seen = np.zeros((corner[1] + height, corner[0] + width), np.int32)
    for item in grid.tiles:
        assert (item.width_px, item.height_px) == tile
        patch = seen[item.y_px : item.y_px + tile[1], item.x_px : item.x_px + tile[0]]
        assert patch.shape == (tile[1], tile[0])
        patch += 1
    assert seen[corner[1] :, corner[0] :].min() >= 1
    assert seen[: corner[1]].sum() == seen[:, : corner[0]].sum() == 0


@given(width=st.integers(64, 900), overlap=st.integers(1, 31), start=st.floats(0, 1))
def test_a_defect_no_bigger_than_the_overlap_is_whole_on_some_tile(width: int, overlap: int, start: float) -> None:
    grid = tile_grid(Region(0, 0, width, 64), tile_width_px=64, tile_height_px=64, overlap_px=overlap)
    left = int(start * (width - overlap))
    assert any(tile.x_px <= left and left + overlap <= tile.x_px + 64 for tile in grid.tiles)


def test_a_five_megapixel_view_takes_thirty_tiles_at_most() -> None:
    grid = tile_grid(FIVE_MEGAPIXELS, tile_width_px=640, tile_height_px=640, overlap_px=64)
    assert len(grid.tiles) == 5 * 4


@pytest.mark.parametrize(("size", "overlap"), [((63, 64), 8), ((64, 63), 8), ((64, 64), 64), ((64, 64), -1)])
def test_impossible_tiles_are_a_matter_of_the_recipe(size: tuple[int, int], overlap: int) -> None:
    with pytest.raises(ConfigError, match="px"):
        tile_grid(Region(0, 0, *size), tile_width_px=64, tile_height_px=64, overlap_px=overlap)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32 - 1), jitter=st.sampled_from([0.0, 1.0]))
def test_twenty_pixel_defects_of_a_five_megapixel_view_come_out_once(seed: int, jitter: float) -> None:
    chance = np.random.default_rng(seed)
    cells = chance.choice(61 * 51, size=40, replace=False)  # one a 40-pixel cell, so that they do not overlap
    corners = np.stack(((cells % 61) * 40, (cells // 61) * 40), axis=1) + chance.integers(1, 19, (40, 2))
    objects = np.concatenate((corners, corners + 20), axis=1).astype(np.float32)
    grid = tile_grid(FIVE_MEGAPIXELS, tile_width_px=640, tile_height_px=640, overlap_px=64)
    found = merge(see(grid, objects, jitter=jitter), grid, 0.5)
    assert len(found) == 40
    overlap = ious(objects, found.boxes)
    assert (overlap.max(axis=1) > 0.7).all()
    if jitter == 0.0:
        assert sorted(map(tuple, found.boxes.tolist())) == sorted(map(tuple, objects.tolist()))


def test_a_defect_wider_than_every_tile_is_joined_from_its_pieces() -> None:
    grid = tile_grid(Region(0, 0, 300, 64), tile_width_px=64, tile_height_px=64, overlap_px=16)
    scratch = boxes_of((10, 20, 290, 30))
    found = merge(see(grid, scratch), grid, 0.5)
    assert found.boxes.tolist() == scratch.tolist()


def test_a_cut_piece_loses_to_the_whole_box_but_its_score_stays() -> None:
    grid = tile_grid(Region(0, 0, 112, 64), tile_width_px=64, tile_height_px=64, overlap_px=16)
    per_tile = see(grid, boxes_of((53, 20, 73, 40)))
    per_tile[0].scores[:] = 0.99
    found = merge(per_tile, grid, 0.5)
    assert found.boxes.tolist() == [[53, 20, 73, 40]]
    assert found.scores[0] == pytest.approx(0.99)


def test_noise_on_the_next_tile_does_not_hide_a_cut_defect() -> None:
    grid = tile_grid(Region(0, 0, 112, 64), tile_width_px=64, tile_height_px=64, overlap_px=16)
    found = merge([row((50, 20, 64, 40), 0.95), row((53, 21, 66, 40), 0.03)], grid, 0.5)
    assert found.scores.tolist() == [pytest.approx(0.95)]


def test_a_piece_gives_its_score_to_the_best_whole_box_only() -> None:
    grid = tile_grid(Region(0, 0, 112, 64), tile_width_px=64, tile_height_px=64, overlap_px=16)
    noise_and_whole = Candidates(
        boxes_of((48, 2, 110, 62), (53, 20, 73, 40)), np.array([0.1, 0.8], np.float32), np.zeros(2, np.int64)
    )
    found = merge([row((53, 20, 64, 40), 0.95), noise_and_whole], grid, 0.5)
    assert found.boxes.tolist() == [[53, 20, 73, 40], [48, 2, 110, 62]]
    assert found.scores.tolist() == [pytest.approx(0.95), pytest.approx(0.1)]


def test_neighbours_and_other_classes_stay_apart() -> None:
    grid = tile_grid(Region(0, 0, 112, 64), tile_width_px=64, tile_height_px=64, overlap_px=16)
    objects = boxes_of((50, 5, 62, 17), (50, 20, 62, 32), (50, 20, 62, 32))
    found = merge(see(grid, objects, [0, 0, 1]), grid, 0.5)
    assert sorted(zip(found.labels.tolist(), found.boxes[:, 1].tolist(), strict=True)) == [(0, 5), (0, 20), (1, 20)]


def test_a_sliver_at_a_tile_s_border_loses_to_the_whole_box_next_door() -> None:
    grid = tile_grid(Region(0, 0, 112, 64), tile_width_px=64, tile_height_px=64, overlap_px=16)
    per_tile = [row((60, 22, 64, 27), 0.9), row((58, 20, 80, 40), 0.8)]
    assert merge(per_tile, grid, 0.5).boxes.tolist() == [[58, 20, 80, 40]]


def test_a_small_whole_defect_in_a_big_cut_one_stays_beside_it() -> None:
    grid = tile_grid(Region(0, 0, 112, 64), tile_width_px=64, tile_height_px=64, overlap_px=16)
    per_tile = [row((5, 5, 64, 60), 0.9), row((54, 30, 60, 36), 0.8)]
    assert len(merge(per_tile, grid, 0.5)) == 2


def test_of_two_whole_boxes_the_better_one_stays_even_at_the_outer_edge_of_the_view() -> None:
    grid = tile_grid(Region(0, 0, 112, 64), tile_width_px=64, tile_height_px=64, overlap_px=16)
    per_tile = [row((53, 0, 59, 10), 0.9), row((53, 0, 59, 12), 0.8)]
    assert merge(per_tile, grid, 0.5).boxes.tolist() == [[53, 0, 59, 10]]


def test_a_box_at_the_outer_edge_of_the_view_is_not_cut() -> None:
    grid = tile_grid(Region(0, 0, 112, 64), tile_width_px=64, tile_height_px=64, overlap_px=16)
    found = merge(see(grid, boxes_of((0, 0, 20, 20), (92, 44, 112, 64))), grid, 0.5)
    assert len(found) == 2


BOXES = st.lists(
    st.tuples(
        st.integers(0, 3), st.integers(0, 150), st.integers(0, 150), st.integers(4, 60), st.integers(4, 60),
        st.integers(0, 1), st.integers(1, 100),
    ),
    max_size=25,
)  # fmt: skip
"""Tile, x, y, width, height, label, score in percent."""


def on_tiles(boxes: list[tuple[int, ...]], grid: TileGrid) -> list[Candidates]:
    """What the tiles report; each box is moved and cut to lie on its tile."""
    per_tile = []
    for place, tile in enumerate(grid.tiles):
        own = [item for item in boxes if item[0] == place]
        low = np.array([tile.x_px, tile.y_px] * 2, np.float32)
        high = low + np.array([tile.width_px, tile.height_px] * 2, np.float32)
        corners = boxes_of(*((x % 124, y % 124, x % 124 + w, y % 124 + h) for _, x, y, w, h, _, _ in own))
        scores = np.array([item[6] / 100 for item in own], np.float32)
        labels = np.array([item[5] for item in own], np.int64)
        per_tile.append(Candidates(np.minimum(corners + low, high), scores, labels))
    return per_tile


@settings(deadline=None)
@given(boxes=BOXES)
def test_merging_what_was_merged_changes_nothing(boxes: list[tuple[int, ...]]) -> None:
    region = Region(0, 0, 200, 200)
    per_tile = on_tiles(boxes, grid := tile_grid(region, tile_width_px=128, tile_height_px=128, overlap_px=32))
    once = merge(per_tile, grid, 0.5)
    again = merge([once], whole(region), 0.5)
    assert again.boxes.tolist() == once.boxes.tolist()
    assert len(once) <= sum(map(len, per_tile))
    assert {int(label) for label in once.labels} == {item[5] for item in boxes if item[0] < len(per_tile)}


@settings(deadline=None, max_examples=300)
@given(boxes=BOXES)
def test_the_best_score_of_a_heap_never_falls_by_merging(boxes: list[tuple[int, ...]]) -> None:
    grid = tile_grid(Region(0, 0, 200, 200), tile_width_px=128, tile_height_px=128, overlap_px=32)
    found = join(per_tile := on_tiles(boxes, grid))
    merged = merge(per_tile, grid, 0.5)
    touches = (ious(found.boxes, found.boxes) > 0) & (found.labels[:, None] == found.labels[None, :])
    touches |= np.eye(len(found), dtype=bool)
    for _ in range(len(found).bit_length()):  # what touches what touches it, and so on: one heap
        touches = touches @ touches
    overlap = (ious(merged.boxes, found.boxes) > 0) & (merged.labels[:, None] == found.labels[None, :])
    for heap in touches:
        best = merged.scores[overlap[:, heap].any(axis=1)].max()
        assert best >= found.scores[heap].max()


@given(st.integers(20, 700), st.integers(20, 700), st.integers(0, 90))
def test_a_model_that_pads_sees_every_pixel_in_tiles_that_it_takes(width: int, height: int, overlap: int) -> None:
    geometry = Geometry(width=320, height=256, channels=1, fit="pad", pad_value=114)
    grid = model_grid(Region(5, 7, width, height), geometry, overlap)
    seen = np.zeros((height, width), bool)
    for tile in grid.tiles:
        assert tile.width_px == min(320, width)
        assert tile.height_px == min(256, height)
        seen[tile.y_px - 7 : tile.y_px - 7 + tile.height_px, tile.x_px - 5 : tile.x_px - 5 + tile.width_px] = True
    assert seen.all()


def test_a_model_that_does_not_pad_needs_a_region_of_its_size() -> None:
    geometry = Geometry(width=320, height=256, channels=1, fit="exact", pad_value=114)
    assert model_grid(Region(1, 2, 320, 256), geometry, 96).tiles == (Region(1, 2, 320, 256),)
    with pytest.raises(ConfigError, match="smaller than one tile"):
        model_grid(Region(0, 0, 319, 256), geometry, 96)
