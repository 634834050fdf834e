"""Evidence that holds at whatever moment one looks: its errors are computed exactly, over every way there."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.update.evidence import (
    log_evidence_above,
    log_evidence_below,
    log_height,
    lower_bound,
    risen,
    upper_bound,
)

YES_NO = (0.0, 1.0)
BALANCE = (-1.0, 0.0, 1.0)
PATIENCE = 1500


def chance_of_ever(share: float, limit: float, error: float, *, above: bool) -> float:
    """Return how probable it is that the evidence suffices at any of the first parts, if `share` of all are bad."""
    evidence = log_evidence_above if above else log_evidence_below
    chances, sure = np.array([1.0]), 0.0  # of so many bad ones, while not yet sure
    edge = 0 if above else -1  # above: so many suffice; below: no more suffice
    for number in range(1, PATIENCE + 1):
        chances = np.append(chances * (1 - share), 0) + np.append(0, chances * share)
        if above:
            while edge <= number and evidence(YES_NO, (number - edge, edge), limit) < -math.log(error):
                edge += 1
            reached = slice(edge, None)
        else:
            while evidence(YES_NO, (number - edge - 1, edge + 1), limit) >= -math.log(error) and edge < number:
                edge += 1
            reached = slice(0, edge + 1)
        sure += float(chances[reached].sum())
        chances[reached] = 0
    return sure


@pytest.mark.parametrize(("limit", "error"), [(0.1, 0.01), (0.01, 0.05), (0.5, 0.05), (0.03, 0.1)])
@pytest.mark.parametrize("above", [True, False])
def test_looking_after_every_part_errs_no_more_often_than_stated(limit: float, error: float, above: bool) -> None:
    chance = chance_of_ever(limit, limit, error, above=above)
    assert error / 10 <= chance <= error  # it is a bound, and not so loose that it were worth nothing


@pytest.mark.parametrize("above", [True, False])
def test_what_is_well_within_the_limit_hardly_ever_errs(above: bool) -> None:
    assert chance_of_ever(0.05 if above else 0.2, 0.1, 0.01, above=above) < 1e-3


@pytest.mark.parametrize(("limit", "error", "parts"), [(0.02, 0.05, 171), (0.01, 0.01, 511), (0.1, 0.01, 49)])
def test_so_many_parts_without_a_bad_one_show_a_limit(limit: float, error: float, parts: int) -> None:
    assert log_evidence_below(YES_NO, (parts, 0), limit) >= -math.log(error)
    assert log_evidence_below(YES_NO, (parts - 1, 0), limit) < -math.log(error)


@given(good=st.integers(0, 500), bad=st.integers(0, 500), limit=st.floats(0.005, 0.9))
def test_a_bad_part_more_never_speaks_for_and_a_good_one_never_against(good: int, bad: int, limit: float) -> None:
    slack = 1e-9
    assert log_evidence_above(YES_NO, (good, bad + 1), limit) >= log_evidence_above(YES_NO, (good, bad), limit) - slack
    assert log_evidence_above(YES_NO, (good + 1, bad), limit) <= log_evidence_above(YES_NO, (good, bad), limit) + slack
    assert log_evidence_below(YES_NO, (good, bad + 1), limit) <= log_evidence_below(YES_NO, (good, bad), limit) + slack
    assert log_evidence_below(YES_NO, (good + 1, bad), limit) >= log_evidence_below(YES_NO, (good, bad), limit) - slack


@given(
    counts=st.lists(st.integers(0, 300), min_size=3, max_size=3).filter(lambda counts: sum(counts) > 0),
    error=st.floats(1e-6, 0.2),
)
def test_the_bounds_hold_the_mean_and_say_what_the_evidence_says(counts: list[int], error: float) -> None:
    mean = (counts[2] - counts[0]) / sum(counts)
    low, high = lower_bound(BALANCE, counts, error), upper_bound(BALANCE, counts, error)
    assert low <= mean + 1e-9
    assert mean <= high + 1e-9
    for limit in (-0.5, 0.02, 0.4):
        assert (log_evidence_above(BALANCE, counts, limit) >= -math.log(error)) == (low >= limit) or math.isclose(
            low, limit, abs_tol=1e-9
        )
        assert (log_evidence_below(BALANCE, counts, limit) >= -math.log(error)) == (high <= limit) or math.isclose(
            high, limit, abs_tol=1e-9
        )


def test_nothing_observed_says_nothing() -> None:
    assert log_evidence_above(YES_NO, (0, 0), 0.1) == pytest.approx(0)
    assert log_height(()) == 0
    assert lower_bound(YES_NO, (0, 0), 0.05) == 0
    assert upper_bound(YES_NO, (0, 0), 0.05) == pytest.approx(1)


def test_values_between_the_ends_count_by_how_far_they_go() -> None:
    values = tuple(step / 10 for step in range(-3, 4))
    slight, plain = (0, 0, 0, 0, 30, 0, 0), (0, 0, 0, 0, 0, 0, 30)
    assert log_evidence_above(values, slight, 0.1) == pytest.approx(0)
    assert log_evidence_above(values, plain, 0.1) > 10
    assert log_evidence_below(values, (0, 0, 0, 30, 0, 0, 0), 0.1) > 5


def test_a_chart_finds_what_begins_late_where_counts_over_all_do_not() -> None:
    chart: tuple[float, ...] = ()
    for number in range(1, 1201):
        chart = risen(chart, number, YES_NO, int(number > 1000 and number % 5 == 0), 0.05)
    assert log_height(chart) > 12
    assert log_evidence_above(YES_NO, (1160, 40), 0.05) < 0


def test_a_chart_errs_no_more_often_than_stated() -> None:
    """Its expected height is that of the beginning, 1, at every moment: counted over all ways that 12 parts can go."""
    limit, parts, mean = 0.3, 12, 0.0
    for way in range(2**parts):
        bad = [way >> number & 1 for number in range(parts)]
        chart: tuple[float, ...] = ()
        for number, value in enumerate(bad, 1):
            chart = risen(chart, number, YES_NO, value, limit)
        mean += limit ** sum(bad) * (1 - limit) ** (parts - sum(bad)) * math.exp(log_height(chart))
    assert 0.5 < mean <= 1 + 1e-9
