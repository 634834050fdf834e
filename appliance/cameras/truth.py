"""The recorded pictures of a source, with what they really show where somebody has written it down."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from appliance.annotations.layouts import read_annotations
from appliance.annotations.pictures import TruthBox
from appliance.bundle.picture import PICTURE_SUFFIXES, picture_files
from appliance.errors import ConfigError

MOST_NAMED = 20
"""So many groups are named in a message."""


@dataclass(frozen=True, slots=True)
class RecordedImage:
    """One recorded picture; truth is None where nobody said what it shows, and empty for a good part.

    group: the board type, day or machine that it is of; None where nobody said.
    """

    path: Path
    truth: tuple[TruthBox, ...] | None
    group: str | None = None


def list_recorded(source: Path, groups: Collection[str] = ()) -> list[RecordedImage]:
    """List recorded pictures with what they show.

    A list file of DeepPCB's, or a folder with its `trainval.txt` (here or in `PCBData/`), stands for the pictures that
    it lists, the tested ones and their templates; a COCO file for those that it names; any other folder for all
    pictures in it and below, with the truth of its `annotations.json` if it is there.

    Args:
        source: a folder, a COCO file (`.json`) or a list file (`.txt`).
        groups: only pictures of these groups; all if empty.

    Returns:
        Pictures in natural order of their paths (part2 before part10); at least one.

    Raises:
        ConfigError: Nothing there, not readable, no picture in it, no such group, or broken annotations (file and line
            are named).
    """
    try:
        recorded = _recorded(source)
    except OSError as error:
        raise ConfigError(f"{source}: cannot be read ({error.strerror}); name a folder of pictures") from error
    if not recorded:
        raise ConfigError(
            f"{source}: no picture here or below ({', '.join(sorted(PICTURE_SUFFIXES))}); name a folder of pictures"
        )
    if groups:
        _check_groups(source, groups, sorted({image.group for image in recorded if image.group is not None}))
        recorded = [image for image in recorded if image.group in groups]
    return sorted(recorded, key=lambda image: _natural(image.path))


def _recorded(source: Path) -> list[RecordedImage]:
    annotations = read_annotations(source)
    labelled = annotations.pictures if annotations else ()
    found = {picture.path: RecordedImage(picture.path, picture.boxes, picture.group) for picture in labelled}
    if annotations is None or (annotations.layout == "coco" and source.is_dir()):
        found = {path: RecordedImage(path, None) for path in picture_files(source)} | found
    return list(found.values())


def _check_groups(source: Path, wanted: Collection[str], known: list[str]) -> None:
    unknown = sorted(set(wanted) - set(known))
    if not unknown:
        return
    if not known:
        raise ConfigError(f"{source}: no annotations name groups here; name a folder below instead of groups")
    more = f" and {len(known) - MOST_NAMED} more" if len(known) > MOST_NAMED else ""
    raise ConfigError(f"{source}: no group {', '.join(unknown)}; the groups are {', '.join(known[:MOST_NAMED])}{more}")


def _natural(path: Path) -> list[tuple[int, int, str]]:
    pieces = re.split(r"([0-9]+)", str(path))
    return [(1, int(piece), piece) if piece.isdecimal() else (0, 0, piece) for piece in pieces if piece]
