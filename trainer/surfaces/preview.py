"""One picture that shows generated samples with their truth, for people to look at."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.surfaces.sample import CLASSES, SurfaceSample, generate

COLUMNS, ROWS = 8, 5
_WHITE, _RED = (255, 255, 255), (40, 40, 255)


def contact_sheet(seed: int, first: int = 0, side: int = 256) -> NDArray[np.uint8]:
    """Draw 40 samples in rows of eight: picture above, reference below.

    Args:
        seed: of the set.
        first: index of the first sample.
        side: of a picture in pixels.

    Returns:
        uint8 [height, width, 3], blue first.
    """
    tiles = [_tile(generate(seed, first + number, side)) for number in range(COLUMNS * ROWS)]
    return np.vstack([np.hstack(tiles[row * COLUMNS : (row + 1) * COLUMNS]) for row in range(ROWS)])


def _tile(sample: SurfaceSample) -> NDArray[np.uint8]:
    picture, reference = (cv2.cvtColor(sample.pixels[:, :, i], cv2.COLOR_GRAY2BGR) for i in (0, 1))
    for (x1, y1, x2, y2), label in zip(sample.boxes.astype(int).tolist(), sample.labels.tolist(), strict=True):
        cv2.rectangle(picture, (x1, y1), (x2 - 1, y2 - 1), _RED, 1)
        cv2.putText(picture, CLASSES[label], (x1, max(9, y1 - 3)), cv2.FONT_HERSHEY_SIMPLEX, 0.38, _RED, 1, cv2.LINE_AA)
    small = cv2.resize(reference, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    below = np.full((small.shape[0], picture.shape[1], 3), 255, np.uint8)
    below[:, : small.shape[1]] = small
    words = (sample.material, f"{len(sample.labels)} defects" if len(sample.labels) else "sound")
    for line, text in enumerate(words):
        at = (small.shape[1] + 8, 24 + 22 * line)
        cv2.putText(below, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return np.asarray(cv2.copyMakeBorder(np.vstack((picture, below)), 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=_WHITE))
