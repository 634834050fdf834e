"""Polygons and boxes: what the inspect and ignore zones of a recipe take in."""

from itertools import combinations
from typing import TypeAlias

from appliance.events import Box

Point: TypeAlias = tuple[float, float]
"""x, y in pixels of the view's frame."""

Polygon: TypeAlias = tuple[Point, ...]
"""At least three corners in order; the last is joined to the first."""


def contains(polygon: Polygon, box: Box) -> bool:
    """Tell whether a box lies completely in a polygon; touching its edge from inside is allowed."""
    return not any(_crosses(edge, box, closed=False) for edge in _edges(polygon)) and _has(polygon, _centre(box))


def overlaps(polygon: Polygon, box: Box) -> bool:
    """Tell whether a box and a polygon have at least one point in common; touching is enough."""
    return any(_crosses(edge, box, closed=True) for edge in _edges(polygon)) or _has(polygon, _centre(box))


def area_px(polygon: Polygon) -> float:
    """Return a polygon's area in square pixels."""
    return abs(sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in _edges(polygon))) / 2


def is_simple(polygon: Polygon) -> bool:
    """Tell whether no two edges of a polygon cross, so that inside and outside are what a person sees."""
    return not any(_cross_each_other(first, second) for first, second in combinations(_edges(polygon), 2))


def _edges(polygon: Polygon) -> list[tuple[Point, Point]]:
    return list(zip(polygon, (*polygon[1:], polygon[0]), strict=True))


def _centre(box: Box) -> Point:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _crosses(edge: tuple[Point, Point], box: Box, *, closed: bool) -> bool:
    """Clip an edge by the box (Liang-Barsky); closed counts the box's border as part of it."""
    (x0, y0), (x1, y1) = edge
    enter, leave = 0.0, 1.0
    for start, step, low, high in ((x0, x1 - x0, box[0], box[2]), (y0, y1 - y0, box[1], box[3])):
        if step == 0:
            if start < low or start > high or (not closed and start in (low, high)):
                return False
            continue
        near, far = sorted(((low - start) / step, (high - start) / step))
        enter, leave = max(enter, near), min(leave, far)
    return enter <= leave if closed else enter < leave


def _has(polygon: Polygon, point: Point) -> bool:
    """Count the edges right of the point: an odd number means inside."""
    x, y = point
    inside = False
    for (x0, y0), (x1, y1) in _edges(polygon):
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) / (y1 - y0) * (x1 - x0):
            inside = not inside
    return inside


def _side(edge: tuple[Point, Point], point: Point) -> float:
    (x0, y0), (x1, y1) = edge
    return (x1 - x0) * (point[1] - y0) - (y1 - y0) * (point[0] - x0)


def _cross_each_other(first: tuple[Point, Point], second: tuple[Point, Point]) -> bool:
    return (
        _side(first, second[0]) * _side(first, second[1]) < 0 and _side(second, first[0]) * _side(second, first[1]) < 0
    )
