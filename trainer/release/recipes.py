"""A release of a recipe: the package, the recipe as people read it, and what is signed of both.

A device counts releases; people count the version that they write into a recipe. Both grow, so the version is signed,
too, and so is a digest of what the recipe says beside it: by that an older one is known again under a new version.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuf.api.metadata import TargetFile, Targets

from appliance.bundle.recipe_package import GET_AGAIN, SUFFIX, read_recipe_package
from appliance.documents import Document, parse_document
from appliance.errors import BundleTrustError, ConfigError
from trainer.release.releases import Release
from trainer.release.roles import CONTENT, KINDS, VERSION, said_of, seq_of, version_of, withdrawals
from trainer.release.shelf import Shelf
from trainer.release.standing import Standing

PLAIN = ".yaml"
"""Ending of what lies beside a package: the recipe in it, so that who signs can read what it says."""

_NAME = re.compile(rf"recipes/([^/]+)/[^/]+{re.escape(SUFFIX)}")


def recipe_release(content: bytes, origin: str, beside: Mapping[str, bytes]) -> Release:
    """Read a package that is to be released.

    Args:
        content: the file.
        origin: names it in messages.
        beside: ending -> content of more that people read about it.

    Raises:
        BundleError: It is no package of a recipe, or damaged.
        ConfigError: The recipe in it is no such YAML, or has another name or version than the package says.
    """
    package = read_recipe_package(content, origin)
    document, manifest = parse_document(Path(origin), package.recipe), package.manifest
    if (document.data.get("name"), document.data.get("version")) != (manifest.name, manifest.version):
        raise document.error(
            ("version",), f"the package says {manifest.name} version {manifest.version}", "pack the recipe again"
        )
    marks = {VERSION: manifest.version, CONTENT: _content(document)}
    return Release("recipe", manifest.name, SUFFIX, content, {**beside, PLAIN: package.recipe}, marks)


def check_version(standing: Standing, release: Release) -> None:
    """Refuse a version that was there, so that no two recipes are called alike in a device's records.

    Raises:
        ConfigError: It is not above all of its name; says what is to be done.
    """
    held = standing.delegated.get(KINDS["recipe"])
    known = [each for each in _versions(held.signed) if each.recipe == release.name] if held else []
    highest = max(known, key=lambda each: each.version, default=None)
    version = release.marks[VERSION]
    if highest is None or version > highest.version:
        return
    problem = f"{highest.name} is version {highest.version}"
    if version == highest.version:
        if any(each.digest == release.digest for each in known):
            return
        problem += ", too, and " + ("says something else" if highest.digest else "was withdrawn")
    raise ConfigError(
        f"recipe {release.name} version {version}: {problem}; write `version: {highest.version + 1}` or more into the "
        "recipe and pack it again. An older recipe comes back as a new version, too"
    )


def check_brought(shelf: Shelf, standing: Standing | None, newer: Targets) -> None:
    """Hold the recipes that a signed list brings against what was signed of them; nobody could read that in the list.

    Raises:
        BundleTrustError: A package is missing, or another one than the list says.
        BundleError, ConfigError: It is none.
        StorageError: The address does not answer or refuses.
    """
    held = standing.releases("recipe") if standing else {}
    for name, target in newer.targets.items():
        if name in held or not name.endswith(SUFFIX):
            continue
        try:
            content = shelf.signed_target(name, target)
        except BundleTrustError as error:
            raise BundleTrustError(
                f"{shelf.address}: {name} is missing or damaged there; bring it again with `trainer publish release`"
            ) from error
        check_recipe(name, newer.targets, content)
    check_order(newer)


def check_recipe(name: str, targets: Mapping[str, TargetFile], content: bytes) -> None:
    """Hold a package against what was signed of it.

    Args:
        name: under which it was signed.
        targets: what was signed.
        content: the package.

    Raises:
        BundleTrustError: It is another recipe, or the one beside it is not the one in it.
        BundleError, ConfigError: It is none.
    """
    found, target = recipe_release(content, name, {}), targets[name]
    wanted = {"kind": "recipe", "seq": seq_of(target), **found.marks}
    if name != found.path(seq_of(target)) or said_of(target) != wanted:
        raise BundleTrustError(
            f"{name}: is recipe {found.name} version {found.marks[VERSION]}, and signed as version "
            f"{version_of(target)}; look at who releases recipes"
        )
    beside = targets.get(found.path(seq_of(target), PLAIN))
    if beside is None or beside.hashes.get("sha256") != hashlib.sha256(found.beside[PLAIN]).hexdigest():
        raise BundleTrustError(
            f"{name}: what lies beside it to be read is not the recipe in it; look at who releases recipes. {GET_AGAIN}"
        )


def check_order(signed: Targets) -> None:
    """See that the versions of each recipe grow with its numbers.

    Raises:
        BundleTrustError: One does not.
    """
    last: dict[str, _Version] = {}
    for each in sorted(_versions(signed), key=lambda each: each.seq):
        before = last.get(each.recipe)
        is_same = before is not None and each.version == before.version and each.digest == before.digest
        if before and each.version <= before.version and not is_same:
            raise BundleTrustError(
                f"{each.name}: version {each.version} comes after version {before.version} of {each.recipe}; look at "
                "who releases recipes"
            )
        last[each.recipe] = each


@dataclass(frozen=True, slots=True)
class _Version:
    """A package that was released; digest: its SHA-256, empty if it is withdrawn."""

    name: str
    recipe: str
    seq: int
    version: int
    digest: str


def _versions(signed: Targets) -> Iterator[_Version]:
    for name, target in signed.targets.items():
        if match := _NAME.fullmatch(name):
            yield _Version(name, match[1], seq_of(target), version_of(target), target.hashes.get("sha256", ""))
    for name, about in withdrawals(signed).items():
        if (match := _NAME.fullmatch(name)) and type(about.get(VERSION)) is int:
            yield _Version(name, match[1], about["seq"], about[VERSION], "")


def _content(document: Document) -> str:
    """What a recipe says beside its version; where its pictures lay when it was packed says nothing."""
    data = {key: _anywhere(value) for key, value in document.data.items() if key != "version"}
    return hashlib.sha256(json.dumps(data, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _anywhere(value: Any) -> Any:
    if isinstance(value, dict):
        is_picture = {"file", "sha256"} <= value.keys()
        return {key: _anywhere(each) for key, each in value.items() if not (is_picture and key == "file")}
    return [_anywhere(each) for each in value] if isinstance(value, list) else value
