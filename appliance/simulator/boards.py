"""Circuit boards as masks: copper with its nets, open pads, drills, silkscreen; one layout per family."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from appliance.simulator.layout import Layout, Pad, Point, lay_out

MARGIN_PX = 32
"""Board beyond the picture on each side, so that a misplaced part still shows board."""

_POUR_CLEARANCE_PX = 10.0
_POUR_ROUNDING_PX = 9.0
_POUR_MARGIN = 12
_SHIFT = 4

Pixels = NDArray[np.uint8]
Canvas = NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Board:
    """A faultless board of one family; all arrays have the canvas shape (height + 2 margins, width + 2 margins).

    `nets` int16: 0 bare laminate, else the number of the net that owns the copper. `coverage` uint8: copper 0..255 with
    soft edges. `openings`, `drills`, `silk` uint8 0/255: solder mask left out, drilled, printed.
    """

    family: str
    seed: int
    layout: Layout
    nets: NDArray[np.int16]
    coverage: Pixels
    openings: Pixels
    drills: Pixels
    silk: Pixels

    @property
    def width(self) -> int:
        """Width of the picture in px."""
        return self.layout.width - 2 * MARGIN_PX

    @property
    def height(self) -> int:
        """Height of the picture in px."""
        return self.layout.height - 2 * MARGIN_PX


def soften(copper: NDArray[np.bool_]) -> Pixels:
    """Turn a yes/no copper mask into coverage 0..255 with edges one pixel soft.

    Args:
        copper: bool, any shape (height, width).

    Returns:
        uint8 of the same shape; each pixel depends on its 8 neighbours only.
    """
    return np.asarray(cv2.GaussianBlur(copper.view(np.uint8) * np.uint8(255), (3, 3), 0.7), np.uint8)


def _fixed(point: Point) -> tuple[int, int]:
    return round(point[0] * (1 << _SHIFT)), round(point[1] * (1 << _SHIFT))


def _disc(image: Canvas, centre: Point, diameter: float, value: int) -> None:
    cv2.circle(image, _fixed(centre), round(diameter / 2 * (1 << _SHIFT)), value, -1, cv2.LINE_8, _SHIFT)


def _stamp(image: Canvas, pad: Pad, wider: float, value: int) -> None:
    """Draw a pad's shape, wider by so many px."""
    x, y, width, height = pad.x, pad.y, pad.width + wider, pad.height + wider
    if not pad.is_round:
        first, last = (x - width / 2, y - height / 2), (x + width / 2, y + height / 2)
        cv2.rectangle(image, _fixed(first), _fixed(last), value, -1, cv2.LINE_8, _SHIFT)
        return
    narrow = min(width, height)
    away = ((width - narrow) / 2, (height - narrow) / 2)
    if width != height:
        ends = (_fixed((x - away[0], y - away[1])), _fixed((x + away[0], y + away[1])))
        cv2.line(image, *ends, value, round(narrow), cv2.LINE_8, _SHIFT)
    else:
        _disc(image, (x, y), narrow, value)


def _distance(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    return np.asarray(cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, 3), np.float32)


