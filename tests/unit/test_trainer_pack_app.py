"""trainer pack-app: what it writes, a device reads; what a device could not install, it refuses."""

import platform
from pathlib import Path

import pytest

from appliance.bundle.app_package import read_app
from tests.app_releases import PYTHON, write_wheel
from trainer.__main__ import main

ORIN = ["--python", "3.12", "--architecture", "aarch64"]


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name, version in (("inspection_appliance", "2.0"), ("numpy", "1.26.4"), ("pip", "23.0")):
        write_wheel(folder, name, version, {f"{name}.py": "# code\n"})
    return folder


def pack(wheels: Path, *options: str) -> int:
    return main(["pack-app", str(wheels), "--out", str(wheels.parent / "appliance-7.zip"), "--seq", "7", *options])


def test_a_folder_of_wheels_becomes_a_package_that_says_what_it_is(
    wheels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pack(wheels) == 0
    manifest = read_app(wheels.parent / "appliance-7.zip")
    assert (manifest.name, manifest.version, manifest.seq) == ("appliance", "2.0", 7)
    assert (manifest.python, manifest.architecture) == (PYTHON, platform.machine())
    assert {wheel.distribution for wheel in manifest.wheels} == {"inspection_appliance", "numpy", "pip"}
    assert manifest.installed_bytes > 3 * 4096
    assert "appliance 2.0, release 7, 3 wheels" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("tags", "options", "words"),
    [
        ("cp310-cp310-manylinux_2_17_aarch64", ORIN, "not for Python 3.12"),
        ("cp312-cp312-manylinux_2_17_x86_64", ORIN, "not for aarch64"),
        ("cp313-abi3-manylinux_2_17_aarch64", ORIN, "not for Python 3.12"),
        ("cp39-abi3-manylinux_2_17_aarch64", ORIN, ""),
        ("cp312-cp312-manylinux2014_aarch64.manylinux_2_17_aarch64",
         ORIN, ""),
        ("py2.py3-none-any", [], ""),
        ("py2-none-any", [], "not for Python"),
    ],
)  # fmt: skip
def test_a_wheel_for_other_devices_is_refused_by_its_name(
    wheels: Path, capsys: pytest.CaptureFixture[str], tags: str, options: list[str], words: str
) -> None:
    path = next(wheels.glob("numpy-*"))
    path.rename(wheels / f"numpy-1.26.4-{tags}.whl")
    assert pack(wheels, *options) == (78 if words else 0)
    assert words in capsys.readouterr().err
    assert (wheels.parent / "appliance-7.zip").exists() is not bool(words)


def test_two_of_one_kind_are_refused(wheels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_wheel(wheels, "numpy", "2.0", {})
    assert pack(wheels) == 65
    assert "two install the same" in capsys.readouterr().err
    assert [path.name for path in wheels.parent.iterdir()] == ["wheels"]


@pytest.mark.parametrize(("missing", "code", "words"), [("pip", 65, "no wheel of pip"), ("inspection", 78, "0 wheels")])
def test_a_folder_that_lacks_one_is_refused(
    wheels: Path, capsys: pytest.CaptureFixture[str], missing: str, code: int, words: str
) -> None:
    next(wheels.glob(f"{missing}*")).unlink()
    assert pack(wheels) == code
    assert words in capsys.readouterr().err


def test_an_empty_folder_and_a_damaged_wheel_are_said_in_words(
    wheels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    next(wheels.glob("numpy*")).write_bytes(b"PK\3\4 but no more")
    assert pack(wheels) == 78
    assert "is no wheel" in capsys.readouterr().err
    for path in wheels.iterdir():
        path.unlink()
    assert pack(wheels) == 78
    assert "no wheels there" in capsys.readouterr().err


def test_options_that_mean_nothing_are_refused(wheels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for option, value in (("--name", "../evil"), ("--architecture", "a b"), ("--python", "2.7")):
        assert pack(wheels, option, value) == 78
        assert "; " in capsys.readouterr().err
