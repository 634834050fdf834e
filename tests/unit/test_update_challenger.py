"""SHADOW: a candidate as good as the model in force passes, each planted badness fails for its own reason."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.bundle import strict_json
from appliance.bundle.gate_settings import GateSettings
from appliance.errors import ConfigError, StorageError
from appliance.events import Challenge, Reason, Verdict
from appliance.update.challenger import Failure, Judgement, Pair, ShadowGate, ShadowState
from appliance.update.criteria import Outcome
from benchmarks.challenger_lines import BUDGET_MS, Candidate, pairs

GATE = ShadowGate(GateSettings(), BUDGET_MS)
HASTY = ShadowGate(GateSettings(alpha=0.1, beta=0.1, shadow_parts=100), BUDGET_MS)
"""Errs so often that its errors can be counted in seconds."""

GOOD = Judgement(Verdict.ACCEPT, Reason.COMPLETE, None, 0.1, 20.0)
BAD = Judgement(Verdict.REJECT, Reason.DEFECT, "short", 0.9, 20.0)
GREY = Judgement(Verdict.REVIEW, Reason.GREY_BAND, "short", 0.5, 20.0)
DARK = Judgement(Verdict.FAULT, Reason.TOO_DARK)
BROKEN = Judgement(Verdict.FAULT, Reason.RUNTIME)
NO_PROBABILITY = Judgement(Verdict.ACCEPT, Reason.COMPLETE, None, float("nan"), 20.0)


def judge(gate: ShadowGate, candidate: Candidate, seed: int = 0, **line: float) -> ShadowState:
    state = ShadowState()
    for pair in pairs(candidate, np.random.default_rng(seed), **line):
        state = gate.take(state, pair)
        if state.outcome is not Outcome.CONTINUE:
            return state
    raise AssertionError("pairs never end")


def after(gate: ShadowGate, *said: Pair) -> ShadowState:
    state = ShadowState()
    for pair in said:
        state = gate.take(state, pair)
    return state


def test_a_candidate_that_is_as_good_passes_and_says_why() -> None:
    finding = GATE.finding(judge(GATE, Candidate(), rejected=0.1))
    assert finding.outcome is Outcome.PASS
    assert finding.parts >= GATE.settings.shadow_parts
    assert f"after {finding.parts} parts all is shown: rejected parts that the candidate accepts: " in finding.reason
    assert all(
        bound.high <= bound.criterion.most for bound in finding.bounds if bound.criterion.passes_under is not None
    )


@pytest.mark.parametrize(
    ("candidate", "cause", "words"),
    [
        (Candidate(escapes=0.6), "escapes", "rejected parts that the candidate accepts"),
        (
            Candidate(blind="mousebite"),
            "class:mousebite",
            "rejected parts of class mousebite that the candidate accepts",
        ),
        (Candidate(overkill=0.2), "overkill", "accepted parts that the candidate diverts"),
        (Candidate(overkill=0.05), "rise", "parts diverted more than by the model in force"),
        (Candidate(late=0.1), "late", "parts that took the candidate over 50 ms"),
        (Candidate(faults=0.1), "faults", "parts without an answer from the candidate"),
        (Candidate(crashes=0.02), "crashes", "the candidate's process crashed 3 times, and 2 are allowed"),
        (Candidate(not_a_number=0.01), "nan", "a score that is no number"),
        (Candidate(shift=0.2), "accepted_up", "top scores too high on accepted parts"),
        (Candidate(shift=-0.3), "accepted_down", "top scores too low on accepted parts"),
        (Candidate(skipped=0.98), "skipped", "parts that the candidate was too busy for"),
    ],
)
def test_each_badness_fails_for_its_own_reason(candidate: Candidate, cause: str, words: str) -> None:
    finding = GATE.finding(judge(GATE, candidate))
    assert (finding.outcome, finding.cause) == (Outcome.FAIL, cause)
    assert words in finding.reason


@pytest.mark.parametrize(("score", "cause"), [(0.99, "rejected_up"), (0.55, "rejected_down")])
def test_a_candidate_that_is_too_sure_or_too_unsure_of_bad_parts_fails(score: float, cause: str) -> None:
    bad = Judgement(Verdict.REJECT, Reason.DEFECT, "short", 0.77, 20.0)
    moved = Judgement(Verdict.REJECT, Reason.DEFECT, "short", score, 20.0)
    assert after(GATE, *(Pair(bad, moved) for _ in range(100))).cause == cause


def test_a_failing_share_is_told_with_what_is_certain_and_what_is_allowed() -> None:
    finding = GATE.finding(judge(GATE, Candidate(late=0.1)))
    bound = next(bound for bound in finding.bounds if bound.criterion.name == "late")
    assert bound.low >= 0.01
    assert finding.reason.endswith(f"certainly at least {100 * bound.low:.3g} %, and 1 % is allowed")


@pytest.mark.parametrize("classes_before", [0, 1, 9])
def test_a_blind_candidate_is_caught_by_a_handful_of_parts_of_the_class(classes_before: int) -> None:
    others = [
        Judgement(Verdict.REJECT, Reason.DEFECT, f"class-{number}", 0.9, 20.0) for number in range(classes_before)
    ]
    state = after(GATE, *(Pair(GOOD, GOOD) for _ in range(400)), *(Pair(bad, bad) for bad in others))
    missed = 0
    while state.outcome is Outcome.CONTINUE:
        state = GATE.take(GATE.take(state, Pair(BAD, GOOD)), Pair(GOOD, GOOD))
        missed += 1
    assert state.cause == "class:short"
    assert missed == {0: 4, 1: 5, 9: 6}[classes_before]


@pytest.mark.parametrize(("in_force", "said"), [(BAD, "REJECT"), (GOOD, "ACCEPT")])
def test_one_known_bad_part_that_the_candidate_accepts_fails_it(in_force: Judgement, said: str) -> None:
    before = [Pair(GOOD, GOOD), Pair(BAD, BAD, Challenge.BAD), Pair(BAD, GREY, Challenge.BAD)]
    finding = GATE.finding(after(GATE, *before, Pair(in_force, GOOD, Challenge.BAD)))
    assert (finding.outcome, finding.cause) == (Outcome.FAIL, "challenge_escape")
    assert finding.reason == (
        f"the candidate accepts a part that is known to be bad, and the model in force says {said} of it"
    )
    assert after(GATE, *before).outcome is Outcome.CONTINUE


def test_known_good_parts_that_the_candidate_diverts_fail_it_when_they_are_more_than_allowed() -> None:
    one = after(GATE, Pair(GOOD, BAD, Challenge.GOOD), Pair(GOOD, BROKEN, Challenge.GOOD))
    assert (one.outcome, one.good_diverted) == (Outcome.CONTINUE, 1)
    finding = GATE.finding(GATE.take(one, Pair(GOOD, GREY, Challenge.GOOD)))
    assert (finding.outcome, finding.cause) == (Outcome.FAIL, "challenge_overkill")
    assert finding.reason == "the candidate diverts 2 parts that are known to be good, and 1 may be"


def test_a_candidate_that_knows_better_than_the_model_in_force_is_not_blamed_for_known_parts() -> None:
    cured = [Pair(GOOD, BAD, Challenge.BAD), Pair(BAD, GOOD, Challenge.GOOD)] * 500
    state = after(GATE, *cured)
    assert (state.outcome, state.parts) == (Outcome.CONTINUE, 1000)
    assert state.labels == ()
    assert after(GATE, *(Pair(each.reference, each.candidate) for each in cured)).outcome is Outcome.FAIL


def test_known_parts_count_as_every_part_where_the_model_in_force_judges_them_rightly() -> None:
    said = [Pair(GOOD, GOOD), Pair(BAD, BAD)] * 200
    known = [Pair(GOOD, GOOD, Challenge.GOOD), Pair(BAD, BAD, Challenge.BAD)] * 200
    assert after(GATE, *known) == after(GATE, *said)


def test_what_hits_both_alike_does_not_fail_the_candidate() -> None:
    state = ShadowState()
    rng = np.random.default_rng(3)
    calm, drifted = (pairs(Candidate(), rng, rejected=share, dark=dark) for share, dark in ((0.02, 0.0), (0.4, 0.3)))
    for pair in itertools.chain(itertools.islice(calm, 300), drifted):
        lower = [judged and _fainter(judged) for judged in (pair.reference, pair.candidate)]
        state = GATE.take(state, Pair(*lower))  # type: ignore[arg-type]
        if state.outcome is not Outcome.CONTINUE:
            break
    assert state.outcome is Outcome.PASS
    assert state.incomparable > 50


def _fainter(judged: Judgement | Failure) -> Judgement | Failure:
    """Take a third of the score away, as bad light does from every model."""
    if isinstance(judged, Failure):
        return judged
    return Judgement(judged.verdict, judged.reason, judged.label, (judged.score or 0) * 0.67, judged.latency_ms)


@pytest.mark.parametrize("candidate", [GOOD, BROKEN, DARK, Failure.CRASH, Failure.NOT_A_NUMBER, NO_PROBABILITY])
def test_a_part_that_the_model_in_force_could_not_judge_says_nothing(candidate: Judgement | Failure) -> None:
    for known in (None, Challenge.GOOD, Challenge.BAD):
        assert after(GATE, Pair(DARK, candidate, known)) == ShadowState(incomparable=1)


def test_a_device_that_is_held_back_slows_both_and_fails_neither() -> None:
    slow = Judgement(Verdict.ACCEPT, Reason.COMPLETE, None, 0.1, 2 * BUDGET_MS)
    state = after(GATE, *(Pair(slow, slow) for _ in range(300)))
    assert (state.outcome, state.parts) == (Outcome.CONTINUE, 300)
    assert "late" not in state.tallies
    assert after(GATE, *(Pair(GOOD, slow) for _ in range(300))).cause == "late"


def test_few_bad_parts_never_pass_and_end_undecided() -> None:
    gate = ShadowGate(GateSettings(shadow_parts=30, patience=30), BUDGET_MS)
    finding = gate.finding(after(gate, *(Pair(GOOD, GOOD) for _ in range(900))))
    assert (finding.outcome, finding.cause) == (Outcome.FAIL, "undecided")
    assert "let more bad parts run" in finding.reason
    assert "rejected parts that the candidate accepts: 0 % over 0 parts, certainly at most 100 %" in finding.reason


def test_a_whole_grey_band_that_is_let_through_fails() -> None:
    state = ShadowState()
    for number in range(2000):
        state = GATE.take(state, Pair(GREY, GOOD) if number % 10 == 0 else Pair(GOOD, GOOD))
    assert (state.outcome, state.cause) == (Outcome.FAIL, "fall")


def test_a_rejected_part_that_a_person_shall_see_is_no_escape() -> None:
    assert after(GATE, *(Pair(BAD, GREY) for _ in range(3))).tallies["escapes"] == (3, 0)


def test_a_part_without_an_answer_is_a_fault_and_neither_found_nor_missed() -> None:
    state = after(GATE, Pair(BAD, BROKEN), Pair(BAD, Failure.CRASH))
    assert (state.parts, state.crashes, state.labels) == (2, 1, ())
    assert state.tallies == {"skipped": (2, 0), "faults": (0, 2)}


def test_an_unknown_latency_counts_as_too_long() -> None:
    unknown = Judgement(Verdict.ACCEPT, Reason.COMPLETE, None, 0.1)
    nan = Judgement(Verdict.ACCEPT, Reason.COMPLETE, None, 0.1, float("nan"))
    assert after(GATE, Pair(GOOD, unknown), Pair(GOOD, nan)).tallies["late"] == (0, 2)


JUDGED = st.sampled_from([GOOD, BAD, GREY, DARK, BROKEN])
CANDIDATES = st.one_of(
    st.builds(
        Judgement,
        st.sampled_from([Verdict.ACCEPT, Verdict.REJECT, Verdict.REVIEW]),
        st.just(Reason.DEFECT),
        st.sampled_from([None, "short", "open"]),
        st.one_of(st.none(), st.floats(0, 1)),
        st.floats(0, 100),
    ),
    st.sampled_from([BROKEN, Failure.SKIPPED, Failure.CRASH, Failure.NOT_A_NUMBER]),
)
KNOWN = st.sampled_from([None, None, Challenge.GOOD, Challenge.BAD])
STREAMS = st.lists(st.tuples(st.builds(Pair, JUDGED, CANDIDATES, KNOWN), st.integers(1, 40)), max_size=12)


@given(stream=STREAMS, cut=st.integers(0, 60))
def test_a_state_that_was_saved_goes_on_as_if_nothing_had_been(stream: list[tuple[Pair, int]], cut: int) -> None:
    gate = ShadowGate(GateSettings(alpha=0.3, beta=0.3, shadow_parts=5), BUDGET_MS)
    whole = again = ShadowState()
    for number, pair in enumerate(pair for pair, times in stream for _ in range(times)):
        whole, again = gate.take(whole, pair), gate.take(again, pair)
        if number == cut:
            again = gate.resume(strict_json.dump(again), "state")
    assert whole == again
    assert gate.finding(whole).reason


@given(stream=STREAMS)
def test_an_outcome_is_final(stream: list[tuple[Pair, int]]) -> None:
    gate = ShadowGate(GateSettings(alpha=0.5, beta=0.5, shadow_parts=2, patience=10), BUDGET_MS)
    seen: list[ShadowState] = [ShadowState()]
    for pair in (pair for pair, times in stream for _ in range(times)):
        seen.append(gate.take(seen[-1], pair))
    outcomes = {state.outcome for state in seen}
    assert not {Outcome.PASS, Outcome.FAIL} <= outcomes
    decided = [state for state in seen if state.outcome is not Outcome.CONTINUE]
    assert all(state == decided[0] for state in decided)
    assert all(bool(state.cause) == (state.outcome is Outcome.FAIL) for state in seen)


@given(
    said=st.lists(st.sampled_from([Pair(GOOD, GOOD), Pair(BAD, BAD), Pair(GREY, GOOD)]), max_size=30), data=st.data()
)
def test_the_order_of_parts_is_no_evidence(said: list[Pair], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(said))
    first, second = after(GATE, *said), after(GATE, *shuffled)
    if Outcome.FAIL not in {first.outcome, second.outcome}:
        assert first == second


@given(stream=STREAMS)
def test_the_chart_is_at_1_exactly_where_a_bound_has_decided(stream: list[tuple[Pair, int]]) -> None:
    state = ShadowState()
    for pair in (pair for pair, times in stream for _ in range(times)):
        state = GATE.take(state, pair)
    is_by_bound = state.cause in GATE.criteria or state.cause.startswith("class:")
    assert (GATE.chart(state) >= 1) == is_by_bound or state.cause in {"nan", "crashes"}


@pytest.mark.long
def test_a_candidate_as_good_fails_no_more_often_than_stated() -> None:
    ended = [judge(HASTY, Candidate(), seed, rejected=0.2) for seed in range(60)]
    assert sum(state.outcome is Outcome.FAIL for state in ended) <= 6 + 7  # beta and three standard deviations


@pytest.mark.long
@pytest.mark.parametrize(
    "candidate",
    [
        Candidate(escapes=0.10),
        Candidate(overkill=0.03, escapes=0.0),
        Candidate(late=0.01),
        Candidate(faults=0.01),
        Candidate(shift=0.1, spread=0.03),
    ],
)
def test_one_as_bad_as_allowed_passes_no_more_often_than_stated(candidate: Candidate) -> None:
    gate = ShadowGate(GateSettings(alpha=0.1, beta=0.1, shadow_parts=100, patience=8), BUDGET_MS)
    ended = [judge(gate, candidate, seed, rejected=0.3) for seed in range(40)]
    assert sum(state.outcome is Outcome.PASS for state in ended) <= 4 + 6  # alpha and three standard deviations


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda document: document["tallies"].update(late=[1, 2, 3]), "'late' is counted otherwise by this version"),
        (lambda document: document["tallies"].update(beauty=[1, 2]), "'beauty' is counted otherwise by this version"),
        (lambda document: document.update(parts=-1), "is damaged"),
        (lambda document: document.update(more=1), "is damaged"),
        (lambda document: document.update(schema="vi.shadow-gate/2"), "is damaged"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_in_words(change: object, words: str) -> None:
    document = json.loads(strict_json.dump(after(GATE, Pair(GOOD, GOOD))))
    change(document)  # type: ignore[operator]
    with pytest.raises(StorageError, match=words):
        GATE.resume(json.dumps(document).encode(), "shadow.json")


def test_a_state_is_small() -> None:
    assert len(strict_json.dump(judge(GATE, Candidate(), rejected=0.1))) < 4000


@pytest.mark.parametrize(
    ("gates", "words"),
    [
        ({"alpha": 0.0}, "alpha is 0.0; give a share"), ({"most_escapes": 1.0}, "most_escapes is 1.0; give a share"),
        ({"shadow_parts": 0}, "at least 1"), ({"patience": 0.5}, "at least 1"),
        ({"most_score_shift": 0.28}, "most_score_shift is 0.28"), ({"canary_factor": 40.0}, "canary_factor is 40.0"),
        ({"watch_h": 400.0}, "most_h over watch_h"), ({"beta": float("nan")}, "beta is nan"),
        ({"least_reject_ratio": 1.0}, "least_reject_ratio is 1.0"), ({"most_crashes": -1}, "most_crashes is -1"),
    ],
)  # fmt: skip
def test_settings_that_no_gate_can_judge_by_are_refused(gates: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        GateSettings(**gates)  # type: ignore[arg-type]