def _pour(layout: Layout, nets: NDArray[np.int16], net: int) -> list[Point]:
    """Fill the pours around all other copper, rounded so that no sliver is left; returns stitching vias.

    Planned at half the size, and only where the pours are: a distance that counts is shorter than the margin.
    """
    if not layout.pours:
        return []
    polygons = [np.array([(x / 2, y / 2) for x, y in polygon], np.int32) for polygon in layout.pours]
    wide, high = layout.width // 2, layout.height // 2
    corners = np.concatenate(polygons)
    left, top = (int(v) for v in (corners.min(axis=0) - _POUR_MARGIN).clip(0))
    right, bottom = (int(v) for v in (corners.max(axis=0) + 1 + _POUR_MARGIN).clip(None, (wide, high)))
    wanted = np.zeros((bottom - top, right - left), np.uint8)
    for polygon in polygons:
        cv2.fillPoly(wanted, [polygon - (left, top)], 1)
    taken = cv2.resize((nets != 0).view(np.uint8), (wide, high), interpolation=cv2.INTER_NEAREST) != 0
    room = (_distance(~taken[top:bottom, left:right]) > _POUR_CLEARANCE_PX / 2) & (wanted != 0)
    core = np.ascontiguousarray(_distance(room) > _POUR_ROUNDING_PX / 2 + 2)
    count, parts, stats, _ = cv2.connectedComponentsWithStats(core.view(np.uint8), connectivity=4)
    big = stats[:, cv2.CC_STAT_AREA] > 900
    big[0] = False
    core = np.ascontiguousarray(big[parts]) if count > 1 else np.zeros_like(core)
    if not core.any():
        return []
    soft = np.zeros((high, wide), np.uint8)
    grown = (_distance(~core) <= _POUR_ROUNDING_PX / 2 + 2).view(np.uint8) * np.uint8(255)
    soft[top:bottom, left:right] = cv2.GaussianBlur(grown, (5, 5), 1.2)
    smooth = cv2.resize(soft, (layout.width, layout.height), interpolation=cv2.INTER_LINEAR)
    there = np.s_[2 * top : 2 * bottom + 2, 2 * left : 2 * right + 2]
    np.copyto(nets[there], net, where=(smooth[there] > 127) & (nets[there] == 0))
    depth = _distance(core)
    step = 2 * layout.pitch
    return [
        (2.0 * x, 2.0 * y)
        for y in range(step, high, step)
        for x in range(step, wide, step)
        if top <= y < bottom and left <= x < right and depth[y - top, x - left] > 0.6 * layout.pitch
    ]


def _print_silk(layout: Layout, openings: Pixels) -> Pixels:
    silk = np.zeros_like(openings)
    for (left, top), (right, bottom) in layout.outlines:
        if right - left > 12 and bottom - top > 12:
            cv2.rectangle(silk, (round(left), round(top)), (round(right), round(bottom)), 255, 2)
    for text, (x, y) in layout.legends:
        (wide, high), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.55, 2)
        cv2.putText(silk, text, (round(x - wide / 2), round(y + high / 2)), cv2.FONT_HERSHEY_SIMPLEX, 0.55, 255, 2)
    for dot in layout.dots:
        _disc(silk, dot, 9, 255)
    keep_out = cv2.dilate(openings, np.ones((7, 7), np.uint8))
    return np.asarray(cv2.subtract(silk, keep_out), np.uint8)


@lru_cache(maxsize=3)
def make_board(seed: int, index: int, width: int, height: int) -> Board:
    """Draw the faultless board of a family.

    Args:
        seed: seed of the line; 0 or more.
        index: number of the family on that line; 0 or more.
        width: picture width in px, 160 or more.
        height: picture height in px, 160 or more.

    Returns:
        The board with a margin around the picture; the same arguments give the same board.
    """
    rng = np.random.default_rng([seed, index, 1])
    layout = lay_out(rng, width + 2 * MARGIN_PX, height + 2 * MARGIN_PX)
    shape = (layout.height, layout.width)
    nets = np.zeros(shape, np.int16)
    openings, drills = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    for trace in layout.traces:
        points = np.array([_fixed(point) for point in trace.points], np.int32)
        cv2.polylines(nets, [points], False, trace.net, trace.width, cv2.LINE_8, _SHIFT)
    for pad in layout.pads:
        _stamp(nets, pad, 0, pad.net)
        _stamp(openings, pad, 3, 255)
        if pad.drill:
            _disc(drills, (pad.x, pad.y), pad.drill, 255)
    used = [pad.net for pad in layout.pads] + [trace.net for trace in layout.traces]
    ground = 1 + max(used, default=0)
    for spot in _pour(layout, nets, ground):
        if nets[int(spot[1]), int(spot[0])] == ground:
            _disc(openings, spot, 0.75 * layout.pitch, 255)
            _disc(drills, spot, 0.36 * layout.pitch, 255)
    silk = _print_silk(layout, openings)
    return Board(f"family-{seed}-{index}", seed * 1000 + index, layout, nets, soften(nets != 0), openings, drills, silk)
