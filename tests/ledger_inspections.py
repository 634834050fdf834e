"""Builders of triggers and inspections for tests of what is stored, and a ledger of a small device."""

import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from appliance.events import (
    Decision,
    Detection,
    Frame,
    ImageStatistics,
    Inspection,
    Reason,
    Record,
    Trigger,
    Verdict,
    Versions,
    ViewResult,
    new_id,
    utc_now,
)
from appliance.stores.ledger import SqliteLedger

LONG_AGO = datetime(2020, 5, 1, 12, tzinfo=timezone.utc)
VERSIONS = Versions("0.1", "boards", 3, "a" * 64, "board", 1, "b" * 64, "c" * 64, "scripted", "board")
STATISTICS = ImageStatistics(120.0, 30.0, 0.25, 200.0, 0.01, 0.02)
REASONS = {
    Verdict.ACCEPT: Reason.COMPLETE,
    Verdict.REJECT: Reason.DEFECT,
    Verdict.REVIEW: Reason.GREY_BAND,
    Verdict.FAULT: Reason.CAMERA,
}


def open_ledger(path: Path, consumers: Sequence[str] = ("plant",), device_id: str = "device-1") -> SqliteLedger:
    return SqliteLedger.open(path, device_id, "boot-1", consumers)


def make_trigger(trigger_id: str, moment: datetime | None = None) -> Trigger:
    now_ns = time.monotonic_ns()
    return Trigger(trigger_id, f"part-of-{trigger_id}", moment or utc_now(), now_ns, now_ns + 10**9)


def make_frame(view: str = "top", height: int = 24, width: int = 32, channels: int = 1, seed: int = 0) -> Frame:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return Frame(view, 7, pixels, utc_now(), time.monotonic_ns(), "folder", 800.0, 1.5)


def make_inspection(
    trigger: Trigger, verdict: Verdict = Verdict.ACCEPT, decided_at: datetime | None = None, score: float = 0.9
) -> Inspection:
    found = () if verdict in (Verdict.ACCEPT, Verdict.FAULT) else (Detection("short", score, (1.0, 2.0, 11.0, 12.0)),)
    view = ViewResult("top", make_frame(), STATISTICS, found, (0.5, -0.25))
    if verdict is Verdict.FAULT:
        view = ViewResult("top", None, None, ())
    label = found[0].label if found else None
    decision = Decision(verdict, REASONS[verdict], "said so", label, score if found else None, 0.5 if found else None)
    moment = decided_at or utc_now()
    spent = {"capture": 2000, "infer": 9000}
    return Inspection(new_id(), trigger, decision, (view,), moment, time.monotonic_ns(), spent, VERSIONS, {})


def store(
    ledger: SqliteLedger, trigger_id: str, verdict: Verdict = Verdict.ACCEPT, decided_at: datetime | None = None
) -> Record:
    """Accept a trigger and record its verdict."""
    trigger = make_trigger(trigger_id, decided_at)
    assert ledger.accept(trigger)
    return ledger.record(make_inspection(trigger, verdict, decided_at))


def store_many(ledger: SqliteLedger, count: int, decided_at: datetime | None = None, prefix: str = "t") -> list[Record]:
    return [store(ledger, f"{prefix}{number}", decided_at=decided_at) for number in range(count)]
