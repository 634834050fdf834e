"""Where the part lies in the picture: small reference patches are looked for near their place."""

import base64
import binascii
import math
from functools import cached_property
from typing import Annotated

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from appliance.bundle.geometry import to_channels
from appliance.documents import Section
from appliance.events import Pixels

MARGIN_PX = 4
"""How much farther than max_offset_px the search goes, so that a part just outside is measured, not only missed."""

MIN_SPREAD = 4.0
"""Grey values; a patch that is flatter than this looks the same everywhere."""


class Patch(Section):
    """A cut-out of a good part's picture with one clear mark; x_px and y_px are its left upper corner in the frame.

    png is the grey picture as PNG in base64, 8 to 128 pixels a side, so that the recipe's digest covers it.
    """

    x_px: Annotated[int, Field(ge=0)]
    y_px: Annotated[int, Field(ge=0)]
    png: Annotated[str, Field(min_length=1, max_length=40_000)]

    @cached_property
    def template(self) -> NDArray[np.uint8]:
        """The decoded patch: uint8, shape (height, width)."""
        try:
            content = base64.b64decode("".join(self.png.split()), validate=True)
        except binascii.Error as error:
            raise ValueError(f"png is not base64 ({error}); make the patch again") from error
        if not _is_small_png(content):
            raise ValueError("png is not a PNG of 8 to 128 pixels a side; make the patch again")
        decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE)
        if decoded is None:
            raise ValueError("png is damaged; make the patch again")
        return np.asarray(decoded, dtype=np.uint8)

    @model_validator(mode="after")
    def _has_a_mark(self) -> "Patch":
        if float(self.template.std()) < MIN_SPREAD:
            raise ValueError("the patch is flat, so it would be found anywhere; choose a place with a clear mark")
        return self

    def fits(self, width_px: int, height_px: int) -> bool:
        """Tell whether the patch lies in a picture of this size."""
        height, width = (int(side) for side in self.template.shape)
        return self.x_px + width <= width_px and self.y_px + height <= height_px


class PlacementCheck(Section):
    """How far the part may lie from where the recipe's author had it.

    max_offset_px is the largest allowed distance of any patch; min_match (0..1) the least correlation that counts as
    found. Two patches far apart also show a rotation.
    """

    max_offset_px: Annotated[float, Field(gt=0.0, le=64.0)]
    min_match: Annotated[float, Field(ge=0.3, le=1.0)] = 0.7
    patches: Annotated[tuple[Patch, ...], Field(min_length=1, max_length=4)]


def cut_patch(pixels: Pixels, x_px: int, y_px: int, side_px: int = 48) -> Patch:
    """Make a patch from a good part's picture, for the recipe.

    Args:
        pixels: uint8, shape (height, width, 1 or 3), a whole frame.
        x_px: left edge of the patch.
        y_px: upper edge of the patch.
        side_px: its width and height, 8..128.

    Returns:
        The patch; its png goes into the recipe.

    Raises:
        ValueError: outside the picture, too small or large, or flat.
    """
    cut = to_channels(pixels, 1)[y_px : y_px + side_px, x_px : x_px + side_px]
    if cut.shape[:2] != (side_px, side_px):
        raise ValueError(f"a patch of {side_px} px at {x_px}, {y_px} does not lie in the picture {pixels.shape}")
    content = cv2.imencode(".png", np.ascontiguousarray(cut))[1].tobytes()
    return Patch(x_px=x_px, y_px=y_px, png=base64.b64encode(content).decode("ascii"))


def measure_offset(pixels: Pixels, check: PlacementCheck) -> tuple[float, float] | None:
    """Look for every patch and return how far the farthest one is from its place.

    Normalised correlation, because it does not mind the lamp; whole pixels, because the limit is several.

    Args:
        pixels: uint8, shape (height, width, 1 or 3), the whole frame in the recipe's size.
        check: the view's patches and limits.

    Returns:
        x, y in pixels (positive: the part lies right of, below its place); None if any patch was not found.
    """
    worst = (0.0, 0.0)
    for patch in check.patches:
        found = _find(pixels, patch, math.ceil(check.max_offset_px) + MARGIN_PX, check.min_match)
        if found is None:
            return None
        worst = max(worst, found, key=lambda offset: math.hypot(*offset))
    return worst


def _find(pixels: Pixels, patch: Patch, reach_px: int, min_match: float) -> tuple[float, float] | None:
    template = patch.template
    height, width = template.shape
    x0, y0 = max(0, patch.x_px - reach_px), max(0, patch.y_px - reach_px)
    window = pixels[y0 : patch.y_px + height + reach_px, x0 : patch.x_px + width + reach_px]
    if window.shape[0] < height or window.shape[1] < width:
        return None
    grey = np.ascontiguousarray(to_channels(window, 1)[:, :, 0])
    match = cv2.matchTemplate(grey, template, cv2.TM_CCOEFF_NORMED)
    y, x = np.unravel_index(int(np.argmax(np.nan_to_num(match, nan=-1.0, posinf=-1.0))), match.shape)
    centre = grey[y : y + height, x : x + width]
    if not match[y, x] >= min_match or float(centre.std()) < MIN_SPREAD / 4:
        return None
    return float(x0 + x - patch.x_px), float(y0 + y - patch.y_px)


def _is_small_png(content: bytes) -> bool:
    """Read the size from the header before anything is unpacked (PNG, section 11.2.2)."""
    if content[:8] != b"\x89PNG\r\n\x1a\n" or content[12:16] != b"IHDR" or len(content) < 33:
        return False
    sides = int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")
    return all(8 <= side <= 128 for side in sides)
