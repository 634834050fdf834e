"""Masks whose pixels are numbers of a palette's colours, as Pascal VOC's: the number is the class, the colour is not.

Source: PNG, third edition (w3.org/TR/png-3), 5.3 chunk layout, 11.2.1 IHDR, 13.12 sample depth rescaling.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from appliance.errors import ConfigError

Colours = dict[int, tuple[Path, list[int]]]
"""Of each number the first mask that has it, and its colour there."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _PALETTE = 0, 3
_KEPT = frozenset({b"IHDR", b"IDAT", b"IEND"})


def palette_numbers(data: bytes) -> NDArray[np.int32] | None:
    """Read which colour of its palette each pixel of a PNG has: the same file, but said to be grey, is decoded.

    Args:
        data: the file's bytes; a picture that can be decoded.

    Returns:
        int32, shape (height, width), 0 the palette's first colour; None if it is no PNG, or has no palette.
    """
    if data[:8] != _SIGNATURE or data[25] != _PALETTE:
        return None
    bits, at, grey = data[24], 8, _SIGNATURE
    while at + 12 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        content = data[at + 8 : at + 8 + length]
        at += 12 + length
        if kind == b"IHDR":
            content = content[:9] + bytes([_GREY]) + content[10:]
        if kind in _KEPT:
            grey += struct.pack(">I", length) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    pixels = cv2.imdecode(np.frombuffer(grey, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        return None
    return np.asarray(pixels // (255 // (2**bits - 1)), np.int32)


def check_colours(numbers: NDArray[np.int32], colours: NDArray[np.uint8], path: Path, seen: Colours) -> None:
    """Refuse masks whose palettes disagree: tools that make files small give each its own, and numbers say nothing.

    Args:
        numbers: int32, shape (height, width).
        colours: uint8, shape (height, width, 3), those of its pixels.
        path: of the mask, for the message.
        seen: what earlier masks have; those of this one are added.

    Raises:
        ConfigError: A number has another colour in an earlier mask.
    """
    flat, colours = numbers.ravel(), colours.reshape(-1, 3)
    for number in np.flatnonzero(np.bincount(flat)).tolist():
        colour = colours[np.argmax(flat == number)].tolist()
        earlier, same = seen.setdefault(number, (path, colour))
        if colour != same:
            raise ConfigError(
                f"{path}: the number {number} of its palette has another colour than in {earlier}, so the numbers are "
                "no classes; save all masks with one palette, or grey with the class's number in each pixel"
            )
