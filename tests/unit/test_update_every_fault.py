"""Every state of an update's table, with every fault in it, of every kind that a device installs."""

from collections.abc import Iterator
from typing import get_args

import pytest

from appliance.update.kinds import KindName
from appliance.update.lifecycle import MOST_STORES, PREPARING, TRANSITIONS, WAY_BACK, Event, State
from tests.update_faults import GOT_NO_FURTHER, Fault, Subject, befall, subject

KINDS: tuple[KindName, ...] = ("model", "recipe", "app")
NO_KIND = {"os": "it has the table, and nothing installs it"}

COUNTED = (*PREPARING, State.SHADOW, State.CANARY, State.COMMIT)
"""Whatever ends the agent three times in there ends the update."""

NO_CASE: dict[tuple[State, Fault], str] = {
    **{(State.IDLE, fault): "nothing is done in it: the update has ended" for fault in Fault},
    (State.REPORT, Fault.REFUSED): "nobody looks at the release there",
    (State.FAILURE, Fault.REFUSED): "nobody looks at the release there",
}
CASES = [(kind, state, fault) for kind in KINDS for state in State for fault in Fault if (state, fault) not in NO_CASE]
QUICK = ("app", Fault.KILL_AFTER)
"""What is run each time; the rest with what takes minutes."""


@pytest.fixture(scope="module")
def each(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    with subject(request.param, tmp_path_factory.mktemp(request.param)) as found:
        yield found


def test_every_state_of_the_table_has_every_fault_or_a_reason_why_not() -> None:
    assert {*KINDS, *NO_KIND} == set(get_args(KindName))
    for kind in KINDS:
        had = {(state, fault) for each, state, fault in CASES if each == kind}
        assert had | NO_CASE.keys() == {(state, fault) for state in State for fault in Fault}
        assert not had & NO_CASE.keys()
    assert set(TRANSITIONS) == set(State)


def how_it_ends(state: State, fault: Fault) -> str:
    if state in WAY_BACK or (fault is Fault.HANG and state in COUNTED):
        return "quarantined"
    if fault is Fault.REFUSED and Event.FAILED in TRANSITIONS[state]:
        return "failed" if state in (State.CHECK, State.DOWNLOAD) else "quarantined"
    return "success"


@pytest.mark.parametrize(
    ("each", "state", "fault"),
    [
        pytest.param(
            kind, state, fault, id=f"{kind}-{state.value}-{fault.value}",
            marks=() if (kind, fault) == QUICK else pytest.mark.long,
        )
        for kind, state, fault in CASES
    ],
    indirect=["each"],
)  # fmt: skip
def test_every_fault_in_every_state_leaves_a_proven_release_and_an_update_that_ends(
    each: Subject, state: State, fault: Fault
) -> None:
    each.put_back(state)
    device, expected = each.device, how_it_ends(state, fault)
    with each.on_its_way(state) as deeds:
        befall(fault, each, state, deeds)
        assert each.in_force() in (each.before, each.new)
        if fault in (Fault.KILL, Fault.KILL_AFTER) and each.kind != "app":
            device.line.restart()
        each.happens(deeds, {})
        update = device.update() if device.newest().progress.state is not State.IDLE else device.newest()
        assert (update.progress.state, update.progress.outcome) == (State.IDLE, expected), update
    assert each.in_force() == (each.new if expected == "success" else each.before)
    states = each.states()
    assert states[-3:] == ["REPORT", "CLEANUP", "IDLE"]
    assert ("WATCH" in states) or expected != "success"
    assert update.progress.stores <= MOST_STORES
    assert (each.new in device.journal.quarantined()) == (expected == "quarantined")
    if fault is Fault.HANG and state in COUNTED:
        assert GOT_NO_FURTHER in update.reason
    if fault in (Fault.KILL, Fault.KILL_AFTER):
        assert update.progress.tries == (state in PREPARING)
    if each.kind != "app":
        assert device.line.in_force(device.name) == each.in_force()
        assert device.line.shadow_of(device.name).sha256 == ""
