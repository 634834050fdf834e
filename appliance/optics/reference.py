"""Pictures of good parts that a view is compared with: which they are, and how the part may lie against them."""

import hashlib
import math
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from appliance.bundle.manifest import Digest
from appliance.bundle.picture import decode, own_channels
from appliance.documents import Document, KeyPath, Section
from appliance.errors import ConfigError
from appliance.events import PartAlignment, Pixels
from appliance.optics.alignment import LARGEST_STRETCH, Aligner

USUAL_SHIFT_PX = 20.0
"""What a fixture usually leaves: the proposed max_shift_px, and the trainer's limit."""

USUAL_STRETCH_PERCENT = 1.0
"""Of a recipe that says nothing: about as much as a part could be longer when the reference was not stretched to it."""

MOST_STRETCH_PERCENT = 100 * LARGEST_STRETCH

TIMED_RUNS = 5

MIN_SPREAD = 4.0
"""Grey values; a reference that is flatter lies the same everywhere."""


class ReferencePicture(Section):
    """A picture of a good part: its file, as seen from the recipe's folder, and the SHA-256 (hex) of its bytes."""

    file: Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^[^\x00]+$")]
    sha256: Digest


class PlaceLimits(Section):
    """How a part may lie against its reference.

    max_shift_px is the largest allowed distance of the part from its place, at the middle of what the reference shows;
    max_rotation_deg the largest allowed turn either way; max_stretch_percent the largest share of its length or width
    by which it may be longer or shorter; min_match (0..1) the least likeness that counts as the same product.
    """

    max_shift_px: Annotated[float, Field(gt=0.0, le=64.0)]
    max_rotation_deg: Annotated[float, Field(gt=0.0, le=5.0)]
    max_stretch_percent: Annotated[float, Field(gt=0.0, le=MOST_STRETCH_PERCENT)] = USUAL_STRETCH_PERCENT
    min_match: Annotated[float, Field(ge=0.3, le=1.0)] = 0.7


class ReferenceCheck(PlaceLimits):
    """What the part is compared with, and how it may lie against that.

    Several pictures are variants of a good part; each part is compared with the one that matches best.
    """

    pictures: Annotated[tuple[ReferencePicture, ...], Field(min_length=1, max_length=8)]

    @model_validator(mode="after")
    def _names_each_picture_once(self) -> "ReferenceCheck":
        files = [picture.file for picture in self.pictures]
        repeated = sorted({file for file in files if files.count(file) > 1})
        if repeated:
            raise ValueError(f"the reference picture {repeated[0]} is named more than once; delete one of them")
        return self


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """A reference picture; file is its name in the recipe, pixels uint8, shape (height, width, 1 or 3).

    aligner: finds how parts lie against these pixels, whatever the view's limits are.
    """

    file: str
    pixels: Pixels
    aligner: Aligner


@dataclass(frozen=True, slots=True, eq=False)
class LaidReference:
    """The reference that matches a part best: how the part lies against it, and its pixels moved onto the part."""

    alignment: PartAlignment
    pixels: Pixels


def read_references(
    check: ReferenceCheck, shape: tuple[int, int, int], document: Document, at: KeyPath
) -> tuple[Reference, ...]:
    """Read and decode the reference pictures of one view.

    Args:
        check: the view's section.
        shape: the view's height, width and channels, which each picture must have.
        document: the recipe's file; the pictures lie as seen from its folder.
        at: where the section stands in it, for the messages.

    Returns:
        One reference for each picture, in their order.

    Raises:
        ConfigError: a picture is missing, damaged, another one than the SHA-256 says, flat, or not of the view's form.
    """
    references = []
    for position, picture in enumerate(check.pictures):
        here = (*at, "pictures", position)
        path = document.path.parent / picture.file
        content = read_picture(picture, document, here)
        try:
            pixels = decode_reference(content, str(path), shape)
        except ConfigError as error:
            problem, _, remedy = str(error).rpartition("; ")
            raise document.error((*here, "file"), problem, remedy) from error
        references.append(Reference(picture.file, pixels, Aligner(pixels)))
    return tuple(references)


