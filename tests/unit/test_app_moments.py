"""A kill at any moment of an application's update: a whole program is started, and the same call does the rest."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from appliance import launch
from appliance.launch import HEALTHY, STARTS, Starts
from tests.app_child import PHASES, builder_in, digest, tree
from tests.app_releases import LAUNCHER, Wheels, make_environment, make_slot
from tests.line import eventually

pytestmark = pytest.mark.long

BEFORE = "10".rjust(64, "0")
"""The digest of what is in force, version 1.0."""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release")
    return Wheels.write(folder / "wheels", "2.0").pack(folder / "appliance-2.zip", "2.0")


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 1.0 is in force in slot a, and the image brings 0.1."""
    folder = tmp_path_factory.mktemp("device") / "fresh"
    make_environment(folder / "image", "0.1")
    (folder / "slots").mkdir()
    assert make_slot(folder / "slots", "a", "1.0") == BEFORE
    (folder / "slots" / "current").symlink_to("a")
    return folder


@pytest.fixture(scope="module")
def built(device: Path, package: Path) -> Path:
    """The same with 2.0 staged and built."""
    folder = device.with_name("built")
    shutil.copytree(device, folder, symlinks=True)
    for phase in ("stage", "build"):
        do(phase, folder, package)
    return folder


def do(phase: str, folder: Path, package: Path) -> None:
    PHASES[phase](builder_in(folder), package, digest(package), BEFORE)


def say_healthy(folder: Path) -> None:
    """What a launcher writes of a program that runs; here it is this very process."""
    trial = builder_in(folder).slots.trial()
    assert trial is not None
    note = Starts(trial.id, 2, HEALTHY, "", os.getpid(), launch.boot_id())
    launch.write_note(folder / "starts.json", note, STARTS)


def started(folder: Path) -> str:
    """The version that a device starts now, by its real launcher; what that writes goes elsewhere."""
    starts = folder.with_name("starts-of-a-look.json")
    shutil.copy(folder / "starts.json", starts) if (folder / "starts.json").exists() else starts.unlink(missing_ok=True)
    command = [sys.executable, "-I", "-S", LAUNCHER, "--slots", folder / "slots", "--image", folder / "image",
               "--starts", starts, "--", "--version"]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()[-1]


def moments_of(phase: str, folder: Path, package: Path) -> list[Path]:
    """Do a phase in a process of its own; returns what a kill would have left, one folder for each moment."""
    moments = folder.with_name(f"{folder.name}-moments")
    moments.mkdir()
    command = [sys.executable, "-m", "tests.app_child", phase, folder, package, moments, BEFORE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["unsynced"] == []
    found = sorted(moments.iterdir())
    assert found
    return found


def settled(folder: Path) -> dict[str, str]:
    """All that counts, but for what is drawn by lot."""
    found = tree(folder)
    return {key: "there" if key in ("slots/trial.json", "slots/restart") else found[key] for key in found
            if key not in ("starts.json", "slots/staged/.part")}  # fmt: skip


@pytest.mark.parametrize(
    ("phases", "phase", "versions"),
    [
        (("prove",), "try", {"1.0", "2.0"}),
        ((), "prove", {"1.0"}),
        (("prove", "try"), "confirm", {"2.0"}),
        (("prove", "try"), "roll-back", {"1.0", "2.0"}),
        (("prove", "try", "confirm"), "roll-back", {"1.0", "2.0"}),
        (("prove",), "clean-up", {"1.0"}),
    ],
    ids=["try", "prove", "confirm", "roll back a trial", "roll back what was confirmed", "clean up"],
)
def test_a_kill_at_any_moment_leaves_a_whole_program_and_the_rest_to_do(
    built: Path, package: Path, tmp_path: Path, phases: tuple[str, ...], phase: str, versions: set[str]
) -> None:
    folder = tmp_path / "device"
    shutil.copytree(built, folder, symlinks=True)
    for each in phases:
        do(each, folder, package)
        if each == "try":
            say_healthy(folder)
    for moment in moments_of(phase, folder, package):
        assert started(moment) in versions
        assert launch.current_slot(moment / "slots")
        do(phase, moment, package)
        assert settled(moment) == settled(folder)
    assert started(folder) in versions


def test_a_kill_while_a_package_is_unpacked_leaves_nothing_that_counts(
    device: Path, package: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "device"
    shutil.copytree(device, folder, symlinks=True)
    for moment in moments_of("stage", folder, package):
        assert started(moment) == "1.0"
        do("stage", moment, package)
        assert settled(moment) == settled(folder)


def test_a_kill_while_a_slot_is_made_leaves_no_slot(built: Path, package: Path, tmp_path: Path) -> None:
    """Over a slot that was confirmed once, as it is from the second update on."""
    folder = tmp_path / "device"
    shutil.copytree(built, folder, symlinks=True)
    shutil.rmtree(folder / "slots" / "b")
    make_slot(folder / "slots", "b", "0.9", seq=0)
    moments = moments_of("build", folder, package)
    for moment in moments:
        assert started(moment) == "1.0"
        slot = builder_in(moment).slots.read("b")
        assert slot is None or slot.version in ("0.9", "2.0")
        assert slot is None or started_from(moment, "b") == slot.version
    for moment in (moments[len(moments) // 2], moments[-1]):
        do("build", moment, package)
        assert started_from(moment, "b") == "2.0"


def started_from(folder: Path, name: str) -> str:
    command = [folder / "slots" / name / "bin" / "python", "-I", "-m", "appliance", "--version"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]


def test_what_installs_ends_with_the_agent_that_was_killed(built: Path, package: Path, tmp_path: Path) -> None:
    folder, moments = tmp_path / "device", tmp_path / "moments"
    shutil.copytree(built, folder, symlinks=True)
    moments.mkdir()
    launch.slot_note(folder / "slots", "b").unlink()
    command = [sys.executable, "-m", "tests.app_child", "build", folder, package, moments, BEFORE]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as agent:
        assert eventually(lambda: bool(processes_of(folder / "slots" / "b")))
        agent.send_signal(signal.SIGKILL)
    assert eventually(lambda: not processes_of(folder / "slots" / "b"))
    assert not list((folder / "slots" / "b" / "lib").glob("*/site-packages/appliance"))
    assert builder_in(folder).slots.read("b") is None
    assert started(folder) == "1.0"


def processes_of(slot: Path) -> list[str]:
    """Command lines of processes whose program is in a slot."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it has ended
            continue
        if words[0].startswith(str(slot)):
            found.append(" ".join(words))
    return found
