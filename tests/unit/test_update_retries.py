"""What failed and is tried again at the next look: an agent that ends in between has broken nothing off."""

from pathlib import Path

import pytest

from appliance.errors import RuntimeFault
from appliance.events import iso
from appliance.update.assignment import Assignment
from appliance.update.conductor import Conductor
from appliance.update.doors import Window
from appliance.update.journal import Journal
from appliance.update.kinds import Outcome, Update
from appliance.update.lifecycle import Event, State
from appliance.update.situation import HUNG
from tests.scripted_kind import ScriptedKind
from tests.unit.test_update_journal import release
from tests.unit.test_update_two_names import GATES
from tests.update_device import SetClock

NAME = "boards"


class KilledError(BaseException):
    """The process ends here, and writes nothing any more."""


class Agent:
    """One that is started anew for each look, as `appliance agent update` is."""

    def __init__(self, folder: Path) -> None:
        self.kind, self.journal = ScriptedKind(), Journal(folder / "journal.db", SetClock())
        self._start().begin(
            Assignment(schema="vi.assignment/1", device_id="d", seq=1, rollout="r", ring="lab",
                       releases=(release(NAME, "1" * 64),), gates=GATES)
        )  # fmt: skip

    def _start(self) -> Conductor:
        conductor = Conductor(self.journal, {"model": self.kind}, SetClock(), Window())
        conductor.resume()
        return conductor

    def call(self) -> Update:
        self._start().advance()
        return self.newest()

    def start_and_end(self) -> Update:
        """Start, and end before anything is looked at."""
        self._start()
        return self.newest()

    def newest(self) -> Update:
        (update,) = self.journal.latest()
        return update

    def in_state(self, state: str, what: Outcome | BaseException) -> None:
        def do() -> Outcome:
            if isinstance(what, BaseException):
                raise what
            return what

        self.kind.script[NAME, state] = do


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    return Agent(tmp_path)


def test_a_try_that_failed_counts_once_and_keeps_its_reason(agent: Agent) -> None:
    agent.in_state("prove", RuntimeFault("the child ran out of memory"))
    for tries in (1, 2):
        for update in (agent.call(), agent.start_and_end(), agent.start_and_end()):
            assert (update.progress.state, update.progress.tries) == (State.VERIFY, tries)
            assert update.reason == f"the child ran out of memory (try {tries} of 3 failed; the next comes by itself)"
    assert agent.call().progress.state is State.ROLLBACK
    update = agent.call()
    assert (update.progress.outcome, update.progress.tries) == ("quarantined", 3)
    assert update.reason == "the child ran out of memory (tried too often: it goes back and is quarantined)"


@pytest.mark.parametrize("event", [Event.RETRY, Event.LOST])
@pytest.mark.parametrize("state", ["shadow", "canary"])
def test_what_the_line_refused_or_lost_counts_once_too(agent: Agent, state: str, event: Event) -> None:
    agent.in_state(state, Outcome(event, "the line says no"))
    for update in (agent.call(), agent.start_and_end(), agent.start_and_end()):
        assert (update.progress.state.value, update.progress.crashes) == (state.upper(), 1)
        assert update.reason == "the line says no (try 1 of 3 failed; the next comes by itself)"


@pytest.mark.parametrize(("state", "count"), [("verify", "tries"), ("shadow", "crashes")])
def test_what_is_broken_off_while_it_is_tried_again_counts(agent: Agent, state: str, count: str) -> None:
    agent.in_state(state, Outcome(Event.RETRY, "not this time"))
    assert getattr(agent.call().progress, count) == 1
    agent.in_state(state, KilledError())
    with pytest.raises(KilledError):
        agent.call()
    update = agent.start_and_end()
    assert getattr(update.progress, count) == 2
    assert update.reason == f"the agent ended within {state.upper()} (try 2 of 3 failed; the next comes by itself)"


def test_a_hang_is_told_of_the_end_that_it_was_and_of_no_later_one(agent: Agent) -> None:
    agent.in_state("verify", KilledError())
    with pytest.raises(KilledError):
        agent.call()
    hung = {"at": iso(SetClock().utc()), "words": "it got no further for 900 s"}
    agent.journal.note(HUNG, hung)
    with pytest.raises(KilledError):
        agent.call()
    assert agent.newest().reason.startswith("the agent ended within VERIFY: it got no further for 900 s (try 1 of 3")
    update = agent.start_and_end()  # after the power was cut
    words = "the agent ended within VERIFY (try 2 of 3 failed; the next comes by itself)"
    assert (update.reason, update.progress.tries) == (words, 2)
    assert agent.journal.noted(HUNG) == hung, "people still see it"
    agent.journal.note(HUNG, hung | {"at": iso(SetClock().utc())})
    assert "900 s" in agent.start_and_end().reason
