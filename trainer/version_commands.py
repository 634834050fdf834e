"""What `trainer data` does with versions: write down, store, bring back, verify, compare."""

from __future__ import annotations

import argparse
import shutil
from collections import Counter
from pathlib import Path

from rich.table import Table

from appliance.errors import EXIT_REFUSED, ConfigError, StorageError
from trainer.datasets.address import VersionAddress
from trainer.datasets.difference import Change, as_dict, changes
from trainer.datasets.layouts.coco_file import check_is_new, found_in, write_coco
from trainer.datasets.layouts.found import Wishes
from trainer.datasets.reading import read_dataset
from trainer.datasets.source import source_of
from trainer.datasets.store import Store
from trainer.datasets.stored import StoredSource, store_version, stored_version, verify
from trainer.datasets.version import Version, read_version, root_of, version_of, write_version
from trainer.files import make_folder, write_json
from trainer.progress import console as _err
from trainer.progress import results as _out
from trainer.progress import tracked

MOST_CHANGES = 40
"""What the console shows; the JSON file has all."""


def write_down(arguments: argparse.Namespace) -> int:
    """Write a version of a data set, or store it with all of its files.

    Args:
        arguments: of `trainer data version`.

    Returns:
        The exit code.
    """
    parent = _version(arguments.parent) if arguments.parent else None
    store = Store(arguments.to) if arguments.to else None
    place = source_of(arguments)
    dataset = read_dataset(place, for_version=True)
    root = root_of(dataset, place.root())
    version = version_of(dataset, root, arguments.why, arguments.who, parent)
    if store is None:
        where = str(write_version(version, arguments.out))
    else:
        sent = store_version(version, root, store)
        where = f"{arguments.to}@{version.name}"
        _out.print(f"{sent} files sent, {len(version.files()) - sent} were there", soft_wrap=True)
    if parent:
        _show_changes(changes(parent, version))
    _out.print(f"{where}: {len(version.pictures)} pictures, digest {version.digest}", soft_wrap=True)
    return 0


def pull(arguments: argparse.Namespace) -> int:
    """Bring a stored version into a folder of its own, as COCO, for tools and people.

    Args:
        arguments: of `trainer data pull`.

    Returns:
        The exit code.
    """
    check_is_new(arguments.out)
    source = StoredSource(_address(arguments.version), arguments.cache)
    annotations = source.annotations()
    if annotations.layout == "deeppcb":
        words = "COCO does not say that these pictures are binarised copper, on which defects can be painted"
        _err.print(f"trainer: beware: {words}; train on the address itself", soft_wrap=True)
    found = found_in(annotations, Wishes())
    names = {picture.path for picture in found.pictures} | {p.reference for p in found.pictures if p.reference}
    for path in tracked(sorted(names), "copying"):
        _copy(path, arguments.out / path.relative_to(source.root()))
    path = write_coco(found.moved(source.root(), arguments.out), arguments.out)
    _out.print(
        f"{path}: {len(found.pictures)} pictures\nnext: trainer data check --data {arguments.out}", soft_wrap=True
    )
    return 0


def verify_stored(arguments: argparse.Namespace) -> int:
    """Read every file of a stored version and hold it against its digest.

    Args:
        arguments: of `trainer data verify`.

    Returns:
        The exit code; 1 if a file is missing or damaged.
    """
    address = _address(arguments.version)
    store = Store(address.address)
    version = stored_version(store, address.name)
    lacks = verify(store, version)
    if arguments.json:
        write_json(arguments.json.path, {"missing": list(lacks.missing), "damaged": list(lacks.damaged)})
    if lacks:
        _err.print(f"trainer: {lacks.remedy(address)}", soft_wrap=True)
        return EXIT_REFUSED
    _out.print(f"{address}: all {len(version.files())} files are as they were stored", soft_wrap=True)
    return 0


def diff(arguments: argparse.Namespace) -> int:
    """Tell what changed between two versions.

    Args:
        arguments: of `trainer data diff`.

    Returns:
        The exit code.
    """
    before, after = _version(arguments.before), _version(arguments.after)
    _show_changes(changes(before, after))
    if before.classes != after.classes:
        _out.print(f"classes: {', '.join(before.classes)} -> {', '.join(after.classes)}", soft_wrap=True)
    if arguments.json:
        write_json(arguments.json.path, as_dict(before, after))
    return 0


def _show_changes(found: list[Change]) -> None:
    counts = Counter(change.kind for change in found)
    title = ", ".join(f"{count} {kind}" for kind, count in counts.items()) or "no changes"
    table = Table("change", "picture", "group", "boxes", title=title)
    for change in found[:MOST_CHANGES]:
        sides = [entry for entry in (change.before, change.after) if entry]
        groups = [entry.group for entry in sides]
        boxes = [", ".join(f"{name} {n}" for name, n in entry.boxes.items()) or "good part" for entry in sides]
        shown = [" -> ".join(dict.fromkeys(texts)) for texts in (groups, boxes)]
        table.add_row(change.kind, change.name(), *shown)
    _out.print(table)
    if len(found) > MOST_CHANGES:
        _out.print(f"and {len(found) - MOST_CHANGES} more; `trainer data diff` lists all with --json")


def _version(place: Path | VersionAddress) -> Version:
    if isinstance(place, VersionAddress):
        return stored_version(Store(place.address), place.name)
    return read_version(place)


def _address(place: Path | VersionAddress) -> VersionAddress:
    if isinstance(place, Path):
        raise ConfigError(f"{place}: names no stored version; write ADDRESS@VERSION, as `data version --to` told it")
    return place


def _copy(path: Path, target: Path) -> None:
    make_folder(target.parent)
    try:
        shutil.copyfile(path, target)
    except OSError as error:
        raise StorageError(f"{target}: cannot be written: {error.strerror}; check space and rights") from error
