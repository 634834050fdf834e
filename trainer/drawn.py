"""Boards that exist nowhere, for pictures of binarised copper: there are more boards than any data set shows."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.surfaces.artwork import Board, frayed
from trainer.surfaces.fields import Mask

LEAST_SCALE, MOST_SCALE = 0.8, 1.4
"""By what a board is scaled."""

FRAYED_SHARE = 0.7
"""Share of the boards whose edges are uneven, as etching leaves them."""

EXCHANGED_SHARE = 0.15
"""Share of the boards on which copper and gap have changed places."""

LEAST_PIECE_PX = 150
"""Smaller pieces of copper or of gap are left out, since a defect looks like them."""


def draw_board(side_px: int, channels: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw the clean copper of a board: traces, vias, pads, pours.

    Args:
        side_px: of the picture.
        channels: all alike, since a reference behind the picture shows the same board.
        rng: the crop's own generator.

    Returns:
        uint8 [side, side, channels], copper 0 and gap 255.
    """
    copper = Board(rng, round(side_px / rng.uniform(LEAST_SCALE, MOST_SCALE))).copper
    if rng.random() < FRAYED_SHARE:
        copper = frayed(rng, copper)
    if rng.random() < EXCHANGED_SHARE:
        copper = 1 - copper
    shown = cv2.resize(copper * np.uint8(255), (side_px, side_px), interpolation=cv2.INTER_LINEAR)
    is_copper = _without_crumbs(np.asarray(shown > 127, np.uint8))
    return np.repeat(np.where(is_copper, 0, 255).astype(np.uint8)[:, :, None], channels, axis=2)


def _without_crumbs(copper: Mask) -> Mask:
    """Take small pieces of copper away, then small pieces of gap; uint8, 1 where copper is."""
    for _ in range(2):
        _, pieces, stats, _ = cv2.connectedComponentsWithStats(copper, connectivity=4)
        is_large = stats[:, cv2.CC_STAT_AREA] >= LEAST_PIECE_PX
        is_large[0] = False  # what is no copper
        copper = 1 - is_large[pieces].astype(np.uint8)  # of what is left, the gap is looked at next
    return copper
