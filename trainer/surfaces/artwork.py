"""Sound structures as masks: the copper of a board, perforated sheets, combs, prints, and the silhouette of a part."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.surfaces.fields import Field, Mask, blurred, filled, outline, smooth

_EIGHT = np.stack((np.cos(np.arange(8) * np.pi / 4), np.sin(np.arange(8) * np.pi / 4)), 1)
Floats = NDArray[np.float64]
Points = NDArray[np.int32]

_SHIFT = 4
"""OpenCV draws at sixteenths of a pixel."""

_GLYPHS = np.array(list("ABCDEFGHKLMNPRSTUVXYZ0123456789-+/"))
_FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_PLAIN)


class Board:
    """Draws the copper of a board: traces, vias, pads, pours; nothing touches what it should not.

    Args:
        rng: the sample's generator.
        side: of the picture in pixels.
    """

    def __init__(self, rng: np.random.Generator, side: int) -> None:
        self._rng = rng
        self._side = side
        self.copper = np.zeros((side, side), np.uint8)
        self.pads = np.zeros((side, side), np.uint8)
        self._kept_clear = np.zeros((side, side), np.uint8)
        self._drills: list[tuple[tuple[int, int], int]] = []
        self._width = float(np.exp(rng.uniform(np.log(3.5), np.log(17))))
        self._gap = self._width * rng.uniform(0.7, 1.8) + 2
        self._draw()

    def _draw(self) -> None:
        rng = self._rng
        for _ in range(int(rng.integers(0, 3))):
            self._footprint()
        for _ in range(int(rng.integers(1, 5))):
            self._bus(int(rng.integers(1, 8)))
        for _ in range(int(rng.integers(0, 7))):
            self._via(rng.uniform(0, self._side, 2))
        if rng.random() < 0.15:
            self._text()
        if rng.random() < 0.55:
            self._pour()
        for centre, radius in self._drills:
            cv2.circle(self.copper, centre, radius, 0, -1, cv2.LINE_8, _SHIFT)

    def _bus(self, lines: int) -> None:
        """Parallel traces with bends of 45 degrees; a line that would touch another is left out."""
        rng, turn = self._rng, int(self._rng.integers(8))
        at = rng.uniform(0, self._side, 2)
        back = at - _EIGHT[turn] * rng.choice([0.1, 2.0]) * self._side
        path = [back, at]
        for _ in range(int(rng.integers(1, 5))):
            turn = (turn + int(rng.choice([-1, 0, 1]))) % 8
            path.append(path[-1] + _EIGHT[turn] * rng.uniform(0.15, 0.6) * self._side)
        ends = rng.random() < 0.5
        base = np.array(path)
        for number in range(lines):
            line = _beside(base, (number - lines / 2) * (self._width + self._gap))
            thin = [_fixed(line)]

            def trace(image: Mask, more: float, thin: list[Points] = thin) -> object:
                wide = round(self._width + 2 * more)
                return cv2.polylines(image, thin, False, 1, wide, cv2.LINE_8, _SHIFT)

            if not self._add(trace):
                continue
            if ends:
                self._via(line[-1], is_joined=True)

    def _via(self, at: Floats, is_joined: bool = False) -> None:
        radius = self._width * self._rng.uniform(0.8, 1.3) + 1.5
        if is_joined:  # nor may it touch the next trace's
            radius = min(radius, (self._width + self._gap) / 2 - 1)
        centre = (int(at[0] * 16), int(at[1] * 16))

        def disc(image: Mask, more: float) -> object:
            return cv2.circle(image, centre, int((radius + more) * 16), 1, -1, cv2.LINE_8, _SHIFT)

        if self._add(disc, is_joined) and self._rng.random() < 0.85:
            self._drills.append((centre, int(radius * 16 * self._rng.uniform(0.35, 0.6))))
            disc(self.pads, 0)

    def _footprint(self) -> None:
        """Pads in two rows, as under a packaged chip, or in a grid; some of them joined to a trace."""
        rng = self._rng
        pitch = (self._width + self._gap) * rng.uniform(1.0, 1.6)
        half = np.array([0.3 * pitch, 0.3 * pitch * rng.choice([1.0, 1.0, 2.0, 3.0])])
        columns, rows = int(rng.integers(2, 9)), int(rng.choice([1, 2, 2, 4, 6]))
        corner = rng.uniform(-0.1 * self._side, 0.8 * self._side, 2)
        step = np.array([pitch, max(pitch, 2 * half[1] + self._gap) * rng.uniform(1.0, 2.0)])
        is_round = half[0] == half[1] and rng.random() < 0.7
        is_turned = rng.random() < 0.5
        for row in range(rows):
            for column in range(columns):
                at = corner + step * (column, row)
                reach = half
                if is_turned:
                    at, reach = at[::-1], half[::-1]

                def pad(image: Mask, more: float, at: Floats = at, reach: Floats = reach) -> object:
                    if is_round:
                        centre = (int(at[0] * 16), int(at[1] * 16))
                        return cv2.circle(image, centre, int((reach[0] + more) * 16), 1, -1, cv2.LINE_8, _SHIFT)
                    low, high = _fixed(at - reach - more).tolist(), _fixed(at + reach + more).tolist()
                    return cv2.rectangle(image, low, high, 1, -1, cv2.LINE_8, _SHIFT)

                if self._add(pad):
                    pad(self.pads, 0)

    def _text(self) -> None:
        words, size = "".join(self._rng.choice(_GLYPHS, 4)), self._rng.uniform(0.6, 1.5)
        at = (int(self._rng.uniform(0, 0.6 * self._side)), int(self._rng.uniform(0.2, 1.0) * self._side))
        font = _FONTS[int(self._rng.integers(2))]
        self._add(lambda image, more: cv2.putText(image, words, at, font, size, 1, round(2 + size + 2 * more)))

    def _pour(self) -> None:
        """Copper over everything that is not kept clear: the whole picture, a half, or a polygon."""
        rng, side = self._rng, self._side
        region = np.ones_like(self.copper)
        if rng.random() < 0.6:
            middle = rng.uniform(0.2 * side, 0.8 * side, 2).astype(np.float32)
            points = outline(rng, (0.7 * side, 0.5 * side), 0.2, corners=int(rng.integers(4, 8))) + middle
            region = (filled(points, side, side) > 0.5).astype(np.uint8)
        if rng.random() < 0.25:  # hatched
            pitch, line = round(self._width * 3 + 4), round(self._width * 1.2 + 1)
            grid = np.arange(side) % pitch < line
            region &= (grid[:, None] | grid[None, :]).astype(np.uint8)
        self.copper |= region & (1 - self._kept_clear)

    def _add(self, draw: Callable[[Mask, float], object], is_joined: bool = False) -> bool:
        """Draw something if its clearance is free of other copper."""
        wide = np.zeros_like(self.copper)
        draw(wide, 0.8 * self._gap)
        if not is_joined and cv2.countNonZero(wide & self.copper):
            return False
        self._kept_clear |= wide
        draw(self.copper, 0.0)
        return True


def perforation(rng: np.random.Generator, side: int) -> Mask:
    """Return a sheet with round or long holes in rows; uint8 [side, side], 1 where material is."""
    pitch = rng.uniform(18, 60)
    radius = pitch * rng.uniform(0.2, 0.38)
    length = float(rng.choice([0, 0, rng.uniform(0.1, 0.4)])) * pitch
    angle, offset = rng.uniform(0, np.pi), float(rng.choice([0.0, 0.5]))
    ex, ey = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    sheet = np.ones((side, side), np.uint8)
    start = rng.uniform(0, side, 2)
    reach = int(1.5 * side / pitch) + 1
    for row in range(-reach, reach):
        for column in range(-reach, reach):
            at = start + pitch * ((column + offset * (row % 2)) * (ex + ex * length / pitch) + row * ey)
            if np.all((at > -pitch) & (at < side + pitch)):
                ends = [_fixed(np.stack((at - ex * length / 2, at + ex * length / 2)))]
                cv2.polylines(sheet, ends, False, 0, round(2 * radius), cv2.LINE_8, _SHIFT)
    return sheet


def comb(rng: np.random.Generator, side: int) -> Mask:
    """Return fingers on a bar, as of a lead frame or a heat sink; uint8 [side, side], 1 where material is."""
    pitch, share = rng.uniform(9, 44), rng.uniform(0.35, 0.65)
    position = (np.arange(side) + rng.uniform(0, pitch)) % pitch < share * pitch
    image = np.repeat(position[None, :], side, axis=0).astype(np.uint8)
    for _ in range(int(rng.integers(0, 3))):
        top = int(rng.integers(0, side))
        image[top : top + int(rng.uniform(8, 40))] = int(rng.random() < 0.7)
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), float(rng.choice([0, 90, rng.uniform(0, 180)])), 1.5)
    return np.asarray(cv2.warpAffine(image, turn, (side, side), flags=cv2.INTER_NEAREST), np.uint8)


def print_(rng: np.random.Generator, side: int) -> Mask:
    """Return printed or engraved marks: lines of text, rings, bars; uint8 [side, side], 1 where ink is."""
    ink = np.zeros((side, side), np.uint8)
    size = rng.uniform(0.5, 2.2)
    for row in range(int(rng.integers(1, 5))):
        words = "".join(rng.choice(_GLYPHS, int(rng.integers(3, 12))))
        at = (int(rng.uniform(0, 0.35 * side)), int((row + 1) * size * 34 + rng.uniform(0, 20)))
        cv2.putText(ink, words, at, _FONTS[int(rng.integers(3))], size, 1, round(1 + size * rng.uniform(1, 2.2)))
    if rng.random() < 0.5:
        centre = tuple(int(v) for v in rng.uniform(0.2 * side, 0.8 * side, 2))
        cv2.circle(ink, centre, int(rng.uniform(14, 70)), 1, int(rng.uniform(2, 9)))
    if rng.random() < 0.3:  # a bar code
        bars = np.repeat(rng.integers(0, 2, 24), rng.integers(1, 4, 24))[: side // 2].astype(np.uint8)
        top, left = int(rng.integers(0, side - 50)), int(rng.integers(0, side // 2))
        ink[top : top + 40, left : left + len(bars)] = bars
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), float(rng.uniform(0, 360)), 1.0)
    return np.asarray(cv2.warpAffine(ink, turn, (side, side), flags=cv2.INTER_NEAREST), np.uint8)


def silhouette(rng: np.random.Generator, side: int) -> Mask:
    """Return a part that does not fill the picture; uint8 [side, side], 1 where the part is."""
    kind = rng.random()
    points = outline(rng, (2.0 * side, 0.8 * side), 0.0, corners=0)
    if kind < 0.5:  # a long straight edge
        normal = rng.uniform(0, 2 * np.pi)
        along, across = np.array([-np.sin(normal), np.cos(normal)]), np.array([np.cos(normal), np.sin(normal)])
        edge = np.array([side / 2, side / 2]) + across * rng.uniform(0.0, 0.35) * side
        far = edge - across * 2 * side
        points = np.array([edge - along * 2 * side, edge + along * 2 * side, far + along * 2 * side,
                           far - along * 2 * side], np.float32)  # fmt: skip
    elif kind < 0.8:
        radius = rng.uniform(0.42, 1.2) * side
        away = rng.uniform(0, max(1.0, radius - 0.3 * side))
        points = outline(rng, (radius, radius * rng.uniform(0.8, 1.0)), 0.0)
        points += (side / 2 + away * np.array([np.cos(kind * 60), np.sin(kind * 60)])).astype(np.float32)
    else:
        half = rng.uniform(0.3, 0.48, 2) * side
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float32) * half
        turn = rng.uniform(0, np.pi)
        way = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        points = (corners @ way + side / 2).astype(np.float32)
    part = (filled(points, side, side) > 0.5).astype(np.uint8)
    for _ in range(int(rng.integers(0, 3))):  # screw holes
        centre = tuple(int(v) for v in rng.uniform(0, side, 2))
        cv2.circle(part, centre, int(rng.uniform(6, 26)), 0, -1)
    return part


def frayed(rng: np.random.Generator, mask: Mask) -> Mask:
    """Return a mask whose edges are uneven by a fraction of a pixel, as etching leaves them."""
    soft = blurred(mask.astype(np.float32), 1.2)
    uneven = np.asarray(soft + np.float32(rng.uniform(0, 0.1)) * smooth(rng, mask.shape[0], 2.5), np.float32)
    return np.where(uneven > 0.5, 1, 0).astype(np.uint8)


def _beside(path: Floats, distance: float) -> Floats:
    """Return a path parallel to another; its bends are mitred."""
    ways = np.diff(path, axis=0)
    ways = ways / np.maximum(np.linalg.norm(ways, axis=1, keepdims=True), 1e-9)
    normals = np.stack((-ways[:, 1], ways[:, 0]), 1)
    before, after = np.vstack((normals[:1], normals)), np.vstack((normals, normals[-1:]))
    middle = before + after
    scale = 2.0 / np.maximum((middle**2).sum(1, keepdims=True), 0.5)
    return np.asarray(path + distance * middle * scale)


def _fixed(points: Floats | Field) -> Points:
    return np.rint(np.asarray(points, np.float64) * 16).astype(np.int32)
