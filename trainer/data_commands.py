"""What `trainer data` does, and how its result is shown."""

from __future__ import annotations

import argparse
from collections import Counter

from rich.table import Table

from appliance.bundle.whole_file import write_whole
from appliance.errors import EXIT_REFUSED
from trainer.datasets.check_page import page
from trainer.datasets.examination import Examined, examine
from trainer.datasets.findings import Finding, findings_as_dict
from trainer.datasets.layouts.boxes import taken_otherwise
from trainer.datasets.layouts.coco_file import check_is_new, named_from, write_coco
from trainer.datasets.layouts.found import Found, Wishes
from trainer.datasets.layouts.readers import read_layout
from trainer.datasets.source import source_of
from trainer.files import write_json
from trainer.progress import console as _err
from trainer.progress import results as _out

MOST_CASES, MOST_FILES = 6, 3
"""What the console shows; the JSON files have all."""


def import_pictures(arguments: argparse.Namespace) -> int:
    """Read another layout and write it as COCO.

    Args:
        arguments: of `trainer data import`.

    Returns:
        The exit code.
    """
    check_is_new(arguments.out)
    wishes = Wishes(arguments.classes, arguments.group_pattern)
    found = read_layout(arguments.layout, arguments.source, wishes, arguments.listing)
    if arguments.group_by:
        found = found.by_camera()
    path = write_coco(found, arguments.out)
    if found.set_aside:
        write_json(arguments.out / "set_aside.json", {"parts": found.set_aside})
    if found.unmarked:
        listed = "".join(f"{named_from(path, arguments.out)}\n" for path in found.unmarked)
        write_whole(arguments.out / "unmarked.txt", listed.encode())
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


def check(arguments: argparse.Namespace) -> int:
    """Look for what is wrong with a data set.

    Args:
        arguments: of `trainer data check`.

    Returns:
        The exit code; 1 if training on it, or its figures, would be untrue.
    """
    # brings torch, which `import` can do without
    from trainer.datasets.check import check_dataset, grouped_as_in_training

    place = source_of(arguments)
    examined, gone = grouped_as_in_training(examine(place.annotations()), place.folder())
    findings = check_dataset(examined, arguments.holdout, gone)
    _show_findings(examined, findings)
    if arguments.json:
        write_json(arguments.json.path, findings_as_dict(examined, findings))
    if arguments.report:
        arguments.report.write(page(examined, findings, place.root()))
        _out.print(f"{arguments.report.path}: the findings with their pictures", soft_wrap=True)
    return EXIT_REFUSED if any(finding.verdict() == "wrong" for finding in findings) else 0


def _show_findings(examined: Examined, findings: list[Finding]) -> None:
    table = Table(title=f"{len(examined.annotations.pictures)} pictures")
    for name in ("check", "verdict", "cases"):
        table.add_column(name, justify="right" if name == "cases" else "left")
    for finding in findings:
        style = {"ok": None, "warning": "yellow", "wrong": "bold red"}[finding.verdict()]
        table.add_row(finding.name, finding.verdict(), str(len(finding.cases)), style=style)
    _out.print(table)
    for finding in findings:
        if not finding.cases:
            continue
        _out.print(f"\n{finding.verdict()}: {finding.name}: {finding.means}; {finding.remedy}")
        for case in finding.cases[:MOST_CASES]:
            files = [str(examined.annotations.pictures[at].path) for at in case.pictures]
            more = f" and {len(files) - MOST_FILES} more" if len(files) > MOST_FILES else ""
            _out.print(f"  {case.says}: {', '.join(files[:MOST_FILES]) or 'no picture'}{more}", soft_wrap=True)
        if len(finding.cases) > MOST_CASES:
            _out.print(f"  and {len(finding.cases) - MOST_CASES} more; --json lists all")


def _remarks(found: Found) -> list[str]:
    defects = [defect for picture in found.pictures for defect in picture.defects]
    boxes = {defect.label for defect in defects}
    unseen = [name for name in found.classes if name not in boxes]
    remarks = [*found.remarks, *filter(None, [taken_otherwise(defects)])]
    if not boxes:
        remarks.append("no picture shows a defect: nothing can be learned from these alone")
    elif unseen:
        remarks.append(f"no picture shows {', '.join(unseen)}")
    return remarks
