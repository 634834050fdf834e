"""Which program is started and which is tried: what is on disk decides, and what a launcher wrote decides a trial."""

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from appliance import launch
from appliance.errors import StorageError
from appliance.launch import BUILT, CONFIRMED, FAILED, HEALTHY, PROVED, READY, STARTING, STARTS, Starts
from appliance.update.app_slots import AppSlots
from tests.app_releases import make_slot
from tests.small_disk import fill, small_disk

NO_PROCESS = 2**22 + 1
"""Above what Linux numbers processes with."""


@pytest.fixture
def slots(tmp_path: Path) -> AppSlots:
    """1.0 is in force in slot a, and 2.0 proved in slot b."""
    folder = tmp_path / "slots"
    make_slot(folder, "a", "1.0")
    (folder / "current").symlink_to("a")
    make_slot(folder, "b", "2.0", state=PROVED, seq=2)
    return AppSlots(folder, {"run": tmp_path / "run.json", "agent": tmp_path / "agent.json"})


OLD, NEW = "10".rjust(64, "0"), "20".rjust(64, "0")


def note(slots: AppSlots, unit: str, phase: str, *, tries_left: int = 2, pid: int = 0, boot_id: str = "") -> None:
    """What a launcher writes."""
    trial = slots.trial()
    assert trial is not None
    starts = Starts(trial.id, tries_left, phase, "it crashed" if phase == FAILED else "", pid or os.getpid(),
                    boot_id or launch.boot_id())  # fmt: skip
    launch.write_note(slots.units[unit], starts, STARTS)


def restart_words(slots: AppSlots) -> str:
    path = slots.folder / "restart"
    return path.read_text() if path.exists() else ""


def confirm(slots: AppSlots) -> None:
    slots.begin_trial(NEW)
    for unit in slots.units:
        note(slots, unit, HEALTHY)
    slots.confirm(NEW)


def test_a_trial_is_begun_once_and_a_restart_asked_for_once(slots: AppSlots) -> None:
    slots.begin_trial(NEW)
    trial, asked = slots.trial(), (slots.folder / "restart").stat()
    slots.begin_trial(NEW)
    assert slots.trial() == trial
    assert trial is not None and (trial.slot, trial.sha256, trial.tries) == ("b", NEW, 3)
    assert restart_words(slots) == f"try {trial.id}"
    assert (slots.folder / "restart").stat().st_ino == asked.st_ino
    assert slots.in_force() == OLD


def test_a_release_that_is_in_force_needs_no_trial(slots: AppSlots) -> None:
    slots.begin_trial(OLD)
    assert slots.trial() is None
    assert restart_words(slots) == ""


def test_what_was_not_proved_cannot_be_tried(slots: AppSlots) -> None:
    launch.write_note(launch.slot_note(slots.folder, "b"), launch.Slot(NEW, "appliance", "2.0", 2, BUILT), launch.SLOT)
    with pytest.raises(StorageError, match="no slot has the release 000000000000 proved"):
        slots.begin_trial(NEW)


@pytest.mark.parametrize(
    ("phase", "tries_left", "is_there", "state"),
    [
        (STARTING, 2, True, "waits"),
        (READY, 0, True, "waits"),  # the last start, and it goes on
        (READY, 0, False, "failed"),  # power was cut in the last start
        (READY, 1, False, "waits"),
        (FAILED, 1, False, "waits"),
        (FAILED, 0, True, "failed"),
        (HEALTHY, 0, True, "healthy"),
        (HEALTHY, 1, False, "waits"),
        (HEALTHY, 0, False, "failed"),
    ],
)
def test_a_trial_is_as_well_as_its_worst_unit(
    slots: AppSlots, phase: str, tries_left: int, is_there: bool, state: str
) -> None:
    slots.begin_trial(NEW)
    note(slots, "agent", HEALTHY)
    assert slots.health(NEW).state == "waits"  # run was not started yet
    note(slots, "run", phase, tries_left=tries_left, pid=0 if is_there else NO_PROCESS)
    assert slots.health(NEW).state == state


def test_what_was_written_before_the_machine_started_anew_is_not_health(slots: AppSlots) -> None:
    slots.begin_trial(NEW)
    note(slots, "agent", HEALTHY)
    note(slots, "run", HEALTHY, boot_id="another boot")
    assert slots.health(NEW).state == "waits"


