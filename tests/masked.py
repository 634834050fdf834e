"""Small pictures with masks, and what the command makes of them."""

import json
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from trainer.__main__ import main

WIDTH, HEIGHT = 64, 48
Box = tuple[int, int, int, int]
Read = dict[str, list[tuple[str, tuple[float, ...]]]]


def photo(path: Path) -> Path:
    """Write a picture as a camera takes it: of many values, and like no picture of another path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(zlib.crc32(str(path).encode())).normal(120, 20, (HEIGHT, WIDTH))
    assert cv2.imwrite(str(path), np.clip(pixels, 0, 255).astype(np.uint8))
    return path


def mask(path: Path, *marks: Box, values: tuple[int, ...] = (255,), ground: int = 0) -> Path:
    """Write a mask with rectangles (x, y, width, height); the last value is that of all further ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((HEIGHT, WIDTH), ground, np.uint8)
    for at, (x, y, width, height) in enumerate(marks):
        pixels[y : y + height, x : x + width] = values[min(at, len(values) - 1)]
    assert cv2.imwrite(str(path), pixels)
    return path


def imported(
    source: Path, *words: str, layout: str = "masks", name: Callable[[Path], str] = lambda path: path.stem
) -> Read:
    """Import, and tell of each picture the class and the box (x, y, width, height) of each defect."""
    out = source.parent / "out"
    assert main(["data", "import", "--from", layout, str(source), "--out", str(out), *words]) == 0
    content = json.loads((out / "annotations.json").read_text())
    (out / "annotations.json").unlink()
    labels = {item["id"]: item["name"] for item in content["categories"]}
    names = {item["id"]: name(Path(item["file_name"])) for item in content["images"]}
    found: Read = {name: [] for name in names.values()}
    for item in content["annotations"]:
        found[names[item["image_id"]]].append((labels[item["category_id"]], tuple(item["bbox"])))
    return found


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """Return what was said aside of the output, in one line."""
    return " ".join(capsys.readouterr().err.split())


def refused(capsys: pytest.CaptureFixture[str], source: Path, layout: str, *words: str) -> str:
    """Import what must be refused, and return why it was."""
    assert main(["data", "import", "--from", layout, str(source), "--out", str(source.parent / "out"), *words]) == 78
    assert not (source.parent / "out" / "annotations.json").exists()
    return said(capsys)
