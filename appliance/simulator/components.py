"""Footprints: the pads that a part asks for, in units of the board's grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PadSpot = tuple[int, int, float, float, float, bool]


@dataclass(frozen=True, slots=True)
class Footprint:
    """A part's pads around its own centre.

    `pads` holds (column, row, width_px, height_px, drill_px, is_round); `reach` is how many nodes the part takes to
    each side; `body` is the printed outline (left, top, right, bottom) in nodes.
    """

    letter: str
    pads: tuple[PadSpot, ...]
    reach: tuple[int, int]
    body: tuple[float, float, float, float] | None
    has_dot: bool


def _turn(footprint: Footprint) -> Footprint:
    body = footprint.body
    return Footprint(
        footprint.letter,
        tuple((row, column, height, width, drill, ring) for column, row, width, height, drill, ring in footprint.pads),
        (footprint.reach[1], footprint.reach[0]),
        None if body is None else (body[1], body[0], body[3], body[2]),
        footprint.has_dot,
    )


def _two_rows(rng: np.random.Generator, pitch: int) -> Footprint:
    """A dual in-line part: drilled pads, the first one square."""
    pins, half = int(rng.integers(3, 7)), int(rng.integers(2, 4))
    size = 1.15 * pitch
    pads: list[PadSpot] = []
    for pin in range(pins):
        column = 2 * pin - pins + 1
        for row in (-half, half):
            pads.append((column, row, size, size, 0.5 * size, not (pin == 0 and row == half)))
    body = (-pins, -half + 1, pins, half - 1)
    return Footprint("U", tuple(pads), (pins, half), body, True)


def _surface_rows(rng: np.random.Generator, pitch: int) -> Footprint:
    """A small-outline part: narrow surface pads at one or two nodes of pitch."""
    pins, half = int(rng.integers(4, 9)), int(rng.integers(2, 4))
    step = 1 if rng.random() < 0.5 else 2
    if step == 2:
        pins = min(pins, 6)
    wide = (0.5 if step == 1 else 0.75) * pitch
    start = -(step * (pins - 1)) // 2
    pads: list[PadSpot] = [
        (start + step * pin, row, wide, 1.4 * pitch, 0.0, False) for pin in range(pins) for row in (-half, half)
    ]
    reach = step * (pins - 1) // 2 + 1
    body = (start - 0.5, -half + 1.0, start + step * (pins - 1) + 0.5, half - 1.0)
    return Footprint("U", tuple(pads), (reach, half), body, True)


def _header(rng: np.random.Generator, pitch: int) -> Footprint:
    """A pin header: one or two rows of drilled round or oblong pads."""
    pins, rows = int(rng.integers(3, 8)), int(rng.integers(1, 3))
    size = float(rng.uniform(1.15, 1.35)) * pitch
    long = size * (1.3 if rng.random() < 0.3 else 1.0)
    pads: list[PadSpot] = [
        (2 * pin - pins + 1, 2 * row, size, long, 0.55 * size, True) for pin in range(pins) for row in range(rows)
    ]
    body = (-pins - 0.2, -1.1, pins + 0.2, 2 * rows - 0.9)
    return Footprint("J", tuple(pads), (pins, 2 * rows - 1), body, False)


def _chip(rng: np.random.Generator, pitch: int) -> Footprint:
    """A resistor or capacitor: two surface pads."""
    size = float(rng.uniform(0.85, 1.1)) * pitch
    gap = int(rng.integers(1, 3))
    pads: tuple[PadSpot, ...] = ((-gap, 0, size, 1.2 * size, 0.0, False), (gap, 0, size, 1.2 * size, 0.0, False))
    body = None if gap == 1 else (-gap - 0.9, -1.0, gap + 0.9, 1.0)
    return Footprint("R" if gap == 2 else "C", pads, (gap, 1), body, False)


def _screw(rng: np.random.Generator, pitch: int) -> Footprint:
    """A mounting hole with a broad copper ring."""
    size = float(rng.uniform(2.4, 3.0)) * pitch
    return Footprint("H", ((0, 0, size, size, 0.55 * size, True),), (2, 2), None, False)


def draw_footprint(rng: np.random.Generator, pitch: int, number: int) -> Footprint:
    """Choose a footprint by chance; the first ones of a board are the big ones.

    Args:
        rng: source of chance.
        pitch: px between two grid nodes.
        number: how many parts came before.

    Returns:
        A footprint, turned by 90 degrees half of the time.
    """
    if number <= 4:
        maker = (_two_rows, _surface_rows, _header, _surface_rows)[int(rng.integers(0, 4))]
    else:
        chance = rng.random()
        maker = _chip if chance < 0.6 else _surface_rows if chance < 0.75 else _header if chance < 0.94 else _screw
    footprint = maker(rng, pitch)
    return _turn(footprint) if rng.random() < 0.5 else footprint
