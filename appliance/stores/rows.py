"""The rows of one inspection: how they are written, and how the oldest go."""

import sqlite3
import time
from typing import Any

from appliance.events import Inspection, PartAlignment, Record, ViewResult, iso

FRAME_COLUMNS = (
    "brightness_mean",
    "brightness_spread",
    "contrast",
    "sharpness",
    "clipped_low_ratio",
    "clipped_high_ratio",
    "red_green_ratio",
    "blue_green_ratio",
)

_NO_ALIGNMENT = (None,) * 7
"""Of reference, reference_match, shift_x_px, shift_y_px, rotation_deg, stretch_x_percent and stretch_y_percent."""


def insert_inspection(tx: sqlite3.Connection, inspection: Inspection, record: Record) -> None:
    """Write the rows of one inspection: itself, its detections, frames and stage times.

    Args:
        tx: inside a transaction.
        inspection: what was found.
        record: its number and text.
    """
    decision, trigger, seq = inspection.decision, inspection.trigger, record.seq
    row: dict[str, Any] = {
        "seq": seq,
        "inspection_id": inspection.inspection_id,
        "trigger_id": trigger.trigger_id,
        "part_id": trigger.part_id,
        "verdict": decision.verdict.value,
        "reason": decision.reason.value,
        "label": decision.label,
        "score": decision.score,
        "limit_score": decision.limit,
        "late": inspection.is_late,
        "triggered_at": iso(trigger.received_at),
        "decided_at": iso(inspection.decided_at),
        "latency_us": inspection.latency_us,
        "record": record.payload,
        "record_hash": record.record_hash,
    }
    tx.execute(f"INSERT INTO inspection ({', '.join(row)}) VALUES (:{', :'.join(row)})", row)
    tx.executemany(
        "INSERT INTO detection VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (seq, result.view, position, item.label, item.score, *item.box)
            for result in inspection.views
            for position, item in enumerate(result.detections)
        ],
    )
    tx.executemany(
        f"INSERT INTO frame VALUES ({', '.join('?' * (9 + len(FRAME_COLUMNS) + len(_NO_ALIGNMENT)))})",
        [_frame_row(seq, result) for result in inspection.views],
    )
    tx.executemany(
        "INSERT INTO stage_time VALUES (?, ?, ?)",
        [(seq, stage, spent_us) for stage, spent_us in inspection.stage_us.items()],
    )


def _frame_row(seq: int, result: ViewResult) -> tuple[Any, ...]:
    frame, statistics, laid = result.frame, result.statistics, result.alignment
    return (
        seq,
        result.view,
        frame.frame_id if frame else None,
        iso(frame.captured_at, "microseconds") if frame else None,
        frame.source if frame else None,
        frame.exposure_us if frame else None,
        frame.gain_db if frame else None,
        *(result.offset_px or (None, None)),
        *(getattr(statistics, name) if statistics else None for name in FRAME_COLUMNS),
        *(_alignment_row(laid) if laid else _NO_ALIGNMENT),
    )


def _alignment_row(laid: PartAlignment) -> tuple[Any, ...]:
    return (laid.reference, laid.match, *laid.shift_px, laid.rotation_deg, *laid.stretch_percent)


def delete_oldest(tx: sqlite3.Connection, before: str, keep_unacknowledged: bool, batch: int, until_ns: int) -> int:
    """Delete the oldest inspections that may go, with all that hangs on them, and keep the chain's new beginning.

    Args:
        tx: inside a transaction.
        before: ISO 8601; only records decided earlier go, and none behind one that is not.
        keep_unacknowledged: stop at the first record that a consumer is still owed.
        batch: at most so many.
        until_ns: on the monotonic clock; stop then, but not before one is gone.

    Returns:
        How many went.
    """
    last = tx.execute("SELECT min(acked_upto) FROM consumer").fetchone()[0] if keep_unacknowledged else 1 << 62
    rows = tx.execute(
        "SELECT seq, inspection_id, decided_at, record_hash FROM inspection WHERE seq <= ? ORDER BY seq LIMIT ?",
        (last, batch),
    ).fetchall()
    gone = 0
    for seq, inspection_id, decided_at, record_hash in rows:
        if decided_at >= before or (gone and time.monotonic_ns() >= until_ns):
            break
        tx.execute("DELETE FROM image WHERE inspection_id = ?", (inspection_id,))
        tx.execute("DELETE FROM inspection WHERE seq = ?", (seq,))
        tx.execute("UPDATE meta SET purged_upto = ?, purged_hash = ?", (seq, record_hash))
        gone += 1
    return gone
