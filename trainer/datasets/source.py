"""Where a data set lies and how it is written down: what train, export and evaluate are told on the command line."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from appliance.annotations.coco import read_coco
from appliance.annotations.deeppcb import read_deeppcb
from appliance.annotations.layouts import LAYOUTS, read_annotations
from appliance.annotations.picture_list import read_picture_list
from appliance.annotations.pictures import Annotations, only_listed, read_text, with_good_parts
from appliance.errors import ConfigError
from trainer.datasets.address import VersionAddress, place
from trainer.datasets.sample import plain
from trainer.datasets.stored import StoredSource, usual_cache
from trainer.progress import console

DATA_HELP = (
    "a COCO file (.json) or a folder with one; DeepPCB's layout: its folder, or a list file such as trainval.txt; or "
    "ADDRESS@VERSION, as `data version --to` told it"
)


@dataclass(frozen=True, slots=True)
class Source:
    """A data set's place.

    Args:
        data: folder or annotation file.
        listing: annotation or list file, in that folder or a path of its own; None for the usual one. Beside a COCO
            file it may be a list of pictures, which are the only ones then.
        layout: "coco" or "deeppcb"; None to see it from the files.
        good_list: list of good parts' pictures, which then replace DeepPCB's templates as good parts; None without.
    """

    data: Path
    listing: Path | None = None
    layout: Literal["coco", "deeppcb"] | None = None
    good_list: Path | None = None

    def as_dict(self) -> dict[str, str | None]:
        """Return plain values with absolute paths, for a run's source.json."""
        listing, good_list = (
            None if path is None else str(plain(path)) for path in (self._listing(), self._good_list())
        )
        return {"data": str(plain(self.data)), "list": listing, "format": self.layout, "good_list": good_list}

    def root(self) -> Path:
        """Return the folder that its pictures are named from, as people see them."""
        return self.data.resolve()

    def folder(self) -> Path:
        """Return the folder that the data lie in, as it was named; of a file in its `annotations/`, the one above."""
        if self.data.is_dir():
            return self.data
        folder = self.data.parent
        return folder.parent if self.data.suffix == ".json" and folder.name == "annotations" else folder

    def annotations(self) -> Annotations:
        """Read the annotations.

        Raises:
            ConfigError: nothing readable is there, or something in it is broken; names file and line.
        """
        if not self.data.exists():
            raise ConfigError(f"{self.data}: does not exist; give {LAYOUTS}")
        listing, good_list = self._listing(), self._good_list()
        listed = listing if listing is not None and self._lists_pictures(listing) else None
        found = whole = self._read(None if listed else listing, is_coco=listed is not None)
        folders = [self._root(), *(path.parent for path in (listing, good_list) if path is not None)]
        if listed is not None:
            found = only_listed(whole, read_picture_list(listed, folders, whole))
        if good_list is None:
            return found
        named = with_good_parts(whole, read_picture_list(good_list, folders, whole))
        asked = {picture.path for picture in found.pictures}
        named = replace(named, pictures=tuple(it for it in named.pictures if not it.boxes or it.path in asked))
        left_out = len({picture.path for picture in found.pictures} - {picture.path for picture in named.pictures})
        if left_out and found.layout == "coco":  # DeepPCB's templates are references, then
            console.print(
                f"trainer: {left_out} pictures without boxes are not in {good_list} and are left out: nothing says "
                "that their parts are good",
                soft_wrap=True,
            )
        return named

    def _read(self, listing: Path | None, *, is_coco: bool) -> Annotations:
        named = listing or self.data
        is_json = self.layout is None and named.suffix == ".json" and named.is_file()
        is_coco = is_coco or self.layout == "coco" or is_json
        if is_coco:
            return read_coco(listing or (_only_json(self.data) if self.data.is_dir() else self.data), self._root())
        if listing is not None:
            return read_deeppcb(listing, self._root())
        found = read_annotations(self.data)
        if found is None:
            raise ConfigError(
                f"{self.data}: no annotations.json, and no trainval.txt here or in PCBData/; give {LAYOUTS}"
            )
        if self.layout is not None and found.layout != self.layout:
            raise ConfigError(f"{self.data}: is in {found.layout}'s layout; leave --format out, or name other data")
        return found

    def _lists_pictures(self, listing: Path) -> bool:
        """Tell whether a list names pictures of a COCO file, and is neither one itself nor a list of DeepPCB's."""
        beside_coco = self.data.suffix == ".json" or bool(_jsons(self.data))
        if listing.suffix == ".json" or self.layout == "deeppcb" or not (self.layout == "coco" or beside_coco):
            return False
        lines = read_text(listing).split("\n")
        first = next((line for line in map(str.strip, lines) if line), "")
        return not first.startswith(("{", "[")) and (self.layout == "coco" or not first.endswith(".txt"))

    def _listing(self) -> Path | None:
        return None if self.listing is None else sought(self.listing, self.places(), "--list")

    def _good_list(self) -> Path | None:
        return None if self.good_list is None else sought(self.good_list, self.places(), "--good-list")

    def places(self) -> list[Path]:
        """Return the folders that its lists lie in, and name pictures from, the likeliest first."""
        root = self.folder()
        return [root, root / "PCBData", root / "annotations"]

    def _root(self) -> Path:
        """Return the folder that a list's pictures are named from."""
        if self.data.is_file():
            return self.folder()
        nested = self.data / "PCBData"
        return nested if self.layout != "coco" and nested.is_dir() else self.data


