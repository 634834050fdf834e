"""Updates by stick alone, and beside a server: from the desk to a release in force, with the commands people type."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from appliance.bundle.archive import read_bundle
from appliance.clock import SystemClock
from appliance.update.journal import Journal
from tests.agent_place import LOOKS, ROOT
from tests.c_compiler import needs_cc
from tests.certificates import needs_openssl
from tests.release_desk import ServedFolder
from tests.stations import needs_mosquitto, until
from tests.stick_desk import StickDesk
from tests.stick_place import DEVICE, SITE, StickPlace, place_with_sticks
from tests.tiny_releases import NAME
from tests.wall_clock import WallClock
from trainer.release.report import read_report

pytestmark = [needs_openssl, needs_mosquitto, pytest.mark.long, pytest.mark.timeout(600)]
SIXTY_DAYS_S = 60 * 86400


@pytest.fixture
def desk_and_place(tmp_path: Path) -> Iterator[tuple[StickDesk, StickPlace]]:
    with place_with_sticks(tmp_path) as found:
        yield found


def digest(place: StickPlace, revision: int) -> str:
    return read_bundle(place.fleet.bundle(revision)).digest


def status(place: StickPlace, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    capsys.readouterr()
    assert place.agent("status", "--json") == 0
    return dict(json.loads(capsys.readouterr().out))


def update_until(place: StickPlace, revision: int, update: Callable[[], int], code: int) -> None:
    """Call it until a revision is in force, or so often; each time it ends with a code."""
    for _ in range(LOOKS):
        assert update() == code
        if place.in_force() == digest(place, revision):
            return
    pytest.fail(f"revision {revision} is not in force")


def test_a_plant_without_a_network_goes_from_the_ceremony_to_a_release_in_force_and_its_report_back(
    desk_and_place: tuple[StickDesk, StickPlace], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk, place = desk_and_place
    assert place.agent("update") == 1
    assert "no stick has brought an assignment yet" in capsys.readouterr().out
    place.fleet.offer(2)
    assert desk.write() == 0
    assert place.takes(desk.stick) == 0
    shutil.rmtree(desk.stick)  # pulled out; nothing of it is asked for again
    place.update()
    assert place.in_force() == digest(place, 2)
    assert place.station.in_force == place.in_force()
    found = status(place, capsys)
    assert (found["problem"], dict(found["assignment"])["seq"]) == ("", 1)  # type: ignore[call-overload]
    assert place.agent("report", "--out", str(tmp_path / "carried")) == 0
    data = (tmp_path / "carried" / f"{DEVICE}.json").read_bytes()
    report = read_report(data, device_id=DEVICE, site=SITE, key=str(found["public_key"]))
    assert [(each.outcome, each.seq) for each in report.releases] == [("success", 2)]
    assert not place.server.requests


def test_a_running_agent_begins_at_once_what_a_stick_brings(desk_and_place: tuple[StickDesk, StickPlace]) -> None:
    desk, place = desk_and_place
    place.configure(poll_min=10_000)
    process = place.start()
    with closing(Journal(place.folder / "agent" / "journal.db", SystemClock())) as journal:
        until(lambda: journal.noted("problem") is not None, "the agent has asked once", 60)
    place.fleet.offer(2)
    assert desk.write() == 0
    assert place.takes(desk.stick) == 0
    until(lambda: place.in_force() == digest(place, 2), "the new release is in force", 90)
    process.terminate()
    _, complaints = process.communicate(timeout=30)
    assert (process.returncode, b"Traceback" in complaints) == (0, False), complaints


@needs_cc
def test_what_was_imported_in_time_is_installed_after_the_stick_has_expired(
    desk_and_place: tuple[StickDesk, StickPlace], tmp_path: Path
) -> None:
    desk, place = desk_and_place
    place.fleet.offer(2)
    assert desk.write() == 0
    assert place.agent("hold", "--by", "Ann") == 0
    assert place.takes(desk.stick) == 0
    clock = WallClock(tmp_path)
    clock.set_by(SIXTY_DAYS_S)

    def later(*words: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "appliance", "agent", *words, "--config", str(place.config)]
        return subprocess.run(
            command, env=os.environ | clock.environment, cwd=ROOT, capture_output=True, text=True, check=False
        )

    refused = later("import", str(desk.stick))
    assert (refused.returncode, "expired" in refused.stderr) == (65, True), refused
    assert later("release-hold", "--by", "Ann").returncode == 0
    update_until(place, 2, lambda: later("update").returncode, 0)
    assert place.in_force() == digest(place, 2)


def test_of_server_and_stick_the_higher_assignment_is_taken_and_never_a_lower_one(
    desk_and_place: tuple[StickDesk, StickPlace], capsys: pytest.CaptureFixture[str]
) -> None:
    desk, place = desk_and_place
    place.configure(has_server=True)
    place.fleet.offer(2)
    assert desk.write() == 0
    old_stick = desk.stick.rename(desk.folder / "old-stick")
    place.fleet.offer(3)
    place.update()
    assert place.in_force() == digest(place, 3), "the server's, which is the higher one"
    assert place.takes(old_stick) == 65
    assert "assignment 1 of the stick is older than 2, which the server has given" in capsys.readouterr().err

    as_it_was = shutil.copytree(desk.online.address, desk.folder / "as-it-was")
    place.fleet.offer(4)
    place.server.files = ServedFolder(as_it_was)  # a mirror in the plant that lags behind
    assert desk.write() == 0
    assert place.takes(desk.stick) == 0
    update_until(place, 4, lambda: place.agent("update"), 0)
    assert status(place, capsys)["problem"] == ""
    place.server.files = ServedFolder(Path(desk.online.address))
    assert place.agent("update") == 0
    assert (place.in_force(), status(place, capsys)["problem"]) == (digest(place, 4), "")
    place.fleet.offer(5)
    place.update()
    place.server.files = {}
    assert place.agent("update") == 1
    found = status(place, capsys)
    assert (place.in_force(), dict(found["assignment"])["seq"]) == (digest(place, 5), 4)  # type: ignore[call-overload]


def test_a_server_that_is_not_reached_keeps_no_stick_from_being_installed(
    desk_and_place: tuple[StickDesk, StickPlace], capsys: pytest.CaptureFixture[str]
) -> None:
    desk, place = desk_and_place
    place.configure(has_server=True)
    place.server.files = {}
    place.fleet.offer(2)
    assert desk.write() == 0
    assert place.takes(desk.stick) == 0
    update_until(place, 2, lambda: place.agent("update"), 1)
    assert str(status(place, capsys)["problem"])


def test_a_file_that_is_lost_between_import_and_update_is_brought_once_more(
    desk_and_place: tuple[StickDesk, StickPlace], capsys: pytest.CaptureFixture[str]
) -> None:
    desk, place = desk_and_place
    place.fleet.offer(2)
    assert desk.write() == 0
    assert place.takes(desk.stick) == 0
    for path in (place.folder / "agent" / "files").glob("[!.]*"):
        path.unlink()
    assert place.agent("update") == 0
    assert "import the stick once more" in capsys.readouterr().out
    assert place.takes(desk.stick) == 0
    update_until(place, 2, lambda: place.agent("update"), 0)


def test_a_release_that_is_in_force_is_not_copied_again(
    desk_and_place: tuple[StickDesk, StickPlace], capsys: pytest.CaptureFixture[str]
) -> None:
    desk, place = desk_and_place
    place.fleet.offer(1)
    assert desk.write() == 0
    assert place.takes(desk.stick) == 0
    assert f"models/{NAME}/{NAME}-1.bundle is in force already" in capsys.readouterr().out
    assert not list((place.folder / "agent" / "files").glob("[!.]*"))
