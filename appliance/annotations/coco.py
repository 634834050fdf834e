"""COCO JSON: images, annotations, categories, and for each image a "group" and a "camera" if the source knows them.

Source: cocodataset.org/#format-data.
"""

import json
import math
import re
import sys
from bisect import bisect
from collections.abc import Container
from pathlib import Path
from typing import Any, TypeAlias

from appliance.annotations.pictures import (
    Annotations,
    LabelledPicture,
    Outline,
    TruthBox,
    check_corners,
    check_listed_once,
    existing,
    read_text,
)
from appliance.annotations.run_lengths import box_around
from appliance.bundle.strict_json import MAX_DEPTH, depth_of
from appliance.errors import ConfigError
from appliance.events import Box

CROWD = "it is marked as a crowd; it is taken as one defect, because a part that shows it is no good part"

Id: TypeAlias = int | str

_BLANK = re.compile(r"[\s,:]*")


def read_coco(path: Path, root: Path | None = None) -> Annotations:
    """Read a COCO file; pictures are sought in a folder, then in `images/` in it.

    An image without annotations is a good part. "reference" of an image names a picture of the same part without
    defects, which is sought in the same places. Without a "group" the group is the folder in `file_name`, and without
    that the picture itself, so that a split never divides what belongs together by accident.

    Args:
        path: the JSON file.
        root: folder of the pictures, sought before the file's own; None: that alone.

    Returns:
        Pictures in the order of `images`; classes in the order of the category ids.

    Raises:
        ConfigError: The JSON or an entry is broken; the message names file, line and entry.
    """
    entries = _entries(path)
    names: dict[Id, str] = {}
    classes: dict[str, str] = {}
    for where, entry in entries["categories"]:
        number, name = _new_id(entry, names, where), _text(entry, "name", where)
        if name in classes:
            raise ConfigError(f"{where}: the name {name!r} is used twice; give each category its own")
        names[number], classes[name] = name, where
    names = {number: names[number] for number in sorted(names, key=_order)}
    boxes: dict[Id, list[TruthBox]] = {}
    for where, entry in entries["images"]:
        boxes[_new_id(entry, boxes, where)] = []
    if not boxes:
        raise ConfigError(f"{path}: has no images; is it the right file?")
    for where, entry in entries["annotations"]:
        image, category = _id(entry, "image_id", where), _id(entry, "category_id", where)
        if image not in boxes:
            raise ConfigError(f"{where}: there is no image {image!r}; remove the annotation or restore the image")
        if category not in names:
            known = ", ".join(f"{number!r} {name}" for number, name in names.items())
            raise ConfigError(f"{where}: category {category!r} is unknown; there are {known or 'none'}")
        outlines = _outlines(entry.get("segmentation"))
        box = _box(entry, outlines, where)
        check_corners(box, where)
        boxes[image].append(TruthBox(names[category], box, where, CROWD if entry.get("iscrowd") else "", outlines))
    folders = [path.parent] if root is None else [root, path.parent]
    pictures = tuple(_picture(folders, entry, tuple(boxes[entry["id"]]), where) for where, entry in entries["images"])
    check_listed_once(pictures)
    return Annotations("coco", {name: classes[name] for name in names.values()}, pictures)


def entry_lines(text: str) -> dict[str, list[int]]:
    """Return the line of each entry of each list at the top; json itself keeps no positions.

    Args:
        text: a JSON object that json.loads takes.
    """
    decoder = json.JSONDecoder()
    ends = [match.start() for match in re.finditer("\n", text)]
    lines: dict[str, list[int]] = {}

    def skip_blank(at: int) -> int:
        match = _BLANK.match(text, at)
        return match.end() if match else at

    at = skip_blank(text.index("{") + 1)
    while text[at] != "}":
        key, at = decoder.raw_decode(text, at)
        at = skip_blank(at)
        if text[at] == "[":
            lines[key] = []
            at = skip_blank(at + 1)
            while text[at] != "]":
                lines[key].append(bisect(ends, at) + 1)
                at = skip_blank(decoder.raw_decode(text, at)[1])
            at = skip_blank(at + 1)
        else:
            at = skip_blank(decoder.raw_decode(text, at)[1])
    return lines


def _entries(path: Path) -> dict[str, list[tuple[str, dict[str, Any]]]]:
    text = read_text(path)
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}:{error.lineno}: not JSON ({error.msg}); repair it or export it again") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}:1: no JSON text, or a number without end; export the file again") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}:1: expected a JSON object with images, annotations and categories")
    lines = entry_lines(text)
    found: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for key in ("categories", "images", "annotations"):
        if not isinstance(content.get(key), list):
            raise ConfigError(f"{path}:1: {key!r} is missing or no list; export the file as COCO detection")
        found[key] = []
        for index, (line, entry) in enumerate(zip(lines[key], content[key], strict=True)):
            where = f"{path}:{line}: {key}[{index}]"
            if not isinstance(entry, dict):
                raise ConfigError(f"{where}: is no object; export the file as COCO detection")
            found[key].append((where, entry))
    return found


