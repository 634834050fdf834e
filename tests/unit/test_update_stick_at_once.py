"""A stick that is imported while something else is at it: another import, and the agent beside it."""

import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from appliance.clock import SystemClock
from appliance.errors import ReplayError
from appliance.update.brought import LastStick
from appliance.update.journal import Journal
from appliance.update.settings import load_agent_config
from appliance.update.situation import BROUGHT, DISTRUSTED
from appliance.update.stick_import import import_from
from tests.stick_desk import StickDesk, begun_desk, offer_second, ordered, stick_device
from tests.update_device import SetClock
from tests.usb_stick import UsbDevice

pytestmark = pytest.mark.long

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


def newer_than_taken(desk: StickDesk, device: UsbDevice) -> Path:
    """Let the device take the older of two sticks, which stays put in; returns the newer one."""
    device.stick, newer = two_sticks(desk)
    assert device.takes() == 0
    return newer


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

    def imports_newer() -> None:
        command = [sys.executable, "-m", "appliance", "agent", "import", str(newer), "--config", str(device.config)]
        second.append(subprocess.run(command, capture_output=True, text=True, check=False))

    clock = AtAMoment(lambda: device.files.is_dir() and bool(device.has()), imports_newer)
    list(import_from(older, [], load_agent_config(device.config), clock))
    assert clock.has_happened, "when its files were there, and before it was written down"
    assert (second[0].returncode, paths(device)) == (74, [FIRST])
    assert "another import runs" in second[0].stderr
    assert "Traceback" not in second[0].stderr
    device.stick = newer
    assert device.takes() == 0
    assert paths(device) == [SECOND]


KILLED = """
import os, sys
from appliance.__main__ import main
left = int(sys.argv.pop(1))
def hear(event, given):
    global left
    if event == "sqlite3.connect" or (event == "os.rename" and str(given[1]).endswith("floor.json")):
        left -= 1
        if left < 0:
            os._exit(9)
sys.addaudithook(hear)
sys.exit(main(sys.argv[1:]))
"""


def test_an_import_that_is_killed_at_any_step_leaves_the_order_before_or_the_new_one(
    desk: StickDesk, device: UsbDevice
) -> None:
    newer = newer_than_taken(desk, device)
    command = ["agent", "import", str(newer), "--config", str(device.config)]
    before, found = shutil.copytree(device.folder, desk.folder / "before"), []
    for passed in range(20):
        shutil.rmtree(device.folder)
        shutil.copytree(before, device.folder)
        ended = subprocess.run([sys.executable, "-c", KILLED, str(passed), *command], capture_output=True, check=False)
        found.append(paths(device))
        if ended.returncode == 0:
            break
        assert ended.returncode == 9, ended.stderr
    assert found[0] == [FIRST]
    assert found[-2:] == [[SECOND], [SECOND]], "the last step is the floor's, and the order stands before it"
    assert [each for each in found if each not in ([FIRST], [SECOND])] == []
    assert device.takes() == 65, "nothing older comes after it"


def test_an_order_that_something_newer_has_overtaken_meanwhile_leaves_the_one_before(
    desk: StickDesk, device: UsbDevice
) -> None:
    newer = newer_than_taken(desk, device)
    kind = "model/boards"
    ahead = device.floor.read().releases[kind].model_copy(update={"seq": 9})
    clock = AtAMoment(lambda: len(device.has()) > 1, lambda: device.floor.rise_to_releases({kind: ahead}))
    with pytest.raises(ReplayError):
        list(import_from(newer, [], load_agent_config(device.config), clock))
    assert clock.has_happened
    assert paths(device) == [FIRST]


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
    newer = newer_than_taken(desk, device)
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


class WhenToldOf(logging.Handler):
    """Something happens at the first line of a log, once."""

    def __init__(self, happens: Callable[[], object]) -> None:
        super().__init__()
        self.happens: Callable[[], object] | None = happens

    def emit(self, record: logging.LogRecord) -> None:
        if happens := self.happens:
            self.happens = None
            happens()


def test_a_theft_is_told_of_an_order_only_where_that_order_was_still_there(desk: StickDesk, device: UsbDevice) -> None:
    newer = newer_than_taken(desk, device)
    before = ordered(device)
    assert before is not None
    from_server = before.assignment.model_copy(update={"seq": before.assignment.seq - 1})
    device.stick = newer
    config = load_agent_config(device.config)
    handler, log = WhenToldOf(device.takes), logging.getLogger("appliance.update.brought")
    log.addHandler(handler)
    with closing(Journal(config.journal, SystemClock())) as journal:
        stick = LastStick(journal, device.floor, "ulm", "line-1", config.allowed, has_server=False)
        long_after = SystemClock().utc() + timedelta(days=30)
        stick.hear(from_server, long_after)
        assert (handler.happens, journal.noted(DISTRUSTED), paths(device)) == (None, None, [SECOND])
        stick.hear(from_server, long_after)
        assert "STOLEN" in journal.noted(DISTRUSTED)["words"]
    log.removeHandler(handler)
    assert paths(device) == []


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
