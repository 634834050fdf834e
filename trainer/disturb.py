"""What a factory does to a picture from one part to the next: light, shadow, focus, motion, noise, coding, dust."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import albumentations as A  # noqa: N812 - the name that its own documentation uses
import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

LIGHT_SHARE, SHADOW_SHARE, SOFT_SHARE, CODING_SHARE, DUST_SHARE = 0.4, 0.1, 0.15, 0.1, 0.05
"""Shares of the pictures that are lit otherwise, shaded, blurred or noisy, coded, and dusty."""

SHADE_CELLS = 4
"""A shadow is a field of so many by so many random values, drawn over the whole picture."""

MOST_SPECKS = 6
DUST_LEVELS = 70.0
"""Most that a speck is brighter or darker than what it lies on, in grey levels of 255."""


@dataclass(frozen=True, slots=True)
class Strengths:
    """The most that a picture is disturbed; less is as frequent.

    Args:
        light_percent: brightness up or down, of full scale.
        contrast_percent: contrast up or down.
        shadow_percent: how much darker the darkest place of a shadow is.
        defocus_px: standard deviation of the blur.
        motion_px: length of the smear.
        noise_levels: standard deviation of the noise, in grey levels of 255.
        jpeg_quality: of the worst coding, 1..100.
        dust_px: diameter of the largest speck; none below 1.
        turn_deg: rotation of the part in its fixture, either way.
        scale_percent: how much larger or smaller the part is shown.
        misplaced_px: standard deviation of what an alignment leaves between a part and its reference.
    """

    light_percent: float = 20.0
    contrast_percent: float = 20.0
    shadow_percent: float = 40.0
    defocus_px: float = 1.2
    motion_px: float = 5.0
    noise_levels: float = 10.0
    jpeg_quality: int = 60
    dust_px: float = 3.0
    turn_deg: float = 2.0
    scale_percent: float = 40.0
    misplaced_px: float = 0.5

    def times(self, variation: float) -> Strengths:
        """Return all of them so many times as strong; 0 is none."""
        return replace(
            self,
            **{name: value * variation for name, value in asdict(self).items() if name != "jpeg_quality"},
            jpeg_quality=max(1, round(100 - (100 - self.jpeg_quality) * variation)),
        )


class Disturb:
    """Change a picture as another light, another lens and another day would.

    Args:
        strengths: the most of each.
    """

    def __init__(self, strengths: Strengths) -> None:
        self._shadow, self._dust_px = strengths.shadow_percent / 100, strengths.dust_px
        soft: list[A.BasicTransform] = []
        if strengths.defocus_px >= 0.3:
            soft.append(A.GaussianBlur(sigma_limit=(0.3, strengths.defocus_px), blur_limit=0))
        if strengths.motion_px >= 3:
            soft.append(A.MotionBlur(blur_limit=(3, int(strengths.motion_px) // 2 * 2 + 1)))
        if strengths.noise_levels > 0:
            soft.append(A.GaussNoise(std_range=(strengths.noise_levels / 255 / 4, strengths.noise_levels / 255)))
        steps: list[A.BasicTransform | A.OneOf] = [
            A.RandomBrightnessContrast(
                brightness_limit=strengths.light_percent / 100,
                contrast_limit=min(0.95, strengths.contrast_percent / 100),
                p=LIGHT_SHARE,
            )
        ]
        if soft:
            steps.append(A.OneOf(soft, p=SOFT_SHARE))
        if strengths.jpeg_quality < 95:
            steps.append(A.ImageCompression(quality_range=(strengths.jpeg_quality, 95), p=CODING_SHARE))
        self._library = A.Compose(steps)

    def __call__(self, piece: Pixels, rng: np.random.Generator) -> Pixels:
        """Return a disturbed copy.

        Args:
            piece: uint8 [height, width, 1 or 3].
            rng: the crop's own generator.
        """
        shade, dust, seed = rng.random(), rng.random(), int(rng.integers(2**31))
        if shade < SHADOW_SHARE and self._shadow > 0:
            piece = shaded(piece, rng.uniform(0.1, 1.0) * self._shadow, rng)
        if dust < DUST_SHARE and self._dust_px >= 1:
            piece = dusty(piece, self._dust_px, rng)
        self._library.set_random_seed(seed)
        return np.asarray(self._library(image=np.ascontiguousarray(piece))["image"], np.uint8).reshape(piece.shape)


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
