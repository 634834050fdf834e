"""The reference picture as the second half of what a model sees, laid over the part as the device lays it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from appliance.bundle.geometry import with_reference
from appliance.errors import ConfigError
from appliance.optics.alignment import align
from trainer.datasets.sample import Sample, load_picture

SHIFT_PX = 0.5
TURN_DEG = 0.1
"""Spread (standard deviation) of what is left of a misplacement after the alignment, as training shows it."""


def load_input(sample: Sample, channels: int, picture: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """Decode what a model of so many channels is shown of a sample, its reference laid over it as on the device.

    Args:
        sample: with a reference, if the model compares.
        channels: 1 (grey) or 3 (RGB); 2 or 6 with the reference behind the picture.
        picture: shown instead of the sample's own, uint8 [height, width, 1 or 3]; None to decode that.

    Returns:
        uint8 [height, width, channels].

    Raises:
        ConfigError: A file is missing or damaged, or there is no reference.
    """
    own = picture is None
    if picture is None:
        picture = load_picture(sample.image, channels if channels % 2 else channels // 2)
    if channels % 2:
        return picture
    if sample.reference is None:
        raise ConfigError(f"{sample.image}: has no reference picture, and the model compares with one; name one")
    if own and sample.reference == sample.image:
        return with_reference(picture, picture, channels // 2)
    reference = load_picture(sample.reference, channels // 2)
    return with_reference(picture, align(reference, picture).pixels, channels // 2)


def misplaced(reference: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Move a reference by what an alignment may leave.

    Args:
        reference: uint8 [side, side, channels].
        rng: the crop's own generator.

    Returns:
        A new picture; what comes in at the border repeats it.
    """
    side = reference.shape[0]
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), float(rng.normal(0, TURN_DEG)), 1.0)
    turn[:, 2] = turn[:, 2] + rng.normal(0, SHIFT_PX, 2)
    moved = cv2.warpAffine(reference, turn, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8).reshape(reference.shape)
