"""How each kind of defect finds its place: six functions that draft a change of the copper, or find no room."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from appliance.simulator.boards import MARGIN_PX, Board
from appliance.simulator.copper import (
    Draft,
    band,
    blob,
    cut,
    depths,
    distances_to_copper,
    march,
    pick_edge,
    touched_nets,
)


def _open(board: Board, rng: np.random.Generator, size: float) -> Draft | None:
    """Cut a trace through, away from its pads."""
    traces = board.layout.traces
    if not traces:
        return None
    trace = traces[int(rng.integers(0, len(traces)))]
    leg = int(rng.integers(0, len(trace.points) - 1))
    start, end = (np.array(point) for point in trace.points[leg : leg + 2])
    length = float(np.hypot(*(end - start)))
    gap = float(np.clip(size * rng.uniform(0.5, 0.9), 7.0, 22.0))
    if length < gap + 16:
        return None
    along = (end - start) / length
    middle = start + along * rng.uniform(8 + gap / 2, length - 8 - gap / 2)
    across = np.array([-along[1], along[0]]) * (trace.width / 2 + 2)
    ragged = np.concatenate([rng.uniform(-1.5, 1.5, (1, 6)), rng.uniform(-1.5, 1.5, (1, 6))])
    draft = cut(board, band(middle - across, middle + across, gap / 2 + ragged), adds=False)
    if draft is None:
        return None
    height, width = draft.marks.shape
    window = (slice(draft.top, draft.top + height), slice(draft.left, draft.left + width))
    if np.any(board.nets[window][draft.marks] != trace.net) or board.openings[window].any():
        return None
    return draft


def _short(board: Board, rng: np.random.Generator, size: float) -> Draft | None:
    """Bridge the gap from one net to another."""
    picked = pick_edge(board, rng)
    if picked is None:
        return None
    spot, normal = picked
    met = march(board, spot - 2 * normal, normal, 38)
    far = np.flatnonzero((met > 0) & (np.arange(len(met)) > 5))
    if met[0] <= 0 or not far.size or met[far[0]] == met[0] or np.any(met[3 : far[0]] != 0):
        return None
    beyond = np.rint(spot + float(far[0]) * normal).astype(int)
    first = np.rint(spot - 2 * normal).astype(int)
    joins_pads = bool(board.openings[first[1], first[0]]) and bool(board.openings[beyond[1], beyond[0]])
    if joins_pads and far[0] > 14:
        return None  # a trace from pad to pad would look the same
    half = float(np.clip(size * 0.18, 2.5, 6.0)) + rng.uniform(-0.8, 1.2, (2, 7))
    half[:, [0, -1]] += 1.5
    draft = cut(board, band(spot - 2 * normal, spot + float(far[0]) * normal, half), adds=True)
    if draft is None or touched_nets(board, draft) != {int(met[0]), int(met[far[0]])}:
        return None
    return draft


def _mousebite(board: Board, rng: np.random.Generator, size: float) -> Draft | None:
    """Eat into an edge and leave copper behind it."""
    picked = pick_edge(board, rng)
    if picked is None:
        return None
    spot, normal = picked
    inward = march(board, spot, -normal, 40)
    other = np.flatnonzero(inward != inward[0])
    body = float(other[0]) if other.size else 40.0
    if inward[0] <= 0 or body < 7:
        return None
    length = float(np.clip(size, 8.0, 24.0))
    depth = float(np.clip(min(rng.uniform(0.5, 0.68) * body, 0.6 * length), 4.0, 10.0))
    tangent = np.array([-normal[1], normal[0]])
    ends = march(board, spot - tangent * (length / 2 + 4) - 2 * normal, tangent, int(length + 8))
    if np.any(ends != inward[0]):
        return None
    angles = np.linspace(0, np.pi, 9)
    radius = 1 + rng.uniform(-0.15, 0.1, 9)
    arc = (
        spot
        + (np.cos(angles) * radius * length / 2)[:, None] * tangent
        - (np.sin(angles) * radius * depth)[:, None] * normal
    )
    polygon = np.concatenate([arc, [arc[-1] + 4 * normal, arc[0] + 4 * normal]])
    return cut(board, polygon, adds=False)


def _spur(board: Board, rng: np.random.Generator, size: float) -> Draft | None:
    """Let an edge stick out without reaching another net."""
    picked = pick_edge(board, rng)
    if picked is None:
        return None
    spot, normal = picked
    met = march(board, spot, normal, 40)
    other = np.flatnonzero((met != 0) & (np.arange(len(met)) > 1))
    room = float(other[0]) if other.size else 40.0
    reach = float(np.clip(size * rng.uniform(0.6, 0.9), 7.0, 18.0))
    reach = min(reach, room - 5)
    if met[0] <= 0 or reach < 6:
        return None
    half = np.linspace(float(np.clip(size * 0.2, 3.0, 6.0)), 1.6, 6) + rng.uniform(-0.5, 0.7, (2, 6))
    lean = np.array([-normal[1], normal[0]]) * rng.uniform(-0.3, 0.3) * reach
    draft = cut(board, band(spot - 1.5 * normal, spot + reach * normal + lean, half), adds=True)
    return draft if draft is not None and touched_nets(board, draft, 3) == {int(met[0])} else None


def _spurious_copper(board: Board, rng: np.random.Generator, size: float) -> Draft | None:
    """Leave copper that touches nothing."""
    distances = distances_to_copper(board)
    long = float(np.clip(size, 8.0, 30.0))
    for _ in range(12):
        x = int(rng.integers(MARGIN_PX, board.layout.width - MARGIN_PX))
        y = int(rng.integers(MARGIN_PX, board.layout.height - MARGIN_PX))
        long = min(long, 2 * (float(distances[y, x]) - 5))
        if long >= 8:
            short = max(7.0, long * float(rng.uniform(0.5, 1.0)))
            draft = cut(board, blob(rng, np.array([x, y], float), long, short), adds=True)
            return draft if draft is not None and not touched_nets(board, draft, 3) else None
        long = float(np.clip(size, 8.0, 30.0))
    return None


def _pin_hole(board: Board, rng: np.random.Generator, size: float) -> Draft | None:
    """Leave a hole with copper all around."""
    depth, deep = depths(board)
    if not deep.size:
        return None
    y, x = divmod(int(deep[int(rng.integers(0, deep.size))]), depth.shape[1])
    across = min(float(np.clip(size * 0.6, 5.5, 16.0)), 2 * (float(depth[y, x]) - 2.5))
    if across < 5:
        return None
    return cut(board, blob(rng, np.array([x, y], float), across, across), adds=False)


Planter = Callable[[Board, np.random.Generator, float], Draft | None]

PLANTERS: Final[dict[str, Planter]] = {
    "open": _open,
    "short": _short,
    "mousebite": _mousebite,
    "spur": _spur,
    "spurious_copper": _spurious_copper,
    "pin_hole": _pin_hole,
}
"""Kind -> function of (board, source of chance, longest side in px) that drafts one or finds no room."""
