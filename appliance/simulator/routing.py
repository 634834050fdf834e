"""A grid that lays traces at 0, 45 and 90 degrees without ever letting two nets touch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import ceil

import numpy as np

Node = tuple[int, int]
Leg = tuple[int, int, int]

_OUTSIDE = -1
_BORDER = 4


@dataclass(frozen=True, slots=True)
class Route:
    """A free way found on the grid: its corner nodes and the half-step cells that it passes."""

    corners: tuple[Node, ...]
    cells: tuple[int, ...]
    is_wide: bool


class RoutingGrid:
    """Who owns each node and each half step between nodes.

    The cells lie at half the node pitch, so that two diagonals that cross between nodes meet in a cell too.

    Args:
        columns: nodes across, 1 or more.
        rows: nodes down, 1 or more.
    """

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self._stride = 2 * columns - 1 + 2 * _BORDER
        height = 2 * rows - 1 + 2 * _BORDER
        cells = np.full((height, self._stride), _OUTSIDE, np.int32)
        cells[_BORDER:-_BORDER, _BORDER:-_BORDER] = 0
        self._cells: list[int] = cells.ravel().tolist()
        self._around = [row * self._stride + column for row in (-1, 0, 1) for column in (-1, 0, 1)]

    def _index(self, column: float, row: float) -> int:
        return (round(2 * row) + _BORDER) * self._stride + round(2 * column) + _BORDER

    def _box(self, left: float, top: float, right: float, bottom: float) -> Iterator[slice]:
        first, last = max(0, ceil(2 * left)), min(2 * self.columns - 2, int(2 * right))
        for row in range(max(0, ceil(2 * top)), min(2 * self.rows - 2, int(2 * bottom)) + 1):
            start = (row + _BORDER) * self._stride + _BORDER
            yield slice(start + first, start + last + 1)

    def is_free(self, left: float, top: float, right: float, bottom: float) -> bool:
        """Tell whether nobody owns any cell of a rectangle given in node units."""
        return not any(any(self._cells[row]) for row in self._box(left, top, right, bottom))

    def claim(self, left: float, top: float, right: float, bottom: float, owner: int) -> None:
        """Give a rectangle in node units to an owner; cells that another owner has become closed to both."""
        for row in self._box(left, top, right, bottom):
            self._cells[row] = [owner if cell in (0, owner) else _OUTSIDE for cell in self._cells[row]]

    def find(self, start: Node, legs: Iterable[Leg], owners: tuple[int, int], is_wide: bool) -> Route | None:
        """Walk legs from a node and say whether the way is free.

        Args:
            start: column and row of the first node.
            legs: (column step, row step, number of nodes) each.
            owners: the two owners whose cells may be crossed: the pads at both ends.
            is_wide: also ask for the cells on both sides.

        Returns:
            The route, or None where something is in the way.
        """
        allowed, cells = (0, *owners), self._cells
        index = self._index(*start)
        passed = [index]
        corners = [start]
        column, row = start
        for step_column, step_row, count in legs:
            if count == 0:
                continue
            delta = step_row * self._stride + step_column
            for _ in range(2 * count):
                index += delta
                if cells[index] not in allowed:  # and nobody steps over the border, which is closed
                    return None
                passed.append(index)
            column, row = column + step_column * count, row + step_row * count
            corners.append((column, row))
        if is_wide and not self._sides_are_free(passed, allowed):
            return None
        return Route(tuple(corners), tuple(passed), is_wide)

    def _sides_are_free(self, passed: list[int], allowed: tuple[int, ...]) -> bool:
        cells = self._cells
        inner = passed[3:-3]
        return all(cells[index + offset] in allowed for index in inner for offset in self._around)

    def take(self, route: Route, owner: int) -> None:
        """Give a route's cells to its owner."""
        for index in route.cells:
            for offset in self._around if route.is_wide else (0,):
                if self._cells[index + offset] != _OUTSIDE:
                    self._cells[index + offset] = owner


def ways(start: Node, end: Node, rng: np.random.Generator) -> Iterator[list[Leg]]:
    """Give ways from node to node in 45-degree steps, plain ones first.

    Args:
        start: column and row.
        end: column and row.
        rng: decides the order and where the bends lie.

    Yields:
        Legs for `RoutingGrid.find`.
    """
    across, down = end[0] - start[0], end[1] - start[1]
    side_column, side_row = (1 if across >= 0 else -1), (1 if down >= 0 else -1)
    diagonal, straight = min(abs(across), abs(down)), abs(abs(across) - abs(down))
    is_flat = abs(across) >= abs(down)
    ahead = (side_column, 0) if is_flat else (0, side_row)
    chance = rng.random()
    ends = (straight, 0) if chance < 0.5 else (0, straight)
    for before in (*ends, int(chance * (straight + 1)), straight // 2):
        yield [(*ahead, before), (side_column, side_row, diagonal), (*ahead, straight - before)]
    half = int(chance * (diagonal + 1))
    yield [(side_column, side_row, half), (*ahead, straight), (side_column, side_row, diagonal - half)]
    for bulge in (1, 3):
        for turn in (1, -1):
            if straight >= 2 * bulge + 1:
                out = (side_column, turn) if is_flat else (turn, side_row)
                back = (side_column, -turn) if is_flat else (-turn, side_row)
                middle = (*ahead, straight - 2 * bulge)
                yield [(*out, bulge), middle, (*back, bulge), (side_column, side_row, diagonal)]
