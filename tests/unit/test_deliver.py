"""Delivery with a real ledger: actions first, records in order until every consumer has them, nobody flooded."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from appliance.events import Action, Reason, Record, Verdict
from appliance.health import StageWatchdog
from appliance.ports import LineEvents
from appliance.stages.deliver import BATCH, MOST_AHEAD, MOST_REPLAYS, Delivery
from appliance.stores.ledger import SqliteLedger
from tests.ledger_inspections import open_ledger, store_many
from tests.line import WAIT_S, SystemClock, eventually

FEW_AHEAD = 5 * BATCH


class Wire:
    """A link whose other side can be slow, full or away; what it took is in order."""

    def __init__(self) -> None:
        self.took: list[tuple[str, int]] = []
        self.takes_records = True
        self.on_record: Callable[[int], None] = lambda seq: None

    def open(self, events: LineEvents) -> None: ...

    def send_action(self, action: Action) -> bool:
        self.took.append(("action", action.seq))
        return True

    def send_record(self, record: Record, attempt: int) -> bool:
        if self.takes_records:
            self.took.append(("record" if attempt else "replay", record.seq))
            self.on_record(record.seq)
        return self.takes_records

    def close(self) -> None: ...

    def seqs(self, kind: str = "record") -> list[int]:
        return [seq for what, seq in list(self.took) if what == kind]


class Delivering:
    """A delivery thread over a ledger."""

    def __init__(self, ledger: SqliteLedger, resend_after_s: float, most_ahead: int) -> None:
        self.clock = SystemClock()
        self.ledger = ledger
        self.wire = Wire()
        watchdog = StageWatchdog(self.clock, on_hang=lambda stage: None)
        self.delivery = Delivery(
            [self.wire], ledger, self.clock, watchdog, resend_after_s=resend_after_s, most_ahead=most_ahead
        )
        self.thread = threading.Thread(target=self.delivery.run)


@contextmanager
def delivering(
    folder: Path, count: int, consumers: Sequence[str] = ("plant",), resend_after_s: float = 60.0,
    most_ahead: int = MOST_AHEAD,
) -> Iterator[Delivering]:  # fmt: skip
    with open_ledger(folder / "ledger.db", consumers) as ledger:
        store_many(ledger, count)
        running = Delivering(ledger, resend_after_s, most_ahead)
        running.thread.start()
        try:
            yield running
        finally:
            running.delivery.stop()
            running.thread.join()


def action(seq: int, deadline_ns: int) -> Action:
    return Action(f"t-{seq}", f"p-{seq}", "i", seq, Verdict.ACCEPT, Reason.COMPLETE, deadline_ns)


def test_records_go_out_in_order_and_again_from_the_first_owed_one_after_a_reconnection(tmp_path: Path) -> None:
    with delivering(tmp_path, 30) as running:
        assert eventually(lambda: running.wire.seqs() == list(range(1, 31)))
        running.delivery.acknowledged("plant", 10)
        running.delivery.start_over()
        assert eventually(lambda: running.wire.seqs()[30:] == list(range(11, 31)))


def test_a_link_that_takes_nothing_gets_the_record_as_soon_as_it_does(tmp_path: Path) -> None:
    with delivering(tmp_path, 5) as running:
        running.wire.takes_records = False
        running.delivery.start_over()
        running.wire.took.clear()
        running.wire.takes_records = True
        assert eventually(lambda: running.wire.seqs()[-5:] == [1, 2, 3, 4, 5])


def test_an_action_leaves_while_a_record_is_being_written(tmp_path: Path) -> None:
    with delivering(tmp_path, 20) as running:
        is_writing, may_go_on = threading.Event(), threading.Event()

        def write_slowly(seq: int) -> None:
            if seq == 10:
                is_writing.set()
                assert may_go_on.wait(WAIT_S)

        assert eventually(lambda: len(running.wire.seqs()) == 20)
        running.wire.on_record = write_slowly
        assert running.delivery.replay_on_request({"from_seq": 1, "to_seq": 20})["records"] == 20
        assert is_writing.wait(WAIT_S)
        deadline_ns = running.clock.monotonic_ns() + 10**10
        acting = threading.Thread(target=running.delivery.act, args=(action(7, deadline_ns),))
        acting.start()
        acting.join(WAIT_S)
        was_waiting = acting.is_alive()
        assert (running.wire.seqs("action"), running.wire.seqs("replay")[-1]) == ([7], 10)
        may_go_on.set()
        acting.join(WAIT_S)
        assert not was_waiting
        assert eventually(lambda: len(running.wire.seqs("replay")) == 20)


def test_an_action_past_its_deadline_is_not_sent_and_said_so(tmp_path: Path) -> None:
    with delivering(tmp_path, 0) as running:
        now_ns = running.clock.monotonic_ns()
        assert not running.delivery.act(action(1, now_ns - 1))
        assert running.delivery.act(action(2, now_ns + 10**10))
        assert running.wire.seqs("action") == [2]


def test_a_consumer_that_lost_its_records_gets_them_again_although_another_one_acknowledges(tmp_path: Path) -> None:
    with delivering(tmp_path, 10, ("healthy", "lossy"), resend_after_s=0.05) as running:
        assert eventually(lambda: len(running.wire.seqs()) >= 10)
        running.delivery.acknowledged("healthy", 10)
        for _ in range(20):
            running.delivery.acknowledged("healthy", 10)
        assert eventually(lambda: running.wire.seqs().count(1) >= 2)
        running.delivery.acknowledged("lossy", 10)
        assert eventually(lambda: running.ledger.depth() == 0)


def test_a_consumer_that_is_away_is_asked_ever_more_rarely(tmp_path: Path) -> None:
    times_ns: list[int] = []
    with delivering(tmp_path, 1, resend_after_s=0.5) as running:
        running.wire.on_record = lambda seq: times_ns.append(running.clock.monotonic_ns())
        assert eventually(lambda: len(times_ns) >= 4)
    pauses = [after - before for before, after in pairwise(times_ns)]
    assert pauses[2] > 1.5 * pauses[0]


def test_no_more_than_a_bounded_number_of_records_runs_ahead_of_the_oldest_owed_one(tmp_path: Path) -> None:
    last = FEW_AHEAD + 3 * BATCH
    with delivering(tmp_path, last, most_ahead=FEW_AHEAD) as running:
        assert eventually(lambda: len(running.wire.seqs()) >= FEW_AHEAD)
        ahead = max(running.wire.seqs())
        assert ahead < FEW_AHEAD + 2 * BATCH
        running.delivery.acknowledged("plant", ahead)
        assert eventually(lambda: max(running.wire.seqs()) == last)


def test_a_consumer_that_is_away_does_not_keep_new_records_from_the_others(tmp_path: Path) -> None:
    last = FEW_AHEAD + 5 * BATCH
    with delivering(tmp_path, last, ("present", "away"), most_ahead=FEW_AHEAD) as running:
        running.wire.on_record = lambda seq: running.delivery.acknowledged("present", seq)
        running.delivery.start_over()
        assert eventually(lambda: max(running.wire.seqs(), default=0) == last)
        running.wire.took.clear()
        running.delivery.start_over()  # it begins with what is owed, but does not send all of it to everybody again
        store_many(running.ledger, 1, prefix="new")
        running.delivery.news()
        assert eventually(lambda: max(running.wire.seqs(), default=0) == last + 1)
        assert len(running.wire.seqs()) < FEW_AHEAD + 3 * BATCH
    assert running.wire.seqs()[0] == 1


def test_consumers_that_are_there_get_what_each_owes_although_a_third_is_away(tmp_path: Path) -> None:
    last, near = 2 * FEW_AHEAD + 2 * BATCH, 2 * FEW_AHEAD
    with delivering(tmp_path, last, ("far", "near", "away"), most_ahead=FEW_AHEAD) as running:
        running.delivery.acknowledged("far", last)
        running.delivery.acknowledged("near", near)
        running.wire.took.clear()
        running.delivery.start_over()
        assert eventually(lambda: last in running.wire.seqs())
    assert set(range(near + 1, last + 1)) <= set(running.wire.seqs())


@pytest.mark.parametrize(
    "arguments",
    [{}, {"from_seq": 0, "to_seq": 1}, {"from_seq": 2, "to_seq": 1}, {"from_seq": True, "to_seq": 1},
     {"from_seq": 1, "to_seq": 2**63}, {"from_seq": "1", "to_seq": 2}],
)  # fmt: skip
def test_a_replay_that_makes_no_sense_is_refused_in_words(arguments: dict[str, object], tmp_path: Path) -> None:
    with delivering(tmp_path, 3) as running:
        answer = running.delivery.replay_on_request(arguments)
    assert answer["ok"] is False
    assert "from_seq" in answer["error"]


def test_replays_do_not_pile_up_without_end(tmp_path: Path) -> None:
    with delivering(tmp_path, 10) as running:
        assert eventually(lambda: len(running.wire.seqs()) == 10)
        running.wire.takes_records = False
        answers = [running.delivery.replay_on_request({"from_seq": 1, "to_seq": 10})["ok"] for _ in range(150)]
    assert answers.count(True) == MOST_REPLAYS // 10
    assert not answers[-1]


def test_an_unregistered_consumers_acknowledgement_changes_nothing(tmp_path: Path) -> None:
    with delivering(tmp_path, 3) as running:
        running.delivery.acknowledged("stranger", 3)
        assert running.ledger.depth() == 3
