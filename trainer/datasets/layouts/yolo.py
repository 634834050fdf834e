"""YOLO: one text file per picture, a line per defect, in shares of the picture's width and height.

Source: docs.ultralytics.com/datasets/detect and /datasets/segment.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import yaml

from appliance.annotations.pictures import TruthBox, read_text
from appliance.bundle.picture import picture_files
from appliance.errors import ConfigError
from trainer.datasets.layouts.boxes import placed
from trainer.datasets.layouts.found import Defect, Found, FoundPicture, Wishes, is_in
from trainer.datasets.sample import picture_size
from trainer.progress import tracked

NAME_LISTS = ("classes.txt", "obj.names", "labels/classes.txt")
DESCRIPTIONS = ("data.yaml", "data.yml", "dataset.yaml")
_IMAGES, _LABELS = frozenset({"images"}), frozenset({"labels"})
_WANTED = "'class cx cy width height' or 'class x1 y1 x2 y2 x3 y3 ...' in shares 0..1"


def read_yolo(source: Path, wishes: Wishes) -> Found:
    """Read pictures in `images/` and their labels in `labels/`; without such folders the labels lie beside.

    A picture without a label file, or with an empty one, is a good part, as YOLO has it.

    Args:
        source: the folder.
        wishes: classes and groups.

    Raises:
        ConfigError: A label is broken, has no picture, or the names are missing; the message names file and line.
    """
    pictures = sorted(picture_files(source))
    if any(is_in(path, source, _IMAGES) for path in pictures):
        pictures = [path for path in pictures if is_in(path, source, _IMAGES)]
    if not pictures:
        raise ConfigError(f"{source}: has no pictures, neither in images/ nor beside the labels; name another folder")
    classes = wishes.classes or _names(source)
    labels = {path: _label_file(path, source) for path in pictures}
    _check_each_has_a_picture(source, set(labels.values()))
    unlabelled = {path: label for path, label in labels.items() if not label.is_file()}
    if len(unlabelled) == len(pictures):
        raise ConfigError(f"{source}: no picture has a label file, the first would be {labels[pictures[0]]}")
    found = []
    for path in tracked(pictures, "reading labels"):
        size = picture_size(path, str(path))
        defects = () if path in unlabelled else read_yolo_labels(labels[path], classes, size)
        name = Path(*(part for part in path.relative_to(source).parts if part.lower() != "images"))
        found.append(FoundPicture(path, size, wishes.group(name), defects))
    if not unlabelled:
        return Found(classes, tuple(found))
    words = f"{len(unlabelled)} pictures have no label file and are taken as good parts, the first {min(unlabelled)}"
    return Found(classes, tuple(found), (words,))


def read_yolo_labels(path: Path, classes: tuple[str, ...], size: tuple[int, int]) -> tuple[Defect, ...]:
    """Read one label file.

    Args:
        path: lines of `class cx cy width height`, or of a class and a polygon.
        classes: names of the classes.
        size: width and height of the picture in pixels.

    Raises:
        ConfigError: A line is broken; the message names file and line.
    """
    found = []
    for where, line in _lines(path):
        try:
            kind, *values = int(line.split()[0]), *(float(field) for field in line.split()[1:])
        except ValueError as error:
            raise ConfigError(f"{where}: expected {_WANTED}, found {line!r}; repair or remove the line") from error
        is_polygon = len(values) >= 6 and len(values) % 2 == 0
        if len(values) != 4 and not is_polygon:
            raise ConfigError(f"{where}: expected {_WANTED}, found {line!r}; repair or remove the line")
        if not 0 <= kind < len(classes):
            known = ", ".join(f"{number} {name}" for number, name in enumerate(classes))
            raise ConfigError(f"{where}: class {kind} is unknown; there are {known}; correct the line or the names")
        if not all(map(math.isfinite, values)) or max(values) > 2:
            raise ConfigError(f"{where}: {line!r} is in no shares 0..1 of width and height; export it normalised")
        points = [value * size[at % 2] for at, value in enumerate(values)]
        if is_polygon:
            box = (min(points[::2]), min(points[1::2]), max(points[::2]), max(points[1::2]))
            inside = tuple(round(min(max(value, 0.0), size[at % 2]), 2) for at, value in enumerate(points))
            found.append(placed(TruthBox(classes[kind], box, where, outlines=(inside,)), size))
        else:
            x, y, width, height = points
            box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
            found.append(placed(TruthBox(classes[kind], box, where), size))
    return tuple(found)


def _label_file(picture: Path, source: Path) -> Path:
    parts = list(picture.relative_to(source).with_suffix(".txt").parts)
    for at in reversed(range(len(parts) - 1)):
        if parts[at].lower() == "images":
            parts[at] = "labels" if parts[at].islower() else "Labels"
            break
    return source.joinpath(*parts)


def _check_each_has_a_picture(source: Path, labels: set[Path]) -> None:
    for path in sorted(source.rglob("*.txt")):
        if is_in(path, source, _LABELS) and path not in labels and path.name != "classes.txt":
            raise ConfigError(f"{path}:1: no picture belongs to these labels; restore it, or remove the file")


def _names(source: Path) -> tuple[str, ...]:
    for name in DESCRIPTIONS:
        if (source / name).is_file():
            return _described(source / name)
    for name in NAME_LISTS:
        if (source / name).is_file():
            return tuple(line.strip() for _, line in _lines(source / name))
    raise ConfigError(f"{source}: has neither data.yaml nor classes.txt; name the classes in order with --classes A,B")


def _described(path: Path) -> tuple[str, ...]:
    try:
        content = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        line = error.problem_mark.line + 1 if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark else 1
        raise ConfigError(f"{path}:{line}: is not YAML; repair it, or name the classes with --classes") from error
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, dict) and sorted(map(str, names)) == sorted(map(str, range(len(names)))):
        names = [names[key] for key in sorted(names, key=int)]
    if not isinstance(names, list) or not names or not all(isinstance(name, (str, int)) for name in names):
        raise ConfigError(f"{path}:1: 'names' must list the classes from 0 on without a gap; or use --classes A,B")
    return tuple(map(str, names))


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            yield f"{path}:{number}", line
