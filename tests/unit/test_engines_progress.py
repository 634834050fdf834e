"""What people see of a build: lines with how long it still takes, and how far TensorRT's own phases are."""

import logging
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.runtimes.engines.phases import Phases
from appliance.runtimes.engines.progress import BuildProgress

SIGN_S = 0.2
NAMES = st.sampled_from(["Building engine", "from subgraph", "Timing", "other"])
TOLD = st.one_of(
    st.tuples(st.just("start"), NAMES, st.one_of(st.none(), NAMES), st.integers(-1, 6)),
    st.tuples(st.just("finish"), NAMES, st.none(), st.just(0)),
    st.tuples(st.just("complete"), NAMES, st.none(), st.integers(-1, 9)),
)


def lines_of(took_s: float, upto: float = 1.0, what: str = "engine") -> list[str]:
    """What is told of work at one pace, a sign each SIGN_S as a child process gives them."""
    progress, lines = BuildProgress(what), []
    for number in range(round(took_s * upto / SIGN_S) + 1):
        lines.append(progress.line(number * SIGN_S / took_s, 50.0 + number * SIGN_S))
    return [line for line in lines if line]


def test_a_line_for_each_tenth_says_how_long_it_still_takes() -> None:
    lines = lines_of(300.0)
    assert len(lines) == 10
    assert lines[0] == "engine: 10 %, about 4 min left"
    assert lines[3] == "engine: 40 %, about 3 min left"
    assert lines[-1] == "engine: 100 %, less than 10 s left"


def test_what_is_over_in_a_moment_is_not_told_and_what_takes_hours_is_told_each_minute() -> None:
    assert lines_of(4.0) == []
    assert len(lines_of(10.0)) == 1
    assert len(lines_of(7200.0, upto=0.09)) == 10, "in eleven minutes"


def test_the_next_piece_of_work_is_told_anew() -> None:
    progress = BuildProgress("proof")
    told = [progress.line(share, 10.0 * number) for number, share in enumerate((0.1, 0.5, 0.9, 0.2, 0.6))]
    assert [line.split(",")[0] for line in told if line] == ["proof: 50 %", "proof: 90 %", "proof: 60 %"]


def test_the_log_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        progress = BuildProgress()
        progress.line(0.1, time.monotonic() - 100.0)
        progress(0.5)
    assert [record.getMessage().split(",")[0] for record in caplog.records] == ["engine: 50 %"]


@given(st.lists(st.tuples(TOLD, st.floats(0.0, 5.0)), max_size=40))
def test_how_far_a_builder_is_never_falls_whatever_it_tells(
    told: list[tuple[tuple[str, str, str | None, int], float]],
) -> None:
    phases, now_s, before = Phases(), 0.0, 0.0
    for (what, name, parent, number), later_s in told:
        now_s += later_s
        if what == "start":
            phases.start(name, parent, number, now_s)
        elif what == "complete":
            share = phases.complete(name, number, now_s)
            assert before <= share <= 1.0
            before = share
        else:
            phases.finish(name)


def building() -> tuple[Phases, list[float]]:
    """A build as TensorRT for RTX tells it, whose long phase takes 100 s of which it tells each."""
    phases, shares = Phases(), []
    phases.start("Building engine", None, 6, 0.0)
    for step in range(4):
        phases.complete("Building engine", step, 0.01 * step)
    phases.start("Building engine from subgraph", "Building engine", 1, 0.05)
    phases.start("Optimizing graph", "Building engine from subgraph", 30, 0.05)
    for step in range(30):
        phases.complete("Optimizing graph", step, 0.05)
    phases.finish("Optimizing graph")
    phases.start("Computing profile costs", "Building engine from subgraph", 1, 0.06)
    phases.start("Timing graph nodes", "Computing profile costs", 100, 0.06)
    for step in range(100):
        shares.append(phases.complete("Timing graph nodes", step, 1.0 + step))
    return phases, shares


def test_the_phase_that_takes_long_is_what_the_progress_is_of() -> None:
    phases, shares = building()
    assert shares[0] < 0.01, "four of six steps were over in an instant, and say nothing"
    assert shares[49] == pytest.approx(0.25)
    assert len(set(shares)) == 100
    for name in ("Timing graph nodes", "Computing profile costs", "Building engine from subgraph"):
        phases.finish(name)
    for step in (4, 5):
        share = phases.complete("Building engine", step, 200.0)
    assert share == 1.0


def test_a_build_that_is_over_at_once_tells_no_progress() -> None:
    phases = Phases()
    phases.start("Building engine", None, 2, 0.0)
    assert phases.complete("Building engine", 0, 0.1) == 0.0
    assert phases.complete("Building engine", 1, 0.2) == 0.0
    assert Phases(quick_s=0.0).complete("unknown", 0, 0.3) == 0.0
