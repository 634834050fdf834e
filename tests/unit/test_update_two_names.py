"""Two models of one device: what takes long with one keeps nobody from going back with the other."""

from pathlib import Path

import pytest

from appliance.bundle.gate_settings import Gates
from appliance.update.assignment import Assignment
from appliance.update.conductor import Conductor
from appliance.update.doors import Window
from appliance.update.journal import Journal
from appliance.update.kinds import failed, waits
from appliance.update.lifecycle import State
from tests.scripted_kind import ScriptedKind
from tests.unit.test_update_journal import release
from tests.update_device import SetClock

SLOW, RISKY = "slow", "risky"
GATES = Gates(shadow_parts=1, canary_parts=1, watch_parts=1, watch_h=0)


class Two:
    """The slow one is older, and at its download; the risky one is watched."""

    def __init__(self, folder: Path) -> None:
        self.kind = ScriptedKind()
        self.journal = Journal(folder / "journal.db", SetClock())
        self.conductor = Conductor(self.journal, {"model": self.kind}, SetClock(), Window())
        script = self.kind.script
        script[SLOW, "download"] = lambda: waits("it takes long")
        script[RISKY, "watch"] = lambda: waits("more parts")
        releases = (release(SLOW, "1" * 64), release(RISKY, "2" * 64))
        self.conductor.begin(
            Assignment(schema="vi.assignment/1", device_id="d", seq=1, rollout="r", ring="lab", releases=releases,
                       gates=GATES)
        )  # fmt: skip
        self.conductor.advance()
        self.kind.asked.clear()

    def states(self) -> dict[str, State]:
        return {update.release.name: update.progress.state for update in self.journal.latest()}


@pytest.fixture
def two(tmp_path: Path) -> Two:
    two = Two(tmp_path)
    assert two.states() == {SLOW: State.DOWNLOAD, RISKY: State.WATCH}
    return two


def test_what_judges_is_looked_at_while_something_else_takes_long(two: Two) -> None:
    seen = []

    def takes_long() -> object:
        two.kind.script[RISKY, "watch"] = lambda: failed("it lets bad parts pass")
        two.conductor.look_at_the_line()
        seen.append(two.states()[RISKY])
        return waits("it still takes long")

    two.kind.script[SLOW, "download"] = takes_long  # type: ignore[assignment]
    two.conductor.advance()
    assert seen == [State.IDLE], "it has gone back before the other one's action ended"
    assert two.kind.asked.count((SLOW, "download")) == 1


def test_what_goes_back_comes_before_what_takes_long(two: Two) -> None:
    two.journal.wish("model", RISKY, "Ann")
    two.conductor.advance()
    assert two.kind.asked.index((RISKY, "rollback")) < two.kind.asked.index((SLOW, "download"))


def test_a_person_who_goes_back_without_an_agent_waits_for_nothing_else(two: Two) -> None:
    two.journal.wish("model", RISKY, "Ann")
    two.conductor.go_back()
    assert two.states() == {SLOW: State.DOWNLOAD, RISKY: State.IDLE}
    assert {name for name, _ in two.kind.asked} == {RISKY}
