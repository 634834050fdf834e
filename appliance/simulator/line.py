"""A production line in software: the n-th part of a seed is always the same picture with the same truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache

import cv2
import numpy as np

from appliance.simulator.boards import Board, Pixels, make_board
from appliance.simulator.defects import DEFECT_KINDS, Defect, DefectStyle, plant
from appliance.simulator.optics import Optics, move_box, photograph, placement
from appliance.simulator.shading import choose_palette, shade
from appliance.simulator.textures import NOISE_SIGMA, board_mottle

_MOTTLE_SIGMA = 3.5
_WHOLE = (slice(None), slice(None))


@dataclass(frozen=True, slots=True)
class Truth:
    """What is wrong with a part at one place: kind, label = index of the kind, box x1 y1 x2 y2 in picture px."""

    kind: str
    label: int
    box: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedPart:
    """A picture of one part with all that is known about it.

    `pixels` uint8 (height, width, channels; RGB); `mask` uint8 (height, width): 0 good, label + 1 where a defect is;
    `truth` holds what lies in the picture; `group` names the board family.
    """

    part_id: str
    number: int
    group: str
    pixels: Pixels
    truth: tuple[Truth, ...]
    mask: Pixels
    is_defective: bool


@dataclass(frozen=True, slots=True)
class Variation:
    """How much good production varies from part to part, as standard deviations."""

    shift_px: float = 1.5
    rotation_deg: float = 0.12
    lamp: float = 0.015
    board_tone: float = 0.03


@lru_cache(maxsize=3)
def _clean_canvas(board: Board, channels: int) -> Pixels:
    canvas: Pixels = shade(board, board.coverage, _WHOLE, choose_palette(board, channels))
    canvas.setflags(write=False)
    return canvas


def paint(board: Board, defects: list[Defect], channels: int) -> Pixels:
    """Draw a board with its defects under even light.

    Args:
        board: the faultless board.
        defects: planted on that board.
        channels: 1 for grey, 3 for RGB.

    Returns:
        uint8 canvas, shape (height + 2 margins, width + 2 margins, channels); outside the boxes it is the good board.
    """
    canvas: Pixels = _clean_canvas(board, channels).copy()
    palette = choose_palette(board, channels)
    for defect in defects:
        x1, y1, x2, y2 = defect.box
        around = (slice(y1 - 1, y2 + 1), slice(x1 - 1, x2 + 1))
        coverage = board.coverage[around].copy()
        coverage[1:-1, 1:-1] = defect.coverage
        canvas[y1:y2, x1:x2] = shade(board, coverage, around, palette)[1:-1, 1:-1]
    return canvas


def _textured(canvas: Pixels, tone_spread: float, rng: np.random.Generator) -> Pixels:
    """Give a board the mottle of solder mask, and the tone of its own batch."""
    mottle = board_mottle(canvas.shape[0], canvas.shape[1], canvas.shape[2], rng)
    strength = _MOTTLE_SIGMA / NOISE_SIGMA
    tone = float(1 + tone_spread * np.clip(rng.standard_normal(), -2.5, 2.5))
    return np.asarray(cv2.addWeighted(canvas, tone, mottle, strength, -128 * strength).reshape(canvas.shape), np.uint8)


@dataclass(frozen=True, slots=True)
class SimulatedLine:
    """A line that makes boards.

    Attributes:
        seed: of everything; 0 or more.
        defect_rate: part of the parts that are defective, 0..1.
        width: picture width in px, 160 or more.
        height: picture height in px, 160 or more.
        channels: 1 grey, 3 RGB.
        parts_per_family: a changeover to another board layout after so many parts; 0 never.
        defects_per_part: least and most defects on a defective part.
        style: size and contrast of the defects.
        optics: the station; or a function of the part's number, for staged drift.
        variation: what differs from part to part.
    """

    seed: int
    defect_rate: float = 0.1
    width: int = 640
    height: int = 640
    channels: int = 1
    parts_per_family: int = 0
    defects_per_part: tuple[int, int] = (1, 4)
    style: DefectStyle = field(default_factory=DefectStyle)
    optics: Optics | Callable[[int], Optics] = field(default_factory=Optics)
    variation: Variation = field(default_factory=Variation)

    def board(self, number: int) -> Board:
        """Give the faultless board that part `number` is made after."""
        return make_board(self.seed, self._family(number), self.width, self.height)

    def part(self, number: int) -> SimulatedPart:
        """Make a part and take its picture.

        Args:
            number: 0 or more; the same number gives the same part, in any order of asking.

        Returns:
            The part; `is_defective` says what was made, even where a misplaced part hides the defect.
        """
        board, defects, rng = self._make(number)
        canvas = paint(board, defects, self.channels)
        textured = _textured(canvas, self.variation.board_tone, rng)
        optics = self._vary(self.optics(number) if callable(self.optics) else self.optics, rng)
        pixels = photograph(textured, optics, rng)
        truth = tuple(
            Truth(defect.kind, DEFECT_KINDS.index(defect.kind), box)
            for defect in defects
            if (box := move_box(defect.box, optics, self.width, self.height)) is not None
        )
        mask = self._mask(board, defects, optics)
        return SimulatedPart(f"{self.seed}-{number:06d}", number, board.family, pixels, truth, mask, bool(defects))

    def reference(self, number: int) -> Pixels:
        """Take the picture of a good part of part `number`'s layout, in its place, by a station in good order.

        Args:
            number: 0 or more.

        Returns:
            uint8, shape (height, width, channels); the same for all parts of a layout.
        """
        canvas = paint(self.board(number), [], self.channels)
        rng = np.random.default_rng([self.seed, self._family(number), 11])
        return photograph(_textured(canvas, 0.0, rng), Optics(), rng)

    def is_defective(self, number: int) -> bool:
        """Say what was made as part `number`, without taking its picture."""
        return bool(self._make(number)[1])

    def _family(self, number: int) -> int:
        return number // self.parts_per_family if self.parts_per_family else 0

    def _make(self, number: int) -> tuple[Board, list[Defect], np.random.Generator]:
        rng = np.random.default_rng([self.seed, number, 7])
        board = self.board(number)
        return board, self._plant(board, rng) if rng.random() < self.defect_rate else [], rng

    def _plant(self, board: Board, rng: np.random.Generator) -> list[Defect]:
        defects: list[Defect] = []
        wanted = int(rng.integers(self.defects_per_part[0], self.defects_per_part[1] + 1))
        for kind in rng.permutation(len(DEFECT_KINDS)).tolist() * 3:
            if len(defects) == wanted:
                break
            defect = plant(board, DEFECT_KINDS[kind], rng, self.style, defects)
            if defect is not None:
                defects.append(defect)
        return defects

    def _vary(self, optics: Optics, rng: np.random.Generator) -> Optics:
        across, down, turn, lamp = np.clip(rng.standard_normal(4), -2.5, 2.5).tolist()
        return replace(
            optics,
            shift_x_px=optics.shift_x_px + self.variation.shift_px * across,
            shift_y_px=optics.shift_y_px + self.variation.shift_px * down,
            rotation_deg=optics.rotation_deg + self.variation.rotation_deg * turn,
            lamp_brightness=optics.lamp_brightness * (1 + self.variation.lamp * lamp),
        )

    def _mask(self, board: Board, defects: list[Defect], optics: Optics) -> Pixels:
        if not defects:
            return np.zeros((self.height, self.width), np.uint8)
        canvas = np.zeros(board.nets.shape, np.uint8)
        for defect in defects:
            x1, y1, x2, y2 = defect.box
            canvas[y1:y2, x1:x2] = defect.mask * np.uint8(DEFECT_KINDS.index(defect.kind) + 1)
        matrix = placement(optics, self.width, self.height)
        return np.asarray(cv2.warpAffine(canvas, matrix, (self.width, self.height), flags=cv2.INTER_NEAREST), np.uint8)
