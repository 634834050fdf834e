"""What a sound surface looks like under even light: metal, ceramic, plastic, fabric, and the ground of a board."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from trainer.surfaces.fields import Field, smooth, stretched, turned

Texture = Callable[[np.random.Generator, int], Field]
"""Draws a material, mean about 0, in grey values."""


def metal(rng: np.random.Generator, side: int) -> Field:
    """Return brushed, turned, rolled or cast metal; float32 [side, side], mean about 0."""
    kind = rng.choice(["brushed", "turned", "rolled", "cast"], p=[0.35, 0.2, 0.2, 0.25])
    strength = rng.uniform(2, 11)
    if kind == "turned":
        return strength * _rings(rng, side)
    if kind == "cast":
        fine, middle, wide = (smooth(rng, side, rng.uniform(*cells)) for cells in ((1, 2.5), (4, 8), (15, 40)))
        return np.asarray(strength * (0.7 * fine + 0.5 * middle + 0.5 * wide), np.float32)
    whole = side * 3 // 2
    length = rng.uniform(60, 300) if kind == "brushed" else rng.uniform(15, 50)
    lines = stretched(rng, whole, length, rng.uniform(1, 2)) + 0.6 * stretched(rng, whole, 2 * length, 4)
    fine = 0.4 * smooth(rng, side, 1.5) + rng.uniform(0, 0.8) * smooth(rng, side, 60)
    return np.asarray(strength * (0.7 * turned(lines, rng.uniform(0, 180)) + fine), np.float32)


def ceramic(rng: np.random.Generator, side: int) -> Field:
    """Return a glaze, often with speckles or veins; float32 [side, side], mean about 0."""
    field = rng.uniform(1, 5) * smooth(rng, side, rng.uniform(20, 60)) + rng.uniform(0.5, 4) * smooth(rng, side, 1.5)
    kind = rng.random()
    if kind < 0.4:  # speckles
        specks = smooth(rng, side, rng.uniform(1.5, 3.5))
        field -= rng.uniform(4, 25) * np.clip(specks - rng.uniform(1.6, 2.4), 0, 1)
    elif kind < 0.65:  # veins
        bend = smooth(rng, side, rng.uniform(25, 70)) + 0.35 * smooth(rng, side, 9)
        field -= rng.uniform(5, 22) * np.exp(-((bend / rng.uniform(0.06, 0.2)) ** 2))
    return np.asarray(field, np.float32)


def plastic(rng: np.random.Generator, side: int) -> Field:
    """Return moulded plastic: smooth, eroded (leather-like) or with flow lines; float32 [side, side], mean about 0."""
    field = rng.uniform(0.3, 2) * smooth(rng, side, 1) + rng.uniform(0.5, 4) * smooth(rng, side, rng.uniform(40, 90))
    kind = rng.random()
    if kind < 0.45:  # eroded mould
        grain = np.abs(smooth(rng, side, rng.uniform(2.5, 7)))
        field += rng.uniform(4, 14) * (grain - 0.6)
    elif kind < 0.6:
        whole = side * 3 // 2
        field += rng.uniform(2, 6) * turned(stretched(rng, whole, 150, rng.uniform(6, 20)), rng.uniform(0, 180))
    return np.asarray(field, np.float32)


def fabric(rng: np.random.Generator, side: int) -> Field:
    """Return a weave, plain or twill, threads of uneven brightness; float32 [side, side], mean about 0."""
    pitch, angle = rng.uniform(4, 13), rng.uniform(0, np.pi)
    axis = np.arange(side, dtype=np.float32) / np.float32(pitch)
    wave = rng.uniform(0, 0.35) * smooth(rng, side, rng.uniform(40, 100))
    across = (axis * np.float32(np.cos(angle)))[None, :] + (axis * np.float32(np.sin(angle)))[:, None] + wave
    along = (axis * np.float32(-np.sin(angle)))[None, :] + (axis * np.float32(np.cos(angle)))[:, None] + wave
    column, row = np.floor(across), np.floor(along)
    step = int(rng.choice([2, 2, 3, 4]))
    on_top = (column + row) % step < step / 2
    round_across = 1 - (2 * (across - column) - 1) ** 2
    round_along = 1 - (2 * (along - row) - 1) ** 2
    tones = rng.normal(0, rng.uniform(0.05, 0.3), 512).astype(np.float32)
    warp = round_across + tones[column.astype(np.int32) % 256]
    weft = rng.uniform(0.6, 1.0) * round_along + tones[256 + row.astype(np.int32) % 256]
    field = np.where(on_top, warp, weft) - 0.6 + rng.uniform(0.05, 0.3) * smooth(rng, side, 1.5)
    return np.asarray(rng.uniform(10, 32) * field, np.float32)


def laminate(rng: np.random.Generator, side: int) -> Field:
    """Return the ground of a board, or its copper: fine grain, little else; float32 [side, side], mean about 0."""
    field = rng.uniform(0.5, 4) * smooth(rng, side, rng.uniform(1, 3)) + rng.uniform(0, 5) * smooth(rng, side, 50)
    return np.asarray(field, np.float32)


def _rings(rng: np.random.Generator, side: int) -> Field:
    """Tool marks around a point in or near the picture."""
    axis = np.arange(side, dtype=np.float32)
    x0, y0 = rng.uniform(-0.8 * side, 1.8 * side, 2)
    radius = cv2.magnitude(*np.meshgrid(axis - np.float32(x0), axis - np.float32(y0)))
    period = rng.uniform(2.5, 9)
    profile = rng.standard_normal(int(4 * side / period) + 2).astype(np.float32)
    marks = cv2.remap(profile[None, :], radius / np.float32(period), np.zeros_like(radius), cv2.INTER_LINEAR)
    return np.asarray(0.8 * marks + 0.4 * smooth(rng, side, 1.5), np.float32)


MATERIALS: dict[str, Texture] = {"metal": metal, "ceramic": ceramic, "plastic": plastic, "fabric": fabric}
