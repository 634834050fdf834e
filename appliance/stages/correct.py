"""correct: what a view's picture is worth before the model sees it: form, light, focus, placement, reference."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from appliance.events import Frame, ImageStatistics
from appliance.optics.placement import measure_offset
from appliance.optics.reference import LaidReference, Reference, lay, misplacements
from appliance.optics.statistics import measure
from appliance.recipe import View


@dataclass(frozen=True, slots=True)
class CorrectedView:
    """What was measured on one view's picture.

    statistics: of the inspected part, None if the pixels are no picture at all.
    offset_px: x, y in pixels, None if the recipe has no placement check or the part was not found.
    """

    statistics: ImageStatistics | None
    offset_px: tuple[float, float] | None


def is_as_agreed(frame: Frame, view: View) -> bool:
    """Tell whether a picture has the recipe's size and channels.

    If not, the model must not see it, and decide answers FAULT(wrong_picture).
    """
    return frame.pixels.dtype == np.uint8 and frame.pixels.shape == (view.height_px, view.width_px, view.channels)


def correct(frame: Frame, view: View) -> CorrectedView:
    """Check and measure one view's picture.

    Nothing is judged here: decide compares the measures with the recipe's limits. Light and focus are measured on
    the inspected part alone, so that a bright clamp outside the crop does not hide a dark part.

    Args:
        frame: pixels uint8, shape (height, width, channels), row 0 on top.
        view: the recipe's view of the same name.

    Returns:
        The measures; a wrong picture is measured as a whole, for the record.
    """
    pixels = frame.pixels
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or 0 in pixels.shape:
        return CorrectedView(None, None)
    if not is_as_agreed(frame, view):
        return CorrectedView(measure(pixels), None)
    region = view.region
    inspected = pixels[region.y_px : region.y_px + region.height_px, region.x_px : region.x_px + region.width_px]
    offset_px = measure_offset(pixels, view.placement) if view.placement else None
    return CorrectedView(measure(inspected), offset_px)


def lay_reference(frame: Frame, view: View, references: Sequence[Reference]) -> LaidReference | None:
    """Lay the best matching reference over the part, so that the model sees both in one place.

    Args:
        frame: pixels uint8, shape (height, width, channels), row 0 on top.
        view: the recipe's view of the same name.
        references: of that view, as bound; none if it is not compared.

    Returns:
        How the part lies, and the reference moved there; None if there is none or the picture is not as agreed.
    """
    if view.reference is None or not references or not is_as_agreed(frame, view):
        return None
    return lay(references, frame.pixels)


def may_be_shown(frame: Frame, view: View, laid: LaidReference | None) -> bool:
    """Tell whether the model may see a picture: as agreed and, where there is a reference, in its place.

    If not, decide answers FAULT, by the same limits.

    Args:
        frame: of the view.
        view: the recipe's view of the same name.
        laid: what lay_reference gave for it.
    """
    if not is_as_agreed(frame, view):
        return False
    if view.reference is None:
        return True
    return laid is not None and not any(misplacements(laid.alignment, view.reference))
