"""A data set small enough to train on in a test: grey squares with bright ("scratch") and dark ("dent") spots."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from appliance.events import Pixels

CLASSES = ("scratch", "dent")


def write_tiny_boards(folder: Path, *, pictures: int = 12, groups: int = 3, side_px: int = 96, seed: int = 0) -> Path:
    """Write pictures and their COCO file; every fourth picture is a good part."""
    rng = np.random.default_rng(seed)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(pictures):
        pixels = rng.integers(100, 130, (side_px, side_px), dtype=np.uint8)
        name = f"{number:03d}.png"
        images.append({"id": number, "file_name": name, "group": f"family{number % groups}"})
        for _ in range(0 if number % 4 == 3 else 2):
            kind = int(rng.integers(2))
            x, y = (int(v) for v in rng.integers(0, side_px - 24, 2))
            pixels[y : y + 20, x : x + 20] = 250 if kind == 0 else 5
            annotations.append(
                {"id": len(annotations), "image_id": number, "category_id": kind + 1, "bbox": [x, y, 20, 20]}
            )
        cv2.imwrite(str(folder / name), pixels)
    categories = [{"id": index + 1, "name": name} for index, name in enumerate(CLASSES)]
    path = folder / "annotations.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def board(seed: int = 0, side_px: int = 96) -> Pixels:
    """Draw an artwork that no other seed has."""
    coarse = np.random.default_rng(seed).integers(40, 190, (12, 12)).astype(np.uint8)
    return cv2.resize(coarse, (side_px, side_px), interpolation=cv2.INTER_NEAREST)  # type: ignore[return-value]
