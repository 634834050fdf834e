"""How a camera sees a scene: uneven light, a streak of gloss, a shadow, blur, noise, JPEG; or black and white alone."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.surfaces.fields import Field, blurred, smooth

_COARSE = 24
"""Light is drawn on a grid of so many points a side and scaled up: it has no detail."""


@dataclass(frozen=True, slots=True)
class Rig:
    """Lamp and camera of a sample.

    Args:
        angle: where the light comes from, radians.
        gradient: brightness lost from one side to the other, share.
        vignette: brightness lost in the corners, share.
        streak: grey values that a band of gloss adds, 0 for none; place: where the band and the shadow lie, -1..1.
        shadow: brightness lost behind a soft edge, share.
        gain: overall brightness; 1 as the scene is.
        offset: grey values added.
        blur_px: standard deviation.
        noise: standard deviation, grey values.
        quality: of the JPEG, 0 for none.
        is_binary: whether black and white is all that is left.
    """

    angle: float
    gradient: float
    vignette: float
    streak: float
    place: float
    shadow: float
    gain: float
    offset: float
    blur_px: float
    noise: float
    quality: int
    is_binary: bool


def draw_rig(rng: np.random.Generator, binary_share: float = 0.0) -> Rig:
    """Draw lamp and camera.

    Args:
        rng: the sample's generator.
        binary_share: how many in one see black and white only.
    """
    return Rig(
        angle=rng.uniform(0, 2 * np.pi),
        gradient=rng.uniform(0, 0.45) if rng.random() < 0.6 else 0.0,
        vignette=rng.uniform(0, 0.4) if rng.random() < 0.5 else 0.0,
        streak=rng.uniform(15, 80) if rng.random() < 0.2 else 0.0,
        place=rng.uniform(-0.9, 0.9),
        shadow=rng.uniform(0.15, 0.45) if rng.random() < 0.2 else 0.0,
        gain=float(np.exp(rng.normal(0, 0.12))),
        offset=rng.normal(0, 6),
        blur_px=rng.uniform(0.3, 1.5) if rng.random() < 0.6 else 0.0,
        noise=rng.uniform(0.5, 7) if rng.random() < 0.8 else 0.0,
        quality=int(rng.integers(60, 96)) if rng.random() < 0.2 else 0,
        is_binary=bool(rng.random() < binary_share),
    )


def drifted(rig: Rig, rng: np.random.Generator) -> Rig:
    """Return the same rig on another day: a little brighter or darker, the lamp moved a little."""
    return replace(
        rig,
        angle=rig.angle + rng.normal(0, 0.15),
        gradient=max(0.0, rig.gradient + rng.normal(0, 0.05)),
        place=rig.place + rng.normal(0, 0.08),
        gain=rig.gain * float(np.exp(rng.normal(0, 0.08))),
        offset=rig.offset + rng.normal(0, 4),
        blur_px=max(0.0, rig.blur_px * float(np.exp(rng.normal(0, 0.2)))),
        quality=rig.quality if rng.random() < 0.7 else 0,
    )


def shoot(scene: Field, rig: Rig, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Take a picture of a scene.

    Args:
        scene: float32 [side, side], grey values under even light.
        rig: lamp and camera.
        rng: the sample's generator.

    Returns:
        uint8 [side, side].
    """
    side = scene.shape[0]
    if rig.is_binary:
        soft = blurred(scene, 0.8) + 12 * smooth(rng, side, 2)
        return np.where(soft > 127.5, 255, 0).astype(np.uint8)
    share, gloss = _light(rig)
    picture = scene * _scaled(share, side)
    if rig.streak:
        picture += _scaled(gloss, side)
    if rig.blur_px > 0.25:
        picture = blurred(picture, rig.blur_px)
    if rig.noise:
        picture = picture + np.float32(rig.noise) * rng.standard_normal((side, side), np.float32)
    seen = cv2.convertScaleAbs(np.maximum(picture, 0.0))
    if rig.quality:
        _, data = cv2.imencode(".jpg", seen, (cv2.IMWRITE_JPEG_QUALITY, rig.quality))
        seen = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
    return np.asarray(seen, np.uint8)


def _light(rig: Rig) -> tuple[Field, Field]:
    """Return the brightness, and the gloss in grey values, on the coarse grid."""
    axis = np.linspace(-1, 1, _COARSE, dtype=np.float32)
    x, y = axis[None, :], axis[:, None]
    towards = x * np.float32(np.cos(rig.angle)) + y * np.float32(np.sin(rig.angle))
    share = rig.gain * (1 + rig.gradient / 2 * towards) * (1 - rig.vignette / 2 * (x * x + y * y))
    share = share * (1 - rig.shadow / (1 + np.exp(-(towards - rig.place) / 0.1)))
    share = share + rig.offset / 128
    gloss = rig.streak * np.exp(-(((towards - rig.place) / 0.22) ** 2))
    return share.astype(np.float32), gloss.astype(np.float32)


def _scaled(coarse: Field, side: int) -> Field:
    return np.asarray(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_LINEAR), np.float32)