def test_a_note_of_another_trial_says_nothing_of_this_one(slots: AppSlots) -> None:
    confirm(slots)
    make_slot_again(slots)
    slots.begin_trial("30".rjust(64, "0"))
    assert slots.health("30".rjust(64, "0")).reason.startswith("run has not been started with it yet")


def make_slot_again(slots: AppSlots) -> None:
    """3.0 in the place of 1.0, as an update does it."""
    shutil.rmtree(slots.folder / "a")
    make_slot(slots.folder, "a", "3.0", state=PROVED, seq=3)


def test_a_damaged_note_of_a_launcher_ends_the_trial(slots: AppSlots) -> None:
    slots.begin_trial(NEW)
    slots.units["run"].write_bytes(b"\0\0\0")
    health = slots.health(NEW)
    assert (health.state, "is damaged" in health.reason) == ("failed", True)


def test_only_a_healthy_trial_is_confirmed(slots: AppSlots) -> None:
    slots.begin_trial(NEW)
    note(slots, "agent", HEALTHY)
    note(slots, "run", READY)
    with pytest.raises(RuntimeError, match="run: ready, it is being watched"):
        slots.confirm(NEW)
    note(slots, "run", HEALTHY)
    for _ in range(2):
        slots.confirm(NEW)
        assert (slots.in_force(), slots.trial()) == (NEW, None)
    assert slots.health(NEW).state == "healthy"


def test_a_trial_that_is_given_up_leaves_what_is_in_force(slots: AppSlots) -> None:
    slots.begin_trial(NEW)
    for _ in range(2):
        assert slots.roll_back(OLD)
        assert (slots.in_force(), slots.trial()) == (OLD, None)
    assert slots.health(NEW).state == "failed"


def test_the_way_back_asks_for_a_restart_only_if_something_else_runs(slots: AppSlots) -> None:
    slots.begin_trial(NEW)
    asked = restart_words(slots)
    slots.roll_back(OLD)
    assert restart_words(slots) == asked
    slots.begin_trial(NEW)
    with launch.held(slots.folder / "b", fcntl.LOCK_SH):  # as a launcher holds it while the program runs
        slots.roll_back(OLD)
        assert slots.is_other_running(OLD)
    assert restart_words(slots) == f"back to {OLD}"
    assert not slots.is_other_running(OLD)


def test_the_way_back_from_a_preparation_that_failed_restarts_nothing(slots: AppSlots) -> None:
    with launch.held(slots.folder / "a", fcntl.LOCK_SH):
        assert slots.roll_back(OLD)
    assert restart_words(slots) == ""


def test_what_was_confirmed_can_be_left_again_and_is_then_no_way_out(slots: AppSlots) -> None:
    confirm(slots)
    assert slots.roll_back(OLD)
    assert slots.in_force() == OLD
    assert [slot.state for name in ("a", "b") if (slot := slots.read(name))] == [CONFIRMED, PROVED]


def test_the_way_back_may_lead_to_the_images_own_program(slots: AppSlots) -> None:
    confirm(slots)
    assert slots.roll_back("")
    assert slots.in_force() == ""
    assert not os.path.lexists(slots.folder / "current")
    assert [slot.state for name in ("a", "b") if (slot := slots.read(name))] == [PROVED, PROVED]


def test_there_is_no_way_back_to_what_is_gone(slots: AppSlots) -> None:
    confirm(slots)
    assert not slots.roll_back("9" * 64)
    assert slots.in_force() == NEW
    assert slots.keeps("") and slots.keeps(OLD) and not slots.keeps("9" * 64)


def test_a_release_that_is_forgotten_is_nothing_unless_it_is_started(slots: AppSlots) -> None:
    for sha256 in (OLD, NEW):
        slots.forget(sha256)
    assert (slots.keeps(OLD), slots.keeps(NEW)) == (True, False)
    assert slots.spare() == "b"


def test_a_full_disk_leaves_everything_as_it_was(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", 1 << 20) as small:
        make_slot(small / "slots", "a", "1.0")
        (small / "slots" / "current").symlink_to("a")
        make_slot(small / "slots", "b", "2.0", state=PROVED, seq=2)
        slots = AppSlots(small / "slots", {})
        fill(small)
        with pytest.raises(StorageError, match="No space left on device"):
            slots.begin_trial(NEW)
        assert (slots.trial(), slots.in_force()) == (None, OLD)
