"""The ledger behaves as a simple model does, whatever is called in whatever order, closing and reopening included."""

import shutil
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from appliance.errors import DeliveryError
from appliance.events import Record, Verdict
from tests.ledger_inspections import LONG_AGO, make_inspection, make_trigger, open_ledger

NAMES = st.sampled_from([f"t{number}" for number in range(12)])
CONSUMERS = st.lists(st.sampled_from(["plant", "archive", "dashboard"]), unique=True, max_size=3)


class LedgerModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.open: list[str] = []
        self.records: list[Record] = []
        self.purged = 0
        self.acked: dict[str, int] = {}

    @initialize(consumers=CONSUMERS)
    def begin(self, consumers: list[str]) -> None:
        self.ledger = open_ledger(self.folder / "ledger.db", consumers)
        self.acked = dict.fromkeys(consumers or ["broker"], 0)

    def left(self) -> list[Record]:
        return self.records[self.purged :]

    @rule(name=NAMES)
    def accept(self, name: str) -> None:
        is_new = name not in self.open and name not in {record.trigger_id for record in self.left()}
        assert self.ledger.accept(make_trigger(name)) is is_new
        self.open += [name] * is_new

    @precondition(lambda self: self.open)
    @rule(data=st.data(), verdict=st.sampled_from(Verdict))
    def record(self, data: st.DataObject, verdict: Verdict) -> None:
        name = data.draw(st.sampled_from(self.open))
        decided_at = LONG_AGO + timedelta(seconds=len(self.records))
        record = self.ledger.record(make_inspection(make_trigger(name), verdict, decided_at))
        assert record.seq == len(self.records) + 1
        self.open.remove(name)
        self.records.append(record)

    @rule(name=NAMES)
    def record_what_is_not_open(self, name: str) -> None:
        if name not in self.open:
            with pytest.raises(RuntimeError):
                self.ledger.record(make_inspection(make_trigger(name)))

    @rule(name=st.sampled_from(["plant", "archive", "dashboard", "broker"]))
    def acknowledge_as_a_stranger(self, name: str) -> None:
        if name not in self.acked:
            with pytest.raises(DeliveryError):
                self.ledger.acknowledge(name, 1)

    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.acked)))
        upto = data.draw(st.integers(0, len(self.records) + 2))
        self.ledger.acknowledge(name, upto)
        self.acked[name] = max(self.acked[name], min(upto, len(self.records)))

    @precondition(lambda self: self.left())
    @rule(data=st.data(), keep=st.booleans(), batch=st.integers(1, 5))
    def purge(self, data: st.DataObject, keep: bool, batch: int) -> None:
        upto = data.draw(st.integers(0, len(self.records) + 1))
        gone = self.ledger.purge(LONG_AGO + timedelta(seconds=upto), keep, batch)
        last = min(upto, len(self.records), min(self.acked.values()) if keep else upto)
        assert gone == max(0, last - self.purged)
        self.purged = max(self.purged, last)

    @precondition(lambda self: self.records)
    @rule(consumers=CONSUMERS)
    def reopen(self, consumers: list[str]) -> None:
        wanted = consumers or ["broker"]
        start = len(self.records) if set(wanted) & self.acked.keys() else min(self.acked.values())
        self.ledger.close()
        self.ledger = open_ledger(self.folder / "ledger.db", consumers)
        self.acked = {name: self.acked.get(name, start) for name in wanted}

    @invariant()
    def it_says_what_the_model_says(self) -> None:
        owed = self.records[max(self.purged, min(self.acked.values())) :]
        assert list(self.ledger.pending(0, 99)) == owed
        assert self.ledger.depth() == len(owed)
        assert list(self.ledger.replay(0, 99, 99)) == self.left()
        assert [trigger.trigger_id for trigger in self.ledger.open_triggers()] == self.open
        assert self.ledger.last_seq() == len(self.records)
        assert self.ledger.verify_chain() is None
        assert self.ledger.acknowledged() == self.acked
        for record in self.left():
            assert self.ledger.find(record.trigger_id) == record

    def teardown(self) -> None:
        self.ledger.close()
        shutil.rmtree(self.folder)


LedgerModel.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestLedgerModel = LedgerModel.TestCase
