"""From a mask's pixels to boxes and outlines: each connected region is one defect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from appliance.annotations.pictures import Outline
from appliance.errors import ConfigError
from trainer.datasets.layouts.found import Defect
from trainer.datasets.layouts.palette import Colours, check_colours, palette_numbers

Mask = NDArray[np.int32]
SMALL_PX = 3
"""A region with fewer pixels than these may be a speck that resampling left."""

LARGEST_NUMBER = 16
"""Where nothing in a mask is above it, its values are taken as numbers, not as brightness."""

BRIGHTEST = 1 << 30
"""No camera and no brush has more."""

SHARE_OF_A_DEFECT = 0.5

FEW_VALUES = 16
"""More values than these has only a picture, or a mask that was resampled: what is weak in it is edge or speck."""

LEAST_GROUND = 0.5
"""Share of a mask that its most frequent value covers, at least."""


def load_mask(path: Path, size: tuple[int, int], colours_seen: Colours | None = None) -> Mask:
    """Read a mask with its values as they are stored.

    Args:
        path: PNG, BMP or TIFF; a JPEG's values are not what was drawn.
        size: width and height of the picture in pixels.
        colours_seen: of the masks whose values are numbers of classes, what their palettes have; None if only what
            is marked matters.

    Returns:
        int32, shape (height, width), 0 the background; of a coloured mask, -1 wherever it is not black, or the
        numbers of its palette if `colours_seen`.

    Raises:
        ConfigError: It is no mask of this picture; the message says what to do.
    """
    if path.suffix.lower() in (".jpg", ".jpeg"):
        raise ConfigError(f"{path}: a JPEG blurs the values of a mask; save it as PNG")
    try:
        data = np.fromfile(path, np.uint8)
        pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    except (OSError, cv2.error) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); restore the mask") from error
    if pixels is None:
        raise ConfigError(f"{path}: cannot be decoded; restore the mask")
    if pixels.shape[:2] != size[::-1]:
        height, width = pixels.shape[:2]
        raise ConfigError(
            f"{path}: has {width} x {height} pixels, its picture {size[0]} x {size[1]}; save the mask as large"
        )
    if pixels.dtype.kind == "f":
        pixels = _whole(pixels, path, is_number=colours_seen is not None)
    if pixels.ndim == 2:
        return np.asarray(pixels, np.int32)
    colours = pixels[:, :, :3]
    is_grey = (colours == colours[:, :, :1]).all()
    if colours_seen is not None and not (is_grey and colours.max() <= LARGEST_NUMBER):
        numbers = palette_numbers(data.tobytes())
        if numbers is not None:
            check_colours(numbers, np.asarray(colours, np.uint8), path, colours_seen)
            return numbers
    alpha = pixels[:, :, -1]
    if pixels.shape[2] == 4 and (colours == colours[0, 0]).all() and (alpha != alpha[0, 0]).any():
        return np.asarray(alpha, np.int32)  # of one colour everywhere: only what is transparent shows the shape
    if is_grey:
        return np.asarray(colours[:, :, 0], np.int32)
    return -np.asarray(colours.any(axis=2), np.int32)


def _whole(values: NDArray[Any], path: Path, *, is_number: bool) -> NDArray[np.int32]:
    """Bring a mask of floats to whole numbers; of shares, as a net or a soft brush writes them, half and more marks.

    Args:
        values: as they are stored, of any shape.
        path: of the mask, for the message.
        is_number: whether they number classes.

    Raises:
        ConfigError: One is no number or no brightness, or they number classes and are not whole.
    """
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > BRIGHTEST:
        raise ConfigError(
            f"{path}: has pixels below 0, above {BRIGHTEST}, or that are no number; save it with 0 where all is well"
        )
    whole = np.rint(values)
    if (whole != values).any():
        if is_number:
            raise ConfigError(f"{path}: has fractions, and --classes names whole numbers; save a number in each pixel")
        if values.max() <= 1:
            whole = np.where(values >= SHARE_OF_A_DEFECT, 255, 0)
    return np.asarray(whole, np.int32)


def marked(mask: Mask) -> NDArray[np.bool_]:
    """Tell where a mask of one class shows a defect: where it is more than half as bright as its brightest pixel.

    A mask that was drawn with soft edges, or resampled, has values in between. Numbers all show a defect; where there
    are few values, so do regions of three pixels and more that are weaker than the others.

    Args:
        mask: int32, as `load_mask` gives it.

    Returns:
        Of the same shape.
    """
    brightest = int(mask.max())
    if brightest <= LARGEST_NUMBER:
        return np.asarray(mask != 0)
    strong = np.asarray(mask * 2 > brightest)
    if len(np.unique(mask)) <= FEW_VALUES:
        _, regions, boxes, _ = cv2.connectedComponentsWithStats((mask != 0).astype(np.uint8), connectivity=8)
        is_weak = ~np.isin(np.arange(len(boxes)), regions[strong]) & (boxes[:, cv2.CC_STAT_AREA] >= SMALL_PX)
        strong |= is_weak[regions] & (mask != 0)
    return strong


def shows_a_picture(mask: Mask) -> bool:
    """Tell whether what was read as a mask is a picture: no value covers half of it, or most of it is coloured.

    Args:
        mask: int32, as `load_mask` gives it.
    """
    values, counts = np.unique(mask, return_counts=True)
    return bool(counts.max() < LEAST_GROUND * mask.size or values[counts.argmax()] < 0)


def defects_of(mask: Mask, labels: tuple[str, ...], path: Path) -> list[Defect]:
    """Find the regions; two that touch, by a corner too, are one if they have one class.

    Args:
        mask: int32, 0 the background.
        labels: one name for all that is `marked`, or the names of the values 1, 2, ...
        path: of the mask, for the message.

    Returns:
        Box and outlines of each region, class by class, from top to bottom; an outline runs through the centres of
        the region's outermost pixels.

    Raises:
        ConfigError: A value has no name.
    """
    if len(labels) == 1:
        mask = marked(mask).astype(np.int32)
    found = []
    for value in np.unique(mask[mask != 0]).tolist():
        if not 1 <= value <= len(labels):
            seen = "a colour" if value < 0 else f"the value {value}"
            raise ConfigError(
                f"{path}: has {seen}, --classes names the grey values 1 to {len(labels)}; "
                "name more classes, or save the mask grey with the class's number in each pixel"
            )
        count, regions, boxes, _ = cv2.connectedComponentsWithStats((mask == value).astype(np.uint8), connectivity=8)
        for number in range(1, count):
            x, y, width, height, area = (int(value) for value in boxes[number])
            region = (regions[y : y + height, x : x + width] == number).astype(np.uint8)
            box = (float(x), float(y), float(x + width), float(y + height))
            found.append(Defect(labels[value - 1], box, _outlines(region, x, y), area_px=area))
    return found


def _outlines(region: NDArray[np.uint8], x: int, y: int) -> tuple[Outline, ...]:
    contours, _ = cv2.findContours(region, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    drawn = [contour.reshape(-1) for contour in contours if len(contour) >= 3]
    if not drawn:  # a point or a line has no polygon through its pixels' centres: its box is its outline
        height, width = region.shape
        return ((float(x), float(y), float(x + width), float(y), float(x + width), float(y + height),
                 float(x), float(y + height)),)  # fmt: skip
    return tuple(tuple(float(value) + 0.5 + (y if at % 2 else x) for at, value in enumerate(c.tolist())) for c in drawn)
