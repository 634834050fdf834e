"""The launcher as systemd starts it: a real process, real virtual environments, and a program that behaves as told."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from appliance import launch
from appliance.launch import BUILT, CONFIRMED, FAILED, HEALTHY, PROVED, READY, STARTS, TRIAL, Starts, Trial
from appliance.update.app_slots import AppSlots
from tests.app_releases import LAUNCHER, make_environment, make_slot
from tests.line import eventually
from tests.small_disk import fill, small_disk

pytestmark = pytest.mark.long

PATIENCE_S = 30


def wait_for(what: Callable[[], object]) -> None:
    assert eventually(lambda: bool(what())), "it did not come"


@dataclass
class Device:
    """A device's folders, and what systemd is to it: it starts the unit, again and again if asked."""

    folder: Path
    silence_s: float = 5.0
    ready_s: float = 20.0
    healthy_s: float = 0.2
    running: list["subprocess.Popen[str]"] = field(default_factory=list)
    notify: str = ""

    def __post_init__(self) -> None:
        self.slots.mkdir(exist_ok=True)

    @property
    def slots(self) -> Path:
        return self.folder / "slots"

    @property
    def starts(self) -> Path:
        return self.folder / "starts.json"

    @property
    def app(self) -> AppSlots:
        return AppSlots(self.slots, {"run": self.starts})

    @property
    def started(self) -> list[str]:
        """The versions that were started, in their order."""
        out = self.folder / "out"
        return [line.split()[0] for line in out.read_text().splitlines()] if out.exists() else []

    @property
    def pid(self) -> int:
        return int((self.folder / "out").read_text().split()[-1])

    @property
    def phase(self) -> str:
        return self.noted[0]

    @property
    def noted(self) -> tuple[str, int]:
        """Phase and starts left of one and the same note."""
        if not self.starts.exists():
            return "", 0
        note = self.note
        return note.phase, note.tries_left

    @property
    def note(self) -> Starts:
        starts = launch.read_note(self.starts, Starts, STARTS)
        assert starts is not None
        return starts

    def start(self) -> "subprocess.Popen[str]":
        environment = {"PATH": os.environ["PATH"], "NOTIFY_SOCKET": self.notify}
        command = [sys.executable, "-I", "-S", LAUNCHER, "--slots", self.slots, "--image", self.folder / "image",
                   "--starts", self.starts, "--silence-s", str(self.silence_s), "--ready-s", str(self.ready_s),
                   "--healthy-s", str(self.healthy_s), "--", "run", self.folder / "out"]  # fmt: skip
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
        self.running.append(process)
        return process

    def start_until(self, version: str) -> str:
        """Start until this version runs, and stop it; returns all that the launcher said."""
        said = ""
        for _ in range(10):
            before, process = len(self.started), self.start()
            wait_for(lambda: len(self.started) > before or process.poll() is not None)  # noqa: B023
            if self.started[before:] and self.started[-1] == version:
                process.terminate()
                said += process.communicate(timeout=PATIENCE_S)[1]
                self.running.clear()
                return said
            said += process.communicate(timeout=PATIENCE_S)[1]
        raise AssertionError(said)

    def cut_power(self) -> None:
        """End everything at once, and let nobody write a last word."""
        for process in self.running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stderr is not None:
                process.stderr.close()
        self.running.clear()


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    device = Device(tmp_path)
    make_environment(tmp_path / "image", "0.1")
    yield device
    device.cut_power()


@pytest.fixture
def trial(device: Device) -> Device:
    """Version 1.0 is in force in slot a; what is in slot b is a test's matter."""
    make_slot(device.slots, "a", "1.0")
    (device.slots / "current").symlink_to("a")
    return device


def try_out(device: Device, behaviour: str = "is well") -> str:
    sha256 = make_slot(device.slots, "b", "2.0", behaviour, state=PROVED, seq=2)
    device.app.begin_trial(sha256)
    return sha256


def test_a_device_without_slots_starts_what_its_image_brings(device: Device) -> None:
    assert device.start_until("0.1") == ""


def test_the_confirmed_release_is_started_and_nothing_is_counted(trial: Device) -> None:
    for _ in range(5):
        assert trial.start_until("1.0") == ""
    assert not trial.starts.exists()


def test_the_confirmed_program_takes_the_launchers_place(trial: Device) -> None:
    process = trial.start()
    wait_for(lambda: trial.started)
    assert trial.pid == process.pid


