"""DeepPCB's native layout: pairs of a board picture and its defect-free template.

A list file holds `<group>/<sub>/<id>.jpg <group>/<sub>_not/<id>.txt`; the pictures are `<id>_test.jpg` and
`<id>_temp.jpg`; a label line is `x1 y1 x2 y2 type`, separated by spaces or by commas.

Source: github.com/tangsanli5201/DeepPCB, arXiv 1902.06197.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from appliance.errors import ConfigError
from trainer.datasets.sample import Copper, Dataset, Sample, check_box, picture_size
from trainer.progress import tracked

CLASSES = ("open", "short", "mousebite", "spur", "spurious_copper", "pin_hole")
"""Names of types 1 to 6."""

COPPER = Copper(missing={"open": 0, "mousebite": 2, "pin_hole": 5}, opposites=(1, 0, 3, 2, 5, 4))
"""The pictures are binarised copper; an open is the opposite of a short, a mousebite of a spur, and so on."""

_SEPARATOR = re.compile(r"[,\s]+")


def read_deeppcb(source: Path) -> Dataset:
    """Read a list of pairs; each gives a part with defects and, by its template, a good part.

    Args:
        source: the list file, or the folder (or its parent) that holds `trainval.txt`.

    Returns:
        Samples in the order of the list: all tested pictures, then all templates. The group is the first folder.

    Raises:
        ConfigError: A line, a label or a picture is broken; the message names file and line.
    """
    list_file = find_list(source)
    root = list_file.parent
    tested: list[Sample] = []
    good: list[Sample] = []
    seen: set[str] = set()
    for number, line in enumerate(tracked(_lines(list_file, "the list of pairs"), "read the pairs"), start=1):
        if not line.strip():
            continue
        where = f"{list_file}, line {number}"
        fields = line.split()
        if len(fields) != 2:
            raise ConfigError(f"{where}: expected '<picture>.jpg <labels>.txt', found {line!r}; repair the line")
        if fields[0] in seen:
            raise ConfigError(f"{where}: {fields[0]} is listed twice; remove one of the lines")
        seen.add(fields[0])
        picture = root / fields[0]
        test = picture.with_name(f"{picture.stem}_test{picture.suffix}")
        template = picture.with_name(f"{picture.stem}_temp{picture.suffix}")
        boxes, labels = read_labels(root / fields[1], picture_size(test, where))
        picture_size(template, where)
        group = Path(fields[0]).parts[0]
        tested.append(Sample(test, boxes, labels, group, is_good=len(labels) == 0))
        good.append(Sample(template, *_no_boxes(), group, is_good=True))
    if not tested:
        raise ConfigError(f"{list_file}: lists no picture; is it the right file?")
    return Dataset(CLASSES, tuple(tested + good), COPPER)


def find_list(source: Path) -> Path:
    """Return the list file meant by a path to it, to its folder or to the folder above.

    Raises:
        ConfigError: There is none.
    """
    if source.is_file():
        return source
    for candidate in (source / "trainval.txt", source / "PCBData" / "trainval.txt"):
        if candidate.is_file():
            return candidate
    raise ConfigError(f"{source}: no trainval.txt here or in PCBData/; give the folder of the data set or a list file")


def read_labels(path: Path, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Read one label file.

    Args:
        path: lines of `x1 y1 x2 y2 type` with type 1 to 6.
        size: width and height of the picture in pixels.

    Returns:
        Boxes float32 [N, 4] and labels int64 [N] (0 to 5).

    Raises:
        ConfigError: A line is broken; the message names file and line.
    """
    boxes: list[tuple[float, float, float, float]] = []
    labels: list[int] = []
    for number, line in enumerate(_lines(path, "the labels"), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        fields = _SEPARATOR.split(line.strip())
        try:
            x1, y1, x2, y2 = (float(field) for field in fields[:4])
            kind = int(fields[4]) if len(fields) == 5 else None
        except ValueError:
            kind = None
        if kind is None:
            raise ConfigError(f"{where}: expected 'x1 y1 x2 y2 type', found {line!r}; repair or remove the line")
        if not 1 <= kind <= len(CLASSES):
            raise ConfigError(f"{where}: type {kind} is unknown; 1 to {len(CLASSES)} are {', '.join(CLASSES)}")
        check_box((x1, y1, x2, y2), size, where)
        boxes.append((x1, y1, x2, y2))
        labels.append(kind - 1)
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int64)


def _no_boxes() -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((0, 4), np.float32), np.zeros(0, np.int64)


def _lines(path: Path, what: str) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise ConfigError(f"{path}: cannot read {what}: {error.strerror}; restore the file or unlist it") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: {what} are not text (byte {error.start}); restore the file") from error
