"""A stick that is imported while something else is at it: another import, and the agent beside it."""

import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from appliance.clock import SystemClock
from appliance.update.assignment import counted_as
from appliance.update.brought import REPOSITORY, LastStick
from appliance.update.journal import Journal
from appliance.update.settings import load_agent_config
from appliance.update.situation import BROUGHT
from appliance.update.stick_import import import_from
from tests.stick_desk import StickDesk, begun_desk, offer_second, ordered, stick_device
from tests.update_device import SetClock
from tests.usb_stick import UsbDevice

FIRST, SECOND = "models/boards/boards-1.bundle", "models/boards/boards-2.bundle"

COUNTS_READS = """
import sys
names = []
def hear(event, given):
    if event == "open" and str(given[0]).endswith("timestamp.json"):
        names.append(given[0])
sys.addaudithook(hear)
from appliance.__main__ import main
code = main(sys.argv[1:])
print("read", names.count("timestamp.json"), file=sys.stderr)
sys.exit(code)
"""


@pytest.fixture
def desk(tmp_path: Path) -> StickDesk:
    return begun_desk(tmp_path / "desk")


@pytest.fixture
def device(tmp_path: Path, desk: StickDesk) -> UsbDevice:
    return stick_device(tmp_path / "line-1", desk)


def two_sticks(desk: StickDesk) -> tuple[Path, Path]:
    """An older stick and a newer one."""
    assert desk.write() == 0
    older = desk.stick.rename(desk.folder / "older")
    offer_second(desk)
    assert desk.write() == 0
    return older, desk.stick


def paths(device: UsbDevice) -> list[str]:
    """The releases that the device is to have."""
    found = ordered(device)
    return [] if found is None else [each.path for each in found.assignment.releases]


class AtAMoment(SetClock):
    """A clock that is asked at a certain moment, at which something else happens, once."""

    def __init__(self, is_now: Callable[[], bool], happens: Callable[[], object]) -> None:
        super().__init__()
        self._is_now, self._happens, self.has_happened = is_now, happens, False

    def utc(self) -> datetime:
        if not self.has_happened and self._is_now():
            self.has_happened = True
            self._happens()
        return super().utc()


def test_of_two_imports_at_once_the_second_is_told_to_wait_and_no_order_is_lost(
    desk: StickDesk, device: UsbDevice
) -> None:
    older, newer = two_sticks(desk)
    second = list["subprocess.CompletedProcess[str]"]()

    def is_older_counted() -> bool:
        counted = (
            device.floor.read().releases.get(counted_as("ulm", REPOSITORY)) if device.floor.path.exists() else None
        )
        return counted is not None

    def imports_newer() -> None:
        command = [sys.executable, "-m", "appliance", "agent", "import", str(newer), "--config", str(device.config)]
        second.append(subprocess.run(command, capture_output=True, text=True, check=False))

    clock = AtAMoment(is_older_counted, imports_newer)
    list(import_from(older, [], load_agent_config(device.config), clock))
    assert clock.has_happened, "between the counting of the order and its writing down"
    assert (second[0].returncode, paths(device)) == (74, [FIRST])
    assert "another import runs" in second[0].stderr
    assert "Traceback" not in second[0].stderr
    device.stick = newer
    assert device.takes() == 0
    assert paths(device) == [SECOND]


class ReadBefore(Journal):
    """A journal of which a note is read just before something else happens, once."""

    happens: Callable[[], object] | None = None

    def noted(self, key: str) -> Any:
        found = super().noted(key)
        if key == BROUGHT and (happens := self.happens) is not None:
            self.happens = None
            happens()
        return found


def test_an_order_that_is_imported_while_the_server_ends_the_one_before_stays(
    desk: StickDesk, device: UsbDevice
) -> None:
    older, newer = two_sticks(desk)
    device.stick = older
    assert device.takes() == 0
    before = ordered(device)
    assert before is not None
    from_server = before.assignment.model_copy(update={"seq": 2, "rollout": "of the server"})
    device.stick = newer
    config = load_agent_config(device.config)
    with closing(ReadBefore(config.journal, SystemClock())) as journal:
        stick = LastStick(journal, device.floor, "ulm", "line-1", config.allowed, has_server=False)
        journal.happens = device.takes
        stick.hear(from_server, None)
        assert journal.happens is None
    assert paths(device) == [SECOND]


@pytest.mark.parametrize("names", [(), (FIRST, "models/lids/lids-1.bundle")], ids=["orders", "names"])
def test_a_stick_is_brought_up_to_date_once_however_much_is_looked_up_in_it(
    desk: StickDesk, device: UsbDevice, names: tuple[str, ...]
) -> None:
    """Else it could be another one in the middle, and each time it is read from a slow disk."""
    assert desk.write() == 0
    command = [sys.executable, "-c", COUNTS_READS, "agent", "import", str(desk.stick), *names]
    ended = subprocess.run([*command, "--config", str(device.config)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.splitlines()[-1] == "read 1"
