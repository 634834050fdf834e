"""What `trainer data` does, and how its result is shown."""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from rich.console import Console
from rich.table import Table

from trainer.datasets.layouts.coco_file import write_coco
from trainer.datasets.layouts.found import Found, Wishes
from trainer.datasets.layouts.readers import read_layout
from trainer.progress import console as _err

_out = Console(highlight=False, width=None if sys.stdout.isatty() else 120)


def import_pictures(arguments: argparse.Namespace) -> int:
    """Read another layout and write it as COCO.

    Args:
        arguments: of `trainer data import`.

    Returns:
        The exit code.
    """
    found = read_layout(arguments.layout, arguments.source, Wishes(arguments.classes, arguments.group_pattern))
    path = write_coco(found, arguments.out)
    for words in _remarks(found):
        _err.print(f"trainer: beware: {words}", soft_wrap=True)
    table = Table(title="what was read")
    for name in ("class", "boxes", "pictures"):
        table.add_column(name, justify="left" if name == "class" else "right")
    boxes = Counter(defect.label for picture in found.pictures for defect in picture.defects)
    shown_on = Counter(label for picture in found.pictures for label in {item.label for item in picture.defects})
    for name in found.classes:
        table.add_row(name, str(boxes[name]), str(shown_on[name]))
    good = sum(not picture.defects for picture in found.pictures)
    table.add_row("good parts", "", str(good))
    table.add_row("all", str(boxes.total()), str(len(found.pictures)), style="bold")
    _out.print(table)
    groups = len({picture.group for picture in found.pictures})
    _out.print(f"{path}: {groups} groups\nnext: trainer data check --data {arguments.out}", soft_wrap=True)
    return 0


def _remarks(found: Found) -> list[str]:
    boxes = {defect.label for picture in found.pictures for defect in picture.defects}
    unseen = [name for name in found.classes if name not in boxes]
    remarks = [*found.remarks]
    if not boxes:
        remarks.append("no picture shows a defect: nothing can be learned from these alone")
    elif unseen:
        remarks.append(f"no picture shows {', '.join(unseen)}")
    return remarks
