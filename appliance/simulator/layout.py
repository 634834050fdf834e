"""The plan of a simulated circuit board: parts, pads, nets and the traces between them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from appliance.simulator.components import Footprint, draw_footprint
from appliance.simulator.routing import Node, RoutingGrid, ways

Point = tuple[float, float]
PadSpot = tuple[float, float, float, bool]

_CLEARANCE_PX = 7.0
_HALF_TRACE_PX = 4.5


@dataclass(frozen=True, slots=True)
class Pad:
    """A piece of copper that the solder mask leaves open; sizes in px, drill 0 for a surface pad."""

    x: float
    y: float
    width: float
    height: float
    drill: float
    is_round: bool
    net: int


@dataclass(frozen=True, slots=True)
class Trace:
    """A copper line of one width (px) through its points (px), from pad to pad or out of the picture."""

    points: tuple[Point, ...]
    width: int
    net: int


@dataclass(frozen=True, slots=True)
class Layout:
    """All that the mask-making needs to know; coordinates in px of the canvas."""

    width: int
    height: int
    pitch: int
    pads: tuple[Pad, ...]
    traces: tuple[Trace, ...]
    pours: tuple[tuple[Point, ...], ...]
    outlines: tuple[tuple[Point, Point], ...]
    legends: tuple[tuple[str, Point], ...]
    dots: tuple[Point, ...]


class _Drawing:
    """A layout while it grows."""

    def __init__(self, rng: np.random.Generator, width: int, height: int) -> None:
        self.rng = rng
        self.width, self.height = width, height
        self.pitch = int(rng.integers(22, 26))
        self.trace_width = int(rng.choice([5, 6, 7]))
        self.wide_width = int(rng.choice([15, 17, 19]))
        self.grid = RoutingGrid(width // self.pitch + 3, height // self.pitch + 3)
        self.pads: list[Pad] = []
        self.homes: list[tuple[Node, int]] = []
        self.degree: list[int] = []
        self.traces: list[Trace] = []
        self.outlines: list[tuple[Point, Point]] = []
        self.legends: list[tuple[str, Point]] = []
        self.dots: list[Point] = []
        self.joined: list[tuple[int, int]] = []
        self.next_owner = 1

    def place(self, column: float, row: float) -> Point:
        return (column - 1) * self.pitch, (row - 1) * self.pitch

    def new_owner(self) -> int:
        self.next_owner += 1
        return self.next_owner - 1

    def add_pad(self, node: Node, spot: PadSpot, part: int) -> int:
        width, height, drill, is_round = spot
        owner = self.new_owner()
        x, y = self.place(*node)
        self.pads.append(Pad(x, y, width, height, drill, is_round, owner))
        self.homes.append((node, part))
        self.degree.append(0)
        reach_x = (width / 2 + _CLEARANCE_PX + _HALF_TRACE_PX) / self.pitch
        reach_y = (height / 2 + _CLEARANCE_PX + _HALF_TRACE_PX) / self.pitch
        self.grid.claim(node[0] - reach_x, node[1] - reach_y, node[0] + reach_x, node[1] + reach_y, owner)
        return len(self.pads) - 1

    def connect(self, start: Node, end: Node, owners: tuple[int, int], is_wide: bool = False) -> bool:
        for legs in ways(start, end, self.rng):
            route = self.grid.find(start, legs, owners, is_wide)
            if route is None:
                continue
            net = owners[0] or owners[1] or self.new_owner()
            self.grid.take(route, self.new_owner())
            width = self.wide_width if is_wide else self.trace_width
            self.traces.append(Trace(tuple(self.place(*node) for node in route.corners), width, net))
            if owners[0] and owners[1]:
                self.joined.append((owners[0], owners[1]))
            return True
        return False


def _add_buses(drawing: _Drawing) -> None:
    """Parallel lines from edge to edge, and one broad supply line at least."""
    rng, grid = drawing.rng, drawing.grid
    area = grid.columns * grid.rows
    wanted = [True] * (1 + area // 1800) + [False] * (1 + area // 1500)
    for is_wide in wanted:
        lies_flat = rng.random() < 0.5
        length, breadth = (grid.columns, grid.rows) if lies_flat else (grid.rows, grid.columns)
        start = int(rng.integers(4, breadth - 4))
        end = int(np.clip(start + rng.integers(-10, 11), 4, breadth - 4))
        lines = 1 if is_wide else int(rng.integers(2, 6))
        for line in range(lines):
            first, last = (0, start + line), (length - 1, end + line)
            if not lies_flat:
                first, last = (first[1], first[0]), (last[1], last[0])
            inside = all(0 <= c < grid.columns and 0 <= r < grid.rows for c, r in (first, last))
            if inside and not drawing.connect(first, last, (0, 0), is_wide):
                break


def _add_footprint(drawing: _Drawing, footprint: Footprint, part: int) -> None:
    rng, grid = drawing.rng, drawing.grid
    reach_x, reach_y = footprint.reach
    if grid.columns < 2 * reach_x + 7 or grid.rows < 2 * reach_y + 7:
        return
    for _ in range(6):
        column = int(rng.integers(3 + reach_x, grid.columns - 3 - reach_x))
        row = int(rng.integers(3 + reach_y, grid.rows - 3 - reach_y))
        if grid.is_free(column - reach_x - 1, row - reach_y - 1, column + reach_x + 1, row + reach_y + 1):
            break
    else:
        return
    for across, down, width, height, drill, is_round in footprint.pads:
        drawing.add_pad((column + across, row + down), (width, height, drill, is_round), part)
    if footprint.body is not None:
        left, top, right, bottom = footprint.body
        corner, other = drawing.place(column + left, row + top), drawing.place(column + right, row + bottom)
        drawing.outlines.append((corner, other))
        drawing.legends.append((f"{footprint.letter}{part}", ((corner[0] + other[0]) / 2, (corner[1] + other[1]) / 2)))
        if footprint.has_dot:
            drawing.dots.append((corner[0] + 10, corner[1] + 10))


def _route_pads(drawing: _Drawing) -> None:
    rng = drawing.rng
    inner = range(len(drawing.pads))
    places = np.array([node for node, _ in drawing.homes], float).reshape(-1, 2)
    for index in rng.permutation(len(inner)).tolist():
        node, part = drawing.homes[index]
        if drawing.degree[index] or part < 0:
            continue
        gap = np.abs(places - node).max(axis=1) * rng.uniform(0.7, 1.4, len(places))
        tried = 0
        for other in np.argsort(gap).tolist():
            other_node, other_part = drawing.homes[other]
            if other_part == part or drawing.degree[other] > 1 or gap[other] > 18:
                continue
            tried += 1
            if tried > 4:
                break
            if drawing.connect(node, other_node, (drawing.pads[index].net, drawing.pads[other].net)):
                drawing.degree[index] += 1
                drawing.degree[other] += 1
                break
        else:
            _end_in_via(drawing, index)
            continue
        if not drawing.degree[index]:
            _end_in_via(drawing, index)


def _end_in_via(drawing: _Drawing, index: int) -> None:
    rng, grid, pitch = drawing.rng, drawing.grid, drawing.pitch
    node, _ = drawing.homes[index]
    for _ in range(5):
        column, row = (int(node[axis] + rng.integers(-7, 8)) for axis in (0, 1))
        if not (1 <= column < grid.columns - 1 and 1 <= row < grid.rows - 1):
            continue
        if grid.is_free(column - 1, row - 1, column + 1, row + 1) and drawing.connect(
            node, (column, row), (drawing.pads[index].net, 0)
        ):
            size = 0.8 * pitch
            via = drawing.add_pad((column, row), (size, size, 0.45 * size, True), -1)
            drawing.pads[via] = replace(drawing.pads[via], net=drawing.pads[index].net)
            drawing.degree[index] += 1
            return


def _draw_pours(drawing: _Drawing) -> list[tuple[Point, ...]]:
    rng = drawing.rng
    pours: list[tuple[Point, ...]] = []
    for _ in range(int(rng.integers(1, 3 + drawing.width * drawing.height // 800_000))):
        width, height = (min(float(rng.uniform(170, 330)), side / 2) for side in (drawing.width, drawing.height))
        left = float(rng.uniform(-30, drawing.width - width + 30))
        top = float(rng.uniform(-30, drawing.height - height + 30))
        cut = float(rng.uniform(20, 60))
        right, bottom = left + width, top + height
        pours.append(
            (
                (left + cut, top),
                (right, top),
                (right, bottom - cut),
                (right - cut, bottom),
                (left, bottom),
                (left, top + cut),
            )
        )
    return pours


def _settle_nets(drawing: _Drawing) -> dict[int, int]:
    root: dict[int, int] = {}

    def find(net: int) -> int:
        while net in root:
            net = root[net]
        return net

    for one, other in drawing.joined:
        first, second = find(one), find(other)
        if first != second:
            root[second] = first
    return {net: find(net) for net in range(1, drawing.next_owner)}


def lay_out(rng: np.random.Generator, width: int, height: int) -> Layout:
    """Plan a board: place parts, route their nets, keep every clearance.

    Args:
        rng: the board family's own generator; the same state gives the same plan.
        width: canvas width, px.
        height: canvas height, px.

    Returns:
        The plan; two pads or traces with the same net number are joined, others never touch.
    """
    drawing = _Drawing(rng, width, height)
    _add_buses(drawing)
    area = drawing.grid.columns * drawing.grid.rows
    for part in range(1, 2 + area // 45):
        _add_footprint(drawing, draw_footprint(rng, drawing.pitch, part), part)
    _route_pads(drawing)
    nets = _settle_nets(drawing)
    return Layout(
        width,
        height,
        drawing.pitch,
        tuple(replace(pad, net=nets[pad.net]) for pad in drawing.pads),
        tuple(replace(trace, net=nets[trace.net]) for trace in drawing.traces),
        tuple(_draw_pours(drawing)),
        tuple(drawing.outlines),
        tuple(drawing.legends),
        tuple(drawing.dots),
    )
