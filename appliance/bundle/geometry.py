"""The one way from a picture to the model's input, used by trainer, calibration and appliance alike."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from appliance.bundle.manifest import Geometry
from appliance.errors import BundleFormatError
from appliance.events import Pixels


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a picture lies in the model's input: input = picture * scale + offset (pixels).

    Each axis has its own scale, because the scaled picture has whole pixels.
    """

    scale_x: float
    scale_y: float
    offset_x_px: float
    offset_y_px: float
    width_px: int
    height_px: int

    def to_picture(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Move boxes from model input to picture pixels, clipped to the picture.

        Args:
            boxes: float32, shape (N, 4), x1 y1 x2 y2 in input pixels.

        Returns:
            float32, shape (N, 4), x1 y1 x2 y2 in picture pixels.
        """
        offset = np.array([self.offset_x_px, self.offset_y_px] * 2, dtype=np.float32)
        limits = np.array([self.width_px, self.height_px] * 2, dtype=np.float32)
        scale = np.array([self.scale_x, self.scale_y] * 2, dtype=np.float32)
        moved = (boxes - offset) / scale
        return np.asarray(np.clip(moved, 0.0, limits), dtype=np.float32)


def to_channels(pixels: Pixels, channels: int) -> Pixels:
    """Give a picture the number of channels that a model was trained with.

    Args:
        pixels: uint8, shape (height, width, 1 or 3); with a reference behind it 2 or 6.
        channels: 1 (grey, ITU-R BT.601 luma) or 3 (RGB); 2 or 6 for a picture that has its reference behind it.

    Returns:
        uint8, shape (height, width, channels); the same object if nothing had to be done.

    Raises:
        BundleFormatError: the picture has another number of channels, or lacks the reference.
    """
    have = pixels.shape[2] if pixels.ndim == 3 else 0
    if have == channels:
        return pixels
    if {have, channels} == {2, 6}:
        return with_reference(pixels[:, :, : have // 2], pixels[:, :, have // 2 :], channels // 2)
    if have == 3 and channels == 1:
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), dtype=np.uint8)[:, :, None]
    if have == 1 and channels == 3:
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB), dtype=np.uint8)
    raise BundleFormatError(
        f"a picture of shape {pixels.shape} cannot become {channels} channel(s); cameras must deliver (H, W, 1) or "
        "(H, W, 3), and a model that compares needs the reference behind it"
    )


def with_reference(picture: Pixels, reference: Pixels, channels: int) -> Pixels:
    """Put a reference behind a part's picture, as a model takes them that compares the two.

    Args:
        picture: uint8, shape (height, width, 1 or 3).
        reference: uint8, same height and width, in the part's place (appliance.optics.alignment).
        channels: of each of the two, 1 or 3.

    Returns:
        uint8, shape (height, width, 2 * channels).
    """
    return np.concatenate((to_channels(picture, channels), to_channels(reference, channels)), axis=2)


def to_model_input(pixels: Pixels, geometry: Geometry) -> tuple[Pixels, Placement]:
    """Bring a picture (a view, a crop or a tile) to the model's input size and channels.

    Bilinear without anti-aliasing when scaling: a one-pixel scratch keeps its contrast, and trainer and device agree.

    Args:
        pixels: uint8, shape (height, width, 1 or 3); 2 or 6 if the model compares with a reference.
        geometry: the manifest's.

    Returns:
        uint8 (geometry.height, geometry.width, geometry.channels), and where the picture lies in it.

    Raises:
        BundleFormatError: fit is "exact" and the picture has another size, or "pad" and it is larger.
    """
    height, width = pixels.shape[:2]
    pixels = to_channels(pixels, geometry.channels)
    if (width, height) == (geometry.width, geometry.height):
        return pixels, Placement(1.0, 1.0, 0.0, 0.0, width, height)
    if not geometry.takes(width, height):
        raise BundleFormatError(
            f"the model takes {geometry.width}x{geometry.height} pictures and got {width}x{height}; "
            "set the recipe's crop or tiles to the model's size"
        )
    if geometry.fit == "pad":
        canvas = np.full((geometry.height, geometry.width, geometry.channels), geometry.pad_value, dtype=np.uint8)
        canvas[:height, :width] = pixels
        return canvas, Placement(1.0, 1.0, 0.0, 0.0, width, height)
    scale = min(geometry.width / width, geometry.height / height)
    new_width, new_height = max(1, round(width * scale)), max(1, round(height * scale))
    resized = cv2.resize(pixels, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
    canvas = np.full((geometry.height, geometry.width, geometry.channels), geometry.pad_value, dtype=np.uint8)
    x0, y0 = (geometry.width - new_width) // 2, (geometry.height - new_height) // 2
    canvas[y0 : y0 + new_height, x0 : x0 + new_width] = resized.reshape(new_height, new_width, geometry.channels)
    return canvas, Placement(new_width / width, new_height / height, float(x0), float(y0), width, height)
