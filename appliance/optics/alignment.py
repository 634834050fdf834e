"""Lay the reference picture over the part's picture: shift and small rotation, to a fraction of a pixel.

The reference is moved and never the part: what the camera saw stays as it was, and boxes stay in its pixels.
"""

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from appliance.bundle.geometry import to_channels
from appliance.events import Pixels

COARSE_SIDE_PX = 160
"""The whole picture is first compared at about this size, where a shift of the largest kind is a few pixels."""

PATCH_PX = 48
PATCHES_A_SIDE = 5
FINE_REACH_PX = 6
"""Around the coarse place each patch is sought this far: half a coarse pixel and the rotation."""

MIN_SPREAD = 8.0
"""Grey values; a patch that is flatter says nothing about its place."""

MIN_PATCH_MATCH = 0.5
LARGEST_RESIDUAL_PX = 1.0
"""A patch that lies farther from where the others say is on a defect, or was mistaken for its neighbour."""

STILL_PX = 0.05
"""What moves no pixel farther than this is not worth being interpolated."""

MATCH_SIDE_PX = 320

Grey: TypeAlias = NDArray[np.uint8]
Motion: TypeAlias = NDArray[np.float64]
"""float64, shape (2, 3): rotation and, in pixels, shift."""

_STILL: Motion = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


@dataclass(frozen=True, slots=True)
class Alignment:
    """A reference in the place of the part.

    Args:
        pixels: uint8, shape of the part's picture: the reference moved onto the part.
        shift_px: x, y that the part lies right of and below its place in the reference, at the picture's centre.
        rotation_deg: that the part is turned against the reference, clockwise as seen.
        match: correlation of part and moved reference, -1..1.
    """

    pixels: Pixels
    shift_px: tuple[float, float]
    rotation_deg: float
    match: float


def align(reference: Pixels, picture: Pixels, reach_px: int) -> Alignment:
    """Find how the part lies against the reference, and move the reference there.

    Coarse by correlation of the whole, scaled down; then by correlation of small patches, at ever finer scale, through
    which the rigid motion goes that most of them agree on, so that a defect moves nothing. What does not match better
    than the reference where it is, is not believed.

    Args:
        reference: uint8, shape (height, width, 1 or 3), a defect-free part.
        picture: uint8, the part, same shape.
        reach_px: how far in x and in y the part is sought.

    Returns:
        The moved reference. Whether the match is good enough is the recipe's business.

    Raises:
        ValueError: the two have different shapes.
    """
    if reference.shape != picture.shape:
        raise ValueError(f"a reference of shape {reference.shape} does not fit a picture of shape {picture.shape}")
    ref, now = (np.ascontiguousarray(to_channels(p, 1)[:, :, 0]) for p in (reference, picture))
    motion = _motion(ref, now, reach_px)
    moved = _moved(reference, motion)
    match = _match(moved, picture)
    if moved is not reference and (still := _match(reference, picture)) >= match:
        motion, moved, match = _STILL, reference, still
    height, width = ref.shape
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    shift = motion[:, :2] @ centre + motion[:, 2] - centre
    angle_deg = math.degrees(math.atan2(motion[1, 0], motion[0, 0]))
    return Alignment(moved, (float(shift[0]), float(shift[1])), angle_deg, match)


def _motion(reference: Grey, picture: Grey, reach_px: int) -> Motion:
    """Return the rigid motion from reference to picture, 2 x 3."""
    factor = max(1, round(max(reference.shape) / COARSE_SIDE_PX))
    motion: Motion = _STILL.copy()
    motion[:, 2] = _coarse(reference, picture, reach_px, factor)
    while factor > 1:
        factor = factor // 2
        scaled = motion.copy()
        scaled[:, 2] /= factor
        scaled = _fine(_shrunk(reference, factor), _shrunk(picture, factor), scaled)
        motion = np.column_stack((scaled[:, :2], scaled[:, 2] * factor))
    return motion


