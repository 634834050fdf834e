"""Times of live parts: whose they are, when there are enough, and what they are judged by."""

import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from types import FrameType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.bundle.endurance import nearest_rank
from appliance.latency_watch import LIVE_RUNS, LatencyWatch
from appliance.live_latency import LatencyTerms, LiveLatency

BUDGET_MS = 10.0
LID, BOX = LatencyTerms("lid", "c1", BUDGET_MS), LatencyTerms("box", "c2", BUDGET_MS)
TraceFunction = Callable[[FrameType, str, object], object]


def measured(watch: LatencyWatch, terms: LatencyTerms, *times_ms: float) -> LiveLatency:
    for spent_ms in times_ms:
        watch.add(terms, spent_ms)
    result = watch.result()
    assert result is not None
    return result


@pytest.mark.parametrize(("stalls", "is_within"), [(2, True), (3, False)])
def test_two_stalls_of_two_hundred_parts_are_tolerated_as_in_a_proof(stalls: int, is_within: bool) -> None:
    watch = LatencyWatch()
    watch.begin()
    result = measured(watch, LID, *[500.0] * stalls, *[3.0] * (LIVE_RUNS - stalls))
    assert (result.runs, result.is_within) == (LIVE_RUNS, is_within)
    assert result.p99_ms == (3.0 if is_within else 500.0)


@given(st.lists(st.floats(0.0, 1e6), min_size=1, max_size=300).map(sorted), st.integers(0, 100))
def test_a_nearest_rank_is_the_smallest_value_that_so_many_do_not_exceed(ordered: list[float], rank: int) -> None:
    value = nearest_rank(ordered, rank)
    assert value in ordered
    assert sum(each <= value for each in ordered) * 100 >= rank * len(ordered)
    assert value == ordered[0] or sum(each < value for each in ordered) * 100 < rank * len(ordered)


def test_times_of_two_products_of_one_budget_do_not_mix() -> None:
    watch = LatencyWatch(4)
    watch.begin()
    for terms in (LID, BOX, LID, BOX):
        watch.add(terms, 3.0)
    assert (watch.collected, watch.result()) == (1, None)


def test_a_changeover_while_a_product_is_judged_does_not_count_the_next_one_as_judged() -> None:
    watch = LatencyWatch(4)
    watch.begin()
    result = measured(watch, LID, 3.0, 3.0, 3.0, 3.0)
    watch.add(BOX, 3.0)
    watch.judged(result)
    assert (watch.wanted, watch.collected) == (4, 1)
    watch.add(LID, 3.0)
    assert watch.wanted == 0


@pytest.mark.parametrize("newer", [replace(LID, budget_ms=2.0), replace(LID, certificate="c3")])
def test_a_release_of_a_product_is_judged_for_itself_and_by_its_own_budget(newer: LatencyTerms) -> None:
    watch = LatencyWatch(4)
    watch.begin()
    former = measured(watch, LID, 3.0, 3.0, 3.0, 3.0)
    watch.judged(former)
    watch.add(newer, 3.0)
    assert (watch.wanted, watch.collected) == (4, 1)
    result = measured(watch, newer, 3.0, 3.0, 3.0)
    assert (former.terms, result.terms) == (LID, newer)
    assert (former.is_within, result.is_within) == (True, newer.budget_ms > 3.0)
    watch.judged(result)
    watch.add(LID, 3.0)
    assert watch.wanted == 0, "it was measured since the device changed"


def test_parts_of_the_former_release_that_were_on_their_way_do_not_count_for_the_next() -> None:
    watch, newer = LatencyWatch(4), replace(LID, budget_ms=2.0)
    watch.begin()
    for terms in (LID, LID, LID, newer, LID, newer):
        watch.add(terms, 3.0)
    assert (watch.collected, watch.result()) == (1, None)


def begun_amid_a_part(watch: LatencyWatch, line: int) -> bool:
    """Add a part of another product, and let another thread begin a measurement before a line of that; False if none.

    Where the lock keeps that thread out, the part goes on after a moment.
    """
    lines, begins = count(), threading.Thread(target=watch.begin)

    def follow(frame: FrameType, event: str, told: object) -> TraceFunction:
        if event == "line" and next(lines) == line:
            begins.start()
            begins.join(0.02)
        return follow

    def add() -> None:
        sys.settrace(follow)
        watch.add(BOX, 3.0)
        sys.settrace(None)

    adds = threading.Thread(target=add)
    adds.start()
    adds.join()
    is_begun = begins.ident is not None
    if is_begun:
        begins.join()
    return is_begun


def test_a_measurement_that_begins_amid_a_part_is_not_lost() -> None:
    for line in count():
        watch = LatencyWatch(4)
        watch.add(LID, 3.0)
        if not begun_amid_a_part(watch, line):
            break
        assert watch.wanted == 4, line
    assert line > 3
