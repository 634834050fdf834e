"""Lamp, lens, sensor and the part's place: from a board under even light to a camera picture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from appliance.simulator.boards import MARGIN_PX, Pixels
from appliance.simulator.textures import NOISE_SIGMA, sensor_noise

NOMINAL_EXPOSURE_US = 2000.0
NOMINAL_TEMPERATURE_K = 5500.0

_BELT_GREY = 22
_MAP_SIZE = 48


@dataclass(frozen=True, slots=True)
class Optics:
    """Everything between board and picture; the defaults are a station in good order.

    Attributes:
        lamp_brightness: light relative to a new lamp, 0 or more.
        lamp_falloff: part of the light lost from the lamp's side to the far side, 0..1.
        lamp_direction_deg: where the lamp stands; 0 right, 90 below.
        colour_temperature_k: of the lamp; 5500 is neutral; a grey camera does not see it.
        exposure_us: exposure time in microseconds; 2000 is nominal, brightness grows in proportion.
        gain_db: sensor gain in decibel; brightness and noise grow.
        noise_sigma: sensor noise at 0 dB in grey values.
        defocus_px: standard deviation of the blur in px.
        vignetting: part of the light lost in the corners, 0..1.
        dust_specks: specks on the lens; a fraction is a faint last one.
        dust_seed: which specks, so that they stay where they are.
        shift_x_px: the part's place, to the right.
        shift_y_px: the part's place, downward.
        rotation_deg: the part's turn, clockwise.
    """

    lamp_brightness: float = 1.0
    lamp_falloff: float = 0.06
    lamp_direction_deg: float = 200.0
    colour_temperature_k: float = NOMINAL_TEMPERATURE_K
    exposure_us: float = NOMINAL_EXPOSURE_US
    gain_db: float = 0.0
    noise_sigma: float = 1.6
    defocus_px: float = 0.7
    vignetting: float = 0.06
    dust_specks: float = 0.0
    dust_seed: int = 0
    shift_x_px: float = 0.0
    shift_y_px: float = 0.0
    rotation_deg: float = 0.0


def placement(optics: Optics, width: int, height: int) -> NDArray[np.float64]:
    """Give the affine map from canvas to picture coordinates.

    Args:
        optics: shift and rotation are read.
        width: picture width, px.
        height: picture height, px.

    Returns:
        float64, shape (2, 3); the part turns about the picture's centre.
    """
    turn = cv2.getRotationMatrix2D((width / 2 + MARGIN_PX, height / 2 + MARGIN_PX), -optics.rotation_deg, 1.0)
    turn[0, 2] += optics.shift_x_px - MARGIN_PX
    turn[1, 2] += optics.shift_y_px - MARGIN_PX
    return np.asarray(turn, np.float64)


def _tint(temperature_k: float) -> NDArray[np.float64]:
    """Red, green, blue of a black body relative to the neutral lamp (ratio of Planck's law at 610, 540, 465 nm)."""
    wave_m = np.array([610e-9, 540e-9, 465e-9])
    light = [1 / np.expm1(0.014387769 / (wave_m * kelvin)) for kelvin in (temperature_k, NOMINAL_TEMPERATURE_K)]
    ratio = light[0] / light[1]
    return np.asarray(ratio / ratio[1])


def _light(optics: Optics, width: int, height: int, channels: int) -> tuple[Pixels, float]:
    """Light on each pixel as uint8 with the factor that makes it a multiplier."""
    x, y = np.meshgrid(np.linspace(-1, 1, _MAP_SIZE), np.linspace(-1, 1, _MAP_SIZE))
    angle = np.deg2rad(optics.lamp_direction_deg)
    away = 0.5 - 0.5 * (x * np.cos(angle) + y * np.sin(angle)) / (abs(np.cos(angle)) + abs(np.sin(angle)))
    field = (1 - optics.lamp_falloff * away) * (1 - optics.vignetting * (x * x + y * y) / 2)
    level = optics.lamp_brightness * optics.exposure_us / NOMINAL_EXPOSURE_US * 10 ** (optics.gain_db / 20)
    planes = field[..., None] * (_tint(optics.colour_temperature_k) if channels == 3 else np.ones(1)) * level
    top = max(float(planes.max()), 1e-6)
    small = np.rint(planes * (255 / top)).astype(np.uint8)
    field_u8 = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(field_u8, np.uint8).reshape(height, width, channels), top / 255


def _dust(pixels: Pixels, optics: Optics) -> None:
    """Darken out-of-focus discs in place."""
    height, width, _ = pixels.shape
    rng = np.random.default_rng([optics.dust_seed, 3])
    for number in range(int(np.ceil(optics.dust_specks))):
        x, y = float(rng.uniform(0, width)), float(rng.uniform(0, height))
        radius, strength = float(rng.uniform(9, 26)), float(rng.uniform(0.35, 0.7))
        strength *= min(1.0, optics.dust_specks - number)
        top, left = max(0, int(y - 1.6 * radius)), max(0, int(x - 1.6 * radius))
        part = pixels[top : int(y + 1.6 * radius) + 1, left : int(x + 1.6 * radius) + 1]
        rows, columns = np.ogrid[top : top + part.shape[0], left : left + part.shape[1]]
        away = np.hypot(rows - y, columns - x) / radius
        shadow = strength / (1 + np.exp((away - 1) * 7))
        part[:] = (part * (1 - shadow[..., None])).astype(np.uint8)


def photograph(canvas: Pixels, optics: Optics, rng: np.random.Generator) -> Pixels:
    """Take a picture of a board.

    Args:
        canvas: uint8, shape (height + 2 margins, width + 2 margins, channels), the board under even light.
        optics: lamp, lens, sensor and place.
        rng: decides the sensor's noise.

    Returns:
        uint8, shape (height, width, channels); beyond the board's margin the dark belt shows.
    """
    height, width, channels = canvas.shape[0] - 2 * MARGIN_PX, canvas.shape[1] - 2 * MARGIN_PX, canvas.shape[2]
    pixels = cv2.warpAffine(
        canvas,
        placement(optics, width, height),
        (width, height),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=[_BELT_GREY] * 3,
    )
    if optics.defocus_px > 0.05:
        pixels = cv2.GaussianBlur(pixels, (0, 0), optics.defocus_px)
    light, factor = _light(optics, width, height, channels)
    seen = np.asarray(cv2.multiply(pixels.reshape(height, width, channels), light, scale=factor), np.uint8)
    seen = seen.reshape(height, width, channels)
    if optics.dust_specks > 0:
        _dust(seen, optics)
    noise = optics.noise_sigma * 10 ** (optics.gain_db / 20) / NOISE_SIGMA
    if noise > 0:
        picture = sensor_noise(height, width, channels, rng)
        seen = np.asarray(cv2.addWeighted(seen, 1.0, picture, noise, -128 * noise), np.uint8)
    return seen.reshape(height, width, channels)


def move_box(
    box: tuple[int, int, int, int], optics: Optics, width: int, height: int
) -> tuple[int, int, int, int] | None:
    """Move a box from canvas to picture, clipped to it.

    Args:
        box: x1 y1 x2 y2 on the canvas in px, x2 and y2 exclusive.
        optics: shift and rotation are read.
        width: picture width, px.
        height: picture height, px.

    Returns:
        The enclosing box in picture px, or None where less than 3 px of it are left in the picture.
    """
    matrix = placement(optics, width, height)
    # A pixel's square reaches half a pixel to each side of its centre, and the map is one of pixel centres.
    x1, y1, x2, y2 = box[0] - 0.5, box[1] - 0.5, box[2] - 0.5, box[3] - 0.5
    corners = np.array([(x1, y1, 1), (x2, y1, 1), (x2, y2, 1), (x1, y2, 1)]) @ matrix.T + 0.5
    low, high = np.floor(corners.min(axis=0) + 1e-6), np.ceil(corners.max(axis=0) - 1e-6)
    left, top = max(0, int(low[0])), max(0, int(low[1]))
    right, bottom = min(width, int(high[0])), min(height, int(high[1]))
    return (left, top, right, bottom) if right - left >= 3 and bottom - top >= 3 else None
