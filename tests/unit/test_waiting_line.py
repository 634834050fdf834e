"""WaitingLine: each item once, in order, to the first taker that is free."""

import queue
import threading
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.waiting_line import WaitingLine
from tests.stations import until

SOON_S, LONG_S = 0.001, 30.0


class Takers:
    """Threads that take an item when they are told to, and wait for it meanwhile."""

    def __init__(self, line: WaitingLine[int], count: int) -> None:
        self.line, self.taken = line, queue.SimpleQueue[tuple[int, int]]()
        self.threads: dict[int, threading.Thread] = {}
        for taker in range(count):
            self.wait(taker)

    def wait(self, taker: int) -> None:
        self.threads[taker] = threading.Thread(target=self._take, args=(taker,), daemon=True)
        self.threads[taker].start()

    def next(self) -> tuple[int, int]:
        return self.taken.get(timeout=LONG_S)

    def _take(self, taker: int) -> None:
        self.taken.put((taker, self.line.get(taker, LONG_S)))


def test_one_taker_gets_everything_as_long_as_it_is_enough() -> None:
    line = WaitingLine[int](3)
    takers = Takers(line, 3)
    for item in range(20):
        until(lambda: line.free == {0, 1, 2}, "all takers wait")
        line.put(item)
        assert takers.next() == (0, item)
        takers.wait(0)
    until(lambda: line.free == {0, 1, 2}, "all takers wait")
    for _ in range(3):
        line.put(99)
    assert sorted(takers.next() for _ in range(3)) == [(0, 99), (1, 99), (2, 99)]


def test_what_finds_nobody_free_waits_in_order() -> None:
    line = WaitingLine[int](2)
    for item in range(5):
        line.put(item)
    assert line.qsize() == 5
    assert [line.get(taker, LONG_S) for taker in (1, 0, 1, 1, 0)] == [0, 1, 2, 3, 4]
    assert line.qsize() == 0


def test_nothing_comes_within_its_time() -> None:
    line = WaitingLine[int](1)
    with pytest.raises(queue.Empty):
        line.get(0, SOON_S)
    line.put(7)
    assert (line.qsize(), line.get(0, SOON_S)) == (1, 7)


@given(st.integers(1, 4), st.integers(0, 200), st.sampled_from([0.0, 1e-6, 1e-4]))
def test_each_item_is_taken_once_however_short_the_waits_are(takers: int, items: int, timeout_s: float) -> None:
    line, taken, done = WaitingLine[int](takers), Counter[int](), threading.Event()
    orders: dict[int, list[int]] = {taker: [] for taker in range(takers)}

    def take(taker: int) -> None:
        while True:
            is_over = done.is_set()
            try:
                orders[taker].append(line.get(taker, timeout_s))
            except queue.Empty:
                if is_over:
                    return

    threads = [threading.Thread(target=take, args=(taker,)) for taker in range(takers)]
    for thread in threads:
        thread.start()
    for item in range(items):
        line.put(item)
    done.set()
    for thread in threads:
        thread.join(LONG_S)
    for order in orders.values():
        assert order == sorted(order)
        taken.update(order)
    assert taken == Counter(range(items))
    assert line.qsize() == 0
