"""Which updates begin, and when they may begin to judge: assignments, release numbers, holds, the window."""

from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

from appliance.update.doors import Window
from appliance.update.lifecycle import State
from tests.update_agent import Along, Device, Fleet
from tests.update_server import UpdateServer


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


@pytest.fixture
def server(fleet: Fleet) -> Iterator[UpdateServer]:
    with UpdateServer(fleet.repository.files) as server:
        yield server


@pytest.fixture
def device(tmp_path: Path, fleet: Fleet, server: UpdateServer) -> Device:
    return fleet.device(tmp_path / "device", server)


def states(device: Device) -> list[str]:
    return [step.state for step in device.journal.steps(device.newest().number)]


def signed_otherwise(fleet: Fleet) -> None:
    release = fleet.publish(2, fleet.bundle(2).read_bytes())
    fleet.assign(release | {"sha256": "a" * 64})


def numbered_otherwise(fleet: Fleet) -> None:
    fleet.assign(fleet.publish(2, fleet.bundle(2).read_bytes(), custom_seq=3))


def of_another_name(fleet: Fleet) -> None:
    release = fleet.publish(2, fleet.bundle(2).read_bytes())
    fleet.assign(release | {"name": "other"})


def nobody_signed_it(fleet: Fleet) -> None:
    release = fleet.publish(2, fleet.bundle(2).read_bytes())
    fleet.assign(release | {"path": "models/tiny/tiny-3.bundle"})


@pytest.mark.parametrize(
    ("assigns", "words"),
    [
        (signed_otherwise, "sha256 aaaaaaaaaaaa..., and signed as 2"),
        (numbered_otherwise, "is chosen as release 2 of"),
        (nobody_signed_it, "nobody whom this device trusts vouches for it"),
    ],
)
def test_an_assignment_can_only_choose_what_the_models_role_signed(
    device: Device, fleet: Fleet, assigns: Callable[[Fleet], None], words: str
) -> None:
    before = device.in_force()
    assigns(fleet)
    update = device.update()
    assert update.progress.outcome == "failed"
    assert words in update.reason
    assert states(device)[:2] == ["CHECK", "ROLLBACK"]
    assert device.in_force() == before
    device.update()
    assert device.newest().number == update.number, "the same assignment is not tried again"


def test_a_hold_keeps_a_release_from_judging_and_goes_on_after(device: Device, fleet: Fleet) -> None:
    fleet.offer(2)
    device.around = lambda kind: Along(kind, {"prove": lambda: device.journal.note("hold", {"by": "Ann", "at": "now"})})
    update = device.update(3)
    assert (update.progress.state, device.line.in_force("tiny")) == (State.CANARY, device.in_force())
    assert "Ann holds updates" in update.waits_for
    device.around = lambda kind: kind
    device.journal.note("hold", None)
    assert device.update().progress.outcome == "success"


def test_what_is_new_is_not_begun_on_hold(device: Device, fleet: Fleet) -> None:
    device.journal.note("hold", {"by": "Ann", "at": "now"})
    fleet.offer(2)
    service = device.start()
    assert service.ask() is None
    assert service.journal.latest() == []


def test_a_release_begins_to_judge_in_the_maintenance_window_only(device: Device, fleet: Fleet) -> None:
    night = Window(begins="22:00", ends="05:00", days=("mon", "fri"))
    moments = {
        "2026-11-27T21:59": False, "2026-11-27T22:00": True, "2026-11-28T04:59": True, "2026-11-28T05:00": False,
        "2026-11-28T23:00": False, "2026-11-30T03:00": False, "2026-12-01T03:00": True,
    }  # fmt: skip
    for text, is_open in moments.items():
        assert night.is_open(datetime.fromisoformat(text).replace(tzinfo=timezone.utc)) is is_open, text
    assert Window().is_open(datetime.now(timezone.utc))
    now = datetime.now(timezone.utc)
    closed = f"{(now.hour + 2) % 24:02}:00", f"{(now.hour + 3) % 24:02}:00"
    device.window = Window(begins=closed[0], ends=closed[1])
    fleet.offer(2)
    update = device.update(3)
    assert update.progress.state is State.CANARY
    assert "it waits for the maintenance window" in update.waits_for
    device.window = Window()
    assert device.update().progress.outcome == "success"


def test_an_assignment_that_asks_for_another_release_ends_the_one_under_way(device: Device, fleet: Fleet) -> None:
    before = device.in_force()
    fleet.offer(2, gates={"watch_parts": 10**6})
    assert device.update(4).progress.state is State.WATCH
    new = fleet.offer(3)
    assert device.update().progress.outcome == "success"
    assert device.in_force() == new
    first = device.journal.of_digest(str(fleet.publish(2, fleet.bundle(2).read_bytes())["sha256"]))[0]
    assert (first.progress.outcome, first.previous) == ("rolled_back", before)
    assert "asks for release 3 instead" in first.reason


def test_an_assignment_of_what_this_device_does_not_run_is_told_and_begins_nothing(
    device: Device, fleet: Fleet
) -> None:
    of_another_name(fleet)
    service = device.start()
    assert service.ask() is not None
    assert "model/other is nothing that this device runs" in service.journal.noted("problem")
    assert service.journal.latest() == []


def test_an_older_assignment_is_not_followed(device: Device, fleet: Fleet) -> None:
    for _ in range(2):
        fleet.offer(2)
    assert device.update().progress.outcome == "success"
    fleet.assigned = 0
    fleet.offer(3)
    service = device.start()
    assert service.ask() is not None
    assert "release 1 is offered, and this device has taken 2" in service.journal.noted("problem")
    assert len(service.journal.latest()) == 1
    assert device.newest().release.seq == 2


def test_an_older_release_cannot_be_assigned(device: Device, fleet: Fleet) -> None:
    old = fleet.publish(2, fleet.bundle(2).read_bytes())
    fleet.offer(3)
    assert device.update().progress.outcome == "success"
    fleet.assign(old)
    update = device.update()
    assert update.progress.outcome == "failed"
    assert "publish the old content as release 4" in update.reason
    fleet.assign(fleet.publish(4, fleet.bundle(2).read_bytes()))
    assert device.update().progress.outcome == "success", "older content under a newer number is the way back"


def test_another_models_number_is_its_own(device: Device, fleet: Fleet) -> None:
    fleet.repository.add_target("models/other/other-9.bundle", b"o", role="models", custom={"kind": "model", "seq": 9})
    fleet.offer(2)
    device.kind.source.floor.rise_to_releases(
        device.kind.source.repository.find("models/other/other-9.bundle").releases
    )
    assert device.update().progress.outcome == "success"
