"""The baseline of in-control pictures, and the image limits that a recipe can take from it."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from pathlib import Path
from typing import Literal

import numpy as np

from appliance.bundle.baseline import Baseline, make_baseline
from appliance.bundle.picture import PICTURE_SUFFIXES, decode, picture_files
from appliance.errors import ConfigError
from appliance.events import ImageStatistics, Pixels
from appliance.optics.statistics import measure
from appliance.optics.tiles import Region

SPREADS = 6.0
"""Limits lie this many standard deviations from the mean ..."""
LEAST_ROOM = 0.1
"""... but never closer than this ratio of the mean: few pictures underestimate the spread; and ..."""
LEAST_CLIPPED_ROOM = 0.02
"""... a share of black or white pixels has at least this much room. Limits hold every picture in any case."""
MOST_BLUR = 0.5
"""A picture with less than this ratio of the mean sharpness is blurred, however much sharpness varies."""
SPREAD_PER_MAD = 1.4826
"""Standard deviation over median absolute deviation, for normal values."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One of a recipe's image_limits: the measure that it bounds, from below (-1) or above (1), and its form."""

    name: str
    measure: Literal["brightness_mean", "sharpness", "clipped_low_ratio", "clipped_high_ratio"]
    side: Literal[-1, 1]
    highest: float
    step: str

    def room(self, centre: float, spread: float) -> float:
        """Return how far from the centre of the measured values a picture in control may lie."""
        if self.measure.startswith("clipped"):
            return max(SPREADS * spread, LEAST_CLIPPED_ROOM)
        room = max(SPREADS * spread, LEAST_ROOM * centre)
        return min(room, MOST_BLUR * centre) if self.measure == "sharpness" else room

    def of(self, values: Sequence[float]) -> float:
        """Return the limit; what it is rounded to holds every value, too."""
        mean, spread = statistics.fmean(values), statistics.pstdev(values)
        farthest = max((mean + self.side * self.room(mean, spread), *values), key=lambda value: self.side * value)
        rounding = ROUND_CEILING if self.side > 0 else ROUND_FLOOR
        rounded = Decimal(farthest).quantize(Decimal(self.step), rounding)
        return min(max(0.0, float(rounded)), self.highest)


LIMITS = (
    Limit("brightness_min", "brightness_mean", -1, 255.0, "0.1"),
    Limit("brightness_max", "brightness_mean", 1, 255.0, "0.1"),
    Limit("sharpness_min", "sharpness", -1, float("inf"), "0.1"),
    Limit("clipped_low_max_ratio", "clipped_low_ratio", 1, 1.0, "0.0001"),
    Limit("clipped_high_max_ratio", "clipped_high_ratio", 1, 1.0, "0.0001"),
)


@dataclass(frozen=True, slots=True)
class Outlier:
    """A picture unlike the others: which measure, its value, and the median of all pictures."""

    path: Path
    measure: str
    value: float
    median: float


def pictures_in(directory: Path) -> list[Path]:
    """List the pictures of a folder and its sub-folders by name: those that the folder camera shows.

    Raises:
        ConfigError: the folder is missing or has no picture; name a folder of good parts' pictures.
    """
    if not directory.is_dir():
        raise ConfigError(f"{directory} is not a folder; name one with pictures of good parts")
    found = sorted(picture_files(directory))
    if not found:
        raise ConfigError(
            f"{directory} has no pictures ({', '.join(sorted(PICTURE_SUFFIXES))}); record good parts first"
        )
    return found


def read_picture(path: Path, channels: int) -> Pixels:
    """Read one picture, uint8, shape (height, width, channels), RGB.

    Raises:
        ConfigError: the file cannot be read, is not a picture or is damaged; remove it from the folder.
    """
    try:
        pixels = decode(path.read_bytes(), channels)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); check the file's permissions") from error
    if pixels is None:
        raise ConfigError(f"{path} cannot be decoded; remove it from the folder or record it again")
    return pixels


def measure_all(paths: list[Path], channels: int, crop: Region | None = None) -> Iterator[ImageStatistics]:
    """Measure pictures one after the other, so that a caller can show progress.

    Args:
        paths: of the pictures.
        channels: 1 grey, 3 RGB.
        crop: the recipe's, because the station measures the inspected part only; None for whole pictures.

    Yields:
        The statistics of each picture, in order.

    Raises:
        ConfigError: a file is no picture, or does not hold the crop.
    """
    for path in paths:
        pixels = read_picture(path, channels)
        yield measure(pixels if crop is None else _cut(pixels, crop, path))


def _cut(pixels: Pixels, crop: Region, path: Path) -> Pixels:
    height, width = pixels.shape[:2]
    right, bottom = crop.x_px + crop.width_px, crop.y_px + crop.height_px
    if right > width or bottom > height:
        raise ConfigError(
            f"{path} has {width}x{height} pixels and the crop ends at {right}, {bottom}; "
            "give the crop of the recipe, or remove the picture"
        )
    return np.ascontiguousarray(pixels[crop.y_px : bottom, crop.x_px : right])


def image_limits(pictures: Sequence[ImageStatistics]) -> dict[str, float]:
    """Propose a recipe's image_limits from pictures that are in control; none of them is refused by the limits.

    Args:
        pictures: as measured, at least one.

    Returns:
        The keys of the recipe's image_limits: grey values 0..255, sharpness in grey values squared, ratios 0..1.

    Raises:
        ConfigError: no limits could tell these pictures from black ones; record them again with light.
    """
    limits = {limit.name: limit.of([getattr(item, limit.measure) for item in pictures]) for limit in LIMITS}
    if limits["brightness_min"] >= limits["brightness_max"]:
        raise ConfigError(
            f"all {len(pictures)} pictures are black, so no limits can be made from them; "
            "check lamp, lens cap and exposure, and record good parts again"
        )
    return limits


def outliers(paths: Sequence[Path], pictures: Sequence[ImageStatistics]) -> list[Outlier]:
    """Name the pictures that are unlike the others, measured by medians, which a few odd ones do not move.

    Args:
        paths: of the pictures.
        pictures: as measured, in the same order.

    Returns:
        What lies beyond the room that one of the limits leaves around the median.
    """
    found = []
    for limit in LIMITS:
        values = [getattr(item, limit.measure) for item in pictures]
        median = statistics.median(values)
        spread = SPREAD_PER_MAD * statistics.median(abs(value - median) for value in values)
        found += [
            Outlier(path, limit.measure, value, median)
            for path, value in zip(paths, values, strict=True)
            if limit.side * (value - median) > limit.room(median, spread)
        ]
    return found


def baseline_of(pictures: Sequence[ImageStatistics]) -> Baseline:
    """Sum up measured pictures.

    Raises:
        ConfigError: fewer than two pictures: nothing can be said about their spread.
    """
    if len(pictures) < 2:
        raise ConfigError(f"{len(pictures)} picture is too few for a baseline; record at least 2, better 100")
    return make_baseline(pictures)
