"""A release's file: where it may lie, and that it is the one that was meant."""

import hashlib
import os
import stat
from pathlib import Path

from appliance.bundle.archive import Bundle, read_bundle
from appliance.bundle.container import MAX_BUNDLE_BYTES
from appliance.bundle.recipe_package import read_recipe_package
from appliance.errors import BundleDigestError, BundleFormatError, ConfigError
from appliance.recipe import LoadedRecipe, unpack_recipe

_SHOWN_OF_A_DIGEST = 12


def locate(folder: Path | None, name: str) -> Path:
    """Return where a release's file really lies.

    Whoever may send commands may name files, so nothing but one folder is looked into, links included.

    Args:
        folder: the configuration's `releases`.
        name: the file, absolute or relative to that folder.

    Raises:
        ConfigError: there is no such folder, or the file is not in it.
    """
    if folder is None:
        raise ConfigError("the station's configuration names no folder of releases; add `releases:` and start it again")
    shown = name[:200]
    try:
        path, within = (folder / name).resolve(strict=True), folder.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        why = error.strerror if isinstance(error, OSError) else "its links lead in a circle"
        raise ConfigError(f"{shown}: {why}; name a file in {folder}") from error
    if not path.is_relative_to(within):
        raise ConfigError(f"{shown} does not lie in {folder}, the station's folder of releases, or links out of it")
    return path


def read_release(path: Path, sha256: str) -> Bundle:
    """Read a release's file once, and refuse another one than was meant.

    Args:
        path: from locate.
        sha256: of the whole file, hex.

    Raises:
        BundleDigestError: it is another file.
        BundleFormatError: it cannot be read, or is no bundle.
    """
    return read_bundle(_meant(path, sha256), str(path))


def read_recipe_release(path: Path, sha256: str) -> LoadedRecipe:
    """Read a release of a recipe once, and refuse another file than was meant.

    Args:
        path: from locate.
        sha256: of the whole file, hex.

    Raises:
        BundleDigestError: it is another file.
        BundleFormatError: it cannot be read, or is no package of a recipe.
        ConfigError: the recipe in it is none.
    """
    return unpack_recipe(read_recipe_package(_meant(path, sha256), str(path)), path)


def _meant(path: Path, sha256: str) -> bytes:
    data = _content(path)
    digest = hashlib.sha256(data).hexdigest()
    if digest != sha256:
        raise BundleDigestError(
            f"{path} is not the file that was meant: its SHA-256 is {digest[:_SHOWN_OF_A_DIGEST]}..., asked for was "
            f"{sha256[:_SHOWN_OF_A_DIGEST]}...; get it again"
        )
    return data


def _content(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise BundleFormatError(f"{path} is no file; name the release")
            data = file.read(MAX_BUNDLE_BYTES + 1)
    except OSError as error:
        raise BundleFormatError(f"{path} cannot be read: {error.strerror}; check path and rights") from error
    if len(data) > MAX_BUNDLE_BYTES:
        raise BundleFormatError(f"{path} has more than {MAX_BUNDLE_BYTES} bytes and is no release")
    return data
