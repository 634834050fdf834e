"""The baseline of in-control pictures, and the image limits that a recipe can take from it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from appliance.bundle.baseline import Baseline, make_baseline
from appliance.bundle.picture import decode
from appliance.errors import ConfigError
from appliance.events import ImageStatistics, Pixels
from appliance.optics.statistics import measure
from appliance.optics.tiles import Region

PICTURE_ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"}
SPREADS = 6.0
"""Limits lie this many standard deviations from the mean: nothing that was in control before is refused."""
BRIGHTNESS_ROOM = 0.1
"""... but a limit never lies closer to the mean than this ratio: few pictures underestimate the spread."""


def pictures_in(directory: Path) -> list[Path]:
    """List the pictures of a folder and its sub-folders by name.

    Raises:
        ConfigError: the folder is missing or has no picture; name a folder of good parts' pictures.
    """
    if not directory.is_dir():
        raise ConfigError(f"{directory} is not a folder; name one with pictures of good parts")
    found = sorted(path for path in directory.rglob("*") if path.suffix.lower() in PICTURE_ENDINGS)
    if not found:
        raise ConfigError(
            f"{directory} has no pictures ({', '.join(sorted(PICTURE_ENDINGS))}); record good parts first"
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


def image_limits(baseline: Baseline) -> dict[str, float]:
    """Propose a recipe's image_limits from a baseline.

    Args:
        baseline: of pictures that are in control.

    Returns:
        The keys of the recipe's image_limits: grey values 0..255, sharpness in grey values squared, ratios 0..1.
    """
    statistics = baseline.statistics
    brightness, sharpness = statistics["brightness_mean"], statistics["sharpness"]
    room = max(SPREADS * brightness.spread, BRIGHTNESS_ROOM * brightness.mean)
    clipped = {
        name: statistics[name].mean + max(SPREADS * statistics[name].spread, 0.02)
        for name in ("clipped_low_ratio", "clipped_high_ratio")
    }
    return {
        "brightness_min": round(max(0.0, brightness.mean - room), 1),
        "brightness_max": round(min(255.0, brightness.mean + room), 1),
        "sharpness_min": round(max(0.5 * sharpness.mean, sharpness.mean - SPREADS * sharpness.spread), 1),
        "clipped_low_max_ratio": round(min(1.0, clipped["clipped_low_ratio"]), 4),
        "clipped_high_max_ratio": round(min(1.0, clipped["clipped_high_ratio"]), 4),
    }


def baseline_of(statistics: list[ImageStatistics]) -> Baseline:
    """Sum up measured pictures.

    Raises:
        ConfigError: fewer than two pictures: nothing can be said about their spread.
    """
    if len(statistics) < 2:
        raise ConfigError(f"{len(statistics)} picture is too few for a baseline; record at least 2, better 100")
    return make_baseline(statistics)
