"""The recipe's section for pictures of good parts that others are compared with, once they are checked."""

import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from appliance.bundle.strict_json import in_words
from appliance.errors import ConfigError
from appliance.events import PartAlignment, Pixels
from appliance.optics.alignment import Aligner
from appliance.optics.reference import (
    MOST_STRETCH_PERCENT,
    USUAL_SHIFT_PX,
    USUAL_STRETCH_PERCENT,
    PlaceLimits,
    Reference,
    ReferenceCheck,
    ReferencePicture,
    decode_reference,
    lay,
    misplacements,
)

USUAL_ROTATION_DEG = 1.0

ROOM = 1.5
"""Of what good parts differ in length; so many times as much is allowed, where that is more than the usual limit."""


@dataclass(frozen=True, slots=True)
class CheckedPictures:
    """Reference pictures that are of one product.

    check: the recipe's section with the usual limits, but for the stretch where the pictures themselves have more.
    alignments: how each but the first lies against the first, in their order.
    """

    check: ReferenceCheck
    alignments: tuple[PartAlignment, ...]

    def in_yaml(self) -> str:
        """Return the section as it stands in a view of the recipe, under a comment that tells how the pictures lie."""
        first, *others = (json.dumps(picture.file, ensure_ascii=False) for picture in self.check.pictures)
        lines = [f"# how each lies against {first}"] if others else []
        for name, found in zip(others, self.alignments, strict=True):
            (x, y), (wide, high) = found.shift_px, found.stretch_percent
            lines.append(
                f"#   {name}: shift {x:.1f}, {y:.1f} px, rotation {found.rotation_deg:.2f} degrees, "
                f"stretch {wide:.2f}, {high:.2f} %, match {found.match:.3f}"
            )
        if self.check.max_stretch_percent > USUAL_STRETCH_PERCENT:
            lines.append("# more stretch than usual: half as much again as these differ by")
        lines.append("reference:")
        lines += [f"  {name}: {getattr(self.check, name):g}" for name in PlaceLimits.model_fields]
        lines.append("  pictures:")
        for name, picture in zip((first, *others), self.check.pictures, strict=True):
            lines += [f"    - file: {name}", f"      sha256: {picture.sha256}"]
        return "".join(f"{line}\n" for line in lines)


def check_pictures(paths: Sequence[Path], folder: Path) -> CheckedPictures:
    """Make sure that pictures can be the references of one view.

    Args:
        paths: one to eight pictures of good parts, the station's own.
        folder: where the recipe will stand.

    Returns:
        The recipe's section, its files as seen from the folder.

    Raises:
        ConfigError: a picture cannot be read, is flat, or is not of the first one's form or product.
    """
    entries: list[ReferencePicture] = []
    pictures: list[Pixels] = []
    for path in paths:
        content = _read(path)
        shape = pictures[0].shape if pictures else None
        pictures.append(decode_reference(content, str(path), shape, whose=str(paths[0])))
        entries.append(ReferencePicture(file=os.path.relpath(path, folder), sha256=hashlib.sha256(content).hexdigest()))
    try:
        check = ReferenceCheck(
            pictures=tuple(entries),
            max_shift_px=USUAL_SHIFT_PX,
            max_rotation_deg=USUAL_ROTATION_DEG,
            max_stretch_percent=MOST_STRETCH_PERCENT,
        )
    except ValidationError as error:
        raise ConfigError(f"{in_words(error)}; name one to eight pictures, each once") from error
    first = Reference(str(paths[0]), pictures[0], Aligner(pictures[0]))
    others = zip(paths[1:], pictures[1:], strict=True)
    alignments = tuple(_compare(first, path, pixels, check) for path, pixels in others)
    return CheckedPictures(check.model_copy(update={"max_stretch_percent": _stretch_limit(alignments)}), alignments)


def _stretch_limit(alignments: Sequence[PartAlignment]) -> float:
    """Propose a limit in percent, in tenths: the usual one, or more where good parts differ so."""
    seen = max((abs(percent) for found in alignments for percent in found.stretch_percent), default=0.0)
    return min(max(USUAL_STRETCH_PERCENT, math.ceil(10 * ROOM * seen) / 10), MOST_STRETCH_PERCENT)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); check the path and the permissions") from error


def _compare(first: Reference, path: Path, pixels: Pixels, check: ReferenceCheck) -> PartAlignment:
    found = lay([first], pixels).alignment
    if wrong := next(misplacements(found, check), None):
        raise ConfigError(f"{path}: {wrong}; give pictures of one product that lie alike and are of one length")
    return found
