"""What a factory does to a picture from one part to the next: light, shadow, focus, motion, noise, coding, dust."""

from __future__ import annotations

import albumentations as A  # noqa: N812 - the name that its own documentation uses
import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.strengths import Strengths

Pixels = NDArray[np.uint8]

LIGHT_SHARE, SHADOW_SHARE, SOFT_SHARE, CODING_SHARE, DUST_SHARE = 0.4, 0.1, 0.15, 0.1, 0.05
"""Shares of the pictures that are lit otherwise, shaded, blurred or noisy, coded, and dusty."""

SHADE_CELLS = 4
"""A shadow is a field of so many by so many random values, drawn over the whole picture."""

MOST_SPECKS = 6
DUST_LEVELS = 70.0
"""Most that a speck is brighter or darker than what it lies on, in grey levels of 255."""


class Disturb:
    """Change a picture as another light, another lens and another day would.

    Args:
        strengths: the most of each.
    """

    def __init__(self, strengths: Strengths) -> None:
        self._shadow, self._dust_px = strengths.shadow_percent / 100, strengths.dust_px
        light, contrast = strengths.light_percent / 100, min(0.95, strengths.contrast_percent / 100)
        soft: list[A.ImageOnlyTransform] = []
        if strengths.defocus_px >= 0.3:
            soft.append(A.GaussianBlur(sigma_limit=(0.3, strengths.defocus_px), blur_limit=0, p=1.0))
        if strengths.motion_px >= 3:
            soft.append(A.MotionBlur(blur_limit=(3, int(strengths.motion_px - 1) // 2 * 2 + 1), p=1.0))
        if strengths.noise_levels > 0:
            most = strengths.noise_levels / 255
            soft.append(A.GaussNoise(std_range=(most / 4, most), p=1.0))
        coding = (round(strengths.jpeg_quality), 95)
        self._shares = (
            (LIGHT_SHARE, [A.RandomBrightnessContrast(light, contrast, p=1.0)]),
            (SOFT_SHARE, soft),
            (CODING_SHARE, [A.ImageCompression(quality_range=coding, p=1.0)] if coding[0] < 95 else []),
        )

    def __call__(self, piece: Pixels, rng: np.random.Generator) -> Pixels:
        """Return a disturbed copy.

        Args:
            piece: uint8 [height, width, 1 or 3].
            rng: the crop's own generator.
        """
        if rng.random() < SHADOW_SHARE and self._shadow > 0:
            piece = shaded(piece, rng.uniform(0.1, 1.0) * self._shadow, rng)
        if rng.random() < DUST_SHARE and self._dust_px >= 1:
            piece = dusty(piece, self._dust_px, rng)
        shape, piece = piece.shape, np.ascontiguousarray(piece)
        for share, kinds in self._shares:
            if rng.random() < share and kinds:
                # each is drawn here: transforms that are composed and seeded together draw the same numbers
                kind = kinds[rng.integers(len(kinds))]
                kind.set_random_seed(int(rng.integers(2**31)))
                piece = np.asarray(kind(image=piece)["image"], np.uint8).reshape(shape)
        return piece


def shaded(piece: Pixels, darker: float, rng: np.random.Generator) -> Pixels:
    """Return a picture with soft shadows over it.

    Args:
        piece: uint8 [height, width, channels].
        darker: how much the darkest place loses, 0..1.
        rng: the crop's own generator.
    """
    height, width, channels = piece.shape
    cells = rng.random((SHADE_CELLS, SHADE_CELLS), dtype=np.float32)
    field = cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC)
    field -= field.min()
    factor = 1.0 - np.float32(darker) * field / max(1e-6, float(field.max()))
    return np.asarray(np.clip(piece * factor[:, :, None], 0, 255), np.uint8).reshape(height, width, channels)


def dusty(piece: Pixels, largest_px: float, rng: np.random.Generator) -> Pixels:
    """Return a picture with a few specks on it, which are no defects.

    Args:
        piece: uint8 [height, width, channels].
        largest_px: diameter of the largest.
        rng: the crop's own generator.
    """
    height, width, channels = piece.shape
    specks = np.zeros((height, width), np.float32)
    for _ in range(int(rng.integers(1, MOST_SPECKS + 1))):
        x, y = float(rng.uniform(0, width)), float(rng.uniform(0, height))
        radius, level = rng.uniform(0.5, largest_px / 2), float(rng.uniform(-DUST_LEVELS, DUST_LEVELS))
        cv2.circle(specks, (round(16 * x), round(16 * y)), round(16 * radius), level, -1, cv2.LINE_8, 4)
    soft = np.asarray(cv2.GaussianBlur(specks, (0, 0), 0.6), np.float32)
    return np.asarray(np.clip(piece + soft[:, :, None], 0, 255), np.uint8).reshape(height, width, channels)
