"""Curves as drawings: escapes against overkill for people who choose a limit, precision against recall."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from trainer.evidence import Evidence
from trainer.metrics import Ranking
from trainer.operating_point import Point
from trainer.wording import percent

WIDTH, HEIGHT, LEFT, TOP = 420, 300, 60, 12
SHOWN_POINTS = 12

Place = tuple[float, float]


def draw_roc(evidence: Evidence) -> str:
    """Draw escapes against overkill, each limit a point, and the present limits with their bounds as a cross.

    Args:
        evidence: of a report.

    Returns:
        SVG; empty without parts of both kinds.
    """
    bad, good = evidence.escapes, evidence.overkill
    if not bad.of or not good.of:
        return ""
    most_x, most_y = max(0.05, 2 * good.high), max(0.05, 2 * bad.high)  # where a limit can be, and not the whole square

    def place(overkill: float, escapes: float) -> Place:
        return LEFT + WIDTH * min(1.0, overkill / most_x), TOP + HEIGHT * (1 - min(1.0, escapes / most_y))

    curve = _line((place(p.overkill / good.of, p.escapes / bad.of) for p in evidence.roc), "#1c4f8b")
    at_x, at_y = good.count / good.of, bad.count / bad.of
    cross = [(place(good.low, at_y), place(good.high, at_y)), (place(at_x, bad.low), place(at_x, bad.high))]
    lines = "".join(_line(ends, "#c62828") for ends in cross)
    return _frame(curve + lines, ("overkill", 100 * most_x), ("escapes", 100 * most_y), " %")


def roc_words(evidence: Evidence) -> str:
    """Say what the drawing shows, or why there is none."""
    if not evidence.escapes.of or not evidence.overkill.of:
        return "Needs good and bad parts."
    return (
        "One limit for all classes, from strict to lenient. Red: the bundle's limits on these parts, with 95 % bounds. "
        "To choose another limit, export again with a cost or a target: pictures that judge are none to choose on."
    )


def roc_rows(evidence: Evidence) -> list[tuple[object, ...]]:
    """Return a table of limits spread over the curve, with bounds.

    Args:
        evidence: of a report.
    """
    rows: list[tuple[object, ...]] = [("limit", "escapes", "at most", "overkill", "at most")]
    for point in _spread(evidence.roc):
        bad = (f"{point.escapes} of {evidence.escapes.of}", percent(point.escape_bounds.high))
        good = (f"{point.overkill} of {evidence.overkill.of}", percent(point.overkill_bounds.high))
        rows.append((f"{point.limit:.3f}", *bad, *good))
    return rows


def draw_precision(ranking: Ranking) -> str:
    """Draw precision against recall.

    Args:
        ranking: of the detections on defective parts.

    Returns:
        SVG, as a file of its own.
    """
    hits = np.cumsum(ranking.right)
    precision, recall = hits / np.arange(1, len(hits) + 1), hits / max(1, ranking.truths)
    places = ((LEFT + WIDTH * x, TOP + HEIGHT * (1 - y)) for x, y in zip(recall, precision, strict=True))
    drawing = _frame(_line(places, "#1c4f8b"), ("recall", 1.0), ("precision", 1.0), "")
    return drawing.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)


def _spread(points: tuple[Point, ...]) -> Iterable[Point]:
    if len(points) <= SHOWN_POINTS:
        return points
    return [points[i * (len(points) - 1) // (SHOWN_POINTS - 1)] for i in range(SHOWN_POINTS)]


def _line(places: Iterable[Place], colour: str) -> str:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'


def _frame(content: str, across: tuple[str, float], upwards: tuple[str, float], unit: str) -> str:
    bottom = TOP + HEIGHT
    words = [
        (LEFT, bottom + 16, f"0 {across[0]}"),
        (LEFT + WIDTH - 30, bottom + 16, f"{across[1]:.3g}{unit}"),
        (0, bottom, upwards[0]),
        (0, TOP + 10, f"{upwards[1]:.3g}{unit}"),
    ]
    texts = "".join(f'<text x="{x}" y="{y}" font-size="12">{said}</text>' for x, y, said in words)
    size = f'viewBox="0 0 {LEFT + WIDTH + 30} {bottom + 24}" width="{LEFT + WIDTH + 30}"'
    box = f'<rect x="{LEFT}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}" fill="#fff" stroke="#d7dbe2"/>'
    return f'<svg {size} role="img">{box}{content}{texts}</svg>'
