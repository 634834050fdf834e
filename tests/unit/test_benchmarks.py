"""The benchmarks keep up with what they measure."""

from pathlib import Path

from appliance.stores.ledger import SqliteLedger
from benchmarks.ledger import fill


def test_the_ledger_that_is_measured_is_one_that_a_station_opens(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    fill(path, 100)
    ledger = SqliteLedger.open(path, "device-1", "boot-2", ["plant"])
    assert ledger.last_seq() == 100
    ledger.close()
