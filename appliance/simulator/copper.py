"""Where copper lies on a board and what a shape drawn on it would change: the ground that defects are planted on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from appliance.simulator.boards import Board

Vector = NDArray[np.float64]
Marks = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Draft:
    """Copper to add or to remove inside a window (left, top)."""

    left: int
    top: int
    marks: Marks
    adds: bool


@lru_cache(maxsize=3)
def edges(board: Board) -> tuple[Vector, Vector]:
    """Give the straight edge points of the copper (n, 2) in px, and their normals that point away from it."""
    outlines, _ = cv2.findContours((board.nets != 0).view(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    spots, normals = [], []
    for outline in outlines:
        points = outline[:, 0].astype(np.float64)
        if len(points) < 30:
            continue
        before, after = np.roll(points, 9, axis=0), np.roll(points, -9, axis=0)
        along = after - before
        length = np.hypot(along[:, 0], along[:, 1])
        bend = np.abs(along[:, 0] * (points - before)[:, 1] - along[:, 1] * (points - before)[:, 0])
        straight = (length > 15) & (bend < 1.5 * np.maximum(length, 1))
        normal = np.stack([along[:, 1], -along[:, 0]], axis=1)[straight] / length[straight][:, None]
        ahead = np.rint(points[straight] + 3 * normal).astype(int)
        ahead[:, 0] = ahead[:, 0].clip(0, board.nets.shape[1] - 1)
        ahead[:, 1] = ahead[:, 1].clip(0, board.nets.shape[0] - 1)
        into = board.nets[ahead[:, 1], ahead[:, 0]] != 0
        spots.append(points[straight])
        normals.append(np.where(into[:, None], -normal, normal))
    return (np.concatenate(spots), np.concatenate(normals)) if spots else (np.zeros((0, 2)), np.zeros((0, 2)))


@lru_cache(maxsize=3)
def depths(board: Board) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Give the distance of each copper pixel to the copper's edge (px), and the flat indices of the deep ones."""
    solid = ((board.nets != 0) & (board.drills == 0)).view(np.uint8)
    depth = np.asarray(cv2.distanceTransform(solid, cv2.DIST_L2, 3), np.float32)
    return depth, np.flatnonzero(depth > 5.0)


@lru_cache(maxsize=3)
def distances_to_copper(board: Board) -> NDArray[np.float32]:
    """Give the distance of each bare pixel to the nearest copper, px."""
    bare = (board.nets == 0).view(np.uint8)
    return np.asarray(cv2.distanceTransform(bare, cv2.DIST_L2, 3), np.float32)


def march(board: Board, start: Vector, way: Vector, most: int) -> NDArray[np.int16]:
    """Give the net numbers met on a straight way.

    Args:
        board: whose copper.
        start: x and y, px.
        way: direction, length 1.
        most: px to go.

    Returns:
        int16, one per px and the start; 0 is bare, -1 outside the canvas.
    """
    steps = np.arange(most + 1)[:, None]
    spots = np.rint(start + steps * way).astype(int)
    height, width = board.nets.shape
    outside = (spots < 0).any(axis=1) | (spots[:, 0] >= width) | (spots[:, 1] >= height)
    spots[outside] = 0
    met: NDArray[np.int16] = board.nets[spots[:, 1], spots[:, 0]].copy()
    met[outside] = -1
    return met


def _fill(polygon: Vector) -> tuple[int, int, Marks]:
    left, top = (int(v) for v in np.floor(polygon.min(axis=0)) - 2)
    width, height = (int(v) for v in np.ceil(polygon.max(axis=0)) + 3 - (left, top))
    marks = np.zeros((height, width), np.uint8)
    cv2.fillPoly(marks, [np.rint((polygon - (left, top)) * 16).astype(np.int32)], 1, cv2.LINE_8, 4)
    return left, top, marks != 0


def band(start: Vector, end: Vector, half_widths: Vector) -> Vector:
    """Give the polygon around a straight way, with half widths (2, n) in px at even steps on both sides."""
    along = (end - start) / max(1e-6, float(np.hypot(*(end - start))))
    across = np.array([-along[1], along[0]])
    steps = np.linspace(0.0, 1.0, half_widths.shape[1])[:, None]
    middle = start + steps * (end - start)
    return np.concatenate(
        [middle + half_widths[0][:, None] * across, (middle - half_widths[1][:, None] * across)[::-1]]
    )


def blob(rng: np.random.Generator, centre: Vector, long: float, short: float) -> Vector:
    """Give a wobbly ellipse with the given axes (px), turned by chance."""
    angles = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    radius = 1 + rng.uniform(-0.2, 0.0, 14)
    turn = rng.uniform(0, np.pi)
    x, y = radius * np.cos(angles) * long / 2, radius * np.sin(angles) * short / 2
    return np.asarray(
        centre + np.stack([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)], axis=1)
    )


def cut(board: Board, polygon: Vector, adds: bool) -> Draft | None:
    """Keep what the polygon really changes: bare places when it adds copper, copper when it takes it away."""
    left, top, marks = _fill(polygon)
    height, width = marks.shape
    if left < 0 or top < 0 or left + width > board.nets.shape[1] or top + height > board.nets.shape[0]:
        return None
    under = board.nets[top : top + height, left : left + width]
    return Draft(left, top, marks & ((under == 0) == adds), adds)


def pick_edge(board: Board, rng: np.random.Generator) -> tuple[Vector, Vector] | None:
    """Choose an edge point and its outward normal; None on a board without copper."""
    spots, normals = edges(board)
    if not len(spots):
        return None
    chosen = int(rng.integers(0, len(spots)))
    return spots[chosen], normals[chosen]


def touched_nets(board: Board, draft: Draft, reach: int = 1) -> set[int]:
    """Give the nets within `reach` px of the draft's copper."""
    height, width = draft.marks.shape
    marks = cv2.copyMakeBorder(draft.marks.view(np.uint8), reach, reach, reach, reach, cv2.BORDER_CONSTANT, value=[0])
    grown = cv2.dilate(marks, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) != 0
    top, left = draft.top - reach, draft.left - reach
    if top < 0 or left < 0:
        return set()
    under = board.nets[top : top + height + 2 * reach, left : left + width + 2 * reach]
    if under.shape != grown.shape:
        return set()
    return set(np.unique(under[grown]).tolist()) - {0}
