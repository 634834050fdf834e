"""Noise as fields of grey values: drawn small, scaled up, so that a picture costs milliseconds."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
Mask = NDArray[np.uint8]


def smooth(rng: np.random.Generator, side: int, cell_px: float) -> Field:
    """Return noise whose grains are so large, mean 0 and spread about 1.

    Args:
        rng: the sample's generator.
        side: of the field in pixels.
        cell_px: distance between independent values; 1 is white noise.

    Returns:
        float32 [side, side].
    """
    return stretched(rng, side, cell_px, cell_px)


def stretched(rng: np.random.Generator, side: int, wide_px: float, high_px: float) -> Field:
    """Return noise whose grains have another width than height, in pixels; float32 [side, side]."""
    columns, rows = (max(2, round(side / px)) for px in (wide_px, high_px))
    small = rng.standard_normal((rows, columns), np.float32)
    if (rows, columns) == (side, side):
        return small
    method = cv2.INTER_CUBIC if min(side / rows, side / columns) > 1.5 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(small, (side, side), interpolation=method), np.float32)


def turned(field: Field, angle_deg: float) -> Field:
    """Return the middle of a field, turned; the field's side is 1.5 times that of the result.

    Args:
        field: float32 [1.5 * side, 1.5 * side].
        angle_deg: any.
    """
    side = field.shape[0] * 2 // 3
    turn = cv2.getRotationMatrix2D((field.shape[1] / 2, field.shape[0] / 2), angle_deg, 1.0)
    turn[:, 2] -= (field.shape[0] - side) / 2
    border = cv2.BORDER_REFLECT
    return np.asarray(cv2.warpAffine(field, turn, (side, side), flags=cv2.INTER_LINEAR, borderMode=border), np.float32)


def outline(rng: np.random.Generator, radius_px: tuple[float, float], roughness: float, corners: int = 0) -> Field:
    """Return the corners of a closed shape around 0.

    Args:
        rng: the sample's generator.
        radius_px: half of its length and of its width.
        roughness: 0 is an ellipse, 0.5 is ragged.
        corners: 0 for a smooth shape, else an angular one of so many.

    Returns:
        float32 [corners, 2], x then y, in pixels, turned at random.
    """
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners)) if corners else np.linspace(0, 2 * np.pi, 40, endpoint=False)
    reach = np.ones_like(angles)
    for order in range(2, 8):
        reach += roughness / order**0.7 * rng.normal() * np.cos(order * angles + rng.uniform(0, 2 * np.pi))
    reach = np.clip(reach, 0.35, 1.25)
    x, y = radius_px[0] * reach * np.cos(angles), radius_px[1] * reach * np.sin(angles)
    turn = rng.uniform(0, np.pi)
    return np.stack((x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)), 1).astype(np.float32)


def filled(points: Field, height: int, width: int) -> Field:
    """Return how much of each pixel a polygon covers, 0..1; points are float32 [corners, 2] in pixels."""
    canvas = np.zeros((height, width), np.uint8)
    cv2.fillPoly(canvas, [np.round(points * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return canvas.astype(np.float32) / 255.0


def blurred(field: Field, sigma_px: float) -> Field:
    """Return a field out of focus; sigma_px is the standard deviation."""
    return np.asarray(cv2.GaussianBlur(field, (0, 0), sigma_px, borderType=cv2.BORDER_REPLICATE), np.float32)


def slope(height: Field, angle: float) -> Field:
    """Return how brightly light from one side falls on a relief, -1..1; angle in radians."""
    shade = float(np.cos(angle)) * cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=3)
    shade = shade + float(np.sin(angle)) * cv2.Sobel(height, cv2.CV_32F, 0, 1, ksize=3)
    return np.asarray(shade / max(float(np.abs(shade).max()), 1e-6), np.float32)