def read_picture(picture: ReferencePicture, document: Document, at: KeyPath) -> bytes:
    """Read one reference picture: from the recipe's package, or from its folder.

    Args:
        picture: what the recipe says of it.
        document: the recipe's.
        at: where that stands in it, for the messages.

    Returns:
        The file's bytes.

    Raises:
        ConfigError: it is missing, or another one than the SHA-256 says.
    """
    if document.packed is not None:
        if picture.sha256 not in document.packed:
            problem = f"{picture.file} is not in the package"
            raise document.error((*at, "sha256"), problem, "pack the recipe again: `appliance pack-recipe`")
        return document.packed[picture.sha256]
    path = document.path.parent / picture.file
    try:
        content = path.read_bytes()
    except OSError as error:
        problem = f"{path} cannot be read ({error.strerror})"
        raise document.error((*at, "file"), problem, "correct the path, which begins at the recipe") from error
    if (digest := hashlib.sha256(content).hexdigest()) != picture.sha256:
        remedy = "restore the picture, or, if it is the right one, write this SHA-256 and raise the version"
        raise document.error((*at, "sha256"), f"{path} has the SHA-256 {digest}", remedy)
    return content


def decode_reference(
    content: bytes, origin: str, shape: tuple[int, ...] | None = None, whose: str = "the view"
) -> Pixels:
    """Decode a picture that parts will be compared with.

    Args:
        content: the file's bytes.
        origin: names it in messages.
        shape: height, width and channels that it must have; None takes any.
        whose: names in messages what has that shape.

    Returns:
        uint8, shape (height, width, 1 or 3), RGB.

    Raises:
        ConfigError: it is no picture, flat, or of another shape.
    """
    channels = own_channels(content)
    pixels = None if channels is None else decode(content, channels)
    if pixels is None:
        raise ConfigError(f"{origin} cannot be decoded; record a good part again, as PNG")
    if shape is not None and pixels.shape != shape:
        raise ConfigError(
            f"{origin} has {_form(pixels.shape)} and {whose} {_form(shape)}; "
            "record a good part with the station's own camera and settings"
        )
    if float(pixels.std()) < MIN_SPREAD:
        raise ConfigError(f"{origin} is flat, so no part has a place in it; record a good part under normal light")
    return pixels


def lay(references: Sequence[Reference], picture: Pixels) -> LaidReference:
    """Lay each reference over a part and keep the one that matches best.

    Args:
        references: at least one; of the picture's shape.
        picture: uint8, shape (height, width, 1 or 3), the whole frame.

    Returns:
        The best; whether it is good enough is what misplacements tells.
    """
    found = [(reference.file, reference.aligner(picture)) for reference in references]
    file, best = max(found, key=lambda item: item[1].match)
    return LaidReference(best.against(file), best.pixels)


def lay_ms(references: Sequence[Reference]) -> float:
    """Measure how long it takes on this device to lay the references of a view over a part.

    Args:
        references: at least one; the first, moved a little, is the part.

    Returns:
        Median in milliseconds.
    """
    part = np.roll(references[0].pixels, (3, 5), axis=(0, 1))
    lay(references, part)  # the first run is slower
    spent_ns = []
    for _ in range(TIMED_RUNS):
        began_ns = time.monotonic_ns()
        lay(references, part)
        spent_ns.append(time.monotonic_ns() - began_ns)
    return statistics.median(spent_ns) / 1e6


def misplacements(alignment: PartAlignment | None, check: PlaceLimits) -> Iterator[str]:
    """Tell in words which limits the place of a part breaks; nothing if it may be shown to the model.

    Each limit is written so that NaN breaks it.

    Args:
        alignment: how the part lies against its best reference; None if that was not found out.
        check: the view's limits.
    """
    if alignment is None:
        yield "the part was not compared with its reference"
        return
    against = f"against {alignment.reference}"
    distance_px, turn_deg = math.hypot(*alignment.shift_px), abs(alignment.rotation_deg)
    if not alignment.match >= check.min_match:
        yield f"the part matches {alignment.reference} by {alignment.match:.3f}, below {check.min_match:g}"
    if not distance_px <= check.max_shift_px:
        yield f"the part lies {distance_px:.1f} px off its place {against}, over {check.max_shift_px:g}"
    if not turn_deg <= check.max_rotation_deg:
        yield f"the part is turned by {turn_deg:.2f} degrees {against}, over {check.max_rotation_deg:g}"
    for way, percent in zip(("rows", "columns"), alignment.stretch_percent, strict=True):
        if not abs(percent) <= check.max_stretch_percent:
            over = f"over {check.max_stretch_percent:g}"
            yield f"the part is stretched by {percent:.2f} % along the picture's {way} {against}, {over}"


def _form(shape: tuple[int, ...]) -> str:
    height, width, channels = shape
    return f"{width}x{height} px and {channels} channel(s)"
