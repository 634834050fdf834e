"""A station with a ledger and pictures on disk, its export, and people who judge its parts."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from appliance.events import Verdict
from tests.ledger_inspections import make_inspection, make_trigger, open_ledger
from tests.plant import write_station

MONDAY = datetime(2026, 11, 2, 6, tzinfo=timezone.utc)
SIDE_PX = 96


def write_judging_station(folder: Path, parts: int = 6, *, per_day: int = 3) -> Path:
    """Write a station whose ledger has parts t0, t1, ... with one picture each, the odd ones rejected.

    Returns:
        Its config.yaml.
    """
    config = write_station(folder)
    rng = np.random.default_rng(0)
    with open_ledger(folder / "ledger.db", device_id="d") as ledger:
        for number in range(parts):
            moment = MONDAY + timedelta(days=number // per_day, minutes=number)
            trigger = make_trigger(f"t{number}", moment)
            ledger.accept(trigger)
            verdict = Verdict.REJECT if number % 2 else Verdict.ACCEPT
            inspection = make_inspection(trigger, verdict, moment)
            name = f"{moment.date()}/{inspection.inspection_id}_top.png"
            ledger.record(replace(inspection, images={"top": name}))
            picture = folder / "images" / name
            picture.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(picture), rng.integers(90, 150, (SIDE_PX, SIDE_PX), dtype=np.uint8))
            content = picture.read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            ledger.note_image(inspection.inspection_id, "top", name, digest, len(content))
    return config


def records(export: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (export / "records.jsonl").read_text().splitlines()]


def judge(export: Path, trigger: str, verdict: str, who: str = "Ann", **more: Any) -> None:
    """Let a person say something of a part; more: boxes, at, or any other key of the verdict."""
    found = [record for record in records(export) if record["trigger_id"] == trigger]
    said = {
        "schema": "vi.human/1",
        "device_id": "d",
        "inspection_id": found[0]["inspection_id"] if found else trigger,
        "verdict": verdict,
        "who": who,
        "at": "2026-11-10T08:00:00.000Z",
    }
    with (export / "human.jsonl").open("a") as file:
        file.write(json.dumps(said | more) + "\n")


def box(x: float, y: float, label: str = "scratch", view: str = "top") -> dict[str, Any]:
    return {"view": view, "label": label, "box_px": [x, y, x + 20, y + 20]}
