"""Drawn magnetic tiles: grey, of many sizes, five very unbalanced kinds of defect, more good parts than bad.

What boards are not: no artwork that repeats itself, soft light, faint defects, and some as large as half a tile. They
are drawn without the generator that the shipped weights come from.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.files import write_json

Field = NDArray[np.float32]

WIDTH_PX, HEIGHT_PX = (120, 400), (160, 560)
EDGE = 0.35
"""Where a defect covers so much of its full strength it counts as there."""


def draw(folder: Path, pictures: int, seed: int) -> None:
    """Draw tiles and their COCO file, `annotations.json`, into a folder.

    Args:
        folder: is made; what has the same name in it is written anew.
        pictures: how many; about a third of them are defective.
        seed: of everything random; two seeds share no tile.
    """
    folder.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for number in range(1, pictures + 1):
        rng = np.random.default_rng((seed, number))
        tile, boxes = _tile(rng)
        name = f"tile_{seed}_{number:04}.png"
        cv2.imwrite(str(folder / name), tile)
        images.append({"id": number, "file_name": name, "width": tile.shape[1], "height": tile.shape[0]})
        annotations += [_annotation(number, kind, box) for kind, box in boxes]
    for key, annotation in enumerate(annotations, 1):
        annotation["id"] = key
    categories = [{"id": key, "name": name} for key, name in enumerate(KINDS, 1)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    write_json(folder / "annotations.json", document)


def _annotation(image: int, kind: str, box: tuple[int, int, int, int]) -> dict[str, Any]:
    category = list(KINDS).index(kind) + 1
    return {"image_id": image, "category_id": category, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}


def _tile(rng: np.random.Generator) -> tuple[NDArray[np.uint8], list[tuple[str, tuple[int, int, int, int]]]]:
    """Return a picture uint8 [H, W] and its defects: kind, and box x, y, width, height in pixels."""
    height, width = int(rng.integers(*HEIGHT_PX)), int(rng.integers(*WIDTH_PX))
    tile = _ground(rng, height, width)
    boxes = []
    kind = rng.choice([*KINDS, ""], p=[*SHARES.values(), 1 - sum(SHARES.values())])
    for _ in range(rng.integers(1, 4) if kind == "blowhole" else bool(kind)):  # larger ones would lie over each other
        there, strength = KINDS[str(kind)](rng, height, width)
        rows, columns = np.nonzero(there >= EDGE)
        tile += strength * there
        x, y = int(columns.min()), int(rows.min())
        boxes.append((str(kind), (x, y, int(columns.max()) + 1 - x, int(rows.max()) + 1 - y)))
    tile += rng.normal(0, rng.uniform(1, 3.5), tile.shape)
    return np.clip(tile, 0, 255).astype(np.uint8), boxes


def _noise(rng: np.random.Generator, height: int, width: int, cell_px: tuple[float, float]) -> Field:
    """Return noise whose grains are so high and wide, spread about 1; float32 [height, width]."""
    rows, columns = (max(2, round(side / cell)) for side, cell in zip((height, width), cell_px, strict=True))
    few = rng.standard_normal((rows, columns)).astype(np.float32)
    return np.asarray(cv2.resize(few, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def _ground(rng: np.random.Generator, height: int, width: int) -> Field:
    """Return a sound tile: arched, so darker at two of its edges; ground; with scratches and stains that do no harm."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    tile = rng.uniform(80, 165) - rng.uniform(10, 45) * np.abs(x - rng.uniform(-0.4, 0.4)) ** rng.uniform(1.5, 3)
    tile += rng.uniform(-12, 12) * y
    tile += rng.uniform(2, 7) * _noise(rng, height, width, (rng.uniform(40, 160), rng.uniform(1, 3)))
    tile += rng.uniform(1, 5) * _noise(rng, height, width, (1.5, 1.5))
    tile += rng.uniform(1, 6) * _noise(rng, height, width, (50, 50))
    for _ in range(rng.integers(0, 7)):  # scratches of grinding, straight and faint
        there, (x0, x1) = np.zeros((height, width), np.float32), rng.integers(0, width, 2)
        cv2.line(there, (int(x0), int(rng.integers(0, height))), (int(x1), int(rng.integers(0, height))), 1.0)
        tile += rng.uniform(-6, 12) * cv2.GaussianBlur(there, (0, 0), 0.7)
    for _ in range(rng.integers(0, 4)):  # stains
        tile += rng.uniform(-7, 7) * _blob(rng, height, width, rng.uniform(6, 40), soft_px=4.0)
    for _ in range(rng.integers(0, 5)):  # bright dust
        tile += rng.uniform(15, 50) * _blob(rng, height, width, rng.uniform(0.7, 1.6), soft_px=0.6)
    return tile


