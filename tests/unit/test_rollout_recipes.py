"""A recipe reaches a fleet as a model does; its way back is what it said before, under a new version."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fleet import OLD, SITES, FleetDesk, told

pytestmark = pytest.mark.long

V1, V2, V3 = (f"recipes/board/board-{seq}.recipe" for seq in (1, 2, 3))


@pytest.fixture
def fleet(tmp_path: Path) -> FleetDesk:
    """Every device runs a model and version 1 of a recipe; 2 is new, and 3 says what 1 said."""
    made = FleetDesk(tmp_path, has_back=False)
    desk = made.desk
    assert desk.release(desk.recipe(version=1)) == 0
    for site, lines in SITES.items():
        devices = [word for names in lines.values() for name in names for word in ("--device", name)]
        assert desk.assign(*devices, "--release", OLD, "--release", V1, "--rollout", "before", site=site) == 0
    assert desk.release(desk.recipe(version=2, deadline_ms=600)) == 0
    assert desk.release(desk.recipe(version=3)) == 0
    return made


def start(fleet: FleetDesk, *words: str) -> int:
    return fleet.run("start", "--release", V2, *words)


def paths(fleet: FleetDesk, device: str) -> list[str]:
    return [chosen.path for chosen in fleet.assignment(device).releases]


def running(fleet: FleetDesk, path: str) -> list[str]:
    return sorted(name for name in fleet.reporters if paths(fleet, name) == [OLD, path])


def say(fleet: FleetDesk, device: str, outcome: str, path: str = V2, parts: int = 2000) -> None:
    entry = told(fleet.signed(path), outcome, parts=parts)
    fleet.put(device, fleet.reporters[device].report(entry, assignment_seq=fleet.assignment(device).seq))


def test_a_good_recipe_reaches_ring_after_ring_beside_the_model_that_stays(fleet: FleetDesk) -> None:
    assert start(fleet, "--back", V3) == 0
    assert running(fleet, V2) == ["lab-1"]
    for size in (1, 5, 6, 9):
        devices = running(fleet, V2)
        assert len(devices) == size
        for device in devices:
            say(fleet, device, "success")
        assert fleet.run("advance") == 0
    assert running(fleet, V2) == sorted(fleet.reporters)
    assert fleet.status()["phase"] == "done"
    assert fleet.desk.verify() == 0


def test_the_parts_that_a_recipe_judged_are_counted(fleet: FleetDesk) -> None:
    """The line ring asks for 100 parts of all its devices together."""
    assert start(fleet) == 0
    say(fleet, "lab-1", "success", parts=0)
    assert fleet.run("advance") == 0
    line = [device for device in running(fleet, V2) if device != "lab-1"]
    for parts, is_more in ((24, False), (25, True)):
        for device in line:
            say(fleet, device, "success", parts=parts)
        assert fleet.run("advance") == 0
        assert (len(running(fleet, V2)) > 5) is is_more


def test_a_bad_recipe_is_called_back_to_what_it_said_before_under_a_new_version(fleet: FleetDesk) -> None:
    assert start(fleet, "--back", V3) == 0
    say(fleet, "lab-1", "rolled_back")
    assert fleet.run("advance") == 1
    assert paths(fleet, "lab-1") == [OLD, V3]
    assert running(fleet, V1) == sorted(fleet.reporters.keys() - {"lab-1"})
    say(fleet, "lab-1", "running", path=V3)
    assert fleet.status()["not_back_yet"] == 1
    say(fleet, "lab-1", "success", path=V3)
    assert fleet.status()["not_back_yet"] == 0


def test_a_recall_calls_everybody_back_to_it(fleet: FleetDesk) -> None:
    assert start(fleet) == 0
    say(fleet, "lab-1", "success")
    assert fleet.run("advance") == 0
    ring = running(fleet, V2)
    assert len(ring) == 5
    assert fleet.run("recall", "--back", V3) == 0
    assert running(fleet, V3) == ring
    assert running(fleet, V2) == []


@pytest.mark.parametrize(
    ("bring", "back", "words"),
    [
        (lambda desk: desk.release(desk.recipe(version=4, deadline_ms=700)), 4, "had another recipe/board (content "),
        (lambda desk: 0, 1, "refuse lower numbers"),
        (lambda desk: 0, 2, "a recipe under a higher version"),
    ],
)
def test_a_way_back_that_leads_elsewhere_is_refused(
    fleet: FleetDesk, bring: Callable[[object], int], back: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bring(fleet.desk) == 0
    assert start(fleet, "--back", f"recipes/board/board-{back}.recipe") == 78
    assert words in " ".join(capsys.readouterr().err.split())
    assert running(fleet, V1) == sorted(fleet.reporters), "nothing was changed"


def test_a_model_and_a_recipe_that_belong_together_are_one_rollout(fleet: FleetDesk) -> None:
    model = "models/boards/boards-2.bundle"
    assert start(fleet, "--release", model) == 0
    assert paths(fleet, "lab-1") == [model, V2]
    say(fleet, "lab-1", "success")
    assert fleet.run("advance") == 0
    assert paths(fleet, "ulm-a1") == [OLD, V1], "one of the two is not all"
    both = [told(fleet.signed(path), "success") for path in (model, V2)]
    seq = fleet.assignment("lab-1").seq
    fleet.put("lab-1", fleet.reporters["lab-1"].report(*both, assignment_seq=seq))
    assert fleet.run("advance") == 0
    assert sum(paths(fleet, device) == [model, V2] for device in fleet.reporters) == 5
