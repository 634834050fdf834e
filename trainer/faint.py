"""Defects made fainter: what a model only just finds, or only just misses, where the data show nothing of the kind."""

from __future__ import annotations

import cv2
import numpy as np

from appliance.events import Pixels
from appliance.optics.alignment import align
from trainer.datasets.sample import Sample, load_picture

RIM_PX = 3
"""A defect reaches so far over its box."""


def without_defects(sample: Sample, picture: Pixels) -> Pixels:
    """Return a part as it would look without its defects: as its reference, else as what lies around them.

    Args:
        sample: whose picture it is; its boxes are where the defects are.
        picture: uint8 [height, width, 1 or 3].

    Returns:
        A new picture of the same shape.

    Raises:
        ConfigError: the reference is missing or damaged.
    """
    if sample.reference is not None and sample.reference != sample.image:
        laid = align(load_picture(sample.reference, picture.shape[2]), picture).pixels
        return laid.reshape(picture.shape)
    inside = np.zeros(picture.shape[:2], np.uint8)
    for x1, y1, x2, y2 in sample.boxes:
        top, left = max(0, int(y1) - RIM_PX), max(0, int(x1) - RIM_PX)
        inside[top : int(np.ceil(y2)) + RIM_PX, left : int(np.ceil(x2)) + RIM_PX] = 255
    around = cv2.inpaint(np.ascontiguousarray(picture), inside, RIM_PX, cv2.INPAINT_TELEA)
    return np.asarray(around, np.uint8).reshape(picture.shape)


def fainter(picture: Pixels, sound: Pixels, share: float) -> Pixels:
    """Return a picture with so much of its defects.

    Args:
        picture: uint8 [height, width, channels].
        sound: the same without defects.
        share: 1 leaves them as they are, 0 takes them away.
    """
    return np.asarray(cv2.addWeighted(picture, share, sound, 1 - share, 0), np.uint8).reshape(picture.shape)
