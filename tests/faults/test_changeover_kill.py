"""The station is killed around changeovers: the old product is in force afterwards, or the new one, never a half."""

import os
import random
import threading
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from appliance.command_messages import CommandReply
from appliance.errors import DeliveryError
from appliance.stores.ledger import SqliteLedger
from tests.plant import DEVICE_ID, START_S, Plant
from tests.products import write_products
from tests.stations import needs_mosquitto

KILLS = int(os.environ.get("FAULT_CHANGEOVERS", "6"))
LONGEST_WAIT_S = 0.03
"""A changeover takes some milliseconds: the blow falls before, in and after it."""

pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(420),
    needs_mosquitto,
]


def ask(plant: Plant, product: str) -> "Future[CommandReply] | None":
    with suppress(DeliveryError):  # the consumer has no connection for a moment: then nothing was asked
        return plant.consumer.command("changeover", {"product": product, "by": "A. Person"})
    return None


def in_force(plant: Plant) -> str:
    ((product,),) = plant.query("SELECT to_product FROM changeover ORDER BY id DESC LIMIT 1")
    return str(product)


@pytest.mark.long
def test_a_kill_around_a_changeover_leaves_the_old_product_or_the_new_one(tmp_path: Path) -> None:
    rng, clock, seen = random.Random(20262), threading.Event(), set[bool]()
    with Plant(tmp_path, products=write_products) as plant:
        for number in range(KILLS):
            assert plant.consumer.wait_until_online(START_S), plant.log()
            before = in_force(plant)
            wanted = "tolerant" if before == "plain" else "plain"
            plant.announce(f"before-{number}", 30_000, 500)
            answer = ask(plant, wanted)
            plant.announce(f"beside-{number}", 30_000, 500)
            clock.wait(rng.uniform(0, LONGEST_WAIT_S))
            plant.kill()
            after = in_force(plant)
            assert after in (before, wanted)
            if answer is not None and answer.done():
                assert answer.result().ok
                assert after == wanted, "the station answered before the changeover was on disk"
            seen.add(after == wanted)
            plant.start()
            plant.wait_for_records(2 * number + 2, 60.0)
            plant.announce(f"after-{number}", 30_000, 500)
            assert plant.consumer.wait_until_online(START_S), plant.log()
            plant.wait_for_records(3 * number + 3, 60.0)
        plant.wait_for_outcomes(3 * KILLS, 60.0)  # those of parts that the kills cost come with their deadline
        assert plant.stop() == 0
        rows: list[tuple[Any, ...]] = plant.query(
            "SELECT part_id, json_extract(record, '$.versions.product'), json_extract(record, '$.versions.recipe')"
            " FROM inspection ORDER BY seq"
        )
        changes = plant.query("SELECT from_product, to_product FROM changeover ORDER BY id")
        plant.start()
    assert len(rows) == len({row[0] for row in rows}) == 3 * KILLS
    assert all(product == recipe for _, product, recipe in rows), "a record names one product and another's recipe"
    assert [row[0] for row in changes] == ["", *(row[1] for row in changes[:-1])], "a change from nowhere"
    with SqliteLedger.open(tmp_path / "ledger.db", DEVICE_ID, "audit", ["quality"]) as ledger:
        assert ledger.verify_chain() is None
