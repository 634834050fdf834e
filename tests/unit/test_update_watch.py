"""CANARY and WATCH: the model that decides alone, judged by what the line does with its parts."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.bundle import strict_json
from appliance.bundle.gate_settings import GateSettings
from appliance.errors import StorageError
from appliance.events import Challenge, Reason, Verdict
from appliance.update.criteria import Outcome
from appliance.update.watch import LACKING, LinePart, Reference, Stage, WatchGate, WatchState
from benchmarks.challenger_lines import BUDGET_MS, line_parts

pytestmark = pytest.mark.long

BEFORE = Reference(300, 10_000)
CANARY = WatchGate(GateSettings(), Stage.CANARY, BEFORE, BUDGET_MS)
WATCH = WatchGate(GateSettings(), Stage.WATCH, BEFORE, BUDGET_MS)
HOUR_S = 3600.0


def judge(gate: WatchGate, seed: int = 0, *, per_h: float = 400.0, diverted: float = 0.03, **line: float) -> WatchState:
    state = WatchState()
    for part in line_parts(np.random.default_rng(seed), diverted=diverted, per_h=per_h, **line):
        state = gate.take(state, part)
        if state.outcome is not Outcome.CONTINUE:
            return state
    raise AssertionError("parts never end")


def good(at_s: float, challenge: Challenge | None = None) -> LinePart:
    return LinePart(Verdict.ACCEPT, Reason.COMPLETE, at_s, 20.0, challenge)


def bad(at_s: float, challenge: Challenge | None = None) -> LinePart:
    return LinePart(Verdict.REJECT, Reason.DEFECT, at_s, 20.0, challenge)


def after(gate: WatchGate, *parts: LinePart) -> WatchState:
    state = WatchState()
    for part in parts:
        state = gate.take(state, part)
    return state


@pytest.mark.parametrize("gate", [CANARY, WATCH])
def test_a_model_as_good_as_before_passes_and_says_why(gate: WatchGate) -> None:
    state = judge(gate)
    finding = gate.finding(state)
    assert (finding.outcome, finding.cause) == (Outcome.PASS, "")
    assert state.parts >= gate.least_parts
    assert state.producing_s >= gate.least_s
    assert f"after {state.parts} parts all is shown: diverted parts: " in finding.reason


@pytest.mark.parametrize("gate", [CANARY, WATCH])
@pytest.mark.parametrize(
    ("line", "cause", "words"),
    [
        ({"diverted": 0.4}, "rise", "diverted parts: "),
        ({"faults": 0.2}, "faults", "parts that the model gave no answer for: "),
        ({"late": 0.2}, "late", "parts that took the model over 50 ms: "),
    ],
)
def test_each_badness_fails_for_its_own_reason(gate: WatchGate, line: dict[str, float], cause: str, words: str) -> None:
    finding = gate.finding(judge(gate, **line))
    assert (finding.outcome, finding.cause) == (Outcome.FAIL, cause)
    assert finding.reason.startswith(words)


@pytest.mark.parametrize("reason", [Reason.DEADLINE, Reason.QUEUE_FULL])
def test_parts_over_their_deadline_fail(reason: Reason) -> None:
    missed = [LinePart(Verdict.FAULT, reason, 9.0 * number) for number in range(20)]
    assert after(WATCH, *missed).cause == "missed"


def test_a_model_that_rejects_nothing_any_more_fails() -> None:
    state = judge(WATCH, diverted=0.0)
    assert (state.outcome, state.cause) == (Outcome.FAIL, "fall")
    assert WATCH.finding(state).reason.startswith("accepted parts: 100 %")


def test_what_gets_worse_only_later_fails_too() -> None:
    state = after(WATCH, *(good(9.0 * number) for number in range(1, 1501)))
    slow = 0
    while state.outcome is Outcome.CONTINUE:
        state = WATCH.take(state, LinePart(Verdict.ACCEPT, Reason.COMPLETE, 9.0 * (1501 + slow), 80.0))
        slow += 1
    assert state.cause == "late"
    assert slow <= 6
    assert "and of late certainly more than the 1 % that is allowed" in WATCH.finding(state).reason


def test_faults_of_the_camera_and_the_light_are_not_the_models() -> None:
    dark = [LinePart(Verdict.FAULT, reason, 1.0) for reason in (Reason.TOO_DARK, Reason.CAMERA, Reason.MISPLACED)] * 100
    state = after(CANARY, *dark)
    assert (state.parts, state.elsewhere, state.outcome) == (0, 300, Outcome.CONTINUE)


def test_a_known_bad_part_that_is_accepted_fails_at_once() -> None:
    state = after(CANARY, bad(1, Challenge.BAD), good(2, Challenge.BAD))
    assert (state.outcome, state.cause, state.bad_found) == (Outcome.FAIL, "challenge_escape", 1)
    assert CANARY.finding(state).reason == "a part that is known to be bad was accepted"


def test_the_second_known_good_part_that_is_diverted_fails() -> None:
    state = after(CANARY, bad(1, Challenge.GOOD), good(2, Challenge.GOOD))
    assert state.outcome is Outcome.CONTINUE
    assert CANARY.take(state, bad(3, Challenge.GOOD)).cause == "challenge_overkill"


def test_without_the_challenge_parts_that_are_asked_for_there_is_no_pass() -> None:
    gate = WatchGate(GateSettings(challenge_parts=3, canary_parts=200, patience=3), Stage.CANARY, BEFORE, BUDGET_MS)
    found = [bad(number, Challenge.BAD) for number in range(2)]
    unseen = LinePart(Verdict.FAULT, Reason.TOO_DARK, 3.0, None, Challenge.BAD)
    state = after(gate, *found, unseen, *(good(9.0 * number) for number in range(500)))
    assert state.outcome is Outcome.CONTINUE
    assert "2 of 3 bad challenge parts" in gate.finding(state).reason
    assert gate.take(state, bad(5000, Challenge.BAD)).outcome is Outcome.PASS


def lines_parts(count: int) -> list[LinePart]:
    """What the line makes: 3 % are diverted, as before."""
    return [(good if number % 33 else bad)(9.0 * number) for number in range(1, count + 1)]


def test_challenge_parts_that_never_come_are_not_the_releases_fault_and_the_reason_says_what_to_do() -> None:
    gate = WatchGate(GateSettings(challenge_parts=2, canary_parts=200, patience=5), Stage.CANARY, BEFORE, BUDGET_MS)
    waiting = after(gate, *lines_parts(999))
    assert waiting.outcome is Outcome.CONTINUE
    assert gate.finding(waiting).reason.startswith("no bad challenge part came, 2 must be found")
    found = gate.finding(gate.take(waiting, good(9000.0)))
    assert (found.outcome, found.cause) == (Outcome.FAIL, LACKING)
    assert found.reason.startswith("no bad challenge part came, 2 must be found")
    assert 'put known bad parts in while it is on trial, with "challenge": "bad" in their trigger' in found.reason
    one = gate.take(gate.take(waiting, bad(9000.0, Challenge.BAD)), good(9009.0))
    assert gate.finding(one).reason.startswith("only 1 bad challenge parts came, 2 must be found")


def test_a_line_that_stands_still_before_its_challenge_parts_came_says_so_too() -> None:
    settings = GateSettings(challenge_parts=1, canary_parts=200, watch_h=0.1, most_h=2)
    gate = WatchGate(settings, Stage.CANARY, BEFORE, BUDGET_MS)
    state = after(gate, *lines_parts(500))
    for tenth in range(1, 9):
        state = gate.wait(state, 4500.0 + 600.0 * tenth)
    assert (state.outcome, state.cause) == (Outcome.FAIL, LACKING)


def test_a_release_that_is_undecided_for_other_reasons_keeps_that_reason_without_challenge_parts_too() -> None:
    gate = WatchGate(GateSettings(challenge_parts=1, canary_parts=200, patience=1), Stage.CANARY, BEFORE, BUDGET_MS)
    assert after(gate, *lines_parts(200)).cause == "undecided"


def test_challenge_parts_do_not_count_as_the_lines_rejects() -> None:
    state = after(CANARY, *(bad(number, Challenge.BAD) for number in range(100)))
    assert (state.outcome, state.parts, state.bad_found) == (Outcome.CONTINUE, 0, 100)


def test_silence_never_passes_and_fails_in_the_end() -> None:
    state = after(WATCH, *(good(number) for number in range(100)))
    for minute in range(1, 60 * 24 * 13):
        state = WATCH.wait(state, 100 + 60.0 * minute)
    assert state.outcome is Outcome.CONTINUE
    assert state.producing_s == 99
    state = WATCH.wait(state, state.seen_s + 60.0) if state.seen_s else state
    for minute in range(60 * 24 * 2):
        state = WATCH.wait(state, 100 + 60.0 * (60 * 24 * 13 + minute))
    assert (state.outcome, state.cause) == (Outcome.FAIL, "silence")
    assert "100 parts of at least 2000" in WATCH.finding(state).reason
    assert WATCH.finding(state).reason.endswith("silence is no success")


def test_a_weekend_and_a_clock_that_is_set_count_as_one_pause() -> None:
    state = after(WATCH, good(0), good(60), good(60 + 60 * HOUR_S), good(5), good(1_800_000_000))
    assert state.producing_s == 60 + 600 + 0 + 600


def test_many_parts_in_a_short_time_are_no_watch() -> None:
    state = after(WATCH, *(good(number / 10) if number % 33 else bad(number / 10) for number in range(6000)))
    assert (state.outcome, state.parts) == (Outcome.CONTINUE, 6000)
    assert "0.2 h of at least 24 h of production" in WATCH.finding(state).reason


@pytest.mark.parametrize(("before", "low", "high"), [
    (Reference(300, 10_000), 0.043, 0.059), (Reference(1500, 50_000), 0.047, 0.054), (Reference(0, 0), 0.02, 0.99),
])  # fmt: skip
def test_what_is_little_known_of_before_is_allowed_for(before: Reference, low: float, high: float) -> None:
    rise = WatchGate(GateSettings(), Stage.WATCH, before, BUDGET_MS).criteria["rise"]
    assert rise.passes_under == pytest.approx(low, abs=1e-3)
    assert rise.most == pytest.approx(high, abs=1e-3)


def test_nothing_known_of_before_asks_for_no_rejects() -> None:
    assert "fall" not in WatchGate(GateSettings(), Stage.WATCH, Reference(0, 0), BUDGET_MS).criteria


PARTS = st.builds(
    LinePart,
    st.sampled_from(Verdict),
    st.sampled_from(Reason),
    st.floats(0, 1e9),
    st.one_of(st.none(), st.floats(0, 100)),
    st.sampled_from([None, None, None, *Challenge]),
)


@given(stream=st.lists(st.tuples(PARTS, st.integers(1, 30)), max_size=10), cut=st.integers(0, 60))
def test_a_state_that_was_saved_goes_on_and_an_outcome_is_final(stream: list[tuple[LinePart, int]], cut: int) -> None:
    gate = WatchGate(GateSettings(alpha=0.5, beta=0.5, canary_parts=3, patience=9), Stage.CANARY, BEFORE, BUDGET_MS)
    whole = again = WatchState()
    decided: set[Outcome] = set()
    for number, part in enumerate(part for part, times in stream for _ in range(times)):
        whole, again = gate.take(whole, part), gate.take(again, part)
        decided |= {whole.outcome}
        if number == cut:
            again = gate.resume(strict_json.dump(again), "state")
    assert whole == again
    assert not {Outcome.PASS, Outcome.FAIL} <= decided
    assert bool(whole.cause) == (whole.outcome is Outcome.FAIL)
    assert gate.finding(whole).reason
    assert gate.chart(whole) >= 0


def test_what_comes_after_an_outcome_changes_nothing() -> None:
    passed, failed = judge(CANARY), after(CANARY, good(1, Challenge.BAD))
    assert (passed.outcome, failed.outcome) == (Outcome.PASS, Outcome.FAIL)
    for state in (passed, failed):
        assert CANARY.take(state, good(1e9, Challenge.BAD)) == state
        assert CANARY.take(state, bad(1e9)) == state
        assert CANARY.wait(state, 1e9) == state


def test_a_chart_that_does_not_fit_is_refused() -> None:
    document = json.loads(strict_json.dump(after(CANARY, good(1))))
    document["charts"]["late"] = [0.0]
    with pytest.raises(StorageError, match="'late' is counted otherwise"):
        CANARY.resume(json.dumps(document).encode(), "canary.json")


@pytest.mark.parametrize("change", [0.0, 1e6])
def test_the_chart_reaches_1_with_the_failing_part(change: float) -> None:
    state, seen = WatchState(), [0.0]
    for number in range(60):
        state = WATCH.take(state, LinePart(Verdict.ACCEPT, Reason.COMPLETE, number + change, 80.0))
        seen.append(WATCH.chart(state))
        if state.outcome is Outcome.FAIL:
            break
    assert state.outcome is Outcome.FAIL
    assert seen[-1] >= 1 > seen[-2]


def test_a_model_as_good_as_before_fails_no_more_often_than_stated() -> None:
    ended = []
    for seed in range(60):
        rng = np.random.default_rng([1, seed])
        before = Reference(int(rng.binomial(2000, 0.05)), 2000)
        gate = WatchGate(GateSettings(alpha=0.1, beta=0.1), Stage.CANARY, before, BUDGET_MS)
        ended.append(judge(gate, seed, diverted=0.05))
    assert sum(state.outcome is Outcome.FAIL for state in ended) <= 6 + 7  # beta and three standard deviations


@pytest.mark.parametrize("line", [{"diverted": 0.11}, {"late": 0.03}, {"faults": 0.03}, {"missed": 0.03}])
def test_one_as_bad_as_allowed_passes_no_more_often_than_stated(line: dict[str, float]) -> None:
    ended = []
    for seed in range(40):
        rng = np.random.default_rng([2, seed])
        before = Reference(int(rng.binomial(2000, 0.05)), 2000)
        gate = WatchGate(GateSettings(alpha=0.1, beta=0.1, patience=5), Stage.CANARY, before, BUDGET_MS)
        ended.append(judge(gate, seed, **{"diverted": 0.05, **line}))
    assert sum(state.outcome is Outcome.PASS for state in ended) <= 4 + 6  # alpha and three standard deviations
