"""The reference picture as the second half of what a model sees, laid over the part as the device lays it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from appliance.bundle.geometry import with_reference
from appliance.errors import ConfigError
from appliance.optics.alignment import Alignment, align
from appliance.optics.reference import USUAL_SHIFT_PX, PlaceLimits, misplacements
from trainer.datasets.sample import Sample, load_picture
from trainer.progress import console

LIMITS = PlaceLimits(max_shift_px=USUAL_SHIFT_PX, max_rotation_deg=3.0, max_stretch_percent=2.0)
"""What lies otherwise against its reference hardly any station shows to its model: it is FAULT(misplaced)."""

SHIFT_PX = 0.5
TURN_DEG = 0.1
"""Spread (standard deviation) of what is left of a misplacement after the alignment, as training shows it."""


def misplacement(reference: Path, found: Alignment) -> str:
    """Say how a picture lies against its reference if it lies outside LIMITS; else nothing.

    Args:
        reference: the file, for the words.
        found: how it was laid over the picture.
    """
    return "; ".join(misplacements(found.against(str(reference)), LIMITS))


class MisplacedPairs:
    """Pictures that a station would not show to the model; each is told once, however often it is loaded."""

    def __init__(self) -> None:
        self._found: dict[Path, str] = {}
        self._told: set[Path] = set()

    def note(self, sample: Sample, found: Alignment) -> None:
        """Take down a picture that lies outside the limits; strike off one that lies within them now."""
        if sample.reference is not None and (words := misplacement(sample.reference, found)):
            self._found[sample.image] = words
        else:
            self._found.pop(sample.image, None)

    def holds(self, sample: Sample) -> bool:
        """Whether a picture that was loaded lies outside the limits."""
        return sample.image in self._found

    def tell(self) -> None:
        """Warn of the pictures that were noted since the last time: how many, and which is the first."""
        fresh = [image for image in self._found if image not in self._told]
        if not fresh:
            return
        self._told.update(fresh)
        console.print(
            f"warning: {len(fresh)} picture(s) do not lie over their reference; a station would answer "
            f"FAULT(misplaced) and not show them to the model. The first is {fresh[0]}: {self._found[fresh[0]]}. "
            "Name the right reference, or leave them out.",
            soft_wrap=True,
        )


misplaced_pairs = MisplacedPairs()
"""What load_input met in this process."""


def load_input(sample: Sample, channels: int, picture: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """Decode what a model of so many channels is shown of a sample, its reference laid over it as on the device.

    A sample's own picture that does not lie over its reference is noted in misplaced_pairs.

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
    found = align(reference, picture)
    if own:
        misplaced_pairs.note(sample, found)
    return with_reference(picture, found.pixels, channels // 2)


def misplaced(reference: NDArray[np.uint8], rng: np.random.Generator, shift_px: float = SHIFT_PX) -> NDArray[np.uint8]:
    """Move a reference by what an alignment may leave.

    Args:
        reference: uint8 [side, side, channels].
        rng: the crop's own generator.
        shift_px: spread of the shift; that of the turn goes with it.

    Returns:
        A new picture; what comes in at the border repeats it.
    """
    side = reference.shape[0]
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), float(rng.normal(0, TURN_DEG * shift_px / SHIFT_PX)), 1.0)
    turn[:, 2] = turn[:, 2] + rng.normal(0, shift_px, 2)
    moved = cv2.warpAffine(reference, turn, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8).reshape(reference.shape)