def test_a_release_that_is_well_is_tried_noted_and_after_its_confirmation_never_counted_again(trial: Device) -> None:
    sha256 = try_out(trial)
    process = trial.start()
    wait_for(lambda: trial.phase == HEALTHY)
    assert trial.started == ["2.0"]
    assert trial.app.in_force() != sha256
    trial.app.confirm(sha256)
    process.terminate()
    assert process.wait(PATIENCE_S) == 0
    left = trial.note.tries_left
    for _ in range(5):
        trial.start_until("2.0")
    assert trial.note.tries_left == left


def test_it_is_healthy_only_after_the_stated_time(trial: Device) -> None:
    trial.healthy_s = 1000
    sha256 = try_out(trial)
    trial.start()
    wait_for(lambda: trial.phase == READY)
    assert trial.app.health(sha256).state == "waits"
    with pytest.raises(RuntimeError, match="cannot be confirmed"):
        trial.app.confirm(sha256)


@pytest.mark.parametrize(
    ("behaviour", "why", "starts"),
    [
        ("crashes", "the program ended with 1", 3),
        ("refuses", "the program ended with 78", 1),  # systemd would not start it again: it is not cured by that
        ("is never ready", "not ready after 0.5 s", 3),
        ("hangs", "silent for more than 0.5 s", 3),
    ],
)
def test_a_release_that_is_not_well_gives_way_to_the_one_before(
    trial: Device, behaviour: str, why: str, starts: int
) -> None:
    trial.ready_s = trial.silence_s = 0.5
    trial.healthy_s = 1000
    sha256 = try_out(trial, behaviour)
    said = trial.start_until("1.0")
    assert trial.started == ["2.0"] * starts + ["1.0"]
    assert why in said
    assert (trial.phase, trial.note.tries_left, trial.note.why) == (FAILED, 0, why)
    health = trial.app.health(sha256)
    assert (health.state, health.reason) == ("failed", f"run: {why}, and no start is left; look at the unit's log")
    assert trial.start_until("1.0").count("is not tried again") == 1


def test_whoever_takes_long_to_start_and_says_so_gets_the_time(trial: Device) -> None:
    trial.ready_s = 0.4
    try_out(trial, "takes long to start")
    trial.start()
    wait_for(lambda: trial.phase == HEALTHY)
    assert trial.started == ["2.0"]


def test_a_power_cut_in_each_trial_ends_with_the_release_before(trial: Device) -> None:
    trial.healthy_s = 1000
    sha256 = try_out(trial)
    for left in (2, 1, 0):
        trial.start()
        wait_for(lambda: trial.noted == (READY, left))  # noqa: B023
        program = trial.pid
        trial.cut_power()
        wait_for(lambda: not Path(f"/proc/{program}").exists())  # noqa: B023
    assert trial.app.health(sha256).state == "failed"
    trial.start_until("1.0")
    assert trial.started == ["2.0", "2.0", "2.0", "1.0"]


def test_the_program_does_not_outlive_a_launcher_that_was_killed(trial: Device) -> None:
    try_out(trial, "is never ready")  # and so never finds out by itself that nobody listens
    process = trial.start()
    wait_for(lambda: trial.started)
    process.kill()
    wait_for(lambda: not Path(f"/proc/{trial.pid}").exists())


def test_a_trial_that_is_stopped_in_order_ends_as_its_program_does(trial: Device) -> None:
    try_out(trial)
    process = trial.start()
    wait_for(lambda: trial.phase == HEALTHY)
    process.terminate()
    assert process.wait(PATIENCE_S) == 0
    assert trial.note.why == ""


def test_systemd_hears_what_a_program_on_trial_says(trial: Device) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        trial.notify = str(trial.folder / "notify")
        systemd.bind(trial.notify)
        systemd.settimeout(PATIENCE_S)
        try_out(trial)
        trial.start()
        heard = [systemd.recv(100) for _ in range(4)]
    assert heard == [b"EXTEND_TIMEOUT_USEC=120000000", b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]


def test_what_another_process_says_of_a_trial_counts_for_nothing(trial: Device) -> None:
    trial.ready_s = 1.0
    try_out(trial, "is never ready")
    process = trial.start()
    wait_for(lambda: trial.started)
    environment = Path(f"/proc/{trial.pid}/environ").read_text().split("\0")
    address = next(line.partition("=")[2] for line in environment if line.startswith("NOTIFY_SOCKET="))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as liar:
        liar.sendto(b"READY=1", "\0" + address[1:])
    assert process.wait(PATIENCE_S) == launch.EXIT_AGAIN
    assert trial.note.why == "not ready after 1 s"


