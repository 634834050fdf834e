"""The findings as one HTML file: opens offline, needs no script, and shows each finding with its pictures."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path

import cv2
import numpy as np

from appliance.annotations.pictures import LabelledPicture
from appliance.bundle.picture import decode
from appliance.events import Box, Pixels, utc_now
from appliance.optics.alignment import align
from trainer.datasets.check_style import STYLE
from trainer.datasets.examination import Examined
from trainer.datasets.findings import Case, Finding
from trainer.progress import tracked

MOST_PICTURES = 12
"""Of one finding; the rest is in the JSON file."""

THUMBNAIL_PX = 280
PLACE_SIDE_PX, PLACE_MARGIN_PX = 120, 20
"""So much of a picture is shown around a place, at least."""

_BOX_RGB, _PLACE_RGB = (230, 60, 30), (20, 110, 220)

Framed = tuple[Box, tuple[int, int, int]]
"""What is framed, and in which colour."""


def page(examined: Examined, findings: list[Finding], source: Path) -> str:
    """Write the page.

    Args:
        examined: all pictures.
        findings: of all checks.
        source: what was checked, for the title.

    Returns:
        HTML with everything in it.
    """
    bad = sorted((finding for finding in findings if finding.cases), key=lambda item: not item.is_grave)
    fine = [finding.name for finding in findings if not finding.cases]
    sections = "".join(_section(examined, finding) for finding in tracked(bad, "writing the page"))
    title = f"Data set {escape(source.name or str(source))}"
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>\n'
        f"<style>{STYLE}</style>\n<main><h1>{title}</h1>\n"
        f"<p class=quiet>{escape(str(source))}, checked {utc_now():%Y-%m-%d %H:%M} UTC</p>\n"
        f"<div class=overview>{_verdict(bad)}<div>{_counts(examined)}{_classes(examined)}</div></div>\n{sections}"
        f"<h2>Nothing found</h2><p>{escape(', '.join(fine)) or 'every check found something'}</p></main></html>\n"
    )


def _verdict(findings: list[Finding]) -> str:
    rows = "".join(
        f"<tr><td><span class={finding.verdict()}>{finding.verdict()}</span><td>"
        f'<a href="#{_anchor(finding)}">{escape(finding.name)}</a><td class=number>{len(finding.cases)}'
        for finding in findings
    )
    if any(finding.verdict() == "wrong" for finding in findings):
        words, kind = "Do not train on it yet: the figures would be untrue.", "wrong"
    elif rows:
        words, kind = "It can be trained on. Look at the warnings first.", "warning"
    else:
        words, kind = "All is well.", "ok"
    table = (
        f"<div><h2>Findings</h2><table><tr><th>verdict<th>finding<th class=number>cases{rows}</table></div>"
        if rows
        else ""
    )
    return f'<p class="banner {kind}">{words}</p>{table}\n'


def _counts(examined: Examined) -> str:
    pictures = examined.annotations.pictures
    numbers = {
        "pictures": len(pictures),
        "good parts": sum(not picture.boxes for picture in pictures),
        "boxes": sum(len(picture.boxes) for picture in pictures),
        "groups": len({picture.group for picture in pictures}),
    }
    return "<dl>" + "".join(f"<div><dt>{name}<dd>{number:,}</div>" for name, number in numbers.items()) + "</dl>\n"


def _classes(examined: Examined) -> str:
    boxes = Counter(truth.label for picture in examined.annotations.pictures for truth in picture.boxes)
    most = max(boxes.values(), default=0) or 1
    rows = "".join(
        f"<tr><td>{escape(name)}<td class=number>{boxes[name]:,}<td class=bar>"
        f'<i style="width:{100 * boxes[name] / most:.1f}%"></i>'
        for name in examined.annotations.classes
    )
    return f"<h2>Classes</h2><table class=classes><tr><th>class<th class=number>boxes<th>{rows}</table>\n"


def _section(examined: Examined, finding: Finding) -> str:
    figures, shown = "", 0
    for case in finding.cases:
        if shown >= MOST_PICTURES:
            break
        members = case.pictures[: min(MOST_PICTURES - shown, max(2, MOST_PICTURES // len(finding.cases)))]
        shown += len(members)
        figures += _case(examined, case, members)
    left = sum(len(case.pictures) for case in finding.cases) - shown
    more = f"<p class=quiet>{left:,} more pictures: --json lists all.</p>" if left else ""
    return (
        f'<section><h2 id="{_anchor(finding)}">{escape(finding.name)} '
        f"<span class={finding.verdict()}>{finding.verdict()}</span></h2>"
        f"<p>{escape(finding.means[:1].upper() + finding.means[1:])}. "
        f"<b>{escape(finding.remedy[:1].upper() + finding.remedy[1:])}.</b></p>"
        f"<div class=cases>{figures}</div>{more}</section>\n"
    )


def _case(examined: Examined, case: Case, members: tuple[int, ...]) -> str:
    figures = "".join(_figures(examined.annotations.pictures[at], case) for at in members)
    return f"<div class=case><p>{escape(case.says)}</p><div class=pictures>{figures}</div></div>"


def _figures(picture: LabelledPicture, case: Case) -> str:
    """Return the picture, and its reference if the case is about both; around a place that is laid over the picture."""
    labels = ", ".join(f"{name} {count}" for name, count in Counter(b.label for b in picture.boxes).items())
    places = [(box, _PLACE_RGB) for box in case.boxes]
    labelled = [(truth.box, _BOX_RGB) for truth in picture.boxes]
    place = case.boxes[0] if case.boxes else None
    words = f"{labels or 'good part'}, group {picture.group}"
    shown = _decoded(picture.path)
    figure = _figure(picture.path, shown, [*labelled, *places], place, words)
    reference = picture.reference if case.has_reference else None
    if reference is None:
        return figure
    pixels = _decoded(reference)
    if place and pixels is not None and shown is not None and pixels.shape == shown.shape:
        pixels = align(pixels, shown).pixels
    return figure + _figure(reference, pixels, places, place, f"reference of {picture.path.name}")


def _decoded(path: Path) -> Pixels | None:
    """Return a picture in colour; None if it cannot be decoded, which is a finding of its own."""
    try:
        return decode(path.read_bytes(), 3)
    except OSError:
        return None


def _figure(path: Path, pixels: Pixels | None, boxes: Sequence[Framed], place: Box | None, words: str) -> str:
    image = "<div class=missing>cannot be shown</div>"
    if pixels is not None:
        data = base64.b64encode(_thumbnail(pixels, boxes, place)).decode()
        image = f'<img src="data:image/jpeg;base64,{data}" alt="">'
    return (
        f'<figure title="{escape(str(path))}">{image}<figcaption>{escape(path.name)}<br>'
        f"<span class=quiet>{escape(words)}</span></figcaption></figure>"
    )


def _thumbnail(pixels: Pixels, boxes: Sequence[Framed], place: Box | None) -> bytes:
    """Return a picture, or what lies around a place of it, as a small JPEG with its boxes drawn."""
    left, top = 0, 0
    if place is not None:
        (left, right), (top, bottom) = (_around(place[i], place[i + 2], pixels.shape[1 - i]) for i in (0, 1))
        pixels = pixels[top:bottom, left:right]
    scale = THUMBNAIL_PX / max(pixels.shape[:2])
    scale = min(1.0, scale) if place is None else scale
    size = tuple(max(1, round(side * scale)) for side in pixels.shape[1::-1])
    small = np.ascontiguousarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))
    for box, colour in boxes:
        x1, x2 = (round((side - left) * scale) for side in box[::2])
        y1, y2 = (round((side - top) * scale) for side in box[1::2])
        cv2.rectangle(small, (x1 - 2, y1 - 2), (x2 + 1, y2 + 1), colour, 2)
    _, data = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 80])
    return data.tobytes()


def _around(low: float, high: float, side_px: int) -> tuple[int, int]:
    """Return from where to where a side is shown, so that a place is seen with what lies around it."""
    wanted = max(PLACE_SIDE_PX, round(high - low) + 2 * PLACE_MARGIN_PX)
    first = max(0, min(round((low + high - wanted) / 2), side_px - wanted))
    return first, min(side_px, first + wanted)


def _anchor(finding: Finding) -> str:
    return finding.name.replace(" ", "-").replace(",", "")
