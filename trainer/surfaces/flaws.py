"""Defects of a surface itself: each is drawn as a small patch of shape, tone and relief."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from trainer.surfaces.fields import Field, blurred, filled, outline, slope, smooth

LEAST_PX, MOST_PX = 8, 120
"""Longest side of a defect."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """A defect before it is put somewhere; all are float32 [height, width].

    Args:
        shade: what it adds to the surface, -1..1, times the contrast.
        cover: how much of the surface it hides, 0..1.
        shape: how much of each pixel is part of it, 0..1.
        tone: grey of what hides the surface, in contrasts above or below it.
    """

    shade: Field
    cover: Field
    shape: Field
    tone: float = 0.0


def scratch(rng: np.random.Generator, light: float) -> Flaw:
    """Draw a long thin stroke with a bright or dark core and sometimes a rim."""
    length = _size(rng, 20, MOST_PX)
    path = _bent(rng, length, bend=rng.uniform(0, 0.06), steps=8)
    thickness = rng.uniform(1.0, 2.6)
    patches = [_stroke(path, thickness)]
    if rng.random() < 0.25:  # a bundle of parallel ones
        aside = rng.normal(0, 4, 2).astype(np.float32)
        patches = [_stroke(np.vstack((path, path + aside)), thickness, breaks=(len(path),))]
    line = patches[0]
    if rng.random() < 0.4:  # interrupted
        fade = cv2.resize(rng.uniform(0.25, 1, (1, 6)).astype(np.float32), line.shape[::-1])
        line = line * (fade if line.shape[1] >= line.shape[0] else cv2.resize(fade, line.shape[::-1]))
    rim = slope(blurred(line, 1.2), light) * rng.uniform(0, 0.6)
    return Flaw(rng.choice([-1.0, 1.0]) * line + rim * (line > 0.02), np.zeros_like(line), line)


def crack(rng: np.random.Generator, light: float) -> Flaw:
    """Draw a dark jagged line that forks and thins out."""
    length = _size(rng, 16, MOST_PX)
    path = _bent(rng, length, bend=0.45, steps=max(6, int(length / 5)))
    points, breaks = path, [len(path)]
    for _ in range(int(rng.integers(0, 3))):
        start = path[int(rng.integers(1, len(path) - 1))]
        fork = _bent(rng, length * rng.uniform(0.2, 0.45), bend=0.5, steps=5)
        points = np.vstack((points, fork - fork[0] + start))
        breaks.append(len(points))
    line = _stroke(points, rng.uniform(0.8, 2.2), breaks=tuple(breaks[:-1]), is_thinning=True)
    edge = 0.3 * slope(blurred(line, 1.0), light) * (line > 0.02)
    return Flaw(-line + edge, np.zeros_like(line), line)


def pit(rng: np.random.Generator, light: float) -> Flaw:
    """Draw one small crater, or a few of them in one place."""
    radius = rng.uniform(2.5, 8)
    count = 1 if rng.random() < 0.6 else int(rng.integers(2, 7))
    spread = 0.0 if count == 1 else radius * 2.2
    side = int(2 * (radius + 2 * spread) + 8)
    height = np.zeros((side, side), np.float32)
    for _ in range(count):
        away = np.clip(rng.normal(0, spread, 2), -2 * spread, 2 * spread) if spread else np.zeros(2)
        own = radius * rng.uniform(0.5, 1) if spread else radius
        points = outline(rng, (own, own * rng.uniform(0.7, 1)), 0.12) + (side / 2 + away).astype(np.float32)
        height = np.maximum(height, filled(points, side, side))
    soft = blurred(height, 0.25 * radius + 0.5)
    return Flaw(-rng.uniform(0.4, 1) * soft - 0.8 * slope(soft, light), np.zeros_like(height), height)


def blob(rng: np.random.Generator, light: float) -> Flaw:
    """Draw a drop of something that hides the surface: glue, dirt, spatter."""
    shape = _patch(rng, _size(rng, LEAST_PX, 70), roughness=rng.uniform(0.03, 0.3))
    soft = blurred(shape, 1.5 + 0.04 * shape.shape[0])
    shine = rng.uniform(0, 0.7) * slope(soft, light) * shape
    return Flaw(shine, shape * rng.uniform(0.75, 1.0), shape, rng.choice([-1, 1]) * rng.uniform(0.7, 1.2))


def stain(rng: np.random.Generator, light: float) -> Flaw:
    """Draw a soft discolouration, even, cloudy, or darkest at its rim as where a drop has dried."""
    shape = _patch(rng, _size(rng, 20, MOST_PX), roughness=rng.uniform(0.1, 0.4))
    side = shape.shape[0]
    soft = blurred(shape, 1.0 + side * rng.uniform(0.01, 0.05))
    if rng.random() < 0.4:
        inner = blurred(shape, 2 + 0.06 * side)
        soft = soft * (0.35 + 0.65 * np.clip(1.8 * (1 - inner) + 0.1, 0, 1))
    else:
        soft = soft * np.clip(0.85 + 0.25 * smooth(rng, side, 0.25 * side), 0.3, 1.2)
    towards = -1.0 if rng.random() < 0.7 else 1.0
    return Flaw((towards * 0.9 * soft).astype(np.float32), np.zeros_like(shape), shape)


def chip(rng: np.random.Generator, light: float) -> Flaw:
    """Draw a splinter broken off: angular, with facets that catch the light differently."""
    size = _size(rng, LEAST_PX, 70)
    shape = _patch(rng, size, roughness=0.12, corners=int(rng.integers(5, 10)))
    side = shape.shape[0]
    facets = cv2.resize(rng.uniform(-0.5, 0.5, (3, 3)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    relief = slope(blurred(shape, 1 + 0.05 * side), light)
    grain = 0.2 * smooth(rng, side, 1.5)
    return Flaw((facets + 0.9 * relief + grain) * shape, shape * 0.9, shape, rng.choice([-1, 1]) * rng.uniform(0.3, 1))


def flake(rng: np.random.Generator, light: float) -> Flaw:
    """Draw a place where the topmost layer has come off, with a ragged edge and another ground below."""
    size = _size(rng, 12, 100)
    shape = _patch(rng, size, roughness=0.3)
    side = shape.shape[0]
    ragged = blurred(shape, 1 + 0.06 * side) + 0.14 * smooth(rng, side, max(1.5, 0.07 * side))
    shape = np.clip((ragged - 0.5) * 4 + 0.5, 0, 1).astype(np.float32)
    rim = -0.8 * slope(blurred(shape, 1.0), light)
    grain = rng.uniform(0.05, 0.3) * smooth(rng, side, rng.uniform(1, 4)) * shape
    return Flaw(rim * rng.uniform(0.2, 0.9) + grain, shape * 0.95, shape, rng.choice([-1, 1]) * rng.uniform(0.5, 1.1))


def lump(rng: np.random.Generator, light: float) -> Flaw:
    """Draw too much of the same material: a raised place that only its shading shows."""
    shape = _patch(rng, _size(rng, 10, 80), roughness=rng.uniform(0.05, 0.25))
    side = shape.shape[0]
    soft = blurred(shape, 1.0 + side * rng.uniform(0.03, 0.1))
    return Flaw(1.0 * slope(soft, light) + rng.uniform(0, 0.4) * soft, np.zeros_like(shape), shape)


def thread(rng: np.random.Generator, light: float) -> Flaw:
    """Draw one thread too much: a curled bright or dark hair, rounded by the light."""
    path = _bent(rng, _size(rng, 20, MOST_PX), bend=0.35, steps=9)
    line = _stroke(path, rng.uniform(2, 5))
    round_ = blurred(line, 1.3)
    return Flaw(0.5 * slope(round_, light) * line, line, line, rng.choice([-1, 1]) * rng.uniform(0.5, 1))


def lost_thread(rng: np.random.Generator, light: float) -> Flaw:
    """Draw a thread that is missing: a straight dark band with soft ends."""
    line = _stroke(_bent(rng, _size(rng, 25, MOST_PX), bend=0.0, steps=2), rng.uniform(3, 8))
    return Flaw(-line, 0.4 * line, line, -0.8)


def tear(rng: np.random.Generator, light: float) -> Flaw:
    """Draw a hole in a fabric: dark, with frayed edges."""
    shape = _patch(rng, _size(rng, 10, 60), roughness=0.25)
    side = shape.shape[0]
    frayed = np.clip(shape + 0.35 * smooth(rng, side, 1.5) * (blurred(shape, 2) > 0.1), 0, 1)
    frayed = np.where(shape > 0, frayed, 0).astype(np.float32)
    return Flaw(np.zeros_like(shape), frayed, shape, -1.6 if rng.random() < 0.8 else 1.4)


Drawn = Callable[[np.random.Generator, float], Flaw]
"""Draws a defect; light is the direction that the light comes from, in radians."""

FLAWS: dict[str, tuple[tuple[str, Drawn], ...]] = {
    "metal": (("scratch", scratch), ("scratch", scratch), ("crack", crack), ("pit", pit), ("blob", blob),
              ("stain", stain), ("missing", flake), ("excess", lump)),
    "ceramic": (("crack", crack), ("pit", pit), ("chip", chip), ("blob", blob), ("stain", stain),
                ("scratch", scratch), ("missing", flake)),
    "plastic": (("scratch", scratch), ("blob", blob), ("stain", stain), ("pit", pit), ("excess", lump),
                ("missing", flake), ("crack", crack), ("chip", chip)),
    "fabric": (("stain", stain), ("hole", tear), ("missing", lost_thread), ("excess", thread), ("blob", blob)),
    "board": (("scratch", scratch), ("stain", stain), ("blob", blob), ("pit", pit)),
}  # fmt: skip
"""What happens to which material, and what it is called."""


def _size(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a size in pixels; each octave is as likely as the next."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _patch(rng: np.random.Generator, size: float, roughness: float, corners: int = 0) -> Field:
    """Draw a filled shape of about this size with room around it."""
    half = size / 2
    points = outline(rng, (half, half * rng.uniform(0.45, 1.0)), roughness, corners)
    side = int(2 * np.abs(points).max() + 0.3 * half + 8)
    return filled(points + np.float32(side / 2), side, side)


def _bent(rng: np.random.Generator, length: float, bend: float, steps: int) -> Field:
    """Walk so far with small turns; float32 [steps + 1, 2]."""
    drawn = rng.normal(0, bend, steps)
    turns = rng.uniform(0, 2 * np.pi) + (np.cumsum(drawn) if bend < 0.2 else 1.6 * drawn)
    moves = np.stack((np.cos(turns), np.sin(turns)), 1) * (length / steps) * rng.uniform(0.6, 1.4, (steps, 1))
    return np.vstack((np.zeros((1, 2)), np.cumsum(moves, axis=0))).astype(np.float32)


def _stroke(points: Field, thickness: float, breaks: tuple[int, ...] = (), is_thinning: bool = False) -> Field:
    """Draw a line through points in a patch that just holds it; drawn twice as large for its fine ends."""
    room = thickness + 4
    points = points - points.min(axis=0) + np.float32(room)
    width, height = (int(v + room) for v in points.max(axis=0))
    canvas = np.zeros((2 * height, 2 * width), np.uint8)
    for piece in np.split(points, breaks):
        fixed = np.round(piece * 32).astype(np.int32)
        for number in range(len(fixed) - 1):
            share = 1 - 0.6 * number / len(fixed) if is_thinning else 1.0
            cv2.line(canvas, fixed[number].tolist(), fixed[number + 1].tolist(), 255,
                     max(1, round(2 * thickness * share)), cv2.LINE_AA, 4)  # fmt: skip
    small = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / 255.0
