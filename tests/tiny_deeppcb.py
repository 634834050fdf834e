"""A data set in DeepPCB's own layout, small enough for a test: bright spots are defects, templates have none."""

import zlib
from pathlib import Path

import cv2
import numpy as np

from tests.models import spot_picture


def write_tiny_deeppcb(
    root: Path, groups: dict[str, int], list_name: str = "trainval.txt", score: int = 200, side_px: int = 64
) -> Path:
    """Write so many pairs for each group, and their list; score / 255 is what `tiny_bundle` finds in 64x64 pixels."""
    lines = []
    for group, pairs in groups.items():
        folder, labels = root / group / group, root / group / f"{group}_not"
        folder.mkdir(parents=True)
        labels.mkdir()
        for number in range(pairs):
            own = np.random.default_rng(zlib.crc32(f"{list_name}/{group}/{number}".encode()))
            artwork = own.integers(0, 8, (side_px, side_px, 1), dtype=np.uint8)  # else all would be copies of one
            for name, spots in (("test", [(1, 1, score)]), ("temp", [])):
                picture = spot_picture(side_px, side_px, spots)
                cv2.imwrite(str(folder / f"{number}_{name}.jpg"), np.where(picture < score, picture + artwork, picture))
            (labels / f"{number}.txt").write_text("16 16 32 32 1\n")
            lines.append(f"{group}/{group}/{number}.jpg {group}/{group}_not/{number}.txt")
    (root / list_name).write_text("\n".join(lines) + "\n")
    return root / list_name
