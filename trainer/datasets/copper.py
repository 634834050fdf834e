"""Pictures of binarised copper, DeepPCB's: what the classes mean there, and whether pictures are such at all."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.annotations.deeppcb import CLASSES
from appliance.errors import ConfigError
from trainer.datasets.sample import Copper, Sample, load_picture, spread

COPPER = Copper(
    missing={name: CLASSES.index(name) for name in ("open", "mousebite", "pin_hole")}, opposites=(1, 0, 3, 2, 5, 4)
)
"""An open is the opposite of a short, a mousebite of a spur, a pin-hole of spurious copper."""

LOOKED_AT = 16
"""So many pictures tell of all: one camera made them."""

DARK_BELOW, BRIGHT_FROM = 96, 160
MOST_BETWEEN = 0.01
"""Share of the pixels that are neither dark nor bright; DeepPCB's own pictures have none at all."""

LEAST_OF_EACH = 0.01
"""Share of the pixels that are dark, and of those that are bright: a picture that is dark all over is no copper."""


def copper_of(layout: str, samples: Sequence[Sample]) -> Copper | None:
    """Return what the classes mean, if a data set is of binarised copper: its groups are boards then, and stay.

    Args:
        layout: "deeppcb" or another one.
        samples: of the data set; pictures that cannot be decoded are passed over.
    """
    return COPPER if layout == "deeppcb" and _are_two_valued(samples) else None


def _are_two_valued(samples: Sequence[Sample]) -> bool:
    """Tell whether pictures are black and white, by a few of them."""
    dark, bright, pixels = 0, 0, 0
    for sample in spread(samples, LOOKED_AT):
        try:
            picture = load_picture(sample.image, 1)
        except ConfigError:
            continue
        dark += int((picture < DARK_BELOW).sum())
        bright += int((picture >= BRIGHT_FROM).sum())
        pixels += picture.size
    is_two_valued = pixels - dark - bright <= MOST_BETWEEN * pixels
    return pixels > 0 and is_two_valued and min(dark, bright) >= LEAST_OF_EACH * pixels
