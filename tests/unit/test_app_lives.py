"""Whole lives of the application's releases: a real repository, real slots, and launchers that start real programs."""

import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from appliance.bundle.gate_settings import Gates
from appliance.update.app_settings import AppLimits
from appliance.update.app_slots import AppSlots
from appliance.update.assignment import AssignedRelease
from appliance.update.lifecycle import Progress, State
from tests.app_agent import APP, AppDevice, AppFleet, Systemd
from tests.line import eventually
from tests.small_disk import fill, small_disk
from tests.update_agent import Along
from tests.update_server import UpdateServer

FORWARD = ["CHECK", "DOWNLOAD", "VERIFY", "STAGE", "BUILD", "PROVE", "SHADOW", "CANARY", "COMMIT", "WATCH", "REPORT",
           "CLEANUP", "IDLE"]  # fmt: skip
BACK = ["ROLLBACK", "VERIFY_ROLLBACK", "FAILURE", "REPORT", "CLEANUP", "IDLE"]


@pytest.fixture
def fleet(tmp_path: Path) -> AppFleet:
    return AppFleet(tmp_path)


@pytest.fixture
def server(fleet: AppFleet) -> Iterator[UpdateServer]:
    with UpdateServer(fleet.repository.files) as server:
        yield server


@pytest.fixture
def device(tmp_path: Path, fleet: AppFleet, server: UpdateServer) -> AppDevice:
    return fleet.app_device(tmp_path / "device", server)


def states(device: AppDevice) -> list[str]:
    return [step.state for step in device.journal.steps(device.newest().number)]


@pytest.mark.long
def test_a_release_goes_from_the_repository_to_what_is_started(device: AppDevice, fleet: AppFleet) -> None:
    release = fleet.sign(7, fleet.package(7, "7.0").read_bytes())
    fleet.assign(release)
    with device.systemd():
        assert eventually(lambda: device.started() == ["0.1"])
        update = device.update()
        assert (update.progress.outcome, states(device)) == ("success", FORWARD), update
        assert device.started() == ["0.1", "7.0"], "one restart, and none for the confirmation"
    assert (device.slots.in_force(), device.slots.trial()) == (release["sha256"], None)
    assert device.app.keeps(APP, ""), "the image's own can be gone back to"
    assert not list((device.state / "files").glob("[!.]*"))
    with device.systemd():
        assert eventually(lambda: device.started()[2:] == ["7.0"])


def test_a_release_for_another_name_or_number_is_refused(device: AppDevice, fleet: AppFleet) -> None:
    fleet.assign(fleet.sign(8, fleet.package(7, "7.0").read_bytes()))
    update = device.update()
    assert (update.progress.outcome, states(device)[2:]) == ("quarantined", ["VERIFY", *BACK])
    assert "says that it is appliance number 7, and was signed as appliance number 8" in update.reason


@pytest.mark.parametrize(
    ("behaviour", "words", "starts"),
    [
        ("crashes", r"run: (the program ended with 1|its process is gone), and no start is left", 3),
        ("refuses", r"run: the program ended with 78, and no start is left", 1),
        ("hangs", r"run: (silent for more than 1 s|its process is gone), and no start is left", 3),
    ],
)
def test_a_release_that_fails_on_trial_is_left_without_anybodys_doing(
    device: AppDevice, fleet: AppFleet, behaviour: str, words: str, starts: int
) -> None:
    bad = fleet.bring(device, 7, behaviour)
    with device.systemd(healthy_s=3):
        update = device.update()
        assert (update.progress.outcome, states(device)[-7:]) == ("quarantined", ["CANARY", *BACK])
        assert re.search(words, update.reason)
        assert eventually(lambda: device.started()[-1] == "0.1")
    assert device.started().count("7.0") == starts
    assert (device.slots.in_force(), device.slots.trial(), device.slots.keeps(bad)) == ("", None, False)


def test_a_trial_that_no_unit_ever_starts_ends_with_its_time_and_blames_no_release(
    device: AppDevice, fleet: AppFleet
) -> None:
    device.limits = AppLimits(trial_min=0.02)
    fleet.bring(device, 7)
    update = device.update()
    assert (update.progress.outcome, states(device)[-7:]) == ("failed", ["CANARY", *BACK])
    assert "run has not been started with it yet" in update.reason
    assert "no start was counted within 0.02 min" in update.reason
    assert (device.journal.quarantined(), device.slots.trial()) == ({}, None)


@pytest.mark.long
def test_a_full_disk_on_which_no_start_is_counted_blames_no_release(
    tmp_path: Path, device: AppDevice, fleet: AppFleet
) -> None:
    with small_disk(tmp_path / "small", 1 << 20) as small:
        out = tmp_path / "run.out"
        device.slots = AppSlots(device.slots.folder, {"run": small / "starts.json"})
        ballast, device.limits = fill(small), AppLimits(trial_min=0.02)
        new = fleet.bring(device, 7)
        image, units = device.folder / "image", dict(device.slots.units)
        with Systemd(device.slots.folder, image, units, arguments=lambda _: ["run", str(out)]):
            update = device.update()
            assert (update.progress.outcome, device.journal.quarantined()) == ("failed", {})
            assert "no start was counted" in update.reason
            ballast.unlink()
            device.limits = AppLimits()
            fleet.assign(fleet.sign(7, fleet.package(7, "7.0").read_bytes()))
            assert device.update().progress.outcome == "success"
        assert device.slots.in_force() == new


