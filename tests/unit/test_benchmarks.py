"""The benchmarks keep up with what they measure."""

from pathlib import Path

from appliance.messages import CommandReply
from appliance.stores.ledger import SqliteLedger
from benchmarks.changeover import PRODUCTS, Run, first_action_ms, judged_wrongly
from benchmarks.ledger import fill


def test_the_ledger_that_is_measured_is_one_that_a_station_opens(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    fill(path, 100)
    ledger = SqliteLedger.open(path, "device-1", "boot-2", ["plant"])
    assert ledger.last_seq() == 100
    ledger.close()


def test_a_part_judged_by_another_product_than_the_one_in_force_is_found() -> None:
    first, second = ({"versions": {"product": name, "bundle_digest": name}} for name in PRODUCTS)
    reply = CommandReply(
        device_id="d", command="changeover", ok=True, result={"last_trigger_id": "t1", "product": PRODUCTS[1]}
    )
    run = Run(triggers=["t0", "t1", "t2", "t3"], asked=[(PRODUCTS[1], 1_000_000)], replies=[reply])
    run.records = {"t0": first, "t1": first, "t2": second, "t3": second}
    run.acted_ns = {"t0": 1, "t1": 2, "t2": 4_000_000, "t3": 9_000_000}
    assert judged_wrongly(run) == []
    assert first_action_ms(run) == [3.0]
    run.records |= {"t1": second, "t3": second | {"versions": second["versions"] | {"bundle_digest": PRODUCTS[0]}}}
    assert judged_wrongly(run) == ["t1", "t3"]
