"""Boards that exist nowhere, for pictures of binarised copper: there are more boards than any data set shows."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.surfaces.artwork import Board, frayed

SMALLEST, LARGEST = 0.8, 1.4
"""How much larger than it was drawn a board is shown."""

FRAYED_SHARE = 0.7
"""Share of the boards whose edges are uneven, as etching leaves them."""

EXCHANGED_SHARE = 0.15
"""Share of the boards on which copper and gap have changed places."""


def drawn_board(side: int, channels: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw the clean copper of a board: traces, vias, pads, pours.

    Args:
        side: of the picture in pixels.
        channels: all alike, since a reference behind the picture shows the same board.
        rng: the crop's own generator.

    Returns:
        uint8 [side, side, channels], copper dark.
    """
    copper = Board(rng, round(side / rng.uniform(SMALLEST, LARGEST))).copper
    if rng.random() < FRAYED_SHARE:
        copper = frayed(rng, copper)
    if rng.random() < EXCHANGED_SHARE:
        copper = 1 - copper
    grey = cv2.resize((1 - copper) * np.uint8(255), (side, side), interpolation=cv2.INTER_LINEAR)
    return np.repeat(np.asarray(grey, np.uint8)[:, :, None], channels, axis=2)
