"""Boxes held against their picture: here alone is settled what a line is, and what a tool's rounding leaves outside.

A line is taken as one pixel wide and told, of every layout alike: of those that are learned from as they are
(`fitted_boxes`), and of those that are imported (`placed`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from appliance.annotations.pictures import Outline, TruthBox, check_corners
from appliance.errors import ConfigError
from appliance.events import Box
from trainer.datasets.layouts.found import Defect

ROUNDING_PX = 1.0
"""Labelling tools round: so far may a box leave its picture, and is cut off there."""

LINE_PX = 1 / 64
"""What is thinner is a line: no camera shows it, and boxes are kept with 32 bits, in which it may have no width."""


def fitted(box: Box, size: tuple[int, int], where: str) -> tuple[Box, str]:
    """Hold a box against its picture: widen it where it is a line, cut off what a tool's rounding leaves outside.

    What has no width after the cut is a line. It is one pixel wide, because some tools write the first and the last
    pixel; on the edge it is the last pixel before it.

    Args:
        box: x1, y1, x2, y2 in pixels; may leave the picture by ROUNDING_PX.
        size: width and height of the picture in pixels.
        where: file and line, for the message.

    Returns:
        The box inside the picture, at least LINE_PX wide and high, and in words what was done to it; empty if nothing
        that a person could see.

    Raises:
        ConfigError: The box is not finite, has its corners the wrong way round, or lies outside.
    """
    check_corners(box, where)
    shown = ", ".join(f"{value:.1f}" for value in box)
    off_px = max(-box[0], -box[1], box[2] - size[0], box[3] - size[1])
    if off_px > ROUNDING_PX:
        raise ConfigError(
            f"{where}: box {shown} leaves the picture of {size[0]} x {size[1]} pixels; repair or remove it"
        )
    words = f"box {shown} leaves its picture by {off_px:.2g} px and is cut off there" if off_px >= LINE_PX else ""
    inside = _cut(box, size)
    if _is_line(inside):
        left = f"{words}; what is left" if words else f"box {shown}"
        words = f"{left} has no area; it is taken as one pixel wide"
    return widened(inside, size), words


def widened(box: Box, size: tuple[float, float] = (math.inf, math.inf)) -> Box:
    """Widen a box to one pixel where it is a line.

    Args:
        box: x1, y1, x2, y2 in pixels.
        size: width and height of its picture, which it does not leave; infinite if nobody knows them.
    """
    (x1, x2), (y1, y2) = (_widened(box[axis], box[axis + 2], size[axis]) for axis in (0, 1))
    return x1, y1, x2, y2


def _cut(box: Box, size: tuple[int, int]) -> Box:
    return max(box[0], 0.0), max(box[1], 0.0), min(box[2], float(size[0])), min(box[3], float(size[1]))


def _is_line(inside: Box) -> bool:
    return min(inside[2] - inside[0], inside[3] - inside[1]) < LINE_PX


def _widened(low: float, high: float, side_px: float) -> tuple[float, float]:
    if high - low >= LINE_PX:
        return low, high
    first = min(low, side_px - 1.0)
    return first, first + 1.0


def fitted_boxes(boxes: Iterable[TruthBox], size: tuple[int, int]) -> tuple[TruthBox, ...]:
    """Hold all boxes of a picture against it, each as `fitted` does, and keep in each what was done to it.

    Args:
        boxes: as they are written.
        size: width and height of the picture in pixels.

    Returns:
        The boxes inside the picture.

    Raises:
        ConfigError: As `fitted` raises it.
    """
    found = []
    for truth in boxes:
        inside, words = fitted(truth.box, size, truth.where)
        found.append(replace(truth, box=inside, taken_as="; ".join(filter(None, (truth.taken_as, words)))))
    return tuple(found)


def taken_otherwise(labels: Iterable[TruthBox | Defect]) -> str:
    """Say how many labels are not taken as they are written, and what of the first; empty if all are.

    Args:
        labels: as `fitted_boxes` or `placed` gives them.
    """
    found = [label for label in labels if label.taken_as]
    if not found:
        return ""
    return f"{len(found)} labels are not taken as they are written; the first is {found[0].where}: {found[0].taken_as}"


def placed(truth: TruthBox, size: tuple[int, int]) -> Defect:
    """Hold a label that is imported against its picture, as `fitted` does, whatever layout it comes from.

    Args:
        truth: as it is written.
        size: width and height of the picture in pixels.

    Returns:
        The defect; its box is rounded to 1/64 pixel, so that x + width is exact in every reader. Outlines end at the
        picture's edge; that of a line, which encloses nothing, is its box.

    Raises:
        ConfigError: As `fitted` raises it.
    """
    (inside,) = fitted_boxes([truth], size)
    x1, y1, x2, y2 = (math.floor(edge * 64 + 0.5) / 64 for edge in inside.box)
    outlines = tuple(_inside(outline, size) for outline in truth.outlines)
    if outlines and _is_line(_cut(truth.box, size)):
        outlines = ((x1, y1, x2, y1, x2, y2, x1, y2),)
    return Defect(truth.label, (x1, y1, x2, y2), outlines, truth.where, inside.taken_as)


def _inside(outline: Outline, size: tuple[int, int]) -> Outline:
    return tuple(min(max(value, 0.0), float(size[at % 2])) for at, value in enumerate(outline))
