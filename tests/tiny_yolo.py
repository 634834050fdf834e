"""A data set in YOLO's layout, small enough for a test; a picture's name begins with its day."""

from pathlib import Path

import cv2

from tests.models import spot_picture


def write_tiny_yolo(folder: Path, pictures: int = 4) -> Path:
    """Write pictures of one bright spot each, and their labels."""
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for number in range(pictures):
        name = f"{number % 2}-{number}"
        cv2.imwrite(str(folder / "images" / f"{name}.png"), spot_picture(64, 64, [(1, 1, 200)]))
        (folder / "labels" / f"{name}.txt").write_text("0 0.375 0.375 0.25 0.25\n")
    (folder / "classes.txt").write_text("spot\n")
    return folder
