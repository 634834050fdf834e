"""The agent takes its own program through an update: real agents, started by real launchers, at a broker."""

import sysconfig
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from appliance import __version__, launch
from appliance.clock import SystemClock
from appliance.launch import BUILT, SLOT, Slot
from appliance.update.journal import Journal
from appliance.update.kinds import Update
from tests.agent_place import ROOT, Place, at_a_broker
from tests.app_agent import APP, AppFleet, Systemd
from tests.app_releases import PYTHON, Wheels, make_environment
from tests.certificates import needs_openssl
from tests.stations import needs_mosquitto

pytestmark = [needs_openssl, needs_mosquitto, pytest.mark.long]
PATIENCE_S = 60


def real_environment(folder: Path) -> None:
    """A virtual environment in which `appliance` is the real one."""
    make_environment(folder, __version__)
    packages = folder / "lib" / f"python{PYTHON}" / "site-packages"
    for path in sorted((packages / "appliance").iterdir()):
        path.unlink()
    (packages / "appliance").rmdir()
    (packages / "real.pth").write_text(f"{ROOT}\n{sysconfig.get_paths()['purelib']}\n")


class Agents(Place):
    """A device whose only unit with slots is the agent's."""

    def prepare(self) -> None:
        self.slots, self.starts = self.folder / "agent" / "slots" / "apps", self.folder / "agent-starts.json"
        self.slots.mkdir(parents=True)
        self.keys["apps"] = {"name": APP, "units": {"agent": str(self.starts)}}
        self.config.write_text(yaml.safe_dump(self.keys))
        real_environment(self.folder / "image")

    def systemd(self) -> Systemd:
        return Systemd(self.slots, self.folder / "image", {"agent": self.starts}, healthy_s=0.5, silence_s=5,
                       arguments=lambda starts: ["agent", "run", "--config", str(self.config)])  # fmt: skip

    def bring(self, *, is_real: bool) -> str:
        """Assign a release whose slot lies there built."""
        assert isinstance(self.fleet, AppFleet)
        package = Wheels.write(self.folder / "wheels", __version__).pack(self.folder / "app.zip", __version__, 7)
        release = self.fleet.sign(7, package.read_bytes())
        (real_environment if is_real else lambda folder: make_environment(folder, __version__))(self.slots / "a")
        slot = Slot(str(release["sha256"]), APP, __version__, 7, BUILT)
        launch.write_note(launch.slot_note(self.slots, "a"), slot, SLOT)
        self.fleet.assign(release)
        return slot.sha256

    def newest(self) -> Update | None:
        with closing(Journal(self.folder / "agent" / "journal.db", SystemClock())) as journal:
            return next(iter(journal.latest()), None)

    def comes_to(self, outcome: str) -> bool:
        until, pause = time.monotonic() + PATIENCE_S, threading.Event()
        while (found := self.newest()) is None or found.progress.outcome != outcome:
            if pause.wait(0.05) or time.monotonic() > until:
                return False
        return True


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Agents]:
    with at_a_broker(tmp_path, AppFleet(tmp_path), Agents) as place:
        place.adopt()
        place.prepare()
        yield place


def test_an_agent_takes_its_own_program_through_an_update_and_back(
    place: Agents, capsys: pytest.CaptureFixture[str]
) -> None:
    new = place.bring(is_real=True)
    with place.systemd():
        assert place.comes_to("success"), place.newest()
        assert launch.current_slot(place.slots) == "a"
        assert place.agent("status") == 0
        assert f"application appliance: version {__version__} is in force" in capsys.readouterr().out
        assert place.agent("rollback", "--kind", "app", "--by", "Ann") == 0
        assert "release 7 of appliance is rolled back: appliance is the image's own again" in capsys.readouterr().out
    assert launch.current_slot(place.slots) == ""
    found = place.newest()
    assert found is not None
    assert (found.release.sha256, found.by, found.progress.crashes) == (new, "Ann", 0)


def test_the_agent_before_takes_over_when_the_new_one_does_not_run(place: Agents) -> None:
    place.bring(is_real=False)
    with place.systemd():
        assert place.comes_to("quarantined"), place.newest()
    found = place.newest()
    assert found is not None
    assert "agent: " in found.reason and "no start is left" in found.reason
    assert launch.current_slot(place.slots) == ""
    assert found.progress.crashes <= 1


def test_without_the_section_no_application_goes_back(place: Agents, capsys: pytest.CaptureFixture[str]) -> None:
    del place.keys["apps"]
    place.config.write_text(yaml.safe_dump(place.keys))
    assert place.agent("rollback", "--kind", "app", "--by", "Ann") == 78
    assert "agent.yaml has no section `apps`" in capsys.readouterr().err
