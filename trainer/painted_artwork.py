"""Artwork painted into pictures of binarised copper: clean shapes as a layout has them, which are no defects.

Boards that were never seen have clearances, necks, pads and cusps of their own; without painted ones a net that has
seen few boards takes each of them for a defect.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.datasets.sample import Boxes

Pixels = NDArray[np.uint8]

POUR_PX = 41
"""A region counts as a pour, in which artwork may be painted, if a square of this side fits in."""

LEAST_POUR_SHARE = 0.1

KINDS_SHARES = (0.4, 0.3, 0.3)
"""Lines with bends, lines with tapers, and pads."""


def paint_artwork(picture: Pixels, boxes: Boxes, rng: np.random.Generator) -> None:
    """Paint a line or pads through a pour, as a clearance, or through an empty area, as traces and pads.

    Args:
        picture: uint8 [side, side, channels], copper dark; changed in place, a reference behind it too.
        boxes: float32 [N, 4] of the defects that are there; nothing is painted over them.
        rng: the crop's own generator.
    """
    side = picture.shape[0]
    dark = picture[:, :, 0] < 128
    for ground, colour in ((dark, 255), (~dark, 0)) if rng.random() < 0.5 else ((~dark, 0), (dark, 255)):
        square = np.ones((POUR_PX, POUR_PX), np.uint8)
        pour = cv2.morphologyEx(ground.astype(np.uint8), cv2.MORPH_OPEN, square, borderType=cv2.BORDER_REPLICATE) > 0
        if pour.mean() < LEAST_POUR_SHARE:
            continue
        shape = (_bent_line, _tapered_line, _pads)[int(rng.choice(len(KINDS_SHARES), p=KINDS_SHARES))](side, rng)
        for x1, y1, x2, y2 in boxes.astype(int):
            shape[max(0, y1) : y2, max(0, x1) : x2] = 0
        picture[(shape > 0) & pour] = colour
        return


def _bent_line(side: int, rng: np.random.Generator) -> Pixels:
    """Draw a line through a point, with bends and blunt necks."""
    line = np.zeros((side, side), np.uint8)
    point, direction = rng.uniform(0, side, 2), int(rng.integers(8))
    thickness = int(rng.integers(4, 16))
    for way in (0, 4):
        at, turn = point.copy(), (direction + way) % 8
        for _ in range(4):
            step = rng.uniform(30, 120) * _unit(turn * np.pi / 4)
            width = thickness if rng.random() < 0.6 else max(3, thickness + int(rng.integers(-6, 7)))
            cv2.line(line, _point(at), _point(at + step), 1, width)
            at = at + step
            turn = (turn + int(rng.choice([-2, -1, 0, 0, 1, 2]))) % 8
    return line


def _tapered_line(side: int, rng: np.random.Generator) -> Pixels:
    """Draw a straight line that is wide and thin in turn, with tapers between."""
    line = np.zeros((side, side), np.uint8)
    along = _unit(int(rng.integers(8)) * np.pi / 4)
    across = np.array([-along[1], along[0]])
    widths = (float(rng.uniform(8, 24)), float(rng.uniform(3, 9)))
    is_thin = bool(rng.random() < 0.5)
    begin = rng.uniform(0, side, 2) - side * along
    edges, at_px = [(begin, widths[is_thin])], 0.0
    while at_px < 2 * side:
        at_px += rng.uniform(20, 90)
        edges.append((begin + at_px * along, widths[is_thin]))
        is_thin = not is_thin
        at_px += rng.uniform(2, 14)
        edges.append((begin + at_px * along, widths[is_thin]))
    outline = [at + across * width / 2 for at, width in edges]
    outline += [at - across * width / 2 for at, width in reversed(edges)]
    cv2.fillPoly(line, [np.round(outline).astype(np.int32)], 1)
    return line


def _pads(side: int, rng: np.random.Generator) -> Pixels:
    """Draw a row of discs, rings or rectangles that may overlap, so that there are cusps and corners between them."""
    pads = np.zeros((side, side), np.uint8)
    first, radius = rng.uniform(0, side, 2), float(rng.uniform(10, 45))
    is_diagonal = rng.random() < 0.7
    along = _unit(int(rng.integers(8)) * np.pi / 4 if is_diagonal else float(rng.uniform(0, 2 * np.pi)))
    step, kind = radius * rng.uniform(1.2, 2.6), int(rng.integers(3))
    for number in range(int(rng.integers(1, 6))):
        x, y = _point(first + number * step * along)
        reach = round(radius)
        if kind == 0:
            cv2.rectangle(pads, (x - reach, y - reach), (x + reach, y + reach // 2), 1, -1)
        else:
            cv2.circle(pads, (x, y), reach, 1, -1 if kind == 1 else max(3, reach // 3))
    return pads


def _unit(angle: float) -> NDArray[np.float64]:
    return np.array([np.cos(angle), np.sin(angle)])


def _point(at: NDArray[np.float64]) -> tuple[int, int]:
    return round(float(at[0])), round(float(at[1]))
