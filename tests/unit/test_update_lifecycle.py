"""The state table of updates: every state, every event, and whole lives of them."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.update.lifecycle import (
    ENDING,
    MOST_CRASHES,
    MOST_STORES,
    MOST_TRIES,
    TRANSITIONS,
    WAY_BACK,
    Event,
    Progress,
    State,
    after,
    resumed_state,
)

EVERYTHING = list(product(State, Event))
FORWARD = (
    State.CHECK, State.DOWNLOAD, State.VERIFY, State.STAGE, State.BUILD, State.PROVE, State.SHADOW, State.CANARY,
    State.COMMIT, State.WATCH, State.REPORT, State.CLEANUP, State.IDLE,
)  # fmt: skip
BACK = (State.ROLLBACK, State.VERIFY_ROLLBACK, State.FAILURE, State.REPORT, State.CLEANUP, State.IDLE)


def walk(progress: Progress, *events: Event) -> Progress:
    for event in events:
        progress = after(progress, event)
    return progress


def test_the_way_forward_and_the_way_back() -> None:
    progress, seen = Progress(), []
    for _ in FORWARD:
        progress = after(progress, Event.DONE)
        seen.append(progress.state)
    assert tuple(seen) == FORWARD
    assert progress.verdict == "success"
    for state in (state for state in FORWARD if Event.FAILED in TRANSITIONS[state]):
        progress, seen = after(Progress(state), Event.FAILED), []
        while not seen or seen[-1] is not State.IDLE:
            seen.append(progress.state)
            progress = after(progress, Event.DONE) if progress.state is not State.IDLE else progress
        assert tuple(seen) == BACK


@pytest.mark.parametrize(("state", "event"), EVERYTHING, ids=[f"{s.value}-{e.value}" for s, e in EVERYTHING])
def test_every_event_leads_to_the_tables_state_or_cannot_happen(state: State, event: Event) -> None:
    target = TRANSITIONS[state].get(event)
    if target is None:
        with pytest.raises(RuntimeError, match="cannot happen"):
            after(Progress(state), event)
        return
    found = after(Progress(state), event)
    assert found.state is target
    assert found.stores == (0 if found == Progress(state) else 1)


def test_every_state_is_left_by_done_and_survives_a_restart() -> None:
    for state in State:
        assert Event.DONE in TRANSITIONS[state]
        assert state is State.IDLE or Event.RESTARTED in TRANSITIONS[state]


EXPECTED_AFTER_A_RESTART = {
    State.VERIFY: State.VERIFY, State.STAGE: State.VERIFY, State.BUILD: State.VERIFY, State.PROVE: State.VERIFY,
}  # fmt: skip


@pytest.mark.parametrize("state", [state for state in State if state is not State.IDLE], ids=lambda state: state.value)
def test_a_restart_resumes_where_the_contract_says(state: State) -> None:
    assert after(Progress(state), Event.RESTARTED).state is EXPECTED_AFTER_A_RESTART.get(state, state)


def test_a_state_that_this_version_does_not_know_is_rolled_back() -> None:
    assert resumed_state("TELEPORT") is State.ROLLBACK
    assert all(resumed_state(state.value) is state for state in State)


@pytest.mark.parametrize("event", [Event.RETRY, Event.RESTARTED])
@pytest.mark.parametrize("state", [State.VERIFY, State.STAGE, State.BUILD, State.PROVE], ids=lambda state: state.value)
def test_the_third_failed_try_is_quarantined(state: State, event: Event) -> None:
    progress = Progress(State.DOWNLOAD)
    for number in range(1, MOST_TRIES + 1):
        while progress.state is not state:
            progress = after(progress, Event.DONE)
        progress = after(progress, event)
        assert progress.tries == number
    assert (progress.state, progress.verdict) == (State.ROLLBACK, "quarantined")
    assert after(progress, Event.DONE).state is State.VERIFY_ROLLBACK


@pytest.mark.parametrize("state", [State.SHADOW, State.CANARY], ids=lambda state: state.value)
def test_the_third_crash_at_the_line_is_rolled_back(state: State) -> None:
    progress = walk(Progress(state), *[Event.LOST] * (MOST_CRASHES - 1))
    assert progress.state is state
    assert after(progress, Event.LOST).state is State.ROLLBACK
    assert walk(progress, Event.LOST, Event.DONE).state is State.VERIFY_ROLLBACK
    assert after(after(progress, Event.DONE), Event.RESTARTED).crashes <= 1, "each state has its own"


def test_power_cuts_while_nothing_is_tried_count_nothing() -> None:
    """A plant that switches off each night must not use an update up."""
    for state in (State.CHECK, State.DOWNLOAD, State.WATCH, State.REPORT, State.CLEANUP, State.ROLLBACK):
        assert walk(Progress(state), *[Event.RESTARTED] * 100) == Progress(state)


@pytest.mark.parametrize(
    ("state", "event", "verdict"),
    [
        (State.CHECK, Event.FAILED, "failed"),
        (State.DOWNLOAD, Event.FAILED, "failed"),
        (State.PROVE, Event.FAILED, "quarantined"),
        (State.SHADOW, Event.FAILED, "quarantined"),
        (State.SHADOW, Event.ABORTED, "failed"),
        (State.WATCH, Event.FAILED, "quarantined"),
        (State.CANARY, Event.LACKING, "failed"),
        (State.WATCH, Event.LACKING, "failed"),
    ],
)
def test_how_it_ends_is_told_when_it_has_ended(state: State, event: Event, verdict: str) -> None:
    progress = after(Progress(state), event)
    assert (progress.outcome, progress.verdict) == ("running", verdict)
    assert walk(progress, Event.DONE, Event.DONE).outcome == verdict


def test_an_abort_of_what_has_judged_is_a_rollback() -> None:
    canary = after(Progress(State.SHADOW), Event.DONE)
    assert walk(canary, Event.ABORTED, Event.DONE, Event.DONE).outcome == "rolled_back"


@given(st.data())
def test_every_life_ends_within_the_cap_and_succeeds_only_through_every_gate(data: st.DataObject) -> None:
    progress, visited, watched = after(Progress(), Event.DONE), [State.CHECK], False
    for _ in range(400):
        if progress.state is State.IDLE:
            break
        possible = sorted(TRANSITIONS[progress.state])
        stays = [event for event in possible if event not in (Event.FAILED, Event.LACKING, Event.ABORTED)]
        event = data.draw(st.sampled_from([*possible, *stays * 4]))
        watched = watched or (progress.state, event) == (State.WATCH, Event.DONE)
        before, progress = progress, after(progress, event)
        assert progress.stores - before.stores == (0 if before == progress else 1), "a change is always a row"
        visited.append(progress.state)
        assert progress.stores <= MOST_STORES
        assert (progress.outcome == "success") <= watched
    for _ in range(MOST_STORES):
        progress = progress if progress.state is State.IDLE else after(progress, Event.DONE)
        visited.append(progress.state)
    assert progress.state is State.IDLE
    assert progress.stores <= MOST_STORES
    assert progress.verdict == "success" or State.ROLLBACK in visited
    if progress.verdict == "success":
        gates = (State.VERIFY, State.PROVE, State.SHADOW, State.CANARY, State.COMMIT, State.WATCH)
        assert [state for state in gates if state in visited] == list(gates)
        assert sorted(map(visited.index, gates)) == list(map(visited.index, gates))


@given(st.integers(0, 10**6))
def test_an_endless_circle_ends_at_the_cap(seed: int) -> None:
    """Whatever fails over and over without being counted by itself: a rollback that is never right."""
    progress = Progress(State.VERIFY_ROLLBACK, stores=seed % MOST_STORES)
    for _ in range(MOST_STORES):
        if progress.state in ENDING or progress.state is State.FAILURE:
            break
        progress = after(progress, Event.RETRY if progress.state is State.VERIFY_ROLLBACK else Event.DONE)
    assert progress.state is State.FAILURE
    assert progress.state in WAY_BACK
