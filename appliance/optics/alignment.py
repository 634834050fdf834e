"""Lay the reference picture over the part's picture: shift, small rotation and stretch, to a fraction of a pixel.

The reference is moved and never the part: what the camera saw stays as it was, and boxes stay in its pixels.
"""

import math
from dataclasses import dataclass, replace
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from appliance.bundle.geometry import to_channels
from appliance.events import PartAlignment, Pixels
from appliance.optics.likeness import fine_structure, likeness

COARSE_SIDE_PX = 160
"""The whole picture is first compared at about this size, where a shift of the largest kind is a few pixels."""

FINEST_FACTOR = 3
"""Scaled down by this or less, a picture shows its place to a fraction of a pixel of the whole one."""

REACH_PX = 68
"""How far in x and y a part is sought: a little over the largest max_shift_px, or a quarter of a small picture."""

MARGIN_PX = 24
"""Width of the border that is not compared while the place is refined: a part's usual shift brings other things in."""

STARTS = 3
"""Places where the coarse pictures are most alike, and the way begins: a pattern that repeats has several."""

NEARER = 0.02
"""Correlation by which what lies as far off as a part is sought must be more alike: of equals the nearest is meant."""

MOST_STEPS = 8
ARRIVED_PX = 0.03
"""A step that is smaller, at its own scale, is the last."""

LARGEST_TURN = math.radians(8.0)
LARGEST_STRETCH = 0.03
"""Of a length: a line-scan camera whose belt is off its speed, or a part that lies nearer to the lens."""

STRETCH_ON_THE_WAY = 0.04
"""Of a length: what a scaled-down picture tells of it is off by some."""

LEAST_SPREAD = 0.25
"""Standard deviation of where a reference's edges lie, in halves of the picture's side: what shows less of that side
has no length there that could be told from its place."""

LARGEST_WAY_PX = 4.0
"""What goes farther from where it began, at its own scale, has lost its way."""

MOST_DIFFERENCE = 1.0
"""Standard deviations; a pixel that differs by more lies on a defect, and counts as if it differed by so much."""

DAMPING = 0.01
"""Ratio of the mean slope that is added to each: where the picture says nothing, nothing is moved."""

STILL_PX = 0.05
"""What moves no pixel farther than this is not worth being interpolated."""

Floats: TypeAlias = NDArray[np.float32]
Matrix: TypeAlias = NDArray[np.float64]
"""float64, shape (2, 3): rotation and, in pixels, shift."""


@dataclass(frozen=True, slots=True)
class Alignment:
    """A reference in the place of the part.

    Args:
        pixels: uint8, shape of the part's picture: the reference moved onto the part.
        shift_px: x, y that the part lies right of and below its place in the reference, at middle_px.
        rotation_deg: that the part is turned against the reference, clockwise as seen.
        stretch_percent: by which the part is longer than the reference along the picture's rows, and along its columns.
        match: likeness of part and moved reference (appliance.optics.likeness), -1..1; 0 if the part was not found.
        middle_px: x, y in the reference, the middle of all that it shows: what is told of turn and stretch a little
            wrongly does not make the shift wrong there.
    """

    pixels: Pixels
    shift_px: tuple[float, float]
    rotation_deg: float
    stretch_percent: tuple[float, float]
    match: float
    middle_px: tuple[float, float]

    def motion(self) -> Matrix:
        """Return the motion from the reference's pixels to the part's, as OpenCV's warpAffine takes it."""
        wide, high = (percent / 100 for percent in self.stretch_percent)
        return _Pose(*self.shift_px, math.radians(self.rotation_deg), wide, high).around(self.middle_px)

    def against(self, reference: str) -> PartAlignment:
        """Return how the part lies, for a record and its limits; reference is the file's name there."""
        return PartAlignment(reference, self.shift_px, self.rotation_deg, self.stretch_percent, self.match)


