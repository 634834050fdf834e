"""Good parts to compare with: boards of blocks, how one lies under the camera, and what a recipe says of them."""

import hashlib
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from appliance.events import Pixels
from tests.models import CELL_PX

BLOCK_PX = 10
"""Not a divisor of the model's cells, and no number of blocks away does a board look like itself."""


def board(seed: int = 0, side_px: int = 320, channels: int = 1) -> Pixels:
    """Paint blocks of random grey, in tolerance of the tests' image limits."""
    blocks_a_side = -(-side_px // BLOCK_PX)
    blocks = np.random.default_rng(seed).integers(60, 180, (blocks_a_side, blocks_a_side, channels))
    return np.kron(blocks, np.ones((BLOCK_PX, BLOCK_PX, 1)))[:side_px, :side_px].astype(np.uint8)


def laid_down(
    pixels: Pixels,
    shift_px: tuple[float, float],
    turn_deg: float = 0.0,
    stretch_percent: tuple[float, float] = (0.0, 0.0),
) -> Pixels:
    """Turn a part clockwise around the picture's centre, stretch it along rows and columns, then shift it."""
    height, width = pixels.shape[:2]
    there = motion((width, height), shift_px, turn_deg, stretch_percent)
    moved = cv2.warpAffine(pixels, there, (width, height), borderMode=cv2.BORDER_REPLICATE)
    return moved.reshape(pixels.shape).astype(np.uint8)


def motion(
    size: tuple[int, int], shift_px: tuple[float, float], turn_deg: float, stretch_percent: tuple[float, float]
) -> NDArray[np.float64]:
    """Return how a part moves that is laid down so, for OpenCV; size is the picture's width and height."""
    angle, middle = math.radians(turn_deg), (np.array(size) - 1) / 2
    longer = 1 + np.array(stretch_percent) / 100
    turn = longer[:, None] * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return np.column_stack((turn, middle + shift_px - turn @ middle))


def with_defect(pixels: Pixels, column: int, row: int) -> Pixels:
    """Spoil three by three cells of a model that compares, so that it sees a whole one wherever the part lies."""
    bad = pixels.copy()
    cells = bad[row * CELL_PX : (row + 3) * CELL_PX, column * CELL_PX : (column + 3) * CELL_PX]
    cells[:] = np.where(cells < 128, 255, 0)
    return bad


def write_picture(path: Path, pixels: Pixels) -> dict[str, str]:
    """Write a picture without loss; its entry in a recipe that stands in the same folder."""
    cv2.imwrite(str(path), pixels if pixels.shape[2] == 1 else pixels[:, :, ::-1])
    return {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def reference_section(folder: Path, *boards: Pixels, **changes: Any) -> dict[str, Any]:
    """Write reference pictures; a recipe's section that names them wherever the recipe stands."""
    entries = [write_picture(folder / f"good_{number}.png", pixels) for number, pixels in enumerate(boards)]
    pictures = [entry | {"file": str(folder / entry["file"])} for entry in entries]
    return {"max_shift_px": 20, "max_rotation_deg": 1, "pictures": pictures} | changes
