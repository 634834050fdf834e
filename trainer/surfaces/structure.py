"""Defects of a structure: material that is missing or too much, named after what that does to the structure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.paint import SURROUNDINGS_PX, classify
from trainer.surfaces.fields import Field, Mask, blurred, filled, outline

LEAST_AREA_PX = 22
"""A defect of a structure that changes fewer pixels is none."""

_TRIES = 5


@dataclass(slots=True)
class Structure:
    """Where material is, and what it and the ground look like.

    Args:
        mask: uint8 [side, side], 1 where material is; changed when a defect is planted.
        ground: float32 [side, side], grey values where none is.
        material: float32 [side, side], grey values where it is.
        soft_px: how blurred the edge is.
        names: (what classify says, whether material was added) -> name of the class; what is not in it does not occur.
        roughness: spread of the material's own grey values.
    """

    mask: Mask
    ground: Field
    material: Field
    soft_px: float
    names: Mapping[tuple[str, bool], str]
    roughness: float
    _depths: dict[bool, Field] = field(default_factory=dict)

    def render(self) -> Field:
        """Return the structure's grey values under even light; float32 [side, side]."""
        share = blurred(self.mask.astype(np.float32), self.soft_px)
        return np.asarray(self.ground + (self.material - self.ground) * share, np.float32)

    def depth(self, adds: bool) -> Field:
        """Return how far each pixel of the sound material is from its edge; of the sound gap if adds."""
        if adds not in self._depths:
            solid = 1 - self.mask if adds else self.mask
            self._depths[adds] = np.asarray(cv2.distanceTransform(solid, cv2.DIST_L2, 3), np.float32)
        return self._depths[adds]


TRACK_NAMES = {
    ("pin_hole", False): "hole", ("mousebite", False): "bite", ("open", False): "cut",
    ("pin_hole", True): "island", ("mousebite", True): "spur", ("open", True): "bridge",
}  # fmt: skip
"""What happens to traces, sheets, combs and prints."""

PART_NAMES = {("mousebite", False): "chip", ("mousebite", True): "excess"}
"""What happens to the edge of a part."""


def plant(structure: Structure, rng: np.random.Generator) -> tuple[str, Mask] | None:
    """Change a structure in one place.

    Args:
        structure: its mask is changed.
        rng: the sample's generator.

    Returns:
        The name of the class, and what was changed, uint8 [side, side]; None if there was no room.
    """
    wanted, adds = list(structure.names)[int(rng.integers(len(structure.names)))]
    depth = structure.depth(adds)
    places = _places(depth, wanted)
    if not len(places):
        return None
    solid = 1 - structure.mask if adds else structure.mask
    for _ in range(_TRIES):
        x, y = (int(v) for v in places[int(rng.integers(len(places)))])
        removed = _shape(solid.shape[0], x, y, float(depth[y, x]), wanted, solid, rng) & solid
        if cv2.countNonZero(removed) < LEAST_AREA_PX:
            continue
        left, top, width, height = cv2.boundingRect(removed)
        rows = slice(max(0, top - SURROUNDINGS_PX), top + height + SURROUNDINGS_PX)
        columns = slice(max(0, left - SURROUNDINGS_PX), left + width + SURROUNDINGS_PX)
        if classify(solid[rows, columns], removed[rows, columns]) == wanted:
            structure.mask = (structure.mask | removed) if adds else (structure.mask & (1 - removed))
            return structure.names[wanted, adds], removed
    return None


def _places(depth: Field, wanted: str) -> NDArray[np.int32]:
    """Where a shape may be centred to have the effect: well inside, at an edge, or in the middle of what is narrow."""
    if wanted == "pin_hole":
        fit = depth >= 6
    elif wanted == "mousebite":
        fit = (depth >= 1) & (depth < 2)
    else:
        fit = (depth >= cv2.dilate(depth, np.ones((5, 5), np.uint8)) - 0.5) & (depth >= 1.5) & (depth <= 16)
    margin = 6
    inner = np.zeros(depth.shape, np.uint8)
    inner[margin:-margin, margin:-margin] = fit[margin:-margin, margin:-margin]
    found = cv2.findNonZero(inner)
    return np.zeros((0, 2), np.int32) if found is None else np.asarray(found, np.int32).reshape(-1, 2)


def _shape(side: int, x: int, y: int, depth: float, wanted: str, solid: Mask, rng: np.random.Generator) -> Mask:
    """Draw a shape as large as suits the place: inside, into the edge, or right across."""
    middle = np.array([x, y], np.float32)
    if wanted == "open":
        across = _across(solid, x, y)
        half = depth + rng.uniform(2, 5)
        along = np.array([-across[1], across[0]])
        wide = float(np.exp(rng.uniform(np.log(1.5), np.log(9))))
        ends = np.array([[-half, -wide], [0, -wide], [half, -wide], [half, wide], [0, wide], [-half, wide]])
        ends = ends + rng.normal(0, 0.25 * wide + 0.5, ends.shape)
        points = (ends[:, :1] * across + ends[:, 1:] * along + middle).astype(np.float32)
    else:
        if wanted == "pin_hole":
            reach = rng.uniform(2.8, max(3.0, min(0.75 * depth, 22)))
        else:
            reach = float(np.exp(rng.uniform(np.log(3), np.log(22))))
        is_angular = rng.random() < 0.3
        points = outline(rng, (reach, reach * rng.uniform(0.5, 1)), 0.18, int(rng.integers(5, 9)) if is_angular else 0)
        points = points + middle
    return (filled(points, side, side) > 0.5).astype(np.uint8)


def _across(solid: Mask, x: int, y: int) -> NDArray[np.float64]:
    """Return the direction in which a narrow piece is crossed the shortest way."""
    window = np.ascontiguousarray(solid[max(0, y - 14) : y + 15, max(0, x - 14) : x + 15]).astype(np.float32)
    dx, dy = (cv2.Sobel(window, cv2.CV_32F, *way, ksize=3) for way in ((1, 0), (0, 1)))
    angle = 0.5 * np.arctan2(2 * float((dx * dy).sum()), float((dx * dx).sum() - (dy * dy).sum()))
    return np.array([np.cos(angle), np.sin(angle)])
