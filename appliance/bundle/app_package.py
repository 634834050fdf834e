"""A release of the appliance itself as one file: the wheels that make a virtual environment, and what they are.

The zip file has the fixed form of a bundle (appliance.bundle.container), and is read piece by piece, as it is larger.
"""

import hashlib
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Literal

from pydantic import Field

from appliance.bundle import strict_json
from appliance.bundle.container import CENTRAL, END, central_header, end_record, local_header
from appliance.bundle.manifest import Digest
from appliance.bundle.section import Section
from appliance.errors import BundleDigestError, BundleFormatError

SCHEMA = "vi.app/1"
MANIFEST = "manifest.json"
FOLDER = "wheels/"
MAX_PACKAGE_BYTES = 2**30
MAX_MANIFEST_BYTES = 2**18
MAX_WHEELS = 200
MAX_DIRECTORY_BYTES = 2**18
READ_BYTES = 2**20
PROGRAM, INSTALLER = "inspection_appliance", "pip"
GET_AGAIN = "get the file again, or pack it again"

WheelName = Annotated[
    str, Field(max_length=200, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.]*-[A-Za-z0-9_.!+]+(-[A-Za-z0-9_.]+){3,4}\.whl$")
]


class Wheel(Section):
    """One wheel of the package; length: bytes."""

    file: WheelName
    sha256: Digest
    length: Annotated[int, Field(ge=1, le=MAX_PACKAGE_BYTES)]

    @property
    def distribution(self) -> str:
        """The name of what it installs, in one spelling."""
        return re.sub(r"[-_.]+", "_", self.file.partition("-")[0]).lower()

    @property
    def version(self) -> str:
        """The version of what it installs."""
        return self.file.split("-")[1]


class AppManifest(Section):
    """manifest.json.

    version: of the appliance. seq: the number under which it is signed. python: the version of the interpreter, such as
    3.12. architecture: as `uname -m` says. installed_bytes: what the wheels' files take on disk, unpacked.
    """

    schema_: Annotated[Literal["vi.app/1"], Field(alias="schema")] = "vi.app/1"
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
    version: Annotated[str, Field(pattern=r"^[0-9A-Za-z.!+_]{1,64}$")]
    seq: Annotated[int, Field(ge=0, le=2**53 - 1)]
    python: Annotated[str, Field(pattern=r"^3\.\d{1,2}$")]
    architecture: Annotated[str, Field(pattern=r"^[a-z0-9_]{1,32}$")]
    installed_bytes: Annotated[int, Field(ge=1, le=8 * 2**30)]
    wheels: Annotated[tuple[Wheel, ...], Field(min_length=2, max_length=MAX_WHEELS)]

    def wheel(self, distribution: str) -> Wheel:
        """Return the wheel of a distribution that every package has."""
        return next(wheel for wheel in self.wheels if wheel.distribution == distribution)

    def why_not(self) -> str:
        """Say why these wheels are no release of the appliance; empty if they are."""
        files = [wheel.file for wheel in self.wheels]
        names = [wheel.distribution for wheel in self.wheels]
        if files != sorted(files) or len(set(names)) != len(names):
            return "its wheels are not sorted, or two install the same"
        if missing := [name for name in (PROGRAM, INSTALLER) if name not in names]:
            return f"it has no wheel of {' and of '.join(missing)}"
        if self.wheel(PROGRAM).version != self.version:
            return f"it says version {self.version}, and its program is {self.wheel(PROGRAM).version}"
        return ""


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    crc: int
    size: int
    at: int


def read_app(path: Path, into: Path | None = None, on_step: Callable[[], None] = lambda: None) -> AppManifest:
    """Read a package, refuse everything that is not one, and put its wheels into a folder.

    Args:
        path: the file.
        into: an empty folder for the wheels, which are not synced; None: they are only looked at.
        on_step: called after each piece of a wheel.

    Returns:
        What it is; nothing of it is installed or tried by that.

    Raises:
        BundleFormatError: damaged, foreign, of a newer format or too big.
        BundleDigestError: a wheel is not the one that the manifest names.
        OSError: the folder refuses.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise BundleFormatError(f"{path} cannot be read: {error.strerror}; check path and rights") from error
    with file:
        entries = _directory(file, path)
        manifest = _manifest(file, path, entries)
        for entry, wheel in zip(entries[1:], manifest.wheels, strict=True):
            with (into / wheel.file).open("xb") if into else Path("/dev/null").open("wb") as copy:
                for chunk in _checked(file, path, entry, wheel):
                    copy.write(chunk)
                    on_step()
    return manifest


def write_app(path: Path, manifest: AppManifest, wheels: Mapping[str, Path]) -> None:
    """Write a package; equal contents give equal bytes. The file is not there in full until this returns.

    Args:
        path: where to; best a draft that is renamed afterwards.
        manifest: what it is.
        wheels: file name -> where it lies; those of the manifest.

    Raises:
        BundleFormatError: a device would refuse it; says why.
        OSError: the disk refuses.
    """
    content = strict_json.dump(manifest)
    sources: dict[str, Path | bytes] = {MANIFEST: content}
    sources |= {FOLDER + wheel.file: wheels[wheel.file] for wheel in manifest.wheels}
    directory, at = bytearray(), 0
    with path.open("wb") as file:
        for name, source in sources.items():
            crc, size = _sum_of(source)
            header = local_header(name.encode("ascii"), crc, size)
            directory += central_header(name.encode("ascii"), crc, size, at)
            file.write(header)
            for chunk in _chunks(source):
                file.write(chunk)
            at += len(header) + size
        file.write(directory + end_record(len(sources), len(directory), at))
    read_app(path)


def describe_wheel(path: Path) -> Wheel:
    """Return what a package says of a wheel.

    Raises:
        ValueError: its name is none of a wheel.
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    for chunk in _chunks(path):
        digest.update(chunk)
    return Wheel(file=path.name, sha256=digest.hexdigest(), length=path.stat().st_size)