def _blob(rng: np.random.Generator, height: int, width: int, radius_px: float, soft_px: float) -> Field:
    """Return an uneven round patch somewhere on the tile, 1 inside; float32 [height, width]."""
    ring = radius_px * _ring(rng, 24, 0.18) * np.sqrt(rng.uniform(0.6, 1.6))
    centre = rng.uniform((0.08, 0.08), (0.92, 0.92)) * (width, height)
    corners = centre + ring * (1, rng.uniform(0.6, 1.4))
    there = np.zeros((height, width), np.float32)
    cv2.fillPoly(there, [np.rint(corners * 8).astype(np.int32)], 1.0, lineType=cv2.LINE_8, shift=3)
    return np.asarray(cv2.GaussianBlur(there, (0, 0), soft_px), np.float32)


def _ring(rng: np.random.Generator, corners: int, roughness: float) -> NDArray[np.float64]:
    """Return so many corners of an uneven circle around 0, radius about 1; float64 [corners, 2]."""
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    radii = 1 + roughness * rng.standard_normal(corners)
    return np.asarray(radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1), np.float64)


def _blowhole(rng: np.random.Generator, height: int, width: int) -> tuple[Field, float]:
    """A small dark pore."""
    there = _blob(rng, height, width, rng.uniform(2.5, 7), soft_px=0.9)
    return there / there.max(), rng.uniform(-75, -30)


def _crack(rng: np.random.Generator, height: int, width: int) -> tuple[Field, float]:
    """A thin dark line that wanders."""
    steps, heading = int(rng.integers(10, 50)), rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.35, 50))
    way = 4 * np.cumsum(np.stack([np.cos(heading), np.sin(heading)], 1), 0)[:steps]
    low, high = 3 - way.min(0), np.array([width, height]) - 4 - way.max(0)
    way += np.where(high > low, rng.uniform(np.minimum(low, high), np.maximum(low, high)), low)
    there = np.zeros((height, width), np.float32)
    cv2.polylines(there, [np.rint(way).astype(np.int32)], False, 1.0, int(rng.choice([1, 1, 2])))
    there = cv2.GaussianBlur(there, (0, 0), 0.8)
    return np.asarray(there / there.max(), np.float32), rng.uniform(-70, -25)


def _break(rng: np.random.Generator, height: int, width: int) -> tuple[Field, float]:
    """A chip out of an edge, rough inside."""
    middle = rng.uniform((0, 0), (width, height))
    side = rng.integers(4)
    middle[side % 2] = (0, 0, width, height)[side]
    corners = middle + rng.uniform(12, 55) * _ring(rng, 16, 0.15)
    there = np.zeros((height, width), np.float32)
    cv2.fillPoly(there, [np.rint(corners).astype(np.int32)], 1.0)
    rough = np.clip(1 + 0.3 * _noise(rng, height, width, (3, 3)), 0.4, 1.6)
    there = cv2.GaussianBlur(there, (0, 0), 0.8) * rough
    return np.asarray(there, np.float32), rng.choice([-1, -1, 1]) * rng.uniform(25, 75)


def _fray(rng: np.random.Generator, height: int, width: int) -> tuple[Field, float]:
    """A patch whose surface is worn: lighter and rough."""
    patch = _blob(rng, height, width, rng.uniform(12, 45), soft_px=3.0)
    rough = np.clip(1 + 0.6 * _noise(rng, height, width, (2, 2)), 0.4, 2)
    return np.asarray(patch / patch.max() * rough, np.float32), rng.uniform(12, 30)


def _uneven(rng: np.random.Generator, height: int, width: int) -> tuple[Field, float]:
    """A band at one end that was ground otherwise, with a soft border."""
    along = np.linspace(0, 1, height, dtype=np.float32)[:, None] + 0.03 * _noise(rng, height, width, (60, 60))
    if rng.random() < 0.5:
        along = 1 - along
    there = 1 / (1 + np.exp((along - rng.uniform(0.15, 0.45)) / rng.uniform(0.01, 0.05)))
    return np.asarray(there, np.float32), rng.choice([-1, 1]) * rng.uniform(14, 40)


KINDS: dict[str, Callable[[np.random.Generator, int, int], tuple[Field, float]]] = {
    "blowhole": _blowhole,
    "crack": _crack,
    "fray": _fray,
    "break": _break,
    "uneven": _uneven,
}
SHARES = {"blowhole": 0.09, "crack": 0.045, "fray": 0.025, "break": 0.065, "uneven": 0.08}
"""Of all tiles."""
