"""How long work still takes is told from its own pace, in words, and never without a basis."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.time_left import BASIS_S, BASIS_SHARE, TimeLeft, about, words_of

SHARES = st.floats(0.0, 1.0)
STEPS = st.lists(st.tuples(SHARES, st.floats(0.0, 100.0)), max_size=30)
UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0}


def after(steps: list[tuple[float, float]], more: tuple[float, float] | None = None) -> TimeLeft:
    """Take so many (share, seconds since the sign before)."""
    left, now_s = TimeLeft(), 1000.0
    for share, later_s in [*steps, *([more] if more else [])]:
        now_s += later_s
        left.take(share, now_s)
    return left


def steady(took_s: float, upto: float, every: float = 0.01) -> TimeLeft:
    """Work that takes so many seconds in all, at one pace, up to a share of it."""
    count = round(upto / every)
    return after([(every * number, every * took_s) for number in range(1, count + 1)])


@given(STEPS)
def test_nothing_that_is_told_is_out_of_bounds(steps: list[tuple[float, float]]) -> None:
    left = after(steps)
    assert left.percent is None or 0 <= left.percent <= 100
    assert left.left_s is None or left.left_s >= 0
    assert (left.in_words() == "") == (left.percent is None)


@given(st.lists(st.floats(0.0, 0.05), max_size=20))
def test_nothing_is_told_before_the_first_sign(times_s: list[float]) -> None:
    left = after([(0.0, each) for each in times_s])
    assert (left.percent, left.left_s, left.in_words()) == (None, None, "")


@given(STEPS, SHARES, st.floats(0.0, BASIS_S * 0.99))
def test_the_first_seconds_say_nothing_of_the_rest(
    steps: list[tuple[float, float]], share: float, since_s: float
) -> None:
    steps = [*steps, (0.9, 1.0), (0.0, 1.0), (share, since_s)]  # it begins anew
    assert after(steps).left_s is None


@given(st.floats(60.0, 7200.0), st.floats(0.2, 0.99))
def test_at_one_pace_the_time_left_is_what_it_will_take(took_s: float, upto: float) -> None:
    left = steady(took_s, upto)
    assert left.left_s == pytest.approx(took_s * (1 - round(upto, 2)), rel=0.15, abs=0.02 * took_s)


@given(STEPS, SHARES, SHARES, st.floats(0.0, 100.0))
def test_more_that_is_done_by_the_same_time_is_never_more_time_left(
    steps: list[tuple[float, float]], one: float, other: float, later_s: float
) -> None:
    reached = steps[-1][0] if steps else 0.0
    less, more = sorted((max(one, reached), max(other, reached)))
    slow, fast = after(steps, (less, later_s)), after(steps, (more, later_s))
    if slow.left_s is not None and fast.left_s is not None:
        assert fast.left_s <= slow.left_s + 1e-6


@given(STEPS, st.floats(0.0, 100.0))
def test_time_without_progress_never_makes_less_of_the_time_left(
    steps: list[tuple[float, float]], later_s: float
) -> None:
    steps = [*steps, (0.5, 10.0)]
    before, later = after(steps).left_s, after(steps, (0.5, later_s)).left_s
    if before is not None and later is not None:
        assert later >= before - 1e-6


def test_work_that_stands_still_has_no_time_left_that_anybody_knows() -> None:
    assert steady(100.0, 0.5).left_s is not None
    assert after([(0.1, 1.0), (0.5, 10.0), (0.5, 100.0)]).left_s is None
    assert after([(0.1, 1.0), (0.1 + BASIS_SHARE / 2, 100.0)]).left_s is None


def test_quick_steps_at_the_beginning_are_forgotten() -> None:
    steps = [(0.25, 0.0), (0.5, 0.01), (0.75, 0.01), *[(0.75 + number * 0.0025, 6.0) for number in range(1, 21)]]
    assert after(steps).left_s == pytest.approx(480.0, rel=0.1), "a twentieth in two minutes, and four to go"


def test_a_share_that_falls_is_another_piece_of_work() -> None:
    steps = [(0.01 * number, 1.0) for number in range(1, 100)]
    assert after(steps).left_s is not None
    assert after([*steps, (0.05, 1.0)]).left_s is None
    begun = [(0.05 + 0.01 * number, 10.0) for number in range(40)]
    assert after([*steps, *begun]).left_s == pytest.approx(560.0, rel=0.05), "of the new one's pace alone"


@given(st.floats(0.0, 1e6), st.floats(0.0, 1e6))
def test_words_are_in_the_order_of_what_they_say(one: float, other: float) -> None:
    less, more = sorted((one, other))
    assert seconds_in(about(less)) <= seconds_in(about(more))
    assert seconds_in(about(one)) == pytest.approx(one, rel=0.5, abs=10)


def seconds_in(words: str) -> float:
    found = re.fullmatch(r"(?:about|less than) ([\d.]+) (s|min|h)", words)
    assert found is not None, words
    return float(found[1]) * UNITS[found[2]] - words.startswith("less")


def test_both_are_told_as_people_do() -> None:
    assert words_of(40, 175.0) == "40 %, about 3 min left"
    assert words_of(7, 84.0) == "7 %, about 80 s left"
    assert words_of(99, 3.0) == "99 %, less than 10 s left"
    assert words_of(2, 3 * 3600.0) == "2 %, about 3.0 h left"
    assert words_of(40, None) == "40 %"
