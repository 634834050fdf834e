"""appliance pack-recipe: a recipe and its reference pictures as one file that can be released to devices."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from appliance.arguments import new_file
from appliance.bundle.archive import read_bundle
from appliance.bundle.recipe_package import SUFFIX, read_recipe_package, write_recipe_package
from appliance.bundle.whole_file import write_whole
from appliance.documents import Document
from appliance.errors import ConfigError
from appliance.optics.reference import read_picture
from appliance.recipe import Recipe, load_recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("recipe", type=Path, metavar="RECIPE", help="the recipe (YAML); its pictures lie as it says")
    parser.add_argument(
        "--out", type=new_file, required=True, metavar="FILE", help=f"the package, such as boards-3{SUFFIX}"
    )
    parser.add_argument("--bundle", type=Path, metavar="BUNDLE", help="that it must fit, with every limit and picture")


def execute(arguments: argparse.Namespace) -> int:
    """Pack a recipe, and say what it is.

    Raises:
        ConfigError: the recipe must be corrected, or does not fit the bundle.
        BundleError: the bundle is none, or the pictures are too many.
        StorageError: the disk refuses.
    """
    source, out = arguments.recipe, arguments.out.path
    if source.suffix == SUFFIX or out.suffix != SUFFIX:
        raise ConfigError(f"{source} -> {out}: a package is made of a YAML file and ends in {SUFFIX}; name it so")
    recipe, document = load_recipe(source)
    if arguments.bundle is not None:
        recipe.bind(read_bundle(arguments.bundle).manifest, document)
    pictures = list(_pictures(recipe, document))
    data = write_recipe_package(recipe.name, recipe.version, source.read_bytes(), pictures)
    package = read_recipe_package(data, str(out))
    if package.manifest.recipe != document.digest:
        raise ConfigError(f"{source} was changed while it was packed; pack it again")
    write_whole(out, data)
    sys.stdout.write(
        f"{out}: recipe {recipe.name} version {recipe.version}, {len(pictures)} reference pictures, "
        f"{len(data) / 1e6:.1f} MB, sha256 {package.digest}\n"
    )
    return 0


def _pictures(recipe: Recipe, document: Document) -> Iterator[bytes]:
    for position, view in enumerate(recipe.views):
        for number, picture in enumerate(view.reference.pictures if view.reference else ()):
            yield read_picture(picture, document, ("views", position, "reference", "pictures", number))
