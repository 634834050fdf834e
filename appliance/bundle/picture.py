"""The one way from a picture file's bytes to pixels, for cameras, calibration, golden images and the demo."""

import cv2
import numpy as np

from appliance.events import Pixels


def decode(data: bytes, channels: int) -> Pixels | None:
    """Decode a picture; whoever asked says in words whose file it was.

    Args:
        data: the file's bytes: png, jpg, bmp or tif; 16-bit pictures are reduced to 8 bit.
        channels: 1 grey (a JPEG is then decoded without its colours, which is faster) or 3 RGB.

    Returns:
        uint8, shape (height, width, channels), contiguous; None if it is empty, damaged, too large or no picture.
    """
    try:
        picture = cv2.imdecode(
            np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR
        )
    except cv2.error:
        return None
    if picture is None:
        return None
    if channels == 1:
        return np.asarray(picture, dtype=np.uint8)[:, :, None]
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), dtype=np.uint8)
