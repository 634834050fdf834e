"""The six kinds of copper defect, planted on the copper mask where they mean something."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from appliance.simulator.boards import MARGIN_PX, Board, Pixels, soften
from appliance.simulator.copper import Draft, Marks
from appliance.simulator.planters import PLANTERS

DEFECT_KINDS: Final = ("open", "short", "mousebite", "spur", "spurious_copper", "pin_hole")
"""Class names in the order of the DeepPCB data set; a label is an index into it."""

BOX_MARGIN_PX: Final = 3
"""A box is the changed copper plus this much on each side, which holds the soft edge and the relief too."""

_KEEP_IN_PX = 14
_APART_PX = 8


@dataclass(frozen=True, slots=True)
class DefectStyle:
    """Planted defects: longest side `size_px` (least, most); `contrast` 0 (invisible) to 1 (full copper step)."""

    size_px: tuple[float, float] = (10.0, 36.0)
    contrast: float = 1.0


@dataclass(frozen=True, slots=True)
class Defect:
    """One planted defect on the canvas.

    `box` is (x1, y1, x2, y2) in canvas px, x2 and y2 exclusive; `mask` bool marks the wrong copper inside the box;
    `coverage` uint8 is the new copper coverage inside the box.
    """

    kind: str
    box: tuple[int, int, int, int]
    mask: Marks
    coverage: Pixels


def _finish(board: Board, kind: str, draft: Draft, taken: list[Defect], contrast: float) -> Defect | None:
    """Turn a draft into a defect, or refuse it where it would not be seen."""
    if np.count_nonzero(draft.marks) < 18:
        return None
    rows, columns = np.flatnonzero(draft.marks.any(axis=1)), np.flatnonzero(draft.marks.any(axis=0))
    x1, x2 = draft.left + int(columns[0]) - BOX_MARGIN_PX, draft.left + int(columns[-1]) + 1 + BOX_MARGIN_PX
    y1, y2 = draft.top + int(rows[0]) - BOX_MARGIN_PX, draft.top + int(rows[-1]) + 1 + BOX_MARGIN_PX
    keep = MARGIN_PX + _KEEP_IN_PX
    if x1 < keep or y1 < keep or x2 > board.layout.width - keep or y2 > board.layout.height - keep:
        return None
    for other in taken:
        a, b, c, d = other.box
        if x1 < c + _APART_PX and a < x2 + _APART_PX and y1 < d + _APART_PX and b < y2 + _APART_PX:
            return None
    window = (slice(y1, y2), slice(x1, x2))
    if board.silk[window].any() or board.drills[window].any():
        return None
    mask = np.zeros((y2 - y1, x2 - x1), np.bool_)
    kept = draft.marks[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    mask[BOX_MARGIN_PX:-BOX_MARGIN_PX, BOX_MARGIN_PX:-BOX_MARGIN_PX] = kept
    around = (slice(y1 - 1, y2 + 1), slice(x1 - 1, x2 + 1))
    copper = board.nets[around] != 0
    copper[1:-1, 1:-1] ^= mask
    wrong = soften(np.ascontiguousarray(copper))[1:-1, 1:-1]
    coverage = cv2.addWeighted(wrong, contrast, board.coverage[window], 1 - contrast, 0)
    return Defect(kind, (x1, y1, x2, y2), mask, np.asarray(coverage, np.uint8))


def plant(
    board: Board,
    kind: str,
    rng: np.random.Generator,
    style: DefectStyle | None = None,
    taken: list[Defect] | None = None,
    *,
    tries: int = 40,
) -> Defect | None:
    """Find a place for a defect of one kind and make it.

    An open cuts a trace through, a short joins two nets, a mousebite eats into an edge and leaves copper, a spur sticks
    out of an edge without touching another net, spurious copper touches nothing, a pin-hole lies inside copper.

    Args:
        board: the faultless board.
        kind: one of `DEFECT_KINDS`.
        rng: source of chance.
        style: size and contrast; the default when None.
        taken: defects that it must keep away from.
        tries: places to try.

    Returns:
        The defect, or None where this board has no room for that kind.
    """
    wanted = style or DefectStyle()
    least, most = np.log(wanted.size_px[0]), np.log(wanted.size_px[1])
    for _ in range(tries):
        draft = PLANTERS[kind](board, rng, float(np.exp(rng.uniform(least, most))))
        if draft is not None:
            defect = _finish(board, kind, draft, taken or [], wanted.contrast)
            if defect is not None:
                return defect
    return None
