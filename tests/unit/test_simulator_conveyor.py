"""The simulated belt: parts come at their rate, in order, without drift, until it is stopped."""

import threading
import time
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ConfigError
from appliance.simulator.conveyor import Conveyor, PartTrigger


@given(rate=st.floats(0.1, 1000), jitter=st.floats(0, 0.45), seed=st.integers(0, 1000))
def test_triggers_come_in_order_and_near_their_even_place(rate: float, jitter: float, seed: int) -> None:
    triggers = list(Conveyor(rate, jitter, seed, parts=40).schedule())
    due = [trigger.due_ns for trigger in triggers]
    assert due == sorted(set(due))
    for place, trigger in enumerate(triggers):
        assert abs(trigger.due_ns * rate / 1e9 - place - 0.5) <= jitter + 1e-3


def test_jitter_does_not_add_up() -> None:
    last = list(Conveyor(100, 0.45, 3, parts=5000).schedule())[-1]
    assert last.due_ns == pytest.approx(4999.5 * 10_000_000, abs=4_500_000)


def test_the_same_seed_gives_the_same_schedule() -> None:
    assert list(Conveyor(20, 0.3, 7, 30).schedule()) == list(Conveyor(20, 0.3, 7, 30).schedule())
    assert list(Conveyor(20, 0.3, 7, 30).schedule()) != list(Conveyor(20, 0.3, 8, 30).schedule())


def test_part_ids_never_repeat_and_go_on_from_the_first_number() -> None:
    triggers = list(Conveyor(20, seed=4, parts=100, first=50).schedule())
    assert len({trigger.part_id for trigger in triggers}) == 100
    assert triggers[0].part_id == "4-000050"
    assert [trigger.number for trigger in triggers] == list(range(50, 150))


def test_a_belt_without_number_of_parts_has_no_end() -> None:
    assert len(list(islice(Conveyor(20).schedule(), 500))) == 500


def test_the_belt_issues_every_trigger_no_earlier_than_due() -> None:
    got: list[tuple[PartTrigger, int]] = []
    start_ns = time.monotonic_ns()
    belt = Conveyor(400, 0.4, 1, parts=60)
    issued = belt.run(lambda trigger: got.append((trigger, time.monotonic_ns() - start_ns)), threading.Event())
    assert issued == 60
    assert [trigger for trigger, _ in got] == list(belt.schedule())
    assert all(at_ns >= trigger.due_ns for trigger, at_ns in got)


def test_a_slow_receiver_gets_every_part_late_rather_than_fewer() -> None:
    clock_ns = 0
    lateness: list[int] = []

    def now_ns() -> int:
        return clock_ns

    def receive(trigger: PartTrigger) -> None:
        nonlocal clock_ns
        lateness.append(clock_ns - trigger.due_ns)
        clock_ns += 10_000_000 if trigger.number < 20 else 100_000

    class PassingTime(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            nonlocal clock_ns
            clock_ns += round((timeout or 0) * 1e9)
            return self.is_set()

    assert Conveyor(200, 0.0, parts=80).run(receive, PassingTime(), now_ns) == 80
    assert max(lateness) > 90_000_000
    assert lateness[-1] == 0, "it must have caught up with the even schedule"


def test_the_belt_can_be_stopped_from_another_thread() -> None:
    stop, first = threading.Event(), threading.Event()
    result: list[int] = []
    belt = threading.Thread(target=lambda: result.append(Conveyor(50).run(lambda _: first.set(), stop)))
    belt.start()
    assert first.wait(5)
    stop.set()
    belt.join(5)
    assert not belt.is_alive()
    assert result[0] >= 1


def test_a_stop_ends_a_long_wait() -> None:
    stop = threading.Event()
    stop.set()
    assert Conveyor(0.01).run(lambda _: None, stop) == 0


def test_the_receivers_exception_ends_the_belt() -> None:
    def refuse(trigger: PartTrigger) -> None:
        raise ValueError(trigger.part_id)

    with pytest.raises(ValueError, match="0-000000"):
        Conveyor(1000).run(refuse, threading.Event())


@pytest.mark.parametrize(
    ("belt", "told"),
    [
        ({"rate_hz": 0.0}, "rate"),
        ({"rate_hz": float("nan")}, "rate"),
        ({"rate_hz": 5.0, "jitter": 0.5}, "jitter"),
        ({"rate_hz": 5.0, "parts": -1}, "parts"),
    ],
)
def test_an_impossible_belt_is_refused(belt: dict[str, float], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Conveyor(**belt)  # type: ignore[arg-type]
