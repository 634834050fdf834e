"""Never stale, whatever the wall clock says: it is set back one hour and forward again while parts are on their way."""

from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from appliance.events import moment_of, utc_now
from appliance.stores.ledger import SqliteLedger
from tests.action_tap import ActionTap
from tests.c_compiler import needs_cc
from tests.plant import CONSUMER, DEVICE_ID, RECIPE, Plant
from tests.stations import needs_mosquitto
from tests.wall_clock import WallClock

HOUR_S = 3600
BATCH = 4
RATE_HZ = 2.0
ONCE_MS = 60_000

pytestmark = [
    pytest.mark.faults,
    needs_mosquitto,
    needs_cc,
]


def test_a_clock_set_back_and_forward_an_hour_changes_no_verdict_and_no_action_only_the_times_on_record(
    tmp_path: Path,
) -> None:
    clock = WallClock(tmp_path)
    deadline_ms = int(str(RECIPE["deadline_ms"]))
    camera = {"type": "folder", "directory": "pictures", "rate_hz": RATE_HZ}
    # the line's own clock stays right, so this line does not compare it with the station's
    tolerance_ms = 2 * HOUR_S * 1000
    plant = Plant(tmp_path, camera=camera, environment=clock.environment, clock_tolerance_ms=tolerance_ms)
    started_at = utc_now()
    with plant, ActionTap(plant) as tap:
        for offset_s in (-HOUR_S, 0, 0):
            for _ in range(BATCH):
                plant.announce(f"part-{len(plant.announced_ns)}", deadline_ms, ONCE_MS)
            plant.wait_for_outcomes(len(plant.announced_ns) - BATCH // 2)
            clock.set_by(offset_s)
            plant.wait_for_outcomes(len(plant.announced_ns))
        plant.wait_for_records(len(plant.announced_ns))
        assert plant.stop() == 0
        rows = plant.query("SELECT seq, part_id, verdict, reason, late FROM inspection ORDER BY seq")
        assert plant.query("SELECT count(*) FROM open_trigger") == [(0,)]
        actions = tap.all()
    lasted = utc_now() - started_at
    good, spot = ("ACCEPT", "complete", 0), ("REJECT", "defect", 0)
    assert rows == [(n + 1, f"part-{n}", *(spot if n % 2 else good)) for n in range(len(plant.announced_ns))]
    assert len(plant.outcomes) == len(rows)
    assert {part_id for part_id, outcome in plant.outcomes.items() if outcome.passes} == {
        row[1] for row in rows if row[2] == "ACCEPT"
    }
    for _, part_id, verdict, *_ in rows:
        (action,) = actions[f"t-{part_id}"]
        waited_ms = (action.received_ns - plant.announced_ns[f"t-{part_id}"]) / 1e6
        assert (action.message.verdict, waited_ms <= deadline_ms) == (verdict, True), waited_ms
        assert 0 < action.message.valid_for_ms <= deadline_ms
        validity = moment_of(action.message.valid_until) - moment_of(action.message.sent_at)
        assert validity == timedelta(milliseconds=action.message.valid_for_ms)
    messages = [record.message for record in plant.records]
    assert all(record.is_chained for record in plant.records)
    assert all(0 < message.latency_ms <= deadline_ms for message in messages)
    decided = [moment_of(message.decided_at) for message in messages]
    leaps = [after - before for before, after in pairwise(decided)]
    hour = timedelta(seconds=HOUR_S)
    back, forward = (leap for leap in leaps if abs(leap) > lasted)
    assert -hour <= back <= lasted - hour
    assert hour <= forward <= lasted + hour
    assert all(timedelta(0) <= leap for leap in leaps if leap != back)
    assert any(
        decided_at < moment_of(message.triggered_at) for decided_at, message in zip(decided, messages, strict=True)
    )
    with SqliteLedger.open(tmp_path / "ledger.db", DEVICE_ID, "audit", [CONSUMER]) as ledger:
        assert ledger.verify_chain() is None
