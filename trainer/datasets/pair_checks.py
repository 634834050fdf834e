"""What a picture and its reference show unlike each other, where nobody marked a defect."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from appliance.annotations.pictures import LabelledPicture
from appliance.events import Box
from appliance.optics.alignment import Alignment, align
from trainer.datasets.examination import Examined
from trainer.datasets.findings import Case, Finding
from trainer.datasets.sample import load_picture
from trainer.progress import tracked
from trainer.references import misplacement

REACH_PX = 3
"""An edge may lie so far from where the other picture has it: frayed, or not quite in place. It is no difference."""

THICKNESS_PX = 3
"""Of what is left then; a thinner rest is an edge that lies a little farther off, or noise."""

LEAST_DIFFERENCE = 0.25
"""Of all that a picture shows from dark to light (without the outermost hundredth): more than uneven light makes."""

LEAST_GREY_LEVELS = 32
"""However little a picture shows from dark to light."""

Grey = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Difference:
    """A place that one of two pictures shows otherwise.

    Args:
        box: around it, in pixels.
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


@dataclass(frozen=True, slots=True)
class Held:
    """What comes of holding a picture against its reference.

    Args:
        misplacement: how it lies otherwise than a station takes it, in words; empty if it does not.
        differences: that nobody marked, the thickest first; of what is misplaced none are looked for.
    """

    misplacement: str
    differences: tuple[Difference, ...]


def check_pairs(examined: Examined) -> Iterator[Finding]:
    """Look for pictures that do not lie over their reference, and for what nobody marked where they do.

    Args:
        examined: all pictures.

    Yields:
        One finding per check, also where all is well.
    """
    found = [(at, held) for at, _, held in pairs(examined)]
    yield Finding(
        "pictures that do not lie over their reference",
        False,
        "a station would answer FAULT(misplaced), and not show them to the model",
        "name the right reference, or leave them out",
        tuple(Case((at,), held.misplacement) for at, held in found if held.misplacement),
    )
    differing = [(at, held.differences) for at, held in found if held.differences]
    differing.sort(key=lambda both: -both[1][0].thickness_px)
    yield Finding(
        "differences that nobody marked",
        False,
        f"by more than {LEAST_DIFFERENCE:.0%} of the contrast, more than {REACH_PX} pixels from any edge, where no box "
        "is: a defect without a box, or a reference that is not good; what shows it is learned and judged as good",
        "mark it, or name a reference without it; a template that has one is no good part: leave it out of --good-list",
        tuple(Case((at,), words_of(found), found[0].box) for at, found in differing),
    )


def words_of(found: Sequence[Difference]) -> str:
    """Say where the thickest of a picture's differences is, and how many there are."""
    return found[0].words() + (f"; {len(found)} such places" if len(found) > 1 else "")


def pairs(examined: Examined) -> Iterator[tuple[int, Path, Held]]:
    """Hold all pictures against their references.

    Args:
        examined: all pictures; those that are their own reference, or cannot be compared, are left out.

    Yields:
        Index of a picture, its reference, and what comes of it; in order.
    """
    for at, picture, reference in tracked(list(_comparable(examined)), "comparing with the references"):
        yield at, reference, held_against(reference, picture.path, [truth.box for truth in picture.boxes])


def _comparable(examined: Examined) -> Iterator[tuple[int, LabelledPicture, Path]]:
    sizes = examined.sizes()
    for at, picture, facts in examined.sound():
        path = picture.reference
        if path is not None and path != picture.path and sizes.get(path) == facts.size:
            yield at, picture, path


def held_against(reference: Path, image: Path, boxes: Sequence[Box]) -> Held:
    """Hold a picture against its reference, laid over it as on the device.

    Args:
        reference: of the same size.
        image: the picture.
        boxes: of the marked defects, x1, y1, x2, y2 in pixels.

    Raises:
        ConfigError: A file is missing or damaged.
    """
    shown = load_picture(image, 1)
    laid = align(load_picture(reference, 1), shown)
    words = misplacement(reference, laid)
    return Held(words, () if words else tuple(differences(shown[:, :, 0], laid, boxes)))


def differences(picture: Grey, laid: Alignment, boxes: Sequence[Box]) -> list[Difference]:
    """Find where a picture and its reference differ and no box is.

    Args:
        picture: uint8 [height, width].
        laid: the reference in the picture's place.
        boxes: of the marked defects; REACH_PX around them is theirs.

    Returns:
        The places, the thickest first.
    """
    reference = np.ascontiguousarray(laid.pixels[:, :, 0])
    low, high = np.percentile(np.stack([picture[::4, ::4], reference[::4, ::4]]), (1, 99))
    least = max(LEAST_GREY_LEVELS, LEAST_DIFFERENCE * (high - low))
    of_picture, of_reference = (_alone(*both) > least for both in ((picture, reference), (reference, picture)))
    thick = np.ones((THICKNESS_PX, THICKNESS_PX), np.uint8)
    there = np.asarray(cv2.morphologyEx((of_picture | of_reference).astype(np.uint8), cv2.MORPH_OPEN, thick), np.uint8)
    _cover(there, laid, boxes)
    _, numbers, places, _ = cv2.connectedComponentsWithStats(there, connectivity=8)
    depths_px = cv2.distanceTransform(there, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    found = []
    for number, (x, y, width, height, _) in enumerate(places.tolist()[1:], 1):
        place = np.s_[y : y + height, x : x + width]
        its = numbers[place] == number
        is_of_reference = bool((of_reference[place] & its).sum() > (of_picture[place] & its).sum())
        thickness_px = 2 * float((depths_px[place] * its).max())
        found.append(Difference((x, y, x + width, y + height), thickness_px, is_of_reference))
    return sorted(found, key=lambda difference: -difference.thickness_px)


def _alone(one: Grey, other: Grey) -> Grey:
    """Return by how much each pixel of one lies outside all that the other shows within REACH_PX, uint8."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * REACH_PX + 1, 2 * REACH_PX + 1))
    above, below = cv2.subtract(one, cv2.dilate(other, disc)), cv2.subtract(cv2.erode(other, disc), one)
    return np.asarray(cv2.max(above, below), np.uint8)


def _cover(there: Grey, laid: Alignment, boxes: Sequence[Box]) -> None:
    """Take out what is marked, and the border, where the reference ends that was moved."""
    height, width = there.shape
    turned_px = math.radians(abs(laid.rotation_deg)) * math.hypot(height, width) / 2
    margin = REACH_PX + math.ceil(max(abs(shift) for shift in laid.shift_px) + turned_px)
    inner = there[margin:-margin, margin:-margin].copy()
    there[:] = 0
    there[margin:-margin, margin:-margin] = inner
    for box in boxes:
        x1, y1 = (max(0, math.floor(side) - REACH_PX) for side in box[:2])
        x2, y2 = (math.ceil(side) + REACH_PX for side in box[2:])
        there[y1:y2, x1:x2] = 0
