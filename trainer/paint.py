"""Painted defects and painted artwork for pictures of binarised copper.

What a defect is called follows from what it does to the copper: a hole that touches no edge is a pin-hole, one that
touches an edge a mousebite, one that parts a trace an open; and what is added where copper should not be is the same
thing done to the gap. So a shape can be painted anywhere, and its class is computed instead of drawn by hand. Long
clean lines are artwork, not defects: without them a net that has seen few boards takes every unknown clearance for an
open.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.datasets.sample import Boxes, Copper, Labels

Pixels = NDArray[np.uint8]

SURROUNDINGS_PX = 24
"""Connections are followed this far around a shape: what is joined elsewhere looks parted here."""

CRUMB_PX = 12
"""Smaller pieces of copper are debris and count for nothing."""

SMALLEST_PX, LARGEST_PX = 25, 120
"""Least area and longest side of a painted defect, in pixels."""

POUR_PX = 41
"""A region counts as a pour, in which artwork may be painted, if a square of this side fits in."""

SCRIBBLE_SHARE = 0.25
"""Share of the shapes that are long thin strokes, as a scratch or a hair of copper leaves them."""

_TRIES = 6


def paint(
    picture: Pixels, boxes: Boxes, labels: Labels, copper: Copper, rng: np.random.Generator
) -> tuple[Pixels, Boxes, Labels]:
    """Paint artwork now and then, and one to three defects where there is room.

    Args:
        picture: uint8 [side, side, 1], copper dark; or 2 channels, the second its reference: that gets the artwork too.
        boxes: float32 [N, 4] of the defects that are there; nothing is painted over them.
        labels: int64 [N].
        copper: names of the classes.
        rng: the crop's own generator.

    Returns:
        A new picture, and boxes and labels with those of the painted defects behind the others.
    """
    picture = picture.copy()
    if rng.random() < 0.35:
        _paint_artwork(picture, boxes, rng)
    for _ in range(int(rng.integers(1, 4))):
        found = _paint_defect(picture, boxes, copper, rng)
        if found is not None:
            boxes = np.concatenate((boxes, np.array([found[0]], np.float32)))
            labels = np.append(labels, found[1])
    return picture, boxes, labels


def classify(copper: Pixels, removed: Pixels) -> str | None:
    """Name what the removal of copper does.

    Args:
        copper: uint8 [h, w], 1 where copper is, else 0.
        removed: uint8 [h, w], a part of it.

    Returns:
        "pin_hole", "mousebite" or "open"; None if several pieces of copper are hit or one is gone altogether.
    """
    _, pieces = cv2.connectedComponents(copper, connectivity=4)
    hit = np.unique(pieces[removed > 0])
    if len(hit) != 1:
        return None
    grown = cv2.dilate(removed, np.ones((3, 3), np.uint8))
    if not np.any(np.greater(grown, copper)):
        return "pin_hole"
    left = ((pieces == hit[0]) & (removed == 0)).astype(np.uint8)
    _, _, sizes, _ = cv2.connectedComponentsWithStats(left, connectivity=4)
    parts = int((sizes[1:, cv2.CC_STAT_AREA] >= CRUMB_PX).sum())
    return {1: "mousebite", 2: "open"}.get(parts)


def _paint_defect(
    picture: Pixels, boxes: Boxes, names: Copper, rng: np.random.Generator
) -> tuple[tuple[float, float, float, float], int] | None:
    side = picture.shape[0]
    adds = bool(rng.random() < 0.5)
    dark = (picture[:, :, 0] < 128).astype(np.uint8)
    copper = 1 - dark if adds else dark  # adding copper is removing gap
    wanted = rng.choice(["pin_hole", "mousebite", "open", "open"])
    places = _points(_places(copper, wanted))
    if not len(places):
        return None
    for _ in range(_TRIES):
        x, y = (int(v) for v in places[rng.integers(len(places))])
        removed = _shape(side, x, y, rng, long=wanted == "open") & copper
        left, top, width, height = cv2.boundingRect(removed)
        if max(width, height) > LARGEST_PX or cv2.countNonZero(removed) < SMALLEST_PX:
            continue
        margin = rng.uniform(7, 12)
        box = (left - margin, top - margin, left + width + margin, top + height + margin)
        if min(box) < -margin / 2 or max(box) > side + margin / 2 or overlaps(box, boxes):
            continue
        rows = slice(max(0, top - SURROUNDINGS_PX), top + height + SURROUNDINGS_PX)
        columns = slice(max(0, left - SURROUNDINGS_PX), left + width + SURROUNDINGS_PX)
        name = classify(copper[rows, columns], removed[rows, columns])
        if name is None or (wanted == "open" and name != "open"):
            continue
        channels = picture.shape[2]
        picture[removed > 0, : channels if channels % 2 else channels // 2] = 0 if adds else 255
        label = names.label(name, adds)
        return (max(0.0, box[0]), max(0.0, box[1]), min(side, box[2]), min(side, box[3])), label
    return None


def _places(copper: Pixels, wanted: str) -> Pixels:
    """Where a shape may be centred to have the wanted effect: anywhere, on edges, or in the middle of thin traces."""
    if wanted == "pin_hole":
        return np.asarray(cv2.erode(copper, np.ones((15, 15), np.uint8)), np.uint8)
    if wanted == "mousebite":
        return np.asarray(cv2.morphologyEx(copper, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)), np.uint8)
    depth = cv2.distanceTransform(copper, cv2.DIST_L2, 3)
    ridge = depth >= cv2.dilate(depth, np.ones((5, 5), np.uint8)) - 0.5
    return (ridge & (depth >= 2.0) & (depth <= 16.0)).astype(np.uint8)


def _shape(side: int, x: int, y: int, rng: np.random.Generator, long: bool) -> Pixels:
    """Draw a stroke with bends, or a blob; sometimes with a frayed edge."""
    canvas = np.zeros((side, side), np.uint8)
    thickness = int(rng.integers(3, 11))
    length = float(rng.uniform(18, 50) if long else rng.uniform(4, 22))
    angle = rng.uniform(0, 2 * np.pi)
    steps = int(rng.integers(1, 5))
    if rng.random() < SCRIBBLE_SHARE:
        thickness, length, steps = int(rng.integers(1, 4)), float(rng.uniform(25, LARGEST_PX)), int(rng.integers(3, 9))
    start = np.array([x, y], float) - (length / 2 * np.array([np.cos(angle), np.sin(angle)]) if long else 0.0)
    for _ in range(steps):
        end = start + length / steps * np.array([np.cos(angle), np.sin(angle)])
        cv2.line(canvas, _point(start), _point(end), 1, max(1, thickness + int(rng.integers(-2, 3))))
        start, angle = end, angle + rng.normal(0, 0.3 if long else 0.8)
    if rng.random() < 0.35:
        rim = _points(cv2.subtract(canvas, cv2.erode(canvas, np.ones((3, 3), np.uint8))))
        gone = rim[rng.random(len(rim)) < rng.uniform(0.2, 0.5)]
        canvas[gone[:, 1], gone[:, 0]] = 0
    return canvas


def _paint_artwork(picture: Pixels, boxes: Boxes, rng: np.random.Generator) -> None:
    """Run a clean line with bends and necks through a pour, as a clearance, or through an empty area, as a trace."""
    side = picture.shape[0]
    dark = picture[:, :, 0] < 128
    for ground, colour in ((dark, 255), (~dark, 0)) if rng.random() < 0.5 else ((~dark, 0), (dark, 255)):
        square = np.ones((POUR_PX, POUR_PX), np.uint8)
        pour = cv2.morphologyEx(ground.astype(np.uint8), cv2.MORPH_OPEN, square, borderType=cv2.BORDER_REPLICATE) > 0
        if pour.mean() < 0.1:
            continue
        line = np.zeros((side, side), np.uint8)
        point, direction = rng.uniform(0, side, 2), int(rng.integers(8))
        thickness = int(rng.integers(4, 16))
        for way in (0, 4):
            at, turn = point.copy(), (direction + way) % 8
            for _ in range(4):
                step = rng.uniform(30, 120) * np.array([np.cos(turn * np.pi / 4), np.sin(turn * np.pi / 4)])
                width = thickness if rng.random() < 0.6 else max(3, thickness + int(rng.integers(-6, 7)))
                cv2.line(line, _point(at), _point(at + step), 1, width)
                at = at + step
                turn = (turn + int(rng.choice([-2, -1, 0, 0, 1, 2]))) % 8
        for x1, y1, x2, y2 in boxes.astype(int):
            line[max(0, y1) : y2, max(0, x1) : x2] = 0
        picture[(line > 0) & pour] = colour
        return


def overlaps(box: Sequence[float] | NDArray[np.float32], boxes: Boxes) -> bool:
    """Tell whether a box touches one of others.

    Args:
        box: x1 y1 x2 y2.
        boxes: float32 [N, 4].
    """
    apart = (boxes[:, 0] > box[2]) | (boxes[:, 2] < box[0]) | (boxes[:, 1] > box[3]) | (boxes[:, 3] < box[1])
    return not bool(apart.all())


def _point(at: NDArray[np.float64]) -> tuple[int, int]:
    return round(float(at[0])), round(float(at[1]))


def _points(mask: cv2.typing.MatLike) -> NDArray[np.int32]:
    """Return x and y of all pixels that are not 0; much faster than NumPy's nonzero."""
    found = cv2.findNonZero(mask)
    return np.zeros((0, 2), np.int32) if found is None else np.asarray(found, np.int32).reshape(-1, 2)