def test_a_unit_that_was_started_and_is_not_well_is_to_blame(
    tmp_path: Path, fleet: AppFleet, server: UpdateServer
) -> None:
    """Also where another unit was never started with it."""
    device = fleet.app_device(tmp_path / "device", server, units=("agent", "run"), limits=AppLimits(trial_min=0.02))
    fleet.bring(device, 7)
    device.around_app = lambda kind: Along(kind, {"canary": partial(device.crashes, 2)})
    update = device.update()
    assert update.progress.outcome == "quarantined", update
    assert "it crashed, 2 starts left; not well within 0.02 min" in update.reason


def test_two_units_must_both_be_well(tmp_path: Path, fleet: AppFleet, server: UpdateServer) -> None:
    device = fleet.app_device(tmp_path / "device", server, units=("run", "agent"))
    new = fleet.bring(device, 7)
    with device.systemd():
        assert device.update().progress.outcome == "success"
        assert [device.started(unit)[-1] for unit in device.units] == ["7.0", "7.0"]
    assert device.slots.in_force() == new


def test_a_confirmed_release_that_is_started_again_and_again_is_left(device: AppDevice, fleet: AppFleet) -> None:
    bad = fleet.bring(device, 7, gates={"watch_h": 1})
    device.limits = AppLimits(most_restarts=2)

    def kill() -> None:
        if device.started()[-1] == "7.0" and device.newest().looked:
            os.kill(device.pid(), 9)
            assert eventually(lambda: device.started().count("7.0") > kills[0])
            kills[0] += 1

    kills = [1]
    device.around_app = lambda kind: Along(kind, {"watch": kill})  # type: ignore[arg-type]
    with device.systemd():
        update = device.update()
        assert (update.progress.outcome, states(device)[-7:]) == ("quarantined", ["WATCH", *BACK])
        assert eventually(lambda: device.started()[-1] == "0.1")
    assert "its programs were started anew 3 times, and 2 are allowed" in update.reason
    assert (device.slots.in_force(), device.slots.keeps(bad)) == ("", False)


def test_a_program_that_does_not_run_is_no_success(device: AppDevice, fleet: AppFleet) -> None:
    new = fleet.bring(device, 7)
    device.limits = AppLimits(trial_min=0.02)
    with device.systemd() as systemd:

        def stop() -> None:
            if device.slots.in_force() == new:
                systemd.is_off = True
                os.kill(device.pid(), 9)
                assert eventually(lambda: not device.slots.is_running("a"))
                fleet.assign()  # so that it is not begun again

        device.around_app = lambda kind: Along(kind, then={"commit": stop})  # type: ignore[arg-type]
        update = device.update()
    assert (update.progress.outcome, states(device)[-7:]) == ("rolled_back", ["WATCH", *BACK])
    assert "1 of its programs did not run for" in update.reason


def test_a_person_goes_back_to_the_image_and_the_release_does_not_come_again(
    device: AppDevice, fleet: AppFleet
) -> None:
    new = fleet.bring(device, 7)
    with device.systemd():
        device.update()
        device.journal.wish("app", APP, "Ann")
        update = device.update()
        assert (update.progress.verdict, update.by, device.slots.in_force()) == ("rolled_back", "Ann", "")
        assert eventually(lambda: device.started()[-1] == "0.1")
        device.update()
    assert new in device.journal.quarantined()
    assert device.newest().number == update.number


def test_a_person_gives_a_trial_up(device: AppDevice, fleet: AppFleet) -> None:
    fleet.bring(device, 7)
    with device.systemd(healthy_s=3600):
        for _ in range(20):
            if device.update(10).progress.state is State.CANARY and device.started()[-1:] == ["7.0"]:
                break
        device.journal.wish("app", APP, "Ann")
        assert device.update().progress.outcome == "quarantined" or device.newest().progress.outcome == "rolled_back"
        assert eventually(lambda: device.started()[-1] == "0.1")
    assert (device.slots.trial(), device.slots.in_force()) == (None, "")


def test_a_hold_keeps_a_trial_from_beginning_and_not_from_ending(device: AppDevice, fleet: AppFleet) -> None:
    new = fleet.bring(device, 7)
    hold = {"by": "Ann", "at": "2026-01-01T00:00:00Z"}
    device.around_app = lambda kind: Along(kind, then={"shadow": lambda: device.journal.note("hold", hold)})  # type: ignore[arg-type]
    service = device.start()
    service.ask()
    with device.systemd():
        for _ in range(3):
            service.look()
        assert (device.newest().progress.state, device.slots.trial()) == (State.CANARY, None)
        service.journal.note("hold", None)
        while device.slots.trial() is None:
            service.look()
        service.journal.note("hold", hold)
        assert eventually(lambda: service.look() or device.slots.in_force() == new)


def test_a_trial_waits_for_a_model_that_is_on_trial_at_the_line(device: AppDevice, fleet: AppFleet) -> None:
    model = AssignedRelease(kind="model", name="tiny", path="models/tiny/t.bundle", sha256="a" * 64, length=9, seq=2)
    gates = Gates(shadow_parts=1, canary_parts=1, watch_parts=1, watch_h=0)
    journal = device.journal
    other = journal.rest(journal.begin(model, gates, Progress(State.CANARY)), "more parts", since_seq=5)
    new = fleet.bring(device, 7)
    service = device.start()
    service.ask()
    service.look()
    (app,) = journal.of_digest(new)
    assert (app.progress.state, device.slots.trial()) == (State.CANARY, None)
    assert app.waits_for == "release 2 of model tiny is on trial at the line; this one goes on by itself after that"
    journal.move(other, Progress(State.WATCH), "")
    service.look()
    assert device.slots.trial() is not None
