"""Retention: old acknowledged records go by themselves, owed ones and young ones stay."""

from datetime import timedelta
from pathlib import Path

from appliance.stores.retention import Retention
from tests.ledger_inspections import open_ledger, store_many
from tests.line import SystemClock, eventually


def test_old_acknowledged_records_go_and_owed_and_young_ones_stay(tmp_path: Path) -> None:
    clock = SystemClock()
    old = clock.utc() - timedelta(days=31)
    with open_ledger(tmp_path / "ledger.db") as ledger:
        store_many(ledger, 10, old, "old")
        store_many(ledger, 3, None, "young")
        ledger.acknowledge("plant", 7)
        retention = Retention(ledger, 30, clock, every_s=0.01)
        retention.start()
        assert eventually(lambda: [record.seq for record in ledger.replay(1, 99, 99)][:1] == [8])
        ledger.acknowledge("plant", 13)
        assert eventually(lambda: [record.seq for record in ledger.replay(1, 99, 99)] == [11, 12, 13])
        retention.stop()
        assert ledger.verify_chain() is None
        assert ledger.last_seq() == 13


def test_a_clock_that_runs_years_ahead_makes_nothing_old(tmp_path: Path) -> None:
    clock = SystemClock()
    with open_ledger(tmp_path / "ledger.db") as ledger:
        store_many(ledger, 1, clock.utc() - timedelta(days=31), "old")
        store_many(ledger, 3, None, "young")
        ledger.acknowledge("plant", 4)
        clock.set_back_s = -timedelta(days=3650).total_seconds()
        retention = Retention(ledger, 30, clock, every_s=0.01)
        retention.start()
        assert eventually(lambda: [record.seq for record in ledger.replay(1, 99, 99)][:1] == [2])
        retention.stop()
        assert [record.seq for record in ledger.replay(1, 99, 99)] == [2, 3, 4]
