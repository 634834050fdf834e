"""Two pictures of one part under other light, or exposed otherwise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from appliance.events import Pixels

FITS = 4
"""Each but the first to what fitted the one before, so that a defect counts for nothing."""

LEAST_SPREAD = 2.0
"""Grey levels (standard deviation); what shows less says nothing of how strong its light is."""

MOST_GAIN = 2.0
"""Twice the light or half of it; beyond that another thing is shown."""


def as_bright(reference: Pixels, picture: Pixels) -> Pixels:
    """Return a reference with a picture's exposure: in each channel spread and mean of what both show alike.

    Args:
        reference: uint8 [height, width, channels], laid over the picture.
        picture: the same shape.
    """
    fitted = [
        _fitted(*(pixels[:, :, channel] for pixels in (reference, picture))) for channel in range(picture.shape[2])
    ]
    return np.stack(fitted, axis=2)


def _fitted(reference: NDArray[np.uint8], picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    one, other = (pixels[::4, ::4].astype(np.float64).ravel() for pixels in (reference, picture))
    alike = np.ones(one.size, bool)
    gain, offset = 1.0, 0.0
    for _ in range(FITS):
        spread, wanted = one[alike].std(), other[alike].std()
        gain = float(np.clip(wanted / spread, 1 / MOST_GAIN, MOST_GAIN)) if min(spread, wanted) >= LEAST_SPREAD else 1.0
        offset = float(other[alike].mean() - gain * one[alike].mean())
        left = np.abs(other - gain * one - offset)
        alike = left <= 2.5 * np.median(left) + 1.0
    return np.asarray(np.clip(np.rint(gain * reference + offset), 0, 255), np.uint8)
