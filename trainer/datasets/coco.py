"""COCO JSON: images, annotations, categories, and for each image a "group" if the source knows one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from appliance.bundle.manifest import Name
from appliance.errors import ConfigError
from trainer.datasets.sample import Dataset, Sample, check_box, picture_size
from trainer.progress import tracked

_Box = tuple[float, float, float, float]
_NAME: TypeAdapter[str] = TypeAdapter(Name)


def read_coco(path: Path) -> Dataset:
    """Read a COCO file; pictures are sought beside it, then in `images/` beside it.

    An image without annotations is a good part. Without a "group" the group is the folder in `file_name`, and without
    that the picture itself, so that a split never divides what belongs together by accident.

    Args:
        path: the JSON file.

    Returns:
        Samples in the order of `images`; classes in the order of the category ids.

    Raises:
        ConfigError: The JSON or an entry is broken; the message names the file and the line or the entry.
    """
    content = _parse(path)
    names: dict[int, str] = {}
    for index, entry in enumerate(_entries(content, "categories", path)):
        where = f"{path}: categories[{index}]"
        number = _field(entry, "id", int, where)
        if number in names:
            raise ConfigError(f"{where}: id {number} is used twice; give each category its own")
        names[number] = _class_name(_text(entry, "name", where), tuple(names.values()), where)
    if not names:
        raise ConfigError(f"{path}: has no categories; a detector needs at least one class")
    label_of = {number: label for label, number in enumerate(sorted(names))}
    images, sizes = _read_images(path, _entries(content, "images", path))
    boxes: dict[int, list[_Box]] = {number: [] for number in images}
    labels: dict[int, list[int]] = {number: [] for number in images}
    for index, entry in enumerate(_entries(content, "annotations", path)):
        where = f"{path}: annotations[{index}] (id {entry.get('id', 'missing')})"
        image = _field(entry, "image_id", int, where)
        category = _field(entry, "category_id", int, where)
        if image not in images:
            raise ConfigError(f"{where}: there is no image {image}; remove the annotation or restore the image")
        if category not in names:
            known = ", ".join(f"{number} {name}" for number, name in sorted(names.items()))
            raise ConfigError(f"{where}: category {category} is unknown; there are {known}")
        if entry.get("iscrowd"):
            raise ConfigError(f"{where}: iscrowd regions cannot be learned from; remove it or draw the boxes")
        boxes[image].append(_box(entry, sizes[image], where))
        labels[image].append(label_of[category])
    samples = tuple(
        Sample(
            picture,
            np.array(boxes[number], np.float32).reshape(-1, 4),
            np.array(labels[number], np.int64),
            group,
            is_good=not labels[number],
        )
        for number, (picture, group) in images.items()
    )
    return Dataset(tuple(names[number] for number in sorted(names)), samples)


def _class_name(name: str, others: tuple[str, ...], where: str) -> str:
    try:
        _NAME.validate_python(name)
    except ValidationError as error:
        plain = re.sub(r"[^a-z0-9_.-]+", "_", name.lower()).strip("_.-")[:64] or "scratch"
        raise ConfigError(
            f"{where}: {name!r} is no name of a class; take lower-case letters, digits, '_', '.' and '-', "
            f"at most 64 of them, as in '{plain}'"
        ) from error
    if name in others:
        raise ConfigError(f"{where}: the name {name!r} is used twice; give each category its own")
    return name


def _parse(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; give the COCO file") from error
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}, line {error.lineno}: no JSON: {error.msg}; export the file again") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}, line 1: no JSON text, or a number without end; export the file again") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}, line 1: expected an object with images, annotations and categories")
    return content


def _entries(content: dict[str, Any], name: str, path: Path) -> list[dict[str, Any]]:
    entries = content.get(name)
    if not isinstance(entries, list):
        raise ConfigError(f"{path}: '{name}' is missing or no list; export the file as COCO detection")
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise ConfigError(f"{path}: {name}[{index}] is no object; export the file as COCO detection")
    return entries


def _field(entry: dict[str, Any], name: str, kind: type, where: str) -> Any:
    value = entry.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ConfigError(f"{where}: '{name}' must be {kind.__name__}, found {value!r}; repair the entry")
    return value


def _text(entry: dict[str, Any], name: str, where: str) -> str:
    value: str = _field(entry, name, str, where)
    is_odd = "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value)
    if is_odd or any(len(part.encode()) > 255 for part in value.split("/")):
        raise ConfigError(f"{where}: '{name}' is no name of a file or group: {value[:80]!r}; repair the entry")
    return value


def _read_images(
    path: Path, entries: list[dict[str, Any]]
) -> tuple[dict[int, tuple[Path, str]], dict[int, tuple[int, int]]]:
    images: dict[int, tuple[Path, str]] = {}
    sizes: dict[int, tuple[int, int]] = {}
    for index, entry in enumerate(tracked(entries, "reading")):
        where = f"{path}: images[{index}]"
        number = _field(entry, "id", int, where)
        name = _text(entry, "file_name", where)
        if number in images:
            raise ConfigError(f"{where}: id {number} is used twice; give each image its own")
        picture = path.parent / name
        if not picture.is_file():
            picture = path.parent / "images" / name
        size = picture_size(picture, where)
        told = (entry.get("width", size[0]), entry.get("height", size[1]))
        if told != size:
            raise ConfigError(f"{where}: says {told[0]} x {told[1]} pixels, {picture} has {size[0]} x {size[1]}")
        folder = Path(name).parent.as_posix()
        group = name if folder == "." else folder
        if entry.get("group") is not None:
            group = _text(entry | {"group": str(entry["group"])}, "group", where)
        images[number] = (picture, group)
        sizes[number] = size
    if not images:
        raise ConfigError(f"{path}: has no images; is it the right file?")
    return images, sizes


def _box(entry: dict[str, Any], size: tuple[int, int], where: str) -> _Box:
    corners = entry.get("bbox")
    if (
        not isinstance(corners, list)
        or len(corners) != 4
        or not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in corners)
    ):
        raise ConfigError(f"{where}: 'bbox' must be [x, y, width, height] in pixels, found {corners!r}")
    try:
        x, y, width, height = map(float, corners)
    except OverflowError as error:
        raise ConfigError(f"{where}: 'bbox' holds a number that no picture has; repair or remove it") from error
    box = (x, y, x + width, y + height)
    check_box(box, size, where)
    return box
