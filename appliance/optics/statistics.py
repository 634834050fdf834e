"""What a picture looks like in eight numbers, cheap enough for every part."""

import cv2
import numpy as np

from appliance.events import ImageStatistics, Pixels

CLIPPED_LOW = 2
"""Grey values up to this count as clipped; a sensor's black is rarely exactly 0."""

CLIPPED_HIGH = 253
"""Grey values from this on count as clipped."""

_SAMPLE_SIDE = 320
_BAND_ROWS = 16
_BAND_PIXELS = 65_536


def measure(pixels: Pixels) -> ImageStatistics:
    """Measure a picture's light and sharpness.

    Light is measured on every n-th pixel (at most 320 a side): sampling keeps the share of clipped pixels, which
    averaging would hide. Sharpness would be lost by that, so it is measured at full resolution on bands of rows
    spread over the picture.

    Args:
        pixels: uint8, shape (height, width, 1 or 3), RGB; at least 3x3 pixels for a sharpness.

    Returns:
        The statistics; each is finite.
    """
    height, width = pixels.shape[:2]
    step = -(-max(height, width) // _SAMPLE_SIDE)
    size = (max(1, width // step), max(1, height // step))
    sample = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_NEAREST), np.uint8)
    sample = sample.reshape(size[1], size[0], pixels.shape[2])
    histogram = cv2.calcHist([_grey(sample)], [0], None, [256], [0, 256]).ravel().astype(np.float64)
    count = histogram.sum()
    share = histogram / count
    values = np.arange(256.0)
    mean = float(share @ values)
    spread = float(np.sqrt(share @ (values - mean) ** 2))
    red_green: float | None = None
    blue_green: float | None = None
    if pixels.shape[2] == 3:
        red, green, blue = cv2.mean(sample)[:3]
        red_green, blue_green = red / max(green, 1.0), blue / max(green, 1.0)
    return ImageStatistics(
        brightness_mean=mean,
        brightness_spread=spread,
        contrast=spread / mean if mean > 0.0 else 0.0,
        sharpness=sharpness(pixels),
        clipped_low_ratio=float(histogram[: CLIPPED_LOW + 1].sum() / count),
        clipped_high_ratio=float(histogram[CLIPPED_HIGH:].sum() / count),
        red_green_ratio=red_green,
        blue_green_ratio=blue_green,
    )


def sharpness(pixels: Pixels) -> float:
    """Measure how sharp a picture is: the variance of its Laplacian at full resolution.

    Args:
        pixels: uint8, shape (height, width, 1 or 3), RGB.

    Returns:
        Grey values squared, >= 0; only comparable between pictures of the same scene.

    Source:
        Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy (ICPR 2000).
    """
    height, width = pixels.shape[:2]
    if height * width <= _BAND_PIXELS:
        starts, rows = [0], height
    else:
        bands = max(2, _BAND_PIXELS // (width * _BAND_ROWS))
        rows = min(_BAND_ROWS, height)
        starts = [round(start) for start in np.linspace(0, height - rows, bands)]
    variances = []
    for start in starts:
        band = _grey(pixels[start : start + rows])
        laplacian = cv2.Laplacian(band, cv2.CV_16S, ksize=1)[1:-1, 1:-1]
        if laplacian.size == 0:
            return 0.0
        variances.append(float(cv2.meanStdDev(laplacian)[1][0, 0]) ** 2)
    return sum(variances) / len(variances)


def _grey(pixels: Pixels) -> Pixels:
    if pixels.shape[2] == 1:
        return pixels[:, :, 0]
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
