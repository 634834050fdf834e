"""Labelled pictures, and what every layout refuses in the same words."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from appliance.errors import ConfigError
from appliance.events import Box

Outline = tuple[float, ...]
"""x1 y1 x2 y2 x3 y3 ... of a polygon in pixels, at least three points."""


@dataclass(frozen=True, slots=True)
class TruthBox:
    """One defect that is really there; box is x1, y1, x2, y2 in pixels, where is the file and line that say so.

    The box may be a line, and leave its picture a little: who learns from it knows the picture's size and settles that.

    taken_as: how it was read, in words, where that is not just as it is written; else empty. outlines: its polygons, if
    they are known.
    """

    label: str
    box: Box
    where: str = field(default="", compare=False)
    taken_as: str = field(default="", compare=False)
    outlines: tuple[Outline, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelledPicture:
    """One picture with everything wrong on it; no boxes: a good part.

    group: what must not be divided between training and validation (a board type, a day, a machine).
    where: file and line that name the picture. told_size: width and height that are written there, if any.
    reference: a picture of the same part without defects, if there is one; its own for a good part.
    camera: what took it; empty if nobody says so.
    origin: plain values that say who labelled it, and from where it comes; None if nobody says so.
    """

    path: Path
    group: str
    boxes: tuple[TruthBox, ...]
    where: str
    told_size: tuple[object, object] = (None, None)
    reference: Path | None = None
    camera: str = ""
    origin: dict[str, Any] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Annotations:
    """All that one source says; classes: name -> file and line, in the order of their numbers."""

    layout: Literal["coco", "deeppcb"]
    classes: dict[str, str]
    pictures: tuple[LabelledPicture, ...]


def check_listed_once(pictures: Iterable[LabelledPicture]) -> None:
    """Refuse a picture that is listed twice, under whatever name: it would be learned from and counted twice.

    Raises:
        ConfigError: The message names both places.
    """
    listed: dict[Path, str] = {}
    for picture in pictures:
        earlier = listed.setdefault(picture.path.resolve(), picture.where)
        if earlier != picture.where:
            raise ConfigError(
                f"{picture.where}: {picture.path} is listed twice, first at {earlier}; remove one entry and keep all "
                "its boxes with the other"
            )


def only_listed(annotations: Annotations, listed: tuple[LabelledPicture, ...]) -> Annotations:
    """Keep what a list names.

    Args:
        annotations: what one source says.
        listed: pictures, of which place and line count.

    Returns:
        The annotations of these pictures, in the order of the list.

    Raises:
        ConfigError: The annotations do not know one of them.
    """
    known, kept = _by_place(annotations), []
    for picture in listed:
        found = known.get(picture.path.resolve())
        if found is None:
            raise ConfigError(
                f"{picture.where}: {picture.path} is not among the {len(known)} pictures of the annotations; label it "
                "there, as an image without annotations if it shows a good part, or take it off the list"
            )
        kept.append(found)
    return replace(annotations, pictures=tuple(kept))


def with_good_parts(annotations: Annotations, good: tuple[LabelledPicture, ...]) -> Annotations:
    """Name the good parts: those that the annotations name so are left out, except where they are among these.

    Args:
        annotations: what one source says.
        good: pictures of good parts; what the annotations say of the same picture (group, reference) is kept.

    Returns:
        The annotations' defective parts, then the good ones.

    Raises:
        ConfigError: A good part has boxes in the annotations.
    """
    bad = tuple(picture for picture in annotations.pictures if picture.boxes)
    known = _by_place(annotations)
    named = tuple(known.get(picture.path.resolve(), picture) for picture in good)
    for picture, listed in zip(named, good, strict=True):
        if picture.boxes:
            raise ConfigError(
                f"{listed.where}: {listed.path} has defects by {picture.where}; take it off one of the two"
            )
    return replace(annotations, pictures=bad + named)


def _by_place(annotations: Annotations) -> dict[Path, LabelledPicture]:
    return {picture.path.resolve(): picture for picture in annotations.pictures}


def read_text(path: Path) -> str:
    """Read a file of annotations.

    Raises:
        ConfigError: It cannot be read or is no text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); restore the file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start}); restore the file") from error


def existing(candidates: Iterable[Path], where: str) -> Path:
    """Return the first path that is a file.

    Args:
        candidates: where a picture may lie.
        where: file and line that name it, for the message.

    Raises:
        ConfigError: None of them is there.
    """
    sought = list(candidates)
    for path in sought:
        try:
            if path.is_file():
                return path
        except (OSError, ValueError):  # a name that no file can have
            continue
    raise ConfigError(f"{where}: picture {sought[0]} does not exist; restore it, or take it off the list")


def check_corners(box: Box, where: str) -> None:
    """Refuse a box that is none; a line may be one, as some tools write the first and the last pixel.

    Args:
        box: x1, y1, x2, y2 in pixels.
        where: file and line, for the message.

    Raises:
        ConfigError: The box is not finite, or its corners are the wrong way round; the labels must be repaired.
    """
    if not all(map(math.isfinite, box)):
        raise ConfigError(f"{where}: box {box} is not finite; repair or remove it")
    if box[2] < box[0] or box[3] < box[1]:
        raise ConfigError(f"{where}: box {box} has no area (x2 < x1 or y2 < y1); repair or remove it")
