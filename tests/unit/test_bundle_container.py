"""A bundle file has one form; every other zip file is refused with the reason."""

import io
import stat
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.bundle import container
from appliance.bundle.container import pack, unpack
from appliance.errors import BundleFormatError

FILES = {"manifest.json": b"{}", "golden/000.png": b"picture", "model.onnx": bytes(range(256)) * 4}
NAMES = st.from_regex(r"[a-z]{1,8}(/[a-z0-9]{1,8}){0,2}", fullmatch=True)


def _zip(change: zipfile.ZipInfo | str = "a.txt", method: int = zipfile.ZIP_STORED, times: int = 1) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for _ in range(times):
            file.writestr(change, b"0" * 1000)
    return buffer.getvalue()


def _refuse(data: bytes, reason: str) -> None:
    with pytest.raises(BundleFormatError, match=f"^line.bundle is not an acceptable bundle: .*{reason}.*; "):
        unpack(data, "line.bundle")


@given(st.dictionaries(NAMES, st.binary(max_size=200), max_size=8))
def test_what_was_packed_comes_out_and_any_zip_tool_reads_it(files: dict[str, bytes]) -> None:
    data = pack(files)
    assert unpack(data, "x") == files
    assert data == pack(dict(reversed(files.items())))
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        assert file.testzip() is None
        assert {name: file.read(name) for name in file.namelist()} == files
        assert all(stat.S_ISREG(info.external_attr >> 16) for info in file.infolist())


@given(place=st.integers(0, len(pack(FILES)) - 1), flip=st.integers(1, 255))
def test_any_changed_byte_is_refused(place: int, flip: int) -> None:
    data = bytearray(pack(FILES))
    data[place] ^= flip
    with pytest.raises(BundleFormatError):
        unpack(bytes(data), "x")


@given(length=st.integers(0, len(pack(FILES)) - 1))
def test_any_truncation_is_refused(length: int) -> None:
    with pytest.raises(BundleFormatError):
        unpack(pack(FILES)[:length], "x")


@given(st.binary(max_size=300))
def test_noise_is_refused(noise: bytes) -> None:
    for data in (noise, b"PK\3\4" + noise, pack(FILES) + noise + b"!", noise + b"!" + pack(FILES)):
        with pytest.raises(BundleFormatError):
            unpack(data, "x")


def test_foreign_files_are_refused_with_the_reason() -> None:
    _refuse(b"\x1f\x8b" + b"0" * 100, "not a zip file")
    _refuse(b"", "not a zip file")
    _refuse(pack(FILES)[:-10], "truncated")
    _refuse(pack(FILES) + b"more", "truncated, or something was put behind")
    _refuse(pack(FILES).replace(b"picture", b"pictuRe"), r"'golden/000.png' is damaged \(wrong CRC\)")
    _refuse(_zip(method=zipfile.ZIP_DEFLATED), "'a.txt' is compressed")
    _refuse(_zip(), "headers of 'a.txt' are not in a bundle's fixed form")


def test_whoever_stands_at_the_line_is_told_what_to_do_about_a_damaged_file() -> None:
    says = (
        "breaks off at byte .*; get the file again from where it came, and where it is damaged there too, ask whoever"
    )
    with pytest.raises(BundleFormatError, match=says):
        unpack(pack(FILES).replace(b"PK\1\2", b"PK\1\3", 1), "line.bundle")


def test_a_zip_bomb_is_refused_for_being_compressed() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("bomb", bytes(50 * 2**20))
    _refuse(buffer.getvalue(), "compressed")


def test_an_encrypted_file_is_refused() -> None:
    data = bytearray(_zip())
    data[data.index(b"PK\1\2") + 8] |= 1
    _refuse(bytes(data), "'a.txt' is encrypted")


@pytest.mark.parametrize("name", ["../etc/passwd", "/etc/passwd", "a\\b", "c:x", "a//b", "./a", "golden/../../x", "a/"])
def test_a_name_that_leads_out_is_refused(name: str) -> None:
    _refuse(pack({name: b""}), "leads out")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFDIR, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_special_files_are_refused(kind: int) -> None:
    info = zipfile.ZipInfo("a.txt")
    info.external_attr = (kind | 0o777) << 16
    _refuse(_zip(info), "link or a special file")


def test_two_files_of_one_name_are_refused() -> None:
    one = pack({"a": b"1"})
    two = bytearray(pack({"a": b"1", "b": b"1"}))
    two[two.index(b"b1") : two.index(b"b1") + 1] = b"a"  # the second local header's name
    two[two.rindex(b"b") : two.rindex(b"b") + 1] = b"a"  # and its name in the directory
    assert len(two) > len(one)
    _refuse(bytes(two), "holds 'a' twice")


def test_unsorted_files_are_refused() -> None:
    data = pack({"a": b"1", "b": b"1"}).replace(b"a1", b"c1")
    data = data[: data.index(b"PK\1\2")] + data[data.index(b"PK\1\2") :].replace(b"a", b"c", 1)
    _refuse(data, "not sorted")


def test_sizes_are_limited_before_anything_is_read() -> None:
    _refuse(bytes(container.MAX_BUNDLE_BYTES + 1), "bigger than")
    many = {f"{number:04d}": b"" for number in range(container.MAX_ENTRIES + 1)}
    with pytest.raises(BundleFormatError, match="601 files"):
        pack(many)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in many:
            file.writestr(name, b"")
    _refuse(buffer.getvalue(), "601 files, more than 600")


def test_a_file_that_claims_more_bytes_than_there_are_is_refused() -> None:
    data = bytearray(pack({"a": b"12345"}))
    at = data.index(b"PK\1\2")
    for place in (at + 20, at + 24):
        data[place : place + 4] = (2**32 - 1).to_bytes(4, "little")
    _refuse(bytes(data), "'a' breaks off")
