"""The one way from a picture file's bytes to pixels, for cameras, calibration, golden images and the demo."""

import struct
from pathlib import Path

import cv2
import numpy as np

from appliance.events import Pixels

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_EXIF_MARKER = 0xE1


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


def own_channels(data: bytes) -> int | None:
    """Tell whether a picture was saved grey (1) or in colour (3); None if it is damaged or no picture.

    Args:
        data: the file's bytes; a palette and transparency count as colour.
    """
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if picture is None:
        return None
    return 1 if picture.ndim == 2 else 3


def picture_files(directory: Path) -> list[Path]:
    """List the picture files of a folder and its sub-folders, in no order; what a dot hides is left out.

    Raises:
        OSError: The folder is missing, is none, or cannot be read.
    """
    list(directory.iterdir())  # because rglob is silent about a folder that is missing
    return [
        path
        for path in directory.rglob("*")
        if path.suffix.lower() in PICTURE_SUFFIXES
        and not path.is_dir()
        and not any(part.startswith(".") for part in path.relative_to(directory).parts)
    ]


def size_px(path: Path) -> tuple[int, int] | None:
    """Read how large a picture is once it is decoded, from the header alone where a JPEG, PNG or BMP says all of it.

    Args:
        path: the picture's file.

    Returns:
        Width and height in pixels; None if nothing in it tells; a damaged picture may still do.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(65536)
    size = _png_size(head) or _jpeg_size(head) or _bmp_size(head)
    if size is not None:
        return size
    picture = decode(path.read_bytes(), 1)
    return None if picture is None else (picture.shape[1], picture.shape[0])


def _png_size(head: bytes) -> tuple[int, int] | None:
    if head[:8] != _PNG or len(head) < 24 or b"eXIf" in head:  # which may turn the picture
        return None
    width, height = struct.unpack(">II", head[16:24])
    return int(width), int(height)


def _bmp_size(head: bytes) -> tuple[int, int] | None:
    if head[:2] != b"BM" or len(head) < 26 or int.from_bytes(head[14:18], "little") < 40:
        return None
    width, height = struct.unpack("<ii", head[18:26])
    return int(width), abs(int(height))  # a negative height: the rows run from top to bottom


def _jpeg_size(head: bytes) -> tuple[int, int] | None:
    at = 2
    if head[:2] != b"\xff\xd8":
        return None
    while at + 9 <= len(head) and head[at] == 0xFF and head[at + 1] != _EXIF_MARKER:  # which may turn the picture
        marker, length = head[at + 1], int.from_bytes(head[at + 2 : at + 4], "big")
        if marker in _JPEG_FRAME_MARKERS:
            height, width = struct.unpack(">HH", head[at + 5 : at + 9])
            return int(width), int(height)
        at += 2 + length
    return None
