"""What a person brings for release: a file, and what lies beside it for people to read."""

from __future__ import annotations

from pathlib import Path

from appliance.bundle.archive import read_bundle
from appliance.bundle.recipe_package import SUFFIX
from appliance.errors import BundleFormatError, ConfigError
from trainer.release.evaluation import Told, evaluation
from trainer.release.recipes import recipe_release
from trainer.release.releases import Release
from trainer.release.roles import Kind

MOST_BYTES = 4_000_000_000
"""Of a release: all of it is in memory once."""


def brought(file: Path, kind: Kind | None, name: str | None, told: Told) -> Release:
    """Read what is to be released.

    Args:
        file: the bundle, the package of a recipe, or the file of an app or system.
        kind: of it; None for a recipe where the file's name ends so, else a model.
        name: of an app or system; what has its own takes no other.
        told: how good it is, as its evaluation says it.

    Raises:
        ConfigError: A file cannot be read, its name is wrong, or its evaluation is missing or of another bundle.
        BundleError: It is no bundle or recipe, or damaged.
    """
    try:
        if file.stat().st_size > MOST_BYTES:
            raise ConfigError(f"{file}: more than {MOST_BYTES} bytes; make it smaller")
        content = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{error.filename}: cannot be read: {error.strerror}; check path and rights") from error
    kind = kind or ("recipe" if file.suffix == SUFFIX else "model")
    if kind == "model":
        return _model(file, content, name, told)
    beside, _ = evaluation(told, kind, file, "")
    if kind in ("app", "os"):
        if not name:
            raise ConfigError(f"--kind {kind}: say with --name of what it is a release")
        return Release(kind, name, file.suffix, content, beside)
    if name:
        raise _has_a_name("recipe")
    return recipe_release(content, str(file), beside)


def _model(file: Path, content: bytes, name: str | None, told: Told) -> Release:
    if name:
        raise _has_a_name("bundle")
    try:
        bundle = read_bundle(content)
    except BundleFormatError as error:
        raise BundleFormatError(f"{file}: {error}; nothing was published") from error
    beside, marks = evaluation(told, "model", file, bundle.digest)
    card = {".card.md": bundle.model_card.encode()}
    return Release("model", bundle.manifest.name, ".bundle", content, {**beside, **card}, marks)


def _has_a_name(what: str) -> ConfigError:
    return ConfigError(f"--name: a {what} has its own name; leave it out, or say which --kind it is")
