import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.events import Box
from appliance.optics.zones import Polygon, area_px, contains, is_simple, overlaps

SQUARE: Polygon = ((10, 10), (30, 10), (30, 30), (10, 30))
U_SHAPE: Polygon = ((0, 0), (10, 0), (10, 30), (30, 30), (30, 0), (40, 0), (40, 40), (0, 40))


@pytest.mark.parametrize(
    ("polygon", "box", "is_contained", "is_overlapped"),
    [
        (SQUARE, (12, 12, 28, 28), True, True),
        (SQUARE, (10, 10, 30, 30), True, True),
        (SQUARE, (9, 10, 30, 30), False, True),
        (SQUARE, (0, 0, 40, 40), False, True),
        (SQUARE, (30, 12, 35, 20), False, True),
        (SQUARE, (31, 12, 35, 20), False, False),
        (SQUARE, (30, 30, 35, 35), False, True),
        (SQUARE, (15, 15, 15, 15), True, True),
        (U_SHAPE, (15, 5, 25, 25), False, False),  # in the gap: the centre of the shape is not in it
        (U_SHAPE, (5, 5, 35, 25), False, True),  # corners inside both arms, the gap between
        (U_SHAPE, (2, 32, 38, 38), True, True),
    ],
)
def test_a_box_against_a_polygon(polygon: Polygon, box: Box, is_contained: bool, is_overlapped: bool) -> None:
    assert contains(polygon, box) is is_contained
    assert overlaps(polygon, box) is is_overlapped


def test_the_area_of_a_polygon() -> None:
    assert area_px(SQUARE) == 400
    assert area_px(SQUARE[::-1]) == 400
    assert area_px(((0, 0), (5, 5), (9, 9))) == 0


def test_a_bow_tie_is_not_simple() -> None:
    assert is_simple(SQUARE)
    assert is_simple(U_SHAPE)
    assert not is_simple(((0, 0), (10, 10), (10, 0), (0, 10)))


numbers = st.integers(0, 40)


@given(st.lists(st.tuples(numbers, numbers), min_size=3, max_size=8), numbers, numbers, numbers, numbers)
def test_geometry_agrees_with_counting_points(points: list[tuple[int, int]], a: int, b: int, c: int, d: int) -> None:
    polygon = tuple((float(x), float(y)) for x, y in points)
    box = (float(min(a, c)), float(min(b, d)), float(max(a, c)) + 1, float(max(b, d)) + 1)
    inside = [
        _is_inside(polygon, x + dx, y + dy)
        for x in range(int(box[0]), int(box[2]))
        for y in range(int(box[1]), int(box[3]))
        for dx, dy in ((0.37, 0.53), (0.81, 0.13), (0.19, 0.91))
    ]
    if contains(polygon, box):
        assert all(inside)
        assert overlaps(polygon, box)
    if not overlaps(polygon, box):
        assert not any(inside)


def _is_inside(polygon: Polygon, x: float, y: float) -> bool:
    """An independent way: the number of edges below the point."""
    count = 0
    for (x0, y0), (x1, y1) in zip(polygon, (*polygon[1:], polygon[0]), strict=True):
        if min(x0, x1) <= x < max(x0, x1) and y0 + (x - x0) * (y1 - y0) / (x1 - x0) < y:
            count += 1
    return count % 2 == 1
