"""DeepPCB's native layout: pairs of a board picture and its defect-free template.

A list file holds `<group>/<sub>/<id>.jpg <group>/<sub>_not/<id>.txt`; the pictures are `<id>_test.jpg` and
`<id>_temp.jpg`; a label line is `x1 y1 x2 y2 type`, separated by spaces or by commas.

Source: github.com/tangsanli5201/DeepPCB, arXiv 1902.06197.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from appliance.annotations.pictures import (
    Annotations,
    LabelledPicture,
    TruthBox,
    check_corners,
    check_listed_once,
    existing,
    read_text,
)
from appliance.errors import ConfigError

CLASSES = ("open", "short", "mousebite", "spur", "spurious_copper", "pin_hole")
"""Names of types 1 to 6."""

_SEPARATOR = re.compile(r"[,\s]+")


def read_deeppcb(list_file: Path, root: Path | None = None) -> Annotations:
    """Read a list of pairs; each gives a part with defects and, by its template, a good part.

    Args:
        list_file: such as `trainval.txt`.
        root: folder of the groups; None: the list's own.

    Returns:
        Pictures in the order of the list: all tested ones, then all templates; where no template is there at all, the
        tested ones alone, without references. The group is the first folder.

    Raises:
        ConfigError: A line or a label is broken, or a file is missing; the message names file and line.
    """
    root = root or list_file.parent
    tested: list[LabelledPicture] = []
    good: list[LabelledPicture] = []
    for where, line in numbered_lines(list_file):
        fields = line.split()
        if len(fields) != 2:
            raise ConfigError(f"{where}: expected '<picture>.jpg <labels>.txt', found {line!r}; repair the line")
        if not Path(fields[0]).stem:
            raise ConfigError(f"{where}: {fields[0]!r} is no name of a picture; repair the line")
        picture, group = root / fields[0], Path(fields[0]).parts[0]
        test = existing([picture.with_name(f"{picture.stem}_test{picture.suffix}")], where)
        template = picture.with_name(f"{picture.stem}_temp{picture.suffix}")
        tested.append(LabelledPicture(test, group, read_labels(root / fields[1]), where, reference=template))
        good.append(LabelledPicture(template, group, (), where, reference=template))
    if not tested:
        raise ConfigError(f"{list_file}: lists no picture; is it the right file?")
    check_listed_once(tested)
    if not any(part.path.is_file() for part in good):
        tested, good = [replace(part, reference=None) for part in tested], []
    for part in good:
        existing([part.path], part.where)
    return Annotations("deeppcb", dict.fromkeys(CLASSES, str(list_file)), tuple(tested + good))


def read_labels(path: Path) -> tuple[TruthBox, ...]:
    """Read one label file.

    Args:
        path: lines of `x1 y1 x2 y2 type` with type 1 to 6.

    Raises:
        ConfigError: The file is missing or a line is broken; the message names file and line.
    """
    boxes: list[TruthBox] = []
    for where, line in numbered_lines(path):
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
        check_corners((x1, y1, x2, y2), where)
        boxes.append(TruthBox(CLASSES[kind - 1], (x1, y1, x2, y2), where))
    return tuple(boxes)


def numbered_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Give the lines of a text that are not blank, each behind its file and number."""
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            yield f"{path}:{number}", line
