"""Where the view of a part ends: at a fixture or a mask, which stays in the frame while the part moves.

A reference that is laid over the part moves with it, and so does the end of its view: between the two ends one picture
shows the part and the other does not. That is no defect of the part.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from appliance.optics.reference import USUAL_SHIFT_PX

LEAST_SEEN = 0.3
"""Share of the crop that is seen at least."""


def end_view(piece: NDArray[np.uint8], apart_px: float, rng: np.random.Generator) -> tuple[NDArray[np.uint8], int]:
    """Let the view of a part, and of its reference, end at a row of a crop, the one a little sooner than the other.

    Args:
        piece: uint8 [side, side, channels], the second half of the channels the reference.
        apart_px: how far the ends lie apart (standard deviation); no part is further off than USUAL_SHIFT_PX.
        rng: the crop's own generator.

    Returns:
        A new piece that is of one grey level or colour from the ends on; the row at which the view of the part ends.
    """
    side, half = piece.shape[0], piece.shape[2] // 2
    end = round(rng.uniform(LEAST_SEEN, 1.0) * side)
    apart = round(float(np.clip(rng.normal(0, apart_px), -USUAL_SHIFT_PX, USUAL_SHIFT_PX)))
    ended = piece.copy()
    level = piece[rng.integers(side), rng.integers(side), :half]
    ended[end:, :, :half] = level
    ended[max(0, end + apart) :, :, half:] = level
    return ended, end
