"""What else happens while an update is under way: other products, people, doors, a line that comes and goes."""

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from appliance.update.doors import Window
from appliance.update.judging import JudgingKind
from appliance.update.kinds import InterruptedWorkError
from appliance.update.lifecycle import State
from appliance.update.situation import HOLD
from appliance.update.statistical import make_judge
from tests.update_agent import Along, Device, Fleet
from tests.update_server import UpdateServer

FOREVER = {"canary_parts": 10_000}
OTHERS_PART = [["c" * 64], ["ACCEPT", "complete", None, False], None]
NOON = datetime(2026, 11, 27, 12, tzinfo=timezone.utc)
AT_NIGHT = Window(begins="22:00", ends="05:00")


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


@pytest.fixture
def device(tmp_path: Path, fleet: Fleet) -> Iterator[Device]:
    with UpdateServer(fleet.repository.files) as server:
        yield fleet.device(tmp_path / "device", server)


def leaves(device: Device) -> None:
    device.line.is_away = True


def pass_parts_of_another_product(device: Device, count: int) -> None:
    state = device.line.state
    state["parts"] += [OTHERS_PART] * count
    device.line.keep(state)


def test_an_older_release_that_is_assigned_leaves_the_way_back(device: Device, fleet: Fleet) -> None:
    """A roll-out that is stopped by naming the old release, at a device that has the new one already."""
    fleet.offer(2)
    second = device.update().release.model_dump()
    third = fleet.offer(3)
    assert device.update().progress.outcome == "success"
    fleet.assign(second)
    assert device.update().progress.outcome == "failed"
    assert device.in_force() == third
    assert device.kind.keeps("tiny", second["sha256"])
    device.journal.wish("model", "tiny", "Ann")
    device.start().look()
    assert device.in_force() == second["sha256"]


def test_parts_of_another_product_are_no_sign_of_a_slow_release(device: Device, fleet: Fleet) -> None:
    fleet.offer(2, gates={"shadow_parts": 30})
    device.make_judge = make_judge
    device.update(2)
    assert device.newest().progress.state is State.SHADOW
    pass_parts_of_another_product(device, 3000)
    assert device.update(2).progress.state is State.SHADOW, device.newest().reason


def test_a_release_that_is_too_busy_beside_the_line_is_refused(device: Device, fleet: Fleet) -> None:
    device.make_judge, device.line.is_busy, device.line.parts_per_look = make_judge, True, 300
    fleet.offer(2, gates={"shadow_parts": 100})
    update = device.update(8)
    assert update.progress.outcome == "quarantined", update
    assert "parts that the candidate was too busy for" in update.reason


def test_somebody_elses_shadow_is_waited_for(device: Device, fleet: Fleet) -> None:
    state = device.line.state
    device.line.keep(state | {"beside": {"tiny": device.in_force()}})
    new = fleet.offer(2)
    update = device.update(5)
    assert (update.progress.state, update.progress.crashes) == (State.SHADOW, 0)
    assert "judges beside the line; wait for its end, or end it" in update.waits_for
    device.line.end_shadow("tiny")
    assert device.update().progress.outcome == "success"
    assert device.in_force() == new


def test_waiting_for_the_window_is_no_crash(device: Device, fleet: Fleet) -> None:
    fleet.offer(2, gates=FOREVER)
    device.window, device.clock.now = AT_NIGHT, NOON
    assert "maintenance window" in device.update(3).waits_for
    device.clock.now = NOON + timedelta(hours=11)
    update = device.update(3)
    assert (update.progress.state, update.progress.crashes, update.parts > 0) == (State.CANARY, 0, True)


def test_a_line_that_is_away_before_canary_is_no_crash(device: Device, fleet: Fleet) -> None:
    fleet.offer(2, gates=FOREVER)
    device.around = lambda kind: Along(kind, {"canary": lambda: leaves(device)})
    device.update(4)
    device.around, device.line.is_away = (lambda kind: kind), False
    update = device.update(3)
    assert (update.progress.state, update.progress.crashes, update.parts > 0) == (State.CANARY, 0, True)


