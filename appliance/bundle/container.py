"""The zip file of a bundle in its one fixed form: stored, sorted, undated, so equal contents are equal bytes.

Any zip tool opens it. Reading accepts this form only, and rebuilds every header to compare it byte for byte: what a
zip file could hide (compression, encryption, links, comments, two files of one name, bytes between files) has no place.
"""

import stat
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

from appliance.errors import BundleFormatError

MAX_BUNDLE_BYTES = 256 * 2**20
"""A bigger bundle is refused unread."""

MAX_ENTRIES = 600
"""Files in one bundle."""

LOCAL = struct.Struct("<4s5H3I2H")
CENTRAL = struct.Struct("<4s6H3I5H2I")
END = struct.Struct("<4s4H2IH")
_VERSION, _UNIX, _FIRST_DAY = 20, 3, 0x0021
_ATTRIBUTES = (stat.S_IFREG | 0o644) << 16
_GET_AGAIN = (
    "get the file again from where it came, and where it is damaged there too, ask whoever released it for a new one"
)


def local_header(name: bytes, crc: int, size: int) -> bytes:
    """Return what stands before a file's bytes."""
    return LOCAL.pack(b"PK\3\4", _VERSION, 0, 0, 0, _FIRST_DAY, crc, size, size, len(name), 0) + name


def central_header(name: bytes, crc: int, size: int, offset: int) -> bytes:
    """Return a file's line in the directory; offset: of its local header."""
    made_by = _UNIX << 8 | _VERSION
    fixed = (b"PK\1\2", made_by, _VERSION, 0, 0, 0, _FIRST_DAY, crc, size, size, len(name), 0, 0, 0, 0)
    return CENTRAL.pack(*fixed, _ATTRIBUTES, offset) + name


def end_record(count: int, directory_size: int, directory_at: int) -> bytes:
    """Return what ends the file, behind the directory of so many files."""
    return END.pack(b"PK\5\6", 0, 0, count, count, directory_size, directory_at, 0)


def pack(files: Mapping[str, bytes]) -> bytes:
    """Put files into a zip file whose bytes depend on their names and contents only.

    Args:
        files: ASCII name -> content.

    Returns:
        The zip file's bytes.

    Raises:
        BundleFormatError: too many or too big; the maker of the bundle must take something out.
    """
    size = sum(len(content) for content in files.values())
    if len(files) > MAX_ENTRIES or size > MAX_BUNDLE_BYTES:
        raise BundleFormatError(
            f"{len(files)} files of {size} bytes do not make a bundle: at most {MAX_ENTRIES} files and "
            f"{MAX_BUNDLE_BYTES} bytes; use fewer golden images or a smaller model"
        )
    body, directory = bytearray(), bytearray()
    for text in sorted(files):
        name, content = text.encode("ascii"), files[text]
        crc = zlib.crc32(content)
        directory += central_header(name, crc, len(content), len(body))
        body += local_header(name, crc, len(content)) + content
    return bytes(body + directory + end_record(len(files), len(directory), len(body)))


def read_file(path: Path) -> bytes:
    """Read a file that should be such a zip file; of one that is too big no more than shows that.

    Raises:
        BundleFormatError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(MAX_BUNDLE_BYTES + 1)
    except OSError as error:
        raise BundleFormatError(f"{path} cannot be read: {error.strerror}; check path and rights") from error


def unpack(data: bytes, origin: str) -> dict[str, bytes]:
    """Take the files out of a bundle.

    Args:
        data: the whole file.
        origin: the file's name, for the messages.

    Returns:
        Name -> content, in the order of the file.

    Raises:
        BundleFormatError: not such a zip file, or damaged; says what and where.
    """
    if len(data) > MAX_BUNDLE_BYTES:
        raise _refused(origin, f"it is bigger than {MAX_BUNDLE_BYTES} bytes", "export a smaller model")
    if len(data) < END.size or not data.startswith((b"PK\3\4", b"PK\5\6")):
        raise _refused(origin, "it is not a zip file", _GET_AGAIN)
    signature, _, _, _, count, directory_size, directory_at, _ = END.unpack_from(data, len(data) - END.size)
    if signature != b"PK\5\6" or directory_at + directory_size + END.size != len(data):
        raise _refused(origin, "it is truncated, or something was put behind its end", _GET_AGAIN)
    if count > MAX_ENTRIES:
        raise _refused(origin, f"it has {count} files, more than {MAX_ENTRIES}", "use fewer golden images")
    files: dict[str, bytes] = {}
    at, body_at = directory_at, 0
    for _ in range(count):
        name, content, at, body_at = _read_entry(data, origin, at, body_at, len(data) - END.size)
        if name in files:
            raise _refused(origin, f"it holds {name!r} twice", _GET_AGAIN)
        files[name] = content
    if pack(files) != data:
        raise _refused(origin, "it has bytes that belong to no file in it, or its files are not sorted", _GET_AGAIN)
    return files


def _read_entry(data: bytes, origin: str, at: int, body_at: int, end: int) -> tuple[str, bytes, int, int]:
    if at + CENTRAL.size > end or data[at : at + 4] != b"PK\1\2":
        raise _refused(origin, f"its directory breaks off at byte {at}", _GET_AGAIN)
    fields = CENTRAL.unpack_from(data, at)
    flags, method, crc, stored_size, size, name_size = fields[3], fields[4], fields[7], fields[8], fields[9], fields[10]
    raw_name = data[at + CENTRAL.size : at + CENTRAL.size + name_size]
    name = raw_name.decode("ascii", "backslashreplace")
    if flags & 1:
        raise _refused(
            origin, f"{name!r} is encrypted", "a bundle is signed and never encrypted: get it as it was released"
        )
    if method != 0 or stored_size != size:
        raise _refused(origin, f"{name!r} is compressed", "a bundle is never compressed: get it as it was released")
    _check_name(origin, name, fields[15] >> 16)
    local = local_header(raw_name, crc, size)
    content_at = body_at + len(local)
    content = data[content_at : content_at + size]
    if len(content) != size or content_at + size > end:
        raise _refused(origin, f"{name!r} breaks off", _GET_AGAIN)
    if zlib.crc32(content) != crc:
        raise _refused(origin, f"{name!r} is damaged (wrong CRC)", _GET_AGAIN)
    central = central_header(raw_name, crc, size, body_at)
    if data[body_at:content_at] != local or data[at : at + len(central)] != central:
        raise _refused(origin, f"the zip headers of {name!r} are not in a bundle's fixed form", _GET_AGAIN)
    return name, content, at + len(central), content_at + size


def _check_name(origin: str, name: str, mode: int) -> None:
    parts = name.split("/")
    if "\\" in name or ":" in name or any(part in ("", ".", "..") for part in parts) or not name.isprintable():
        raise _refused(origin, f"the file name {name!r} leads out of the bundle", "do not trust where it comes from")
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise _refused(origin, f"{name!r} is a link or a special file", "do not trust where it comes from")


def _refused(origin: str, reason: str, remedy: str) -> BundleFormatError:
    return BundleFormatError(f"{origin} is not an acceptable bundle: {reason}; {remedy}")
