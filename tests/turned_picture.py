"""Pictures that their camera has noted to be shown otherwise than they are stored (EXIF)."""

import struct
import zlib

AS_STORED, HALF_ROUND, QUARTER = 1, 3, 6
"""Orientations: shown as stored, stored upside down, stored a quarter turn to the left."""


def turned(encoded: bytes, orientation: int) -> bytes:
    """Return a JPEG or PNG file with a note that says how it is to be shown."""
    note = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0" + bytes([orientation]) + b"\0\0\0\0\0\0"
    if encoded[:2] == b"\xff\xd8":
        segment = b"Exif\0\0" + note
        return encoded[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + encoded[2:]
    chunk = b"eXIf" + note
    header = 33  # the signature and the chunk that must be first
    framed = struct.pack(">I", len(note)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return encoded[:header] + framed + encoded[header:]
