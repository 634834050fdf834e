"""An `advance` that dies at any step is made up for by the next one; what devices see is never half."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fleet import BACK, NEW, FleetDesk
from tests.killed_at import killed_at

pytestmark = pytest.mark.long


@pytest.fixture
def fleet(tmp_path: Path) -> FleetDesk:
    made = FleetDesk(tmp_path)
    assert made.start() == 0
    return made


def deaths(fleet: FleetDesk, work: Callable[[], int], check: Callable[[int], None]) -> int:
    """Kill a command at each of its steps, each time from the same beginning; `check` looks after each."""
    place, begun = Path(fleet.desk.address), fleet.desk.folder / "as-it-was"
    shutil.copytree(place, begun)
    step = 0
    while True:
        shutil.rmtree(place)
        shutil.copytree(begun, place)
        for note in fleet.desk.folder.glob("root.json.*.json"):  # what has been seen since is not to be known here
            note.unlink()
        if not killed_at(step + 1, place, work):
            return step
        step += 1
        check(step)


def test_a_ring_is_told_as_a_whole_or_not_at_all_and_in_the_end_it_is(fleet: FleetDesk) -> None:
    fleet.say("lab-1", "success")

    def check(step: int) -> None:
        assert len(fleet.told()) in (1, 5)
        assert fleet.run("advance") == 0
        assert len(fleet.told()) == 5
        assert fleet.desk.verify() == 0
        assert fleet.status()["rings"][1]["seen"] == {"told": 4}
        log = [entry for entry in fleet.status_log() if "ring line told" in entry]
        assert len(log) == 1, "done once, however often it was begun"

    assert deaths(fleet, lambda: fleet.run("advance"), check) >= 8


def test_a_halt_that_was_killed_calls_back_in_the_end(fleet: FleetDesk) -> None:
    fleet.say("lab-1", "failed")

    def check(step: int) -> None:
        assert fleet.run("advance") == 1
        assert (fleet.told(NEW), fleet.told(BACK)) == ([], ["lab-1"])
        assert fleet.status()["called_back"] == 1

    assert deaths(fleet, lambda: min(fleet.run("advance"), 0), check) >= 5


def test_who_was_told_by_an_advance_that_was_killed_is_called_back_by_a_halt(fleet: FleetDesk) -> None:
    """What shall be is written down before anybody is told, so nobody is told who is not known."""

    def check(step: int) -> None:
        fleet.say("lab-1", "rolled_back")
        assert fleet.run("advance") == 1
        assert fleet.told(NEW) == []
        fleet.say("lab-1", "success")

    fleet.say("lab-1", "success")
    assert deaths(fleet, lambda: fleet.run("advance"), check) >= 8
