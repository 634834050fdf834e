"""trainer pack-app: a release of the appliance itself, as one file that a device accepts."""

from __future__ import annotations

import argparse
import re
import sys
import zipfile
from pathlib import Path

from pydantic import ValidationError

from appliance.bundle.app_package import PROGRAM, AppManifest, Wheel, describe_wheel, write_app
from appliance.bundle.strict_json import in_words
from appliance.errors import ConfigError

BLOCK_BYTES = 4096
_CPYTHON = re.compile(r"cp3(\d+)")


def pack_app(arguments: argparse.Namespace) -> int:
    """Pack a folder of wheels, and say what it is.

    Args:
        arguments: of `trainer pack-app`.

    Returns:
        The exit code.

    Raises:
        ConfigError: a wheel is missing, too much, or for other devices.
        BundleFormatError: the wheels make no release of the appliance.
    """
    files = {path.name: path for path in sorted(arguments.wheels.glob("*.whl"))}
    if not files:
        raise ConfigError(f"{arguments.wheels}: no wheels there; fill it with `pip wheel` or `pip download`")
    for name in files:
        if why := _why_not(name, arguments.python, arguments.architecture):
            raise ConfigError(f"{arguments.wheels / name}: {why}")
    manifest = _manifest(arguments, files)
    out: Path = arguments.out.path
    draft = out.with_name(f".{out.name}.part")
    try:
        write_app(draft, manifest, files)
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)
    size_mb = out.stat().st_size / 1e6
    sys.stdout.write(
        f"{out}: {manifest.name} {manifest.version}, release {manifest.seq}, {len(files)} wheels, {size_mb:.1f} MB, "
        f"for Python {manifest.python} on {manifest.architecture}\n"
    )
    return 0


def _manifest(arguments: argparse.Namespace, files: dict[str, Path]) -> AppManifest:
    try:
        wheels = tuple(describe_wheel(path) for path in files.values())
        return AppManifest(
            name=arguments.name,
            version=_version_of(wheels, arguments.wheels),
            seq=arguments.seq,
            python=arguments.python,
            architecture=arguments.architecture,
            installed_bytes=sum(_unpacked_bytes(path) for path in files.values()),
            wheels=wheels,
        )
    except ValidationError as error:
        raise ConfigError(f"{arguments.wheels}: {in_words(error)}; correct the option or the wheel's name") from error


def _version_of(wheels: tuple[Wheel, ...], folder: Path) -> str:
    versions = [wheel.version for wheel in wheels if wheel.distribution == PROGRAM]
    if len(versions) != 1:
        raise ConfigError(
            f"{folder}: {len(versions)} wheels of {PROGRAM}, there must be one; build it from this project"
        )
    return versions[0]


def _unpacked_bytes(path: Path) -> int:
    """What a wheel's files take, each in whole blocks, and a second time those that are compiled."""
    try:
        with zipfile.ZipFile(path) as wheel:
            infos = wheel.infolist()
    except (zipfile.BadZipFile, OSError) as error:
        raise ConfigError(f"{path} is no wheel: {error}; get it again") from error
    sizes = [(info.filename, -(-info.file_size // BLOCK_BYTES) * BLOCK_BYTES) for info in infos]
    return sum(size * (2 if name.endswith(".py") else 1) for name, size in sizes)


def _why_not(name: str, python: str, architecture: str) -> str:
    """Say why a device could not install a wheel, by its name's tags; empty if it could."""
    tags = name.removesuffix(".whl").split("-")[-3:]
    if len(tags) < 3:
        return "this is no name of a wheel; get it again"
    minor = int(python.partition(".")[2] or 0)
    pythons, abis, platforms = (tag.split(".") for tag in tags)
    found = [int(match[1]) for tag in pythons if (match := _CPYTHON.fullmatch(tag))]
    is_for_python = (
        "py3" in pythons or f"py3{minor}" in pythons or minor in found or ("abi3" in abis and min(found) <= minor)
    )
    if not is_for_python:
        return f"it is not for Python {python}; get the one that is, or say --python"
    if not any(tag == "any" or tag.endswith(f"_{architecture}") for tag in platforms):
        return f"it is not for {architecture}; get the one that is, or say --architecture"
    return ""
