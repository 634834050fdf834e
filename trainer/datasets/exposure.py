"""One picture of a part as it would be under the light, and with the exposure, of another."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from appliance.events import Pixels

BIN_LEVELS, LEAST_SHARE = 8, 0.001
"""Grey levels that are taken together, and the share of the picture that must have them."""

LEAST_SLOPE = 0.1
"""What depends less on the other picture shows noise, which says nothing about light."""

MOST_GAIN = 2.0
"""Twice the light or half of it; beyond that another thing is shown."""

Grey = NDArray[np.uint8]
Levels = NDArray[np.float64]


def as_bright(reference: Pixels, picture: Pixels) -> Pixels:
    """Return a reference with a picture's exposure: in each channel one gain and offset.

    Args:
        reference: uint8 [height, width, channels], laid over the picture.
        picture: the same shape.
    """
    channels = [(reference[:, :, at], picture[:, :, at]) for at in range(picture.shape[2])]
    return np.stack([cv2.LUT(one, _table(one[::4, ::4], other[::4, ::4])) for one, other in channels], axis=2)


def _table(reference: Grey, picture: Grey) -> Grey:
    """Return which grey level becomes which: medians of what the picture shows for each level, and most of them agree.

    So a defect has no say, and neither has ground that is all of one grey, however much of it there is.
    """
    bins = reference // BIN_LEVELS
    found = []
    for at in range(-(-256 // BIN_LEVELS)):
        its = bins == at
        if (count := int(its.sum())) >= max(1, LEAST_SHARE * reference.size):
            found.append((float(np.median(reference[its])), float(np.median(picture[its])), float(count)))
    levels, answers, counts = np.array(found).T
    slope = _slope(levels, answers, counts)
    gain = float(np.clip(slope, 1 / MOST_GAIN, MOST_GAIN)) if slope >= LEAST_SLOPE else 1.0
    offset = _weighted_median(answers - gain * levels, counts)
    return np.asarray(np.clip(np.rint(gain * np.arange(256) + offset), 0, 255), np.uint8)


def _slope(levels: Levels, answers: Levels, counts: Levels) -> float:
    """Return the slope between most pairs of levels (Theil and Sen), those far apart first; 0 of a single level."""
    first, second = np.triu_indices(len(levels), 1)
    if not len(first):
        return 0.0
    apart = levels[second] - levels[first]
    slopes = (answers[second] - answers[first]) / apart
    return _weighted_median(slopes, np.minimum(counts[first], counts[second]) * np.square(apart))


def _weighted_median(values: Levels, weights: Levels) -> float:
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])