def _coarse(reference: Grey, picture: Grey, reach_px: int, factor: int) -> NDArray[np.float64]:
    """Return the shift (x, y in pixels) at which the scaled-down middle of the reference is found."""
    ref, now = (_shrunk(p, factor) for p in (reference, picture))
    margin = min(-(-reach_px // factor), min(ref.shape) // 4)
    if margin < 1:
        return np.zeros(2)
    middle = ref[margin:-margin, margin:-margin]
    found = cv2.matchTemplate(now, middle, cv2.TM_CCOEFF_NORMED)
    y, x = np.unravel_index(int(np.argmax(np.nan_to_num(found, nan=-1.0, posinf=-1.0, neginf=-1.0))), found.shape)
    return np.array([float(x - margin), float(y - margin)]) * factor


def _shrunk(picture: Grey, factor: int) -> Grey:
    if factor == 1:
        return picture
    size = (max(1, picture.shape[1] // factor), max(1, picture.shape[0] // factor))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _fine(reference: Grey, picture: Grey, motion: Motion) -> Motion:
    """Return a better motion, from patches sought around where this one puts them; the same where none is clear."""
    places: list[tuple[float, float]] = []
    found: list[tuple[float, float]] = []
    height, width = reference.shape
    half = (PATCH_PX - 1) / 2
    for top in _starts(height):
        for left in _starts(width):
            patch = reference[top : top + PATCH_PX, left : left + PATCH_PX]
            there = motion[:, :2] @ (left + half, top + half) + motion[:, 2] - half - FINE_REACH_PX
            x0, y0 = (max(0, round(float(edge))) for edge in there)
            side = PATCH_PX + 2 * FINE_REACH_PX
            window = picture[y0 : y0 + side, x0 : x0 + side]
            if min(window.shape) < PATCH_PX or float(patch.std()) < MIN_SPREAD or float(window.std()) < MIN_SPREAD:
                continue
            peak = _peak(cv2.matchTemplate(window, patch, cv2.TM_CCOEFF_NORMED))
            if peak is not None:
                places.append((left + half, top + half))
                found.append((x0 + peak[0] + half, y0 + peak[1] + half))
    return _rigid(np.array(places).reshape(-1, 2), np.array(found).reshape(-1, 2), motion)


def _starts(length: int) -> list[int]:
    room = length - PATCH_PX
    if room < 0:
        return []
    edge = min(FINE_REACH_PX, room // 2)
    return sorted({round(start) for start in np.linspace(edge, room - edge, PATCHES_A_SIDE)})


def _peak(match: cv2.typing.MatLike) -> tuple[float, float] | None:
    """Return where the correlation is highest, to a fraction of a pixel; None at the border or where it is low."""
    rows, columns = match.shape
    y, x = (int(v) for v in np.unravel_index(int(np.argmax(match)), match.shape))
    if not match[y, x] >= MIN_PATCH_MATCH or not (0 < y < rows - 1 and 0 < x < columns - 1):
        return None
    return x + _vertex(match[y, x - 1 : x + 2]), y + _vertex(match[y - 1 : y + 2, x])


def _vertex(three: NDArray[Any]) -> float:
    """Return the top of the parabola through three values around a maximum, -0.5..0.5."""
    before, top, after = (float(v) for v in three)
    curve = before - 2 * top + after
    return 0.0 if curve >= 0.0 else max(-0.5, min(0.5, 0.5 * (before - after) / curve))


def _rigid(places: NDArray[np.float64], found: NDArray[np.float64], motion: Motion) -> Motion:
    """Fit shift and rotation to pairs of points, without those that lie far off what most of them say.

    Source:
        Umeyama, Least-squares estimation of transformation parameters between two point patterns (1991), without scale.
    """
    if not len(places):
        return motion
    off = found - (places @ motion[:, :2].T + motion[:, 2])
    middle = np.median(off, axis=0)
    best: Motion = motion.copy()
    best[:, 2] += middle
    kept = np.abs(off - middle).max(axis=1) <= FINE_REACH_PX / 2
    for _ in range(3):
        if kept.sum() < 3:
            return best
        origin, there = places[kept].mean(axis=0), found[kept].mean(axis=0)
        spread = (places[kept] - origin).T @ (found[kept] - there)
        angle = math.atan2(spread[0, 1] - spread[1, 0], spread[0, 0] + spread[1, 1])
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        best = np.column_stack((turn, there - turn @ origin))
        kept = np.linalg.norm(places @ turn.T + best[:, 2] - found, axis=1) <= LARGEST_RESIDUAL_PX
    return best


def _moved(reference: Pixels, motion: Motion) -> Pixels:
    height, width = reference.shape[:2]
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], float)
    if np.abs(corners @ motion[:, :2].T + motion[:, 2] - corners).max() <= STILL_PX:
        return reference
    moved = cv2.warpAffine(reference, motion, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8).reshape(reference.shape)


def _match(reference: Pixels, picture: Pixels) -> float:
    """Return the correlation of two pictures, scaled down; 1 for two that are flat, since nothing speaks against it."""
    factor = max(1, round(max(reference.shape[:2]) / MATCH_SIDE_PX))
    greys = (np.ascontiguousarray(to_channels(p, 1)[:, :, 0]) for p in (reference, picture))
    ref, now = (small - small.mean() for small in (_shrunk(grey, factor).astype(np.float32) for grey in greys))
    power = float(np.sqrt((ref * ref).sum() * (now * now).sum()))
    return float((ref * now).sum()) / power if power > 0 else float(not ref.any() and not now.any())