@dataclass(frozen=True, slots=True)
class _Pose:
    """Where a part lies: turned around some place (radians, clockwise as seen), then stretched, then shifted.

    The shift is in pixels; wide and high are what is added to each length along the picture's rows and columns.
    """

    x_px: float = 0.0
    y_px: float = 0.0
    angle: float = 0.0
    wide: float = 0.0
    high: float = 0.0

    def around(self, place: tuple[float, float]) -> Matrix:
        """Return the motion from the reference to the part, if this is the place."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        turn = np.array([[1 + self.wide], [1 + self.high]]) * np.array([[cos, -sin], [sin, cos]])
        return np.column_stack((turn, np.add(place, (self.x_px, self.y_px)) - turn @ place))

    def matrix(self, width: int, height: int) -> Matrix:
        """Return the motion, if the place is the centre of a picture of this size."""
        return self.around(((width - 1) / 2, (height - 1) / 2))

    def strays(self, width: int, height: int) -> Matrix:
        """Return how far each corner of a picture of this size goes, float64, shape (4, 2)."""
        corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float64)
        matrix = self.matrix(width, height)
        return np.asarray(corners @ matrix[:, :2].T + matrix[:, 2] - corners)

    def scaled(self, x: float, y: float) -> "_Pose":
        """Return the same pose in a picture that is larger by these factors."""
        return replace(self, x_px=self.x_px * x, y_px=self.y_px * y)


@dataclass(frozen=True, slots=True)
class _Way:
    """Where the way to the part ends, how like the reference the part is there, and whether it was not lost."""

    pose: _Pose
    match: float
    is_sure: bool


class _Level:
    """The reference at one scale: what its pixels say about a small motion of the part is worked out beforehand.

    Source:
        Baker and Matthews, Lucas-Kanade 20 years on: a unifying framework (2004), inverse compositional algorithm.
    """

    def __init__(self, reference: Pixels, factor: int, shows_length: tuple[bool, bool] | None = None) -> None:
        """Prepare; whether the reference shows any length along rows, and columns, the first level finds out."""
        self.factor = factor
        self.grey = _softened(reference, factor)
        self.height, self.width = self.grey.shape
        rows, columns = self.inner = self._without(MARGIN_PX)
        self._wanted, spread = _normalised(self.grey[self.inner])
        right, down = (
            np.asarray(cv2.Sobel(self.grey, cv2.CV_32F, *way, scale=1 / 8), np.float32)[self.inner] / spread
            for way in ((1, 0), (0, 1))
        )
        ys, xs = (np.arange(side, dtype=np.float32) - np.float32((side - 1) / 2) for side in self.grey.shape)
        self._arms_px = max(self.grey.shape) / 2, self.width / 2, self.height / 2
        arm, *halves = np.array(self._arms_px, np.float32)
        along, across = xs[None, columns], ys[rows, None]
        wide, high = right * along / halves[0], down * across / halves[1]
        slopes = right, down, (down * along - right * across) / arm, wide, high
        self._slopes = np.stack([slope.ravel() for slope in slopes])
        power = (self._slopes @ self._slopes.T).astype(np.float64)
        self.shows_length = shows_length or (_lie_apart(power[0::3, 0::3]), _lie_apart(power[1::3, 1::3]))
        for way, is_shown in enumerate(self.shows_length, start=3):
            if not is_shown:
                self._slopes[way] = power[way] = power[:, way] = 0.0
        self._answer = np.linalg.inv(power + (DAMPING * np.trace(power) / len(power) + 1e-6) * np.eye(len(power)))

    def _without(self, margin_px: int) -> tuple[slice, slice]:
        margin = min(-(-margin_px // self.factor), min(self.grey.shape) // 4)
        rows, columns = (slice(margin, side - margin) for side in self.grey.shape)
        return rows, columns

    def look(self, part: Floats, pose: _Pose) -> tuple[float, _Pose]:
        """Return how much the part at this pose is like the reference, -1..1, and the pose to which that points."""
        matrix = pose.matrix(self.width, self.height)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        seen = cv2.warpAffine(part, matrix, (self.width, self.height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        found, _ = _normalised(np.asarray(seen, np.float32)[self.inner])
        match = float(np.dot(found.ravel(), self._wanted.ravel())) / found.size
        difference = np.clip(found - self._wanted, -MOST_DIFFERENCE, MOST_DIFFERENCE)
        right, down, *others = (float(step) for step in self._answer @ (self._slopes @ difference.ravel()))
        turned, wide, high = (step / arm_px for step, arm_px in zip(others, self._arms_px, strict=True))
        angle = pose.angle - turned
        cos, sin = math.cos(angle), math.sin(angle)
        x_px, y_px = pose.x_px - cos * right + sin * down, pose.y_px - sin * right - cos * down
        return match, _Pose(x_px, y_px, angle, pose.wide - wide, pose.high - high)

    def follow(self, part: Floats, start: _Pose) -> _Way:
        """Go from start to where the part is most like the reference."""
        pose = start
        for _ in range(MOST_STEPS):
            match, there = self.look(part, pose)
            step_px = math.hypot(there.x_px - pose.x_px, there.y_px - pose.y_px)
            others = abs(there.angle - pose.angle), abs(there.wide - pose.wide), abs(there.high - pose.high)
            step_px += float(np.dot(others, self._arms_px))
            if step_px <= ARRIVED_PX:
                break
            pose = there
        else:
            match, _ = self.look(part, pose)
        way_px = math.hypot(pose.x_px - start.x_px, pose.y_px - start.y_px)
        is_sure = way_px <= LARGEST_WAY_PX and abs(pose.angle) <= LARGEST_TURN
        return _Way(pose, match, is_sure and max(abs(pose.wide), abs(pose.high)) <= STRETCH_ON_THE_WAY)

    def middle(self) -> tuple[float, float]:
        """Return the middle of all that the reference shows, x and y at this scale."""
        rows, columns = self.inner
        edges = np.square(self._slopes[:2], dtype=np.float64).sum(axis=0).reshape(self.grey[self.inner].shape)
        if not edges.any():
            return (self.width - 1) / 2, (self.height - 1) / 2
        y, x = (np.average(np.arange(len(sums)), weights=sums) for sums in (edges.sum(axis=1), edges.sum(axis=0)))
        return columns.start + float(x), rows.start + float(y)

    def starts(self, part: Floats) -> list[_Pose]:
        """Return the shifts in whole pixels at which the middle of the reference is found best, the best first."""
        middle = self._without(REACH_PX)
        margin = middle[0].start
        if margin < 1:
            return [_Pose()]
        found = cv2.matchTemplate(part, np.ascontiguousarray(self.grey[middle]), cv2.TM_CCOEFF_NORMED)
        found = np.nan_to_num(found, nan=-1.0, posinf=-1.0, neginf=-1.0)
        way = np.abs(np.arange(-margin, margin + 1, dtype=np.float32)) / margin
        found -= NEARER * np.maximum(way[:, None], way[None])
        ys, xs = np.nonzero(found == cv2.dilate(found, np.ones((3, 3), np.uint8)))
        best = np.argsort(-found[ys, xs], kind="stable")[:STARTS]
        return [_Pose(float(xs[at] - margin), float(ys[at] - margin)) for at in best]


class Aligner:
    """Finds how parts lie against one reference, and moves it there; what it takes of the reference is kept."""

    def __init__(self, reference: Pixels) -> None:
        """Prepare the reference.

        Args:
            reference: uint8, shape (height, width, 1 or 3), a defect-free part.
        """
        self._reference = reference
        grey = _grey(reference)
        coarsest, *finer = _factors(max(grey.shape))
        coarse = _Level(grey, coarsest)
        self._levels = [coarse, *(_Level(grey, factor, coarse.shows_length) for factor in finer)]
        x, y = grey.shape[1] / coarse.width, grey.shape[0] / coarse.height
        self._middle_px = tuple((at + 0.5) * times - 0.5 for at, times in zip(coarse.middle(), (x, y), strict=True))
        self._fine = fine_structure(grey)

    def __call__(self, picture: Pixels) -> Alignment:
        """Find how a part lies against the reference, and move the reference there.

        First by correlation of the whole, scaled down; then, at ever finer scale, by the small motion that brings all
        pixels nearer to the reference, so that a pattern without ends in one way is held by what ends elsewhere, and a
        defect counts little. Every part is sought equally far, whatever a recipe allows, so that all who lay the same
        two pictures over each other get the same pixels.

        Args:
            picture: uint8, the part, shape of the reference.

        Returns:
            The moved reference. Whether the match is good enough is the recipe's business; it is 0 where the way to
            the part was lost, and the pose is then where that happened.

        Raises:
            ValueError: the two have different shapes.
        """
        reference = self._reference
        if reference.shape != picture.shape:
            raise ValueError(f"a reference of shape {reference.shape} does not fit a picture of shape {picture.shape}")
        grey = _grey(picture)
        way = self._way(grey)
        pose, part = way.pose, fine_structure(grey)
        x, y = part.shape[1] / grey.shape[1], part.shape[0] / grey.shape[0]
        there = pose.scaled(x, y)
        size = part.shape[1], part.shape[0]
        structure = cv2.warpAffine(self._fine, there.matrix(*size), size, borderMode=cv2.BORDER_REPLICATE)
        uncovered_px = float(np.abs(there.strays(*size)).max())
        match = likeness(np.asarray(structure, np.float32), part, uncovered_px) if way.is_sure else 0.0
        moved = _moved(reference, pose)
        shift = pose.matrix(*grey.shape[::-1]) @ (*self._middle_px, 1.0) - self._middle_px
        stretch = 100 * pose.wide, 100 * pose.high
        return Alignment(moved, tuple(shift.tolist()), math.degrees(pose.angle), stretch, match, self._middle_px)

    def _way(self, picture: Pixels) -> _Way:
        height, width = picture.shape
        coarse = self._levels[0]
        part = _softened(picture, coarse.factor)
        ways = [coarse.follow(part, start) for start in coarse.starts(part)]
        way = max(ways, key=lambda way: (way.is_sure, way.match))
        pose, is_sure = way.pose.scaled(width / coarse.width, height / coarse.height), way.is_sure
        for level in self._levels[1:]:
            x, y = width / level.width, height / level.height
            way = level.follow(_softened(picture, level.factor), pose.scaled(1 / x, 1 / y))
            pose, is_sure = way.pose.scaled(x, y), is_sure and way.is_sure
        return _Way(pose, way.match, is_sure and max(abs(pose.wide), abs(pose.high)) <= LARGEST_STRETCH)


def align(reference: Pixels, picture: Pixels) -> Alignment:
    """Find how a part lies against a reference that is used once, and move the reference there.

    Args:
        reference: uint8, shape (height, width, 1 or 3), a defect-free part.
        picture: uint8, the part, same shape.

    Returns:
        As of an Aligner.

    Raises:
        ValueError: the two have different shapes.
    """
    return Aligner(reference)(picture)


def _lie_apart(moments: Matrix) -> bool:
    """Tell if edges lie far enough from each other, of their power [[all, by place], [by place, by its square]]."""
    (whole, first), (_, second) = moments.tolist()
    return bool(whole > 0 and second / whole - (first / whole) ** 2 >= LEAST_SPREAD**2)


def _factors(side_px: int) -> list[int]:
    factors = [max(1, round(side_px / COARSE_SIDE_PX))]
    while factors[-1] > FINEST_FACTOR:
        factors.append(factors[-1] // 2)
    return factors


def _grey(pixels: Pixels) -> Pixels:
    return np.ascontiguousarray(to_channels(pixels, 1)[:, :, 0])


def _shrunk(picture: Pixels, factor: int) -> Pixels:
    if factor == 1:
        return picture
    size = (max(1, picture.shape[1] // factor), max(1, picture.shape[0] // factor))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _softened(picture: Pixels, factor: int) -> Floats:
    """Shrink a picture and blur it by a pixel, so that an edge says where it went even if it went far."""
    return np.asarray(cv2.GaussianBlur(_shrunk(picture, factor), (0, 0), 1.0), np.float32)


def _normalised(pixels: Floats) -> tuple[Floats, np.float32]:
    """Return a picture without its brightness and contrast, which are the lamp's, and its standard deviation."""
    mean, deviation = cv2.meanStdDev(pixels)
    spread = np.float32(deviation[0, 0] or 1.0)
    return (pixels - np.float32(mean[0, 0])) / spread, spread


def _moved(reference: Pixels, pose: _Pose) -> Pixels:
    height, width = reference.shape[:2]
    motion = pose.matrix(width, height)
    if np.abs(pose.strays(width, height)).max() <= STILL_PX:
        return reference
    moved = cv2.warpAffine(reference, motion, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8).reshape(reference.shape)
