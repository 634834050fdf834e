"""Where a picture and its reference, laid over it, show a part unlike each other, whatever the exposure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from appliance.events import Box, Pixels
from appliance.optics.alignment import Alignment
from trainer.datasets.exposure import as_bright

EDGE_PX = 3
"""An edge may lie so far in x and y from where the other picture has it, frayed or not quite in place."""

THICKNESS_PX = 3
"""Of what is left then; a thinner rest is an edge that lies a little farther off, or noise."""

LEAST_DIFFERENCE = 0.25
"""Of all that a picture shows from dark to light (without the outermost hundredth)."""

LEAST_GREY_LEVELS = 32.0
"""However little a picture shows from dark to light."""

SHARE_OF_A_BOX = 0.5
"""Of a difference: it is marked if so much of it lies in a box."""

Grey = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Difference:
    """A place that one of two pictures shows otherwise.

    Args:
        box: around it, in pixels of the picture.
        thickness_px: of its thickest part; the rest of an edge that lies elsewhere may be long, and is thin.
        is_of_reference: whether it is the reference that shows something there, as far as one can tell.
    """

    box: Box
    thickness_px: float
    is_of_reference: bool

    def words(self) -> str:
        """Say where it is, and which of the two shows it."""
        x1, y1, x2, y2 = (round(side) for side in self.box)
        which = (
            "its reference shows what it does not" if self.is_of_reference else "it shows what its reference does not"
        )
        return f"{which}, at x {x1} to {x2}, y {y1} to {y2}"


def differences(picture: Pixels, laid: Alignment, boxes: Sequence[Box]) -> list[Difference]:
    """Find where a picture and its reference differ and no box is, whatever the exposure; uneven light is a difference.

    Args:
        picture: uint8 [height, width, 1 or 3].
        laid: the reference in the picture's place.
        boxes: of what is marked; EDGE_PX around them is theirs.

    Returns:
        The places, the thickest first.
    """
    shown = picture, laid.pixels
    if all((pixels == pixels[:, :, :1]).all() for pixels in shown):  # no colour
        shown = picture[:, :, :1], laid.pixels[:, :, :1]
    picture, reference = shown[0], as_bright(shown[1], shown[0])
    low, high = np.percentile(picture[::4, ::4], (1, 99))
    least = max(LEAST_GREY_LEVELS, LEAST_DIFFERENCE * float(high - low))
    of_picture, of_reference = (_alone(*both) > least for both in ((picture, reference), (reference, picture)))
    there = (of_picture | of_reference).astype(np.uint8) & _covered(laid)
    thick = np.ones((THICKNESS_PX, THICKNESS_PX), np.uint8)
    there = np.asarray(cv2.morphologyEx(there, cv2.MORPH_OPEN, thick), np.uint8)
    _, numbers, places, _ = cv2.connectedComponentsWithStats(there, connectivity=8)
    marked = _marked(there.shape, boxes)
    found = []
    for number, (x, y, width, height, pixels) in enumerate(places.tolist()[1:], 1):
        place = np.s_[y : y + height, x : x + width]
        its = numbers[place] == number
        if (marked[place] & its).sum() >= SHARE_OF_A_BOX * pixels:
            continue
        is_of_reference = bool((of_reference[place] & its).sum() > (of_picture[place] & its).sum())
        depths_px = cv2.distanceTransform(np.pad(its, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        found.append(Difference((x, y, x + width, y + height), 2 * float(depths_px.max()) - 1, is_of_reference))
    return sorted(found, key=lambda difference: -difference.thickness_px)


def _alone(one: Pixels, other: Pixels) -> Grey:
    """Return by how much each pixel of one lies outside all that the other shows within EDGE_PX, in some channel."""
    near = np.ones((2 * EDGE_PX + 1, 2 * EDGE_PX + 1), np.uint8)
    above, below = cv2.subtract(one, cv2.dilate(other, near)), cv2.subtract(cv2.erode(other, near), one)
    return np.asarray(np.maximum(above, below).reshape(*one.shape[:2], -1).max(axis=2), np.uint8)


def _covered(laid: Alignment) -> Grey:
    """Return 1 where the moved reference still shows something, a border of EDGE_PX less; uint8 [height, width]."""
    height, width = laid.pixels.shape[:2]
    whole = np.ones((height, width), np.uint8)
    there = cv2.warpAffine(whole, laid.motion(), (width, height), flags=cv2.INTER_NEAREST)
    near = np.ones((2 * EDGE_PX + 1, 2 * EDGE_PX + 1), np.uint8)
    return np.asarray(cv2.erode(there, near, borderType=cv2.BORDER_CONSTANT, borderValue=0), np.uint8)


def _marked(shape: tuple[int, ...], boxes: Sequence[Box]) -> NDArray[np.bool_]:
    there = np.zeros(shape, bool)
    for x1, y1, x2, y2 in boxes:
        rows, columns = (
            slice(max(0, int(low) - EDGE_PX), max(0, int(np.ceil(high)) + EDGE_PX))
            for low, high in ((y1, y2), (x1, x2))
        )
        there[rows, columns] = True
    return there