AnySource: TypeAlias = Source | StoredSource


def source_of(arguments: argparse.Namespace) -> AnySource:
    """Take the arguments that `add_arguments` declares.

    Raises:
        ConfigError: Some of them say how a version's pictures are listed, which it says itself.
    """
    if not isinstance(arguments.data, VersionAddress):
        return Source(arguments.data, arguments.list, arguments.format, arguments.good_list)
    if arguments.list or arguments.format or arguments.good_list:
        raise ConfigError(
            f"{arguments.data}: a version says itself what it holds; leave out --list, --format, --good-list"
        )
    return StoredSource(arguments.data, arguments.cache)


def words_of(arguments: argparse.Namespace) -> list[str]:
    """Return the words that name the same data on the command line of another command."""
    words = ["--data", str(arguments.data)]
    for name in ("list", "format", "good_list"):
        if getattr(arguments, name) is not None:
            words += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
    if arguments.cache != usual_cache():
        words += ["--cache", str(arguments.cache)]
    return words


def written_source(content: Any) -> AnySource:
    """Read what `as_dict` wrote.

    Raises:
        KeyError, TypeError: it is something else.
    """
    if not isinstance(content, dict):
        raise TypeError("no JSON object")
    data = place(content["data"])
    if isinstance(data, VersionAddress):
        return StoredSource(data, Path(content["cache"]))
    listing, good_list = (None if content.get(k) is None else Path(content[k]) for k in ("list", "good_list"))
    return Source(data, listing, content.get("format"), good_list)


def add_arguments(parser: argparse.ArgumentParser, *, is_required: bool = True, data_help: str = DATA_HELP) -> None:
    """Declare the arguments that name a data set.

    Args:
        parser: of the command.
        is_required: whether the command cannot do without.
        data_help: of --data.
    """
    parser.add_argument("--data", type=place, required=is_required, help=data_help)
    parser.add_argument(
        "--list",
        type=Path,
        metavar="FILE",
        help="annotation or list file (default: the usual name); beside COCO also pictures, one a line",
    )
    parser.add_argument("--format", choices=("coco", "deeppcb"), help="layout (default: seen from the files)")
    parser.add_argument(
        "--good-list",
        type=Path,
        metavar="FILE",
        help="pictures of good parts, one a line; DeepPCB's templates then are references only",
    )
    add_cache(parser)


def add_cache(parser: argparse.ArgumentParser) -> None:
    """Declare where what was brought from an address is kept."""
    parser.add_argument(
        "--cache",
        type=Path,
        default=usual_cache(),
        metavar="FOLDER",
        help="keeps what was brought from an address (default %(default)s)",
    )


def sought(name: Path, places: list[Path], option: str) -> Path:
    """Return the file that an option names.

    Args:
        name: as it was given: a path, or a name in one of the places.
        places: folders where it may lie, the likeliest first.
        option: what named it, for the message.

    Raises:
        ConfigError: It lies nowhere.
    """
    nearby = [place / name for place in places]
    for path in (name, *nearby) if len(name.parts) > 1 or name.is_absolute() else (*nearby, name):
        if path.is_file():
            return path
    raise ConfigError(f"{option} {name}: is neither in {places[0]} nor a path of its own; correct the name")


def _jsons(folder: Path) -> list[Path]:
    return sorted([*folder.glob("*.json"), *folder.glob("annotations/*.json")])


def _only_json(folder: Path) -> Path:
    usual, found = folder / "annotations.json", _jsons(folder)
    if usual in found:
        return usual
    if len(found) != 1:
        shown = ", ".join(path.name for path in found[:8]) or "none"
        raise ConfigError(f"{folder}: which COCO file? There are {shown}; name one with --list, or with --data")
    return found[0]
