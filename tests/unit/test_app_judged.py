"""A package of the application on disk: how often it is read to be judged, and who is to blame where it is damaged."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.bundle.gate_settings import Gates
from appliance.events import iso
from appliance.update.assignment import AssignedRelease
from appliance.update.kinds import Update
from appliance.update.lifecycle import Event, Progress, State
from tests.app_agent import AppDevice, AppFleet
from tests.update_agent import GATES
from tests.update_server import UpdateServer


@pytest.fixture
def device(tmp_path: Path) -> Iterator[AppDevice]:
    (tmp_path / "fleet").mkdir()
    fleet = AppFleet(tmp_path / "fleet")
    with UpdateServer(fleet.repository.files) as server:
        yield fleet.app_device(tmp_path / "device", server)


@pytest.fixture
def update(tmp_path: Path, device: AppDevice) -> Update:
    """A release of which the package lies in the store."""
    fleet = AppFleet(tmp_path / "fleet")
    content = fleet.package(7, "7.0").read_bytes()
    release = AssignedRelease.model_validate(fleet.sign(7, content))
    device.app.source.store.folder.mkdir(parents=True)
    (device.app.source.store.folder / release.sha256).write_bytes(content)
    now = iso(device.clock.utc())
    return Update(1, release, Gates.model_validate(GATES), Progress(State.VERIFY), began_at=now, since=now)


def bytes_read() -> int:
    """What this process has read so far, also where the system had it in memory."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["rchar"])


def test_a_package_is_hashed_once_and_looked_at_once_to_verify_it(device: AppDevice, update: Update) -> None:
    before = bytes_read()
    assert device.app.verify(update).event is Event.DONE
    assert (bytes_read() - before) / update.release.length == pytest.approx(2, abs=0.4)


@pytest.mark.parametrize("action", ["verify", "stage", "build"])
@pytest.mark.parametrize("harm", ["damaged", "gone"])
def test_a_package_that_the_disk_has_lost_is_fetched_anew_and_blames_no_release(
    device: AppDevice, update: Update, action: str, harm: str
) -> None:
    path = device.app.source.store.folder / update.release.sha256
    content = path.read_bytes()
    path.unlink()
    if harm == "damaged":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    outcome = getattr(device.app, action)(update)
    assert outcome.event is Event.RETRY
    assert "is not the file that was signed; it is fetched anew" in outcome.reason
