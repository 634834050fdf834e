"""One HTML file that opens without a network: headings, tables, and small pictures with boxes drawn in."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

import cv2
import numpy as np

from appliance.events import Box, Pixels

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2430; background: #f5f6f8; margin: 0 auto; max-width: 1180px;
  padding: 24px 32px; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 19px; margin: 32px 0 8px; }
p { margin: 4px 0 12px; max-width: 80ch; }
table { border-collapse: collapse; background: #fff; margin: 8px 0 16px; }
th, td { border: 1px solid #d7dbe2; padding: 4px 12px; text-align: right; }
th { background: #e9ecf1; font-weight: 600; } th:first-child, td:first-child { text-align: left; }
.words th, .words td { text-align: left; vertical-align: top; }
.words th:not(:last-child), .words td:not(:last-child) { white-space: nowrap; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(180px, 1fr)); gap: 12px; }
figure { margin: 0; background: #fff; border: 1px solid #d7dbe2; padding: 6px; }
figure img { width: 100%; display: block; image-rendering: auto; }
figcaption { font-size: 13px; overflow-wrap: anywhere; } figcaption small { color: #5b6675; display: block; }
.tables { display: flex; flex-wrap: wrap; gap: 0 32px; align-items: flex-start; }
svg text { font: 12px system-ui, sans-serif; fill: #1c2430; }
"""

GREEN, RED = (40, 160, 60), (220, 40, 40)
SIDE_PX = 220


class Page:
    """Collects a page's content; every text is escaped."""

    def __init__(self, title: str, lead: str) -> None:
        self._title = title
        self._parts = [f"<h1>{escape(title)}</h1>", f"<p>{escape(lead)}</p>"]

    def heading(self, words: str, text: str = "") -> None:
        """Begin a section."""
        self._parts.append(f"<h2>{escape(words)}</h2>" + (f"<p>{escape(text)}</p>" if text else ""))

    def paragraph(self, words: str) -> None:
        """Add a paragraph."""
        self._parts.append(f"<p>{escape(words)}</p>")

    def tables(self, *tables: Iterable[Sequence[object]]) -> None:
        """Add tables beside each other; the first row of each is its head."""
        self._parts.append(f'<div class="tables">{"".join(map(_table, tables))}</div>')

    def table_of_words(self, *rows: Sequence[object]) -> None:
        """Add a table that is read rather than added up; the first row is its head."""
        self._parts.append(f'<div class="words">{_table(rows)}</div>')

    def drawing(self, svg: str) -> None:
        """Add a drawing; svg is markup of our own, nothing of the data's."""
        self._parts.append(svg)

    def pictures(self, pictures: Iterable[tuple[Pixels, str, str]]) -> None:
        """Add pictures (uint8 RGB) in a grid, each with a line and a smaller one below."""
        figures = (
            f'<figure><img src="{_data_uri(pixels)}" alt="{escape(words)}">'
            f"<figcaption>{escape(words)}<small>{escape(more)}</small></figcaption></figure>"
            for pixels, words, more in pictures
        )
        self._parts.append(f'<div class="pictures">{"".join(figures)}</div>')

    def html(self) -> str:
        """Return the whole page."""
        return (
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(self._title)}</title>'
            f"<style>{STYLE}</style></head>\n<body>\n" + "\n".join(self._parts) + "\n</body></html>\n"
        )


def cut_out(picture: Pixels, box: Box, boxes: Iterable[tuple[Box, tuple[int, int, int]]]) -> Pixels:
    """Cut a square around a box and draw boxes into it.

    Args:
        picture: uint8 [height, width, 1 or 3].
        box: what it is about, x1 y1 x2 y2 in pixels.
        boxes: boxes to draw, each with its RGB colour.

    Returns:
        uint8 [220, 220, 3].
    """
    x1, y1, x2, y2 = box
    side = max(2.0 * max(x2 - x1, y2 - y1), 64.0)
    left, top = (x1 + x2 - side) / 2, (y1 + y2 - side) / 2
    scale = SIDE_PX / side
    motion = np.array([[scale, 0.0, -left * scale], [0.0, scale, -top * scale]])
    grey = (230, 230, 230)
    cut = cv2.warpAffine(picture, motion, (SIDE_PX, SIDE_PX), flags=cv2.INTER_LINEAR, borderValue=grey)
    out = np.array(np.broadcast_to(cut.reshape(SIDE_PX, SIDE_PX, -1), (SIDE_PX, SIDE_PX, 3)))
    for (bx1, by1, bx2, by2), colour in boxes:
        corners = [round((x - o) * scale) for x, o in ((bx1, left), (by1, top), (bx2, left), (by2, top))]
        cv2.rectangle(out, (corners[0], corners[1]), (corners[2], corners[3]), colour, 1, cv2.LINE_AA)
    return np.asarray(out, np.uint8)


def _table(rows: Iterable[Sequence[object]]) -> str:
    head, *body = rows
    lines = ["<tr>" + "".join(f"<th>{escape(str(cell))}</th>" for cell in head) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in body]
    return f"<table>{''.join(lines)}</table>"


def _data_uri(pixels: Pixels) -> str:
    picture = np.ascontiguousarray(pixels[:, :, ::-1])
    content = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
    return "data:image/jpeg;base64," + base64.b64encode(content).decode("ascii")
