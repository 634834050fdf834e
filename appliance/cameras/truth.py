"""What recorded pictures really show: COCO annotations or DeepPCB's own layout, where they lie beside the pictures.

Source: cocodataset.org/#format-data; github.com/tangsanli5201/DeepPCB (layout and types of defects).
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.errors import ConfigError
from appliance.events import Box

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
COCO_FILE = "annotations.json"
DEEPPCB_LIST = "trainval.txt"
DEEPPCB_LABELS = ("open", "short", "mousebite", "spur", "spurious_copper", "pin_hole")
"""Names of DeepPCB's types 1 to 6."""

_SEPARATOR = re.compile(r"[,\s]+")


@dataclass(frozen=True, slots=True)
class TruthBox:
    """One defect that is really there; box is x1, y1, x2, y2 in pixels of the picture."""

    label: str
    box: Box


Truth = tuple[TruthBox, ...]
"""Everything wrong with a part; empty for a good part."""


@dataclass(frozen=True, slots=True)
class RecordedImage:
    """One recorded picture; truth is None where nobody said what it shows, and empty for a good part."""

    path: Path
    truth: Truth | None


def list_recorded(directory: Path) -> list[RecordedImage]:
    """List the recorded pictures of a directory with what they show.

    With DeepPCB's `trainval.txt` (here or in `PCBData/`) these are the pictures that it lists, the tested ones and
    their templates; else all pictures here and below, with the truth of `annotations.json` if it is there.

    Args:
        directory: a folder that this process may read.

    Returns:
        Pictures in natural order of their paths (part2 before part10); at least one.

    Raises:
        ConfigError: No such folder, not readable, no picture in it, or broken annotations (file and line are named).
    """
    try:
        truths = _truths(directory)
    except OSError as error:
        raise ConfigError(f"{directory}: cannot be read ({error.strerror}); name a folder of pictures") from error
    if not truths:
        raise ConfigError(
            f"{directory}: no picture here or below ({', '.join(sorted(PICTURE_SUFFIXES))}); name a folder of pictures"
        )
    return [RecordedImage(path, truths[path]) for path in sorted(truths, key=_natural)]


def _truths(directory: Path) -> Mapping[Path, Truth | None]:
    list_file = next((p for p in (directory / DEEPPCB_LIST, directory / "PCBData" / DEEPPCB_LIST) if p.is_file()), None)
    annotations = directory / COCO_FILE
    if list_file is not None and not annotations.is_file():
        return read_deeppcb(list_file)
    unknown: dict[Path, Truth | None] = dict.fromkeys(_pictures(directory))
    return {**unknown, **read_coco(annotations)} if annotations.is_file() else unknown


def read_deeppcb(list_file: Path) -> dict[Path, Truth]:
    """Read DeepPCB's layout: `X.jpg X.txt` per line stands for X_test.jpg with its labels and the good X_temp.jpg.

    Raises:
        ConfigError: A line is broken or names a missing file; the message names file and line.
    """
    truths: dict[Path, Truth] = {}
    for where, line in _lines(list_file):
        fields = line.split()
        if len(fields) != 2:
            raise ConfigError(f"{where}: expected '<picture>.jpg <labels>.txt', found {line!r}; repair the line")
        picture = list_file.parent / fields[0]
        tested = picture.with_name(f"{picture.stem}_test{picture.suffix}")
        template = picture.with_name(f"{picture.stem}_temp{picture.suffix}")
        for path in (tested, template):
            if not path.is_file():
                raise ConfigError(f"{where}: {path} does not exist; restore the picture or remove the line")
        truths[tested] = read_deeppcb_labels(list_file.parent / fields[1])
        truths[template] = ()
    return truths


def read_deeppcb_labels(path: Path) -> Truth:
    """Read one label file of DeepPCB: `x1 y1 x2 y2 type` per line, separated by spaces or commas, type 1 to 6.

    Raises:
        ConfigError: The file is missing or a line is broken; the message names file and line.
    """
    boxes: list[TruthBox] = []
    for where, line in _lines(path):
        try:
            x1, y1, x2, y2, kind = (int(field) for field in _SEPARATOR.split(line.strip()))
        except ValueError as error:
            raise ConfigError(f"{where}: expected 'x1 y1 x2 y2 type', found {line!r}; repair the line") from error
        if not 1 <= kind <= len(DEEPPCB_LABELS):
            raise ConfigError(f"{where}: type {kind} is unknown; use 1 to {len(DEEPPCB_LABELS)}")
        if not (0 <= x1 < x2 and 0 <= y1 < y2):
            raise ConfigError(f"{where}: the box {x1} {y1} {x2} {y2} is empty or negative; repair the line")
        boxes.append(TruthBox(DEEPPCB_LABELS[kind - 1], (float(x1), float(y1), float(x2), float(y2))))
    return tuple(boxes)