@pytest.mark.parametrize("door", ["hold", "window"])
def test_a_line_that_restarts_in_canary_judges_anew_only_through_the_door(
    device: Device, fleet: Fleet, door: str
) -> None:
    before = device.in_force()
    new = fleet.offer(2, gates=FOREVER)
    device.window, device.clock.now = AT_NIGHT, NOON - timedelta(hours=11)
    device.update(3)
    assert device.line.in_force("tiny") == new
    if door == "hold":
        device.journal.note(HOLD, {"by": "Ann", "at": "now"})
    else:
        device.clock.now = NOON
    device.line.restart()
    update = device.update(5)
    assert (update.progress.state, update.progress.crashes) == (State.CANARY, 1)
    assert device.line.in_force("tiny") == before


def test_what_passed_at_the_line_is_committed_and_watched_whatever_the_door(device: Device, fleet: Fleet) -> None:
    """It judges already: held back there, it would go on judging, and nobody would watch it."""
    new = fleet.offer(2, gates={"watch_parts": 10_000})
    device.around = lambda kind: Along(
        kind, then={"canary": lambda: device.journal.note(HOLD, {"by": "Ann", "at": "now"})}
    )
    assert device.update(5).progress.state is State.WATCH
    assert device.in_force() == new


def test_a_person_takes_a_release_back_whose_end_the_line_has_not_heard(device: Device, fleet: Fleet) -> None:
    before = device.in_force()
    fleet.offer(2)
    device.around = lambda kind: Along(kind, {"cleanup": lambda: leaves(device)})
    assert device.update(12).progress.state is State.CLEANUP
    device.journal.wish("model", "tiny", "Ann")
    device.start().look()
    device.around, device.line.is_away = (lambda kind: kind), False
    device.line.restart()
    device.update()
    assert device.journal.open_updates() == []
    assert device.in_force() == device.line.in_force("tiny") == before


def test_a_person_who_takes_a_failed_release_back_loses_no_good_one(device: Device, fleet: Fleet) -> None:
    second = fleet.offer(2)
    device.update()
    third = fleet.offer(3)
    device.line.behaves[third] = "late"
    device.around = lambda kind: Along(kind, {"cleanup": lambda: leaves(device)})
    assert device.update(12).progress.state is State.CLEANUP
    wish = device.journal.wish("model", "tiny", "Ann")
    device.start().look()
    assert "as it would have been anyway" in (device.journal.answer_to(wish) or "")
    assert device.in_force() == second


def test_gates_that_nothing_can_be_judged_by_fail_that_assignment(device: Device, fleet: Fleet) -> None:
    device.make_judge = make_judge
    release: dict[str, Any] = fleet.publish(2, fleet.bundle(2).read_bytes())
    fleet.assign(release, gates={"watch_h": 400})
    update = device.update(5)
    assert (update.progress.outcome, update.assignment_seq) == ("failed", 1)
    assert "give a most_h over watch_h" in update.reason
    fleet.assign(release)
    assert device.update(3).assignment_seq == 2


def test_a_download_that_is_broken_off_for_a_person_goes_on_where_it_was(device: Device, fleet: Fleet) -> None:
    new, breaks = fleet.offer(2), [True]

    def between() -> None:
        if breaks:
            raise InterruptedWorkError("a person needs the agent")

    device.meanwhile = between
    service = device.start()
    service.ask()
    service.conductor.advance()
    update = device.newest()
    assert (update.progress.state, update.waits_for) == (State.DOWNLOAD, "a person needs the agent")
    assert next((device.state / "files").glob(".*.part")).stat().st_size > 0
    breaks.clear()
    assert device.update().progress.outcome == "success"
    assert device.in_force() == new


def test_what_is_in_force_is_not_read_at_each_look(device: Device, fleet: Fleet) -> None:
    fleet.offer(2)
    assert device.update().progress.outcome == "success"
    asked: list[str] = []

    class Counting:
        def __init__(self, kind: JudgingKind) -> None:
            self._kind = kind

        def __getattr__(self, name: str) -> Any:
            asked.append(name)
            return getattr(self._kind, name)

    device.around = Counting
    service = device.start()
    service.ask()
    for _ in range(10):
        service.look()
    assert asked.count("in_force") <= 3
