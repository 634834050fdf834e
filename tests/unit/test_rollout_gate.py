"""A ring's gate and the rollout's phases: the rules, held against every ring that hypothesis thinks of."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.rollout.fleet import RingTerms
from trainer.rollout.gate import FAILURES, SAFETY, Seen, Tally, judge
from trainer.rollout.phases import TRANSITIONS, Phase, Step, after

TERMS = RingTerms(least_h=24, least_parts=2000)
ENOUGH_H, ENOUGH_PARTS = 24.0, 2000

rings = st.dictionaries(st.sampled_from(Seen), st.integers(0, 400), max_size=len(Seen))
tallies = st.builds(Tally, rings, st.floats(0, 1000), st.integers(0, 10_000))
terms = st.builds(
    RingTerms, success_percent=st.integers(0, 100), least_h=st.integers(0, 100), least_parts=st.integers(0, 5000),
    halt_percent=st.integers(0, 100), halt_devices=st.integers(1, 50), silent_h=st.just(72),
)  # fmt: skip


def ring(hours: float = ENOUGH_H, parts: int = ENOUGH_PARTS, **counts: int) -> Tally:
    return Tally({Seen[name.upper()]: count for name, count in counts.items()}, hours, parts)


@pytest.mark.parametrize(
    ("tally", "says"),
    [
        (ring(success=100), "PASS"),
        (ring(success=95, running=5), "PASS"),
        (ring(success=94, running=6), "WAIT"),
        (ring(success=99, failed=1), "PASS"),
        (ring(success=99, silent=1), "PASS"),
        (ring(success=99, rolled_back=1), "WAIT"),
        (ring(success=99, quarantined=1), "WAIT"),
        (ring(success=98, failed=1, silent=1), "HALT"),
        (ring(success=2498, silent=2), "HALT"),
        (ring(success=49, failed=1), "PASS"),
        (ring(success=48, failed=1), "HALT"),
        (ring(silent=1), "HALT"),
        (ring(hours=23.9, success=100), "WAIT"),
        (ring(parts=1999, success=100), "WAIT"),
        (ring(told=3), "WAIT"),
        (ring(success=3, excused=2), "PASS"),
        (ring(excused=2), "WAIT"),
        (ring(), "WAIT"),
    ],
)
def test_the_rules_as_they_are_written(tally: Tally, says: str) -> None:
    assert judge(TERMS, tally).says == says


@given(terms, tallies)
def test_a_gate_passes_only_when_everything_that_it_asks_for_is_shown(terms: RingTerms, tally: Tally) -> None:
    counts = Counter(tally.counts)
    judged = sum(counts.values()) - counts[Seen.EXCUSED]
    failures = sum(counts[seen] for seen in FAILURES)
    is_broken = failures >= terms.halt_devices or failures > terms.halt_percent / 100 * judged + 1e-9
    if judge(terms, tally).says == "PASS":
        assert judged > 0
        assert counts[Seen.SUCCESS] >= terms.success_percent / 100 * judged - 1e-9
        assert tally.hours >= terms.least_h
        assert tally.parts >= terms.least_parts
        assert not any(counts[seen] for seen in SAFETY)
        assert not is_broken
    assert (judge(terms, tally).says == "HALT") == (is_broken and sum(counts.values()) > 0)
    assert all(judge(terms, tally).words)


@given(terms, tallies, st.sampled_from(FAILURES), st.integers(1, 50))
def test_one_more_failure_never_helps(terms: RingTerms, tally: Tally, seen: Seen, more: int) -> None:
    order = ("HALT", "WAIT", "PASS")
    counts = Counter(tally.counts)
    moved = min(more, counts[Seen.SUCCESS])
    worse = Counter(counts)
    worse.update({seen: moved})
    worse.subtract({Seen.SUCCESS: moved})
    after_it = judge(terms, Tally(worse, tally.hours, tally.parts)).says
    assert order.index(after_it) <= order.index(judge(terms, tally).says)


@given(terms, tallies, st.integers(1, 50))
def test_only_success_brings_a_ring_on(terms: RingTerms, tally: Tally, more: int) -> None:
    """Neither running, nor installed, nor silence, nor an excuse for who is well."""
    counts = Counter(tally.counts)
    counts[Seen.SUCCESS] = 0
    if sum(counts.values()) and terms.success_percent:
        assert judge(terms, Tally(counts, tally.hours, tally.parts)).says != "PASS"


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("step", Step)
def test_every_phase_and_step(phase: Phase, step: Step) -> None:
    """The table as people know it."""
    wanted: dict[Step, tuple[str, Phase]] = {
        Step.OPEN: ("running", Phase.RUNNING),
        Step.FINISH: ("running", Phase.DONE),
        Step.BREAK: ("running paused", Phase.HALTED),
        Step.PAUSE: ("running", Phase.PAUSED),
        Step.RESUME: ("running paused", Phase.RUNNING),
        Step.HALT: ("running paused halted", Phase.HALTED),
        Step.RECALL: ("running paused halted recalled done", Phase.RECALLED),
    }
    begins, ends = wanted[step]
    assert after(phase, step) == (ends if phase.value in begins.split() else None)


@given(st.lists(st.sampled_from(Step), max_size=30))
def test_what_is_ended_never_begins_to_tell_anybody_again(steps: list[Step]) -> None:
    phase, has_ended = Phase.RUNNING, False
    for step in steps:
        following = after(phase, step)
        assert not (has_ended and step is Step.OPEN and following)
        phase = following or phase
        has_ended = has_ended or phase in (Phase.HALTED, Phase.RECALLED, Phase.DONE)
    assert set(TRANSITIONS) == set(Phase)