def read_coco(path: Path) -> dict[Path, Truth]:
    """Read COCO annotations; file_name is relative to the file's folder or to `images` in it.

    Raises:
        ConfigError: Not JSON, not COCO, or it names a missing picture; the message names file and line.
    """
    text = _text(path)
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}:{error.lineno}: not JSON ({error.msg}); repair or write it anew") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path}:1: expected a JSON object with images, annotations and categories")
    labels: dict[Any, str] = {}
    pictures: dict[Any, Path] = {}
    boxes: dict[Any, list[TruthBox]] = {}
    for key in ("categories", "images", "annotations"):
        entries = document.get(key)
        if not isinstance(entries, list):
            raise ConfigError(f"{path}:1: {key!r} is missing or not a list; is this a COCO file?")
        for index, entry in enumerate(entries):
            try:
                if key == "categories":
                    labels[entry["id"]] = str(entry["name"])
                elif key == "images":
                    pictures[entry["id"]] = _picture_of(path.parent, str(entry["file_name"]))
                    boxes.setdefault(entry["id"], [])
                else:
                    boxes[entry["image_id"]].append(TruthBox(labels[entry["category_id"]], _corners(entry["bbox"])))
            except (KeyError, TypeError, ValueError) as error:
                reason = f"{error.args[0]!r} is missing or unknown" if isinstance(error, KeyError) else str(error)
                line = _line_of(text, key, index)
                raise ConfigError(f"{path}:{line}: {key}[{index}]: {reason}; repair the entry") from error
    return {picture: tuple(boxes[key]) for key, picture in pictures.items()}


def _corners(bbox: list[float]) -> Box:
    x, y, width, height = (float(value) for value in bbox)
    if not all(map(math.isfinite, (x, y, width, height))) or min(width, height) <= 0:
        raise ValueError(f"bbox {bbox} is not x, y, width, height with width and height above 0")
    return (x, y, x + width, y + height)


def _picture_of(directory: Path, file_name: str) -> Path:
    for candidate in (directory / file_name, directory / "images" / file_name):
        if candidate.is_file():
            return candidate
    raise ValueError(f"picture {file_name!r} does not exist beside the file or in images/")


def _line_of(text: str, key: str, index: int) -> int:
    """Find the line of entry `index` of the top-level list `key`; json itself does not keep positions."""
    decoder = json.JSONDecoder()
    blank = re.compile(r"[\s,:]*")
    position = text.index("{") + 1
    while True:
        position = blank.match(text, position).end()  # type: ignore[union-attr]
        name, position = decoder.raw_decode(text, position)
        position = blank.match(text, position).end()  # type: ignore[union-attr]
        if name == key:
            break
        _, position = decoder.raw_decode(text, position)
    position += 1
    for _ in range(index):
        position = blank.match(text, position).end()  # type: ignore[union-attr]
        _, position = decoder.raw_decode(text, position)
    position = blank.match(text, position).end()  # type: ignore[union-attr]
    return text.count("\n", 0, position) + 1


def _pictures(directory: Path) -> list[Path]:
    list(directory.iterdir())  # because rglob is silent about a folder that is missing
    return [
        path
        for path in directory.rglob("*")
        if path.suffix.lower() in PICTURE_SUFFIXES
        and not path.is_dir()
        and not any(part.startswith(".") for part in path.relative_to(directory).parts)
    ]


def _natural(path: Path) -> list[tuple[int, int, str]]:
    pieces = re.split(r"([0-9]+)", str(path))
    return [(1, int(piece), piece) if piece.isdecimal() else (0, 0, piece) for piece in pieces if piece]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); restore the file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start}); restore the file") from error


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if line.strip():
            yield f"{path}:{number}", line
