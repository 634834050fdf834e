"""Conservation while everything dies: appliance and broker are killed at random points in thousands of parts."""

import os
import random
import threading
from pathlib import Path

import pytest

from appliance.stores.ledger import SqliteLedger
from tests.action_tap import ActionTap, accepts_in_time
from tests.plant import DEVICE_ID, Plant
from tests.stations import needs_mosquitto

PARTS = int(os.environ.get("FAULT_PARTS", "5000"))
RATE_HZ = 80.0
STATION_KILLS = max(1, PARTS // 250)
BROKER_KILLS = max(1, PARTS // 500)
SETTLE_S = 60.0
LINE_WAITS_MS = 20_000
DEADLINE_MS, ANSWER_RESERVE_MS = 2500, 1000
"""The station's, much shorter than the line waits: an ACCEPT that outlived a restart would be heard, and be stale."""

pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(420),
    needs_mosquitto,
]


@pytest.mark.long
def test_20_kills_of_the_appliance_and_10_of_the_broker_lose_nothing_and_inspect_nothing_twice(tmp_path: Path) -> None:
    rng = random.Random(20261)
    duration_s = PARTS / RATE_HZ
    blows = [(rng.uniform(0.02, 0.98) * duration_s, "station") for _ in range(STATION_KILLS)]
    blows += [(rng.uniform(0.02, 0.98) * duration_s, "broker") for _ in range(BROKER_KILLS)]
    parts = [(number / RATE_HZ, f"part-{number:05d}") for number in range(PARTS)]
    clock = threading.Event()
    recipe = {"deadline_ms": DEADLINE_MS, "answer_reserve_ms": ANSWER_RESERVE_MS}
    with Plant(tmp_path, recipe=recipe) as plant, ActionTap(plant) as tap:
        elapsed_s = 0.0
        for at_s, what in sorted([*blows, *parts]):
            if at_s > elapsed_s:
                clock.wait(at_s - elapsed_s)
                elapsed_s = at_s
            if what == "station":
                plant.kill()
                plant.start()
            elif what == "broker":
                plant.broker.kill()
                plant.broker.restart()
            else:
                plant.announce(what, deadline_ms=LINE_WAITS_MS, repeat_every_ms=1000)
        plant.wait_for_records(PARTS, SETTLE_S)
        plant.wait_for_outcomes(PARTS, SETTLE_S)
        assert plant.stop() == 0
        rows = plant.query("SELECT seq, trigger_id, part_id, verdict, late FROM inspection ORDER BY seq")
        open_triggers = plant.query("SELECT trigger_id FROM open_trigger")
        outbox = plant.query("SELECT count(*) FROM outbox")
        accepts_heard = accepts_in_time(plant, tap.all(), DEADLINE_MS)
        plant.start()
    triggers = {f"t-{part_id}" for _, part_id in parts}
    assert {row[1] for row in rows} == triggers, "a trigger is without a verdict"
    assert len(rows) == PARTS, "a part was inspected twice"
    assert open_triggers == []
    assert [row[0] for row in rows] == list(range(1, PARTS + 1)), "seq has a gap"
    assert [record.message.seq for record in plant.records] == list(range(1, PARTS + 1))
    assert plant.consumer.counts["records_unchained"] == 0
    assert outbox == [(0,)], "a record that was acknowledged is still owed"
    accepted = {row[2] for row in rows if row[3] == "ACCEPT"}
    passed = {part_id for part_id, outcome in plant.outcomes.items() if outcome.passes}
    assert passed <= accepted, "the line passed a part that was not accepted"
    assert len(passed) > PARTS // 20, "the test did not see the station at work"
    assert accepts_heard > PARTS // 20, "the test did not hear the station at work"
    boots = {record.message.boot_id for record in plant.records}
    assert len(boots) > STATION_KILLS // 4
    with SqliteLedger.open(tmp_path / "ledger.db", DEVICE_ID, "audit", ["quality"]) as ledger:
        assert ledger.verify_chain() is None
