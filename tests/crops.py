"""What tests of training crops begin with: nothing disturbed, nothing on it, a field of one grey."""

import numpy as np

from trainer.strengths import Strengths

NOTHING = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
"""Boxes and labels."""

NO_CHANGE = Strengths().times(0.0)


def grey(level: int = 120, side: int = 96, channels: int = 1) -> np.ndarray:
    """A picture, uint8 [side, side, channels]."""
    return np.full((side, side, channels), level, np.uint8)
