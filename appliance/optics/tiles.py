"""Tiles over a view that is bigger than the model's input, and one detection for a defect that two tiles saw."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from appliance.bundle.manifest import Geometry
from appliance.errors import ConfigError
from appliance.optics.detections import MAX_CANDIDATES, Boxes, Candidates, areas, intersections, join, suppress

BORDER_PX = 4.0
"""A box that ends this close to a tile's inner border may go on behind it."""

MOST_OVERLAP_PX = 96


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle in pixels of the view's frame; x_px and y_px are its upper left corner."""

    x_px: int
    y_px: int
    width_px: int
    height_px: int


@dataclass(frozen=True, slots=True)
class TileGrid:
    """The tiles that cover a region; all have one size and lie inside it."""

    region: Region
    tiles: tuple[Region, ...]


def whole(region: Region) -> TileGrid:
    """Cover a region with one tile, for a view or crop that goes to the model as it is."""
    return TileGrid(region, (region,))


def usual_overlap_px(tile_width_px: int, tile_height_px: int) -> int:
    """Return how far tiles overlap where nobody has chosen: 96 pixels, or a quarter of a small tile's shorter side.

    One function for trainer and replay, so that both judge a large picture by the same tiles.
    """
    return min(MOST_OVERLAP_PX, min(tile_width_px, tile_height_px) // 4)


def tile_grid(region: Region, *, tile_width_px: int, tile_height_px: int, overlap_px: int) -> TileGrid:
    """Cover a region with as few tiles as the overlap allows, spread evenly.

    Args:
        region: what to cover.
        tile_width_px: the model's input width.
        tile_height_px: the model's input height.
        overlap_px: least overlap of neighbours; a defect up to this size is whole on at least one tile.

    Returns:
        Tiles row by row.

    Raises:
        ConfigError: the region is smaller than a tile, or the overlap as big as a tile; change the recipe.
    """
    if region.width_px < tile_width_px or region.height_px < tile_height_px:
        raise ConfigError(
            f"a region of {region.width_px}x{region.height_px} px is smaller than one tile of "
            f"{tile_width_px}x{tile_height_px}; enlarge the crop or use no tiles"
        )
    if not 0 <= overlap_px < min(tile_width_px, tile_height_px):
        raise ConfigError(f"tiles of {tile_width_px}x{tile_height_px} px cannot overlap by {overlap_px}; lower it")
    xs = _starts(region.width_px, tile_width_px, overlap_px)
    ys = _starts(region.height_px, tile_height_px, overlap_px)
    tiles = tuple(Region(region.x_px + x, region.y_px + y, tile_width_px, tile_height_px) for y in ys for x in xs)
    return TileGrid(region, tiles)


def model_grid(region: Region, geometry: Geometry, overlap_px: int) -> TileGrid:
    """Cover a region with tiles of the model's size; where it is smaller and the model pads, tiles are smaller too.

    One function for trainer and device, so that both show the model the same pieces.

    Args:
        region: what to cover.
        geometry: the manifest's.
        overlap_px: least overlap of neighbours, below the tile's sides.

    Raises:
        ConfigError: the region is smaller than the model's input and the model does not pad.
    """
    width, height = geometry.width, geometry.height
    if geometry.fit == "pad":
        width, height = min(width, region.width_px), min(height, region.height_px)
    if (width, height) == (region.width_px, region.height_px):
        return whole(region)
    return tile_grid(
        region, tile_width_px=width, tile_height_px=height, overlap_px=min(overlap_px, min(width, height) - 1)
    )


def _starts(length: int, tile: int, overlap: int) -> list[int]:
    count = 1 + -(-(length - tile) // (tile - overlap))
    return [(length - tile) * place // max(count - 1, 1) for place in range(count)]


def merge(per_tile: list[Candidates], grid: TileGrid, iou: float) -> Candidates:
    """Join what the tiles found, so that each object comes out once.

    Two boxes of one class from different tiles are one object if they agree in the area that both tiles see. A box
    that ends at an inner border is cut: it loses its place to a neighbour's whole one, but not its score, so that
    noise next door cannot hide a defect; where no tile saw the whole object, the cut boxes are joined into one.

    Args:
        per_tile: one entry a tile in the grid's order; boxes in pixels of the frame.
        grid: the tiles.
        iou: boxes of one class that overlap by more than this are one object.

    Returns:
        Candidates in pixels of the frame, highest score first.
    """
    found = join(per_tile)
    if len(found) <= 1:
        return found
    owner = np.repeat(np.arange(len(per_tile)), [len(part) for part in per_tile])
    if len(per_tile) == 1 or len(np.unique(owner)) == 1:
        return suppress(found, iou)
    if len(found) > MAX_CANDIDATES:
        best = np.sort(np.argsort(-found.scores, kind="stable")[:MAX_CANDIDATES])
        found, owner = found.take(best), owner[best]
    cut = _is_cut(found.boxes, owner, grid)
    wholes = found.take(~cut)
    if not cut.any():
        return suppress(wholes, iou)
    pieces, piece_tiles = found.take(cut), _edges(grid)[owner[cut]]
    # A whole object is cut again by every other tile that sees a part of it: compare before suppression drops it.
    whole_tiles = _edges(grid)[owner[~cut]]
    lost = _same(pieces, piece_tiles, wholes, whole_tiles, iou) | _inside(pieces, wholes)
    lost &= owner[cut][:, None] != owner[~cut][None, :]
    left = np.asarray(~lost.any(axis=1), dtype=np.bool_)
    joined = _join_pieces(pieces.take(left), piece_tiles[left], owner[cut][left], iou)
    complete = suppress(_with_scores_of(pieces, wholes, lost), iou)
    return suppress(join([complete, joined]), iou)


def _with_scores_of(pieces: Candidates, wholes: Candidates, lost: NDArray[np.bool_]) -> Candidates:
    """Give the best of the whole boxes that a piece lost to (lost: piece x whole) the piece's score, if higher."""
    scores = wholes.scores.copy()
    for piece in np.flatnonzero(lost.any(axis=1)):
        best = int(np.argmax(np.where(lost[piece], wholes.scores, -1.0)))
        scores[best] = max(scores[best], pieces.scores[piece])
    return Candidates(wholes.boxes, scores, wholes.labels)


def _edges(grid: TileGrid) -> Boxes:
    return np.array([(t.x_px, t.y_px, t.x_px + t.width_px, t.y_px + t.height_px) for t in grid.tiles], dtype=np.float32)


def _is_cut(boxes: Boxes, owner: NDArray[np.int64], grid: TileGrid) -> NDArray[np.bool_]:
    region = grid.region
    outer = np.array(
        [region.x_px, region.y_px, region.x_px + region.width_px, region.y_px + region.height_px], dtype=np.float32
    )
    edges = _edges(grid)
    is_inner = edges != outer
    near = np.abs(boxes - edges[owner]) <= BORDER_PX
    return np.asarray((near & is_inner[owner]).any(axis=1), dtype=np.bool_)


def _same(found: Candidates, tiles: Boxes, others: Candidates, other_tiles: Boxes, iou: float) -> NDArray[np.bool_]:
    """Whether two boxes of one class agree in the area that both of their tiles see."""
    low = np.maximum(tiles[:, None, :2], other_tiles[None, :, :2])
    high = np.minimum(tiles[:, None, 2:], other_tiles[None, :, 2:])
    first = _clipped(found.boxes[:, None, :], low, high)
    second = _clipped(others.boxes[None, :, :], low, high)
    sides = np.maximum(np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2]), 0.0)
    common = sides[..., 0] * sides[..., 1]
    union = _area(first) + _area(second) - common
    agrees = common > iou * np.maximum(union, 1e-6)
    return np.asarray(agrees & (found.labels[:, None] == others.labels[None, :]))


def _clipped(boxes: Boxes, low: Boxes, high: Boxes) -> Boxes:
    return np.concatenate((np.maximum(boxes[..., :2], low), np.minimum(boxes[..., 2:], high)), axis=-1)


def _area(boxes: Boxes) -> NDArray[np.float32]:
    sides = np.maximum(boxes[..., 2:] - boxes[..., :2], 0.0)
    return np.asarray(sides[..., 0] * sides[..., 1])


def _inside(pieces: Candidates, wholes: Candidates) -> NDArray[np.bool_]:
    """Whether most of a cut box lies in a whole one of its class."""
    common = intersections(pieces.boxes, wholes.boxes)
    most = common > 0.5 * np.maximum(areas(pieces.boxes), np.float32(1e-6))[:, None]
    return np.asarray(most & (pieces.labels[:, None] == wholes.labels[None, :]))


def _join_pieces(pieces: Candidates, tiles: Boxes, owner: NDArray[np.int64], iou: float) -> Candidates:
    """Put the cut boxes of one object together: the box around them, the highest of their scores."""
    if len(pieces) <= 1:
        return pieces
    is_one = _same(pieces, tiles, pieces, tiles, iou) & (owner[:, None] != owner[None, :])
    group = np.arange(len(pieces))
    while True:  # each box takes the lowest number among those it is one with, until nothing changes
        lowest = np.where(is_one, group[None, :], len(pieces)).min(axis=1)
        lowest = np.minimum(lowest, group)
        if np.array_equal(lowest, group):
            break
        group = lowest
    boxes, scores, labels = [], [], []
    for number in np.unique(group):
        members = pieces.take(group == number)
        boxes.append(np.concatenate((members.boxes[:, :2].min(axis=0), members.boxes[:, 2:].max(axis=0))))
        scores.append(members.scores.max())
        labels.append(members.labels[0])
    return Candidates(np.array(boxes, np.float32), np.array(scores, np.float32), np.array(labels, np.int64))
