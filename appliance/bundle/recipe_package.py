"""A release of a recipe as one file: the YAML that a person wrote, and the reference pictures that it names.

A zip file in the fixed form of a bundle (appliance.bundle.container). Pictures lie in it under their SHA-256, which is
how the recipe vouches for them, so that their names and folders at the writer's place do not matter.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field

from appliance.bundle import strict_json
from appliance.bundle.container import pack, read_file, unpack
from appliance.bundle.manifest import Digest, Name
from appliance.bundle.section import Section
from appliance.errors import BundleDigestError, BundleFormatError

SCHEMA = "vi.recipe-package/1"
SUFFIX = ".recipe"
MANIFEST, RECIPE, PICTURES = "manifest.json", "recipe.yaml", "pictures/"
MAX_MANIFEST_BYTES = 2**18
GET_AGAIN = "get the file again, or pack it again with `appliance pack-recipe`"
MAX_PICTURES = 256
"""As many as 32 views with 8 variants each."""


class RecipeManifest(Section):
    """manifest.json: the recipe's name and version, and the SHA-256 of every other file."""

    schema_: Annotated[Literal["vi.recipe-package/1"], Field(alias="schema")] = "vi.recipe-package/1"
    name: Name
    version: Annotated[int, Field(ge=1)]
    recipe: Digest
    pictures: Annotated[tuple[Digest, ...], Field(max_length=MAX_PICTURES)]


@dataclass(frozen=True, slots=True)
class RecipePackage:
    """A package as read; digest: SHA-256 (hex) of the whole file, pictures: SHA-256 -> content."""

    manifest: RecipeManifest
    digest: str
    recipe: bytes
    pictures: Mapping[str, bytes]


def write_recipe_package(name: str, version: int, recipe: bytes, pictures: Iterable[bytes]) -> bytes:
    """Put a recipe and its pictures into one file; equal contents give equal bytes.

    Args:
        name: the recipe's.
        version: the recipe's.
        recipe: the YAML file.
        pictures: the files that it names, in any order.

    Returns:
        The package.

    Raises:
        BundleFormatError: too many or too large.
    """
    by_digest = {_digest(content): content for content in pictures}
    if len(by_digest) > MAX_PICTURES:
        raise BundleFormatError(f"{len(by_digest)} pictures do not fit into a recipe; name at most {MAX_PICTURES}")
    manifest = RecipeManifest(name=name, version=version, recipe=_digest(recipe), pictures=tuple(sorted(by_digest)))
    files = {MANIFEST: strict_json.dump(manifest), RECIPE: recipe}
    return pack(files | {PICTURES + digest: content for digest, content in by_digest.items()})


def read_recipe_package(source: Path | bytes, origin: str = "recipe") -> RecipePackage:
    """Read a package, and refuse everything that is not one; the recipe itself is not judged by that.

    Args:
        source: the file, or its bytes.
        origin: names bytes in messages.

    Raises:
        BundleFormatError: damaged, foreign, of a newer format or too big.
        BundleDigestError: a file in it is not the one that its manifest names.
    """
    return _read(source, origin) if isinstance(source, bytes) else _read(read_file(source), str(source))


def _read(data: bytes, origin: str) -> RecipePackage:
    try:
        files = unpack(data, origin)
    except BundleFormatError as error:
        reason = str(error).removeprefix(f"{origin} is not an acceptable bundle: ").rpartition("; ")[0]
        raise BundleFormatError(f"{origin} is no package of a recipe: {reason}; {GET_AGAIN}") from error
    if MANIFEST not in files:
        raise BundleFormatError(f"{origin} has no {MANIFEST} and is no package of a recipe; {GET_AGAIN}")
    manifest = strict_json.parse(
        files.pop(MANIFEST), RecipeManifest, schema=SCHEMA, origin=f"{origin}: {MANIFEST}",
        max_bytes=MAX_MANIFEST_BYTES, remedy=GET_AGAIN,
    )  # fmt: skip
    wanted = {RECIPE: manifest.recipe} | {PICTURES + digest: digest for digest in manifest.pictures}
    if len(wanted) != len(manifest.pictures) + 1 or wanted.keys() != files.keys():
        raise BundleFormatError(f"{origin}: {MANIFEST} and the package do not have the same files; {GET_AGAIN}")
    for name, digest in wanted.items():
        if _digest(files[name]) != digest:
            raise BundleDigestError(f"{origin}: {name} is not the file that {MANIFEST} names; {GET_AGAIN}")
    pictures = {digest: files[PICTURES + digest] for digest in manifest.pictures}
    return RecipePackage(manifest, _digest(data), files[RECIPE], MappingProxyType(pictures))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