def _new_id(entry: dict[str, Any], known: Container[Id], where: str) -> Id:
    number = _id(entry, "id", where)
    if number in known:
        raise ConfigError(f"{where}: id {number!r} is used twice; give each its own")
    return number


def _order(one: Id) -> tuple[float, str]:
    if isinstance(one, int):
        return one, ""
    return (float(one), "") if one.isdecimal() else (math.inf, one)


def _id(entry: dict[str, Any], name: str, where: str) -> Id:
    """Return a whole number, as COCO has it, or a text; tools that go through tables write 7 as 7.0."""
    value = entry.get(name)
    if isinstance(value, str) and value:
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    number: int = _field(entry, name, int, where)
    return number


def _field(entry: dict[str, Any], name: str, kind: type, where: str) -> Any:
    value = entry.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ConfigError(f"{where}: '{name}' must be {kind.__name__}, found {value!r}; repair the entry")
    return value


def _text(entry: dict[str, Any], name: str, where: str) -> str:
    value: str = _field(entry, name, str, where)
    is_odd = "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value)
    if is_odd or any(len(part.encode()) > 255 for part in re.split(r"[/\\]", value)):
        raise ConfigError(f"{where}: '{name}' is no name of a file or group: {value[:80]!r}; repair the entry")
    return value


def _picture(folders: list[Path], entry: dict[str, Any], boxes: tuple[TruthBox, ...], where: str) -> LabelledPicture:
    name, picture = _found(folders, _text(entry, "file_name", where), where)
    inside = Path(name).parent.as_posix()
    group = name if inside == "." else inside
    if entry.get("group") is not None:
        group = _text({"group": str(entry["group"])}, "group", where)
    reference = None
    if entry.get("reference") is not None:
        _, reference = _found(folders, _text(entry, "reference", where), where)
    camera = "" if entry.get("camera") is None else _text({"camera": str(entry["camera"])}, "camera", where)
    size = entry.get("width"), entry.get("height")
    return LabelledPicture(picture, group, boxes, where, size, reference, camera, _origin(entry, where))


def _origin(entry: dict[str, Any], where: str) -> dict[str, Any] | None:
    origin = entry.get("origin")
    if not isinstance(origin, dict):
        return None
    try:
        text = json.dumps(origin, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: 'origin' holds what no JSON file can ({error}); repair the entry") from error
    if depth_of(text) > MAX_DEPTH:
        raise ConfigError(f"{where}: 'origin' is nested more than {MAX_DEPTH} levels deep; say it more simply")
    return origin


def _found(folders: list[Path], name: str, where: str) -> tuple[str, Path]:
    """Return a picture and the name under which it was found: as it is written, or as Windows writes folders."""
    names = dict.fromkeys((name, name.replace("\\", "/")))
    places = {folder / inner / way: way for way in names for folder in folders for inner in ("", "images")}
    path = existing(places, where)
    return places[path], path


def _box(entry: dict[str, Any], outlines: tuple[Outline, ...], where: str) -> Box:
    corners = entry.get("bbox") or _around(outlines) or box_around(entry.get("segmentation"))
    if not isinstance(corners, list) or len(corners) != 4 or not all(map(_is_number, corners)):
        raise ConfigError(
            f"{where}: 'bbox' must be [x, y, width, height] in pixels, found {corners!r}; repair it, or export masks"
        )
    try:
        x, y, width, height = map(float, corners)
    except OverflowError as error:
        raise ConfigError(f"{where}: 'bbox' holds a number that no picture has; repair or remove it") from error
    return x, y, x + width, y + height


def _outlines(polygons: Any) -> tuple[Outline, ...]:
    """Return COCO's polygons; none if these are none, such as run lengths, or broken: nothing is learned from them."""
    if not isinstance(polygons, list):
        return ()
    if not all(isinstance(one, list) and len(one) >= 6 and not len(one) % 2 for one in polygons):
        return ()
    if not all(_is_number(value) and abs(value) <= sys.float_info.max for one in polygons for value in one):
        return ()
    return tuple(tuple(map(float, one)) for one in polygons)


def _around(outlines: tuple[Outline, ...]) -> list[Any] | None:
    """Return the box around outlines as `bbox` would have it; None if there are none."""
    if not outlines:
        return None
    xs, ys = ([value for one in outlines for value in one[axis::2]] for axis in (0, 1))
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