def damage_trial(device: Device) -> None:
    (device.slots / "trial.json").write_bytes(b'{"schema": "vi.app-trial/1", "slot"')


def damage_starts(device: Device) -> None:
    device.starts.write_bytes(b"\0" * 100)


def damage_slot(device: Device) -> None:
    launch.slot_note(device.slots, "b").write_bytes(b"")


def lose_slot(device: Device) -> None:
    shutil.rmtree(device.slots / "b")


def lose_interpreter(device: Device) -> None:
    interpreter = device.slots / "b" / "bin" / "python"
    interpreter.unlink()
    interpreter.symlink_to("/usr/bin/there-is-no-such-python")


def lose_program(device: Device) -> None:
    shutil.rmtree(next((device.slots / "b" / "lib").glob("*/site-packages/appliance")))


def leave_unfinished(device: Device) -> None:
    path = launch.slot_note(device.slots, "b")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"state": BUILT}))


DAMAGE = [damage_trial, damage_starts, damage_slot, lose_slot, lose_interpreter, lose_program, leave_unfinished]


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda each: str(each.__name__))
def test_a_trial_that_is_damaged_is_not_begun_and_that_is_said(trial: Device, damage: Callable[[Device], None]) -> None:
    try_out(trial)
    damage(trial)
    assert "<3>launch: " in trial.start_until("1.0")
    assert trial.started == ["1.0"]


@pytest.mark.parametrize("damage", DAMAGE[2:], ids=lambda each: str(each.__name__))
def test_a_slot_in_force_that_is_damaged_gives_way_to_the_other_one(
    trial: Device, damage: Callable[[Device], None]
) -> None:
    make_slot(trial.slots, "b", "2.0", seq=2)
    (trial.slots / "current").unlink()
    (trial.slots / "current").symlink_to("b")
    damage(trial)
    assert "slot b is not started" in trial.start_until("1.0")


@pytest.mark.parametrize("target", ["c", "../slots/b", "/", ""])
def test_a_link_that_leads_elsewhere_gives_way_to_the_newest_that_was_confirmed(trial: Device, target: str) -> None:
    make_slot(trial.slots, "b", "2.0", seq=2)
    (trial.slots / "current").unlink()
    if target:
        (trial.slots / "current").symlink_to(target)
    else:
        (trial.slots / "current").write_text("b")
    assert "is no link to a or b" in trial.start_until("2.0")


def test_what_was_never_confirmed_is_no_way_out(trial: Device) -> None:
    make_slot(trial.slots, "b", "2.0", state=PROVED, seq=2)
    shutil.rmtree(trial.slots / "a")
    assert "slot a is not started" in trial.start_until("0.1")


def test_with_both_slots_lost_the_images_own_program_is_started(trial: Device) -> None:
    shutil.rmtree(trial.slots)
    assert trial.start_until("0.1") == ""
    trial.slots.mkdir()
    (trial.slots / "current").symlink_to("a")
    assert "slot a is not started" in trial.start_until("0.1")


def test_with_nothing_at_all_it_says_so_and_is_not_started_again(device: Device) -> None:
    shutil.rmtree(device.folder / "image")
    process = device.start()
    assert "install the appliance there" in process.communicate(timeout=PATIENCE_S)[1]
    assert process.returncode == launch.EXIT_NOTHING


def test_starts_that_cannot_be_counted_on_a_full_disk_are_none(trial: Device) -> None:
    try_out(trial)
    with small_disk(trial.folder / "small", 1 << 20) as small:
        disk = Device(trial.folder)
        fill(small)
        environment = {"PATH": os.environ["PATH"]}
        command = [sys.executable, "-I", "-S", LAUNCHER, "--slots", disk.slots, "--image", disk.folder / "image",
                   "--starts", small / "starts.json", "--", "run", disk.folder / "out"]  # fmt: skip
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        wait_for(lambda: disk.started)
        process.terminate()
        said = process.communicate(timeout=PATIENCE_S)[1]
    assert disk.started == ["1.0"]
    assert "its starts cannot be counted" in said


def test_a_trial_whose_slot_is_in_force_already_is_over(trial: Device) -> None:
    sha256 = make_slot(trial.slots, "b", "2.0", state=CONFIRMED, seq=2)
    launch.write_note(trial.slots / "trial.json", Trial("1", "b", sha256, 3), TRIAL)
    (trial.slots / "current").unlink()
    (trial.slots / "current").symlink_to("b")
    assert trial.start_until("2.0") == ""
    assert not trial.starts.exists()
