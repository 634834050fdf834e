"""A package of the appliance: only its one form is read, and every byte of it is accounted for."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.bundle.app_package import AppManifest, Wheel, describe_wheel, read_app, write_app
from appliance.errors import BundleDigestError, BundleError, BundleFormatError
from tests.app_releases import write_wheel

Change = Callable[[zipfile.ZipFile, zipfile.ZipFile], None]


def write_package(folder: Path, seq: int = 2) -> Path:
    """A small package; its pip is none, as nothing is installed here."""
    wheels = [write_wheel(folder, "inspection_appliance", "2.0", {"appliance/__main__.py": "print(1)\n"}),
              write_wheel(folder, "pip", "23.0", {"pip/__main__.py": ""})]  # fmt: skip
    path = folder / "appliance-2.zip"
    write_app(path, manifest(wheels, seq=seq), {wheel.name: wheel for wheel in wheels})
    return path


def manifest(wheels: list[Path], **changes: object) -> AppManifest:
    found = tuple(describe_wheel(path) for path in sorted(wheels))
    fields = {"name": "appliance", "version": "2.0", "seq": 2, "python": "3.12", "architecture": "aarch64",
              "installed_bytes": 1000, "wheels": found}  # fmt: skip
    return AppManifest.model_validate(fields | changes)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_package(tmp_path_factory.mktemp("package"))


def test_what_was_packed_is_read_and_comes_out_byte_for_byte(package: Path, tmp_path: Path) -> None:
    found = read_app(package, into=tmp_path)
    assert (found.version, found.seq, found.python) == ("2.0", 2, "3.12")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        path.name: path.read_bytes() for path in package.parent.glob("*.whl")
    }


def test_equal_contents_are_equal_bytes_and_any_zip_tool_opens_them(package: Path, tmp_path: Path) -> None:
    assert write_package(tmp_path).read_bytes() == package.read_bytes()
    with zipfile.ZipFile(package) as opened:
        assert opened.testzip() is None
        assert opened.namelist()[0] == "manifest.json"


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_byte_can_be_changed_cut_off_or_added(package: Path, tmp_path_factory: pytest.TempPathFactory,
                                                 data: st.DataObject) -> None:  # fmt: skip
    content = bytearray(package.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    kind = data.draw(st.sampled_from(["changed", "cut", "added"]))
    if kind == "changed":
        content[at] ^= data.draw(st.integers(1, 255))
    elif kind == "cut":
        del content[at:]
    else:
        content[at:at] = data.draw(st.binary(min_size=1, max_size=50))
    if bytes(content) == package.read_bytes():
        return
    path = tmp_path_factory.getbasetemp() / "damaged.zip"
    path.write_bytes(content)
    with pytest.raises(BundleError):
        read_app(path)


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=300))
def test_what_is_no_package_is_refused_in_words(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "foreign.zip"
    path.write_bytes(content)
    with pytest.raises(BundleFormatError):
        read_app(path)


def rewritten(package: Path, change: Change) -> Path:
    """The package written anew by an ordinary tool."""
    path = package.parent / "rewritten.zip"
    with zipfile.ZipFile(package) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as new:
        change(old, new)
    return path


def same(old: zipfile.ZipFile, new: zipfile.ZipFile) -> None:
    for info in old.infolist():
        new.writestr(info, old.read(info))


def compressed(old: zipfile.ZipFile, new: zipfile.ZipFile) -> None:
    for info in old.infolist():
        new.writestr(info.filename, old.read(info), zipfile.ZIP_DEFLATED)


def with_a_way_out(old: zipfile.ZipFile, new: zipfile.ZipFile) -> None:
    same(old, new)
    info = zipfile.ZipInfo("../../etc/passwd")
    info.external_attr = 0o100644 << 16
    new.writestr(info, b"")


def with_a_link(old: zipfile.ZipFile, new: zipfile.ZipFile) -> None:
    for info in old.infolist():
        content = old.read(info)
        if info.filename.startswith("wheels/pip"):
            info.external_attr = 0o120777 << 16
        new.writestr(info, content)


def twice(old: zipfile.ZipFile, new: zipfile.ZipFile) -> None:
    same(old, new)
    info = old.infolist()[-1]
    with pytest.warns(UserWarning, match="Duplicate"):
        new.writestr(info, old.read(info))


@pytest.mark.parametrize(
    "change", [compressed, with_a_way_out, with_a_link, twice], ids=lambda each: str(each.__name__)
)
def test_what_zip_files_can_hide_has_no_place(package: Path, tmp_path: Path, change: Change) -> None:
    assert read_app(rewritten(package, same)).version == "2.0"
    with pytest.raises(BundleFormatError):
        read_app(rewritten(package, change), into=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name",
    ["../evil-1-py3-none-any.whl", "a/b-1-py3-none-any.whl", "-r-1-py3-none-any.whl", "x.whl", "x y-1-a-b-c.whl"],
)
def test_a_wheels_name_is_a_name_and_no_path(name: str) -> None:
    assert Wheel(file="x_y.z-1.0+cpu-py3-none-any.whl", sha256="0" * 64, length=1).distribution == "x_y_z"
    with pytest.raises(ValueError, match="should match pattern"):
        Wheel(file=name, sha256="0" * 64, length=1)


def test_a_package_without_its_program_or_its_installer_is_none(tmp_path: Path) -> None:
    wheels = [write_wheel(tmp_path, "inspection_appliance", "2.0", {}), write_wheel(tmp_path, "other", "1.0", {})]
    with pytest.raises(BundleFormatError, match="no wheel of pip"):
        write_app(tmp_path / "package.zip", manifest(wheels), {wheel.name: wheel for wheel in wheels})


def test_a_package_says_the_version_that_its_program_is(tmp_path: Path) -> None:
    wheels = [write_wheel(tmp_path, "inspection_appliance", "2.0", {}), write_wheel(tmp_path, "pip", "23.0", {})]
    with pytest.raises(BundleFormatError, match=r"says version 3\.0, and its program is 2\.0"):
        write_app(tmp_path / "package.zip", manifest(wheels, version="3.0"), {wheel.name: wheel for wheel in wheels})


def test_a_wheel_that_changed_after_it_was_described_is_refused(tmp_path: Path) -> None:
    wheels = [write_wheel(tmp_path, "inspection_appliance", "2.0", {}), write_wheel(tmp_path, "pip", "23.0", {})]
    described = manifest(wheels)
    content = bytearray(wheels[0].read_bytes())
    content[40] ^= 1
    wheels[0].write_bytes(content)
    with pytest.raises(BundleDigestError, match="is not the wheel"):
        write_app(tmp_path / "package.zip", described, {wheel.name: wheel for wheel in wheels})


def test_a_file_that_is_not_there_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(BundleFormatError, match="check path and rights"):
        read_app(tmp_path / "missing.zip")