def _chunks(source: Path | bytes) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield source
        return
    with source.open("rb") as file:
        while chunk := file.read(READ_BYTES):
            yield chunk


def _sum_of(source: Path | bytes) -> tuple[int, int]:
    crc = size = 0
    for chunk in _chunks(source):
        crc, size = zlib.crc32(chunk, crc), size + len(chunk)
    return crc, size


def _directory(file: IO[bytes], path: Path) -> list[_Entry]:
    """Read the directory; each header is rebuilt, and the rebuilt ones must be those of the file, without a gap."""
    length = file.seek(0, 2)
    if not END.size < length <= MAX_PACKAGE_BYTES:
        raise _refused(path, f"it has {length} bytes, and may have {MAX_PACKAGE_BYTES}")
    end = _read(file, length - END.size, END.size)
    signature, _, _, _, count, size, directory_at, _ = END.unpack(end)
    if (
        signature != b"PK\5\6"
        or directory_at + size + END.size != length
        or end != end_record(count, size, directory_at)
    ):
        raise _refused(path, "it is no zip file, truncated, or something was put behind its end")
    if count > MAX_WHEELS + 1 or size > MAX_DIRECTORY_BYTES:
        raise _refused(path, f"it has {count} files, and may have {MAX_WHEELS + 1}")
    directory, entries, here, at = _read(file, directory_at, size), list[_Entry](), 0, 0
    for _ in range(count):
        entry = _entry(path, directory, here, at)
        raw = entry.name.encode("ascii")
        line, header = central_header(raw, entry.crc, entry.size, at), local_header(raw, entry.crc, entry.size)
        if directory[here : here + len(line)] != line or _read(file, at, len(header)) != header:
            raise _refused(path, f"the zip headers of {entry.name!r} are not in a package's fixed form")
        entries.append(entry)
        here, at = here + len(line), entry.at + entry.size
    if here != size or at != directory_at:
        raise _refused(path, "it has bytes that belong to no file in it")
    return entries


def _entry(path: Path, directory: bytes, here: int, at: int) -> _Entry:
    if here + CENTRAL.size > len(directory):
        raise _refused(path, "its directory breaks off")
    fields = CENTRAL.unpack_from(directory, here)
    raw = directory[here + CENTRAL.size : here + CENTRAL.size + fields[10]]
    if not raw.isascii() or not raw:
        raise _refused(path, f"the file name {raw[:80]!r} is none")
    return _Entry(raw.decode("ascii"), fields[7], fields[9], at + len(local_header(raw, 0, 0)))


def _manifest(file: IO[bytes], path: Path, entries: list[_Entry]) -> AppManifest:
    if not entries or entries[0].name != MANIFEST or entries[0].size > MAX_MANIFEST_BYTES:
        raise _refused(path, f"it does not begin with a {MANIFEST} of at most {MAX_MANIFEST_BYTES} bytes")
    origin = f"{path}: {MANIFEST}"
    content = _read(file, entries[0].at, entries[0].size)
    if zlib.crc32(content) != entries[0].crc:
        raise _refused(path, f"{MANIFEST} is damaged (wrong CRC)")
    manifest = strict_json.parse(
        content, AppManifest, schema=SCHEMA, origin=origin, max_bytes=MAX_MANIFEST_BYTES, remedy=GET_AGAIN
    )
    if why := manifest.why_not():
        raise _refused(path, why)
    named = [(FOLDER + wheel.file, wheel.length) for wheel in manifest.wheels]
    if [(entry.name, entry.size) for entry in entries[1:]] != named:
        raise _refused(path, f"{MANIFEST} and the package do not have the same files")
    return manifest


def _checked(file: IO[bytes], path: Path, entry: _Entry, wheel: Wheel) -> Iterator[bytes]:
    digest, crc, rest = hashlib.sha256(), 0, entry.size
    file.seek(entry.at)
    while rest and (chunk := file.read(min(READ_BYTES, rest))):
        digest.update(chunk)
        crc, rest = zlib.crc32(chunk, crc), rest - len(chunk)
        yield chunk
    if rest or crc != entry.crc or digest.hexdigest() != wheel.sha256:
        raise BundleDigestError(f"{path}: {wheel.file} is not the wheel that {MANIFEST} names; {GET_AGAIN}")


def _read(file: IO[bytes], at: int, size: int) -> bytes:
    file.seek(at)
    return file.read(size)


def _refused(path: Path, reason: str) -> BundleFormatError:
    return BundleFormatError(f"{path} is not an acceptable package of the appliance: {reason}; {GET_AGAIN}")
