"""What befalls an agent at a state's action, and the device that it befalls: errors, kills, hangs, a full disk."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from appliance import launch
from appliance.errors import ApplianceError, BundleProofError, DeliveryError, DeviceError, StorageError
from appliance.events import iso
from appliance.update.journal import Journal
from appliance.update.kinds import KindName
from appliance.update.lifecycle import PREPARING, WAY_BACK, State
from appliance.update.service import Service
from appliance.update.situation import HUNG
from tests.app_agent import AppDevice, AppFleet
from tests.small_disk import fill, small_disk
from tests.update_agent import Along, Deeds, Device, Fleet, fork_agent, take_updates
from tests.update_server import UpdateServer

KILLED = 9
HERE = b"here"
GOT_NO_FURTHER = "it got no further for 900 s"
FIRST = (State.CHECK, State.DOWNLOAD, *PREPARING, State.SHADOW)
MOST_LOOKS, LOOKS_ON_A_FULL_DISK = 400, 6
DISK_BYTES = {"model": 3_000_000, "recipe": 3_000_000, "app": 12_000_000}
HANGS = 3


class Fault(str, Enum):
    """What befalls an agent right at a state's action."""

    ERROR = "error"  # the network's, then the device's; then it is over
    REFUSED = "refused"  # for good: the release is to blame
    KILL = "kill"  # before the action, when its row is on disk
    KILL_AFTER = "kill after"  # when what came of it is not on disk
    HANG = "hang"  # the action does not return; ended from outside, three times
    DISK_FULL = "disk full"


class AlongJournal:
    """A journal at which something happens where the conductor itself acts: in FAILURE, and when it leaves REPORT."""

    def __init__(self, journal: Journal, before: Deeds, then: Deeds) -> None:
        self._journal, self._before, self._then = journal, before, then

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    def quarantine(self, *arguments: Any) -> None:
        self._at("failure", lambda: self._journal.quarantine(*arguments))

    def move(self, update: Any, *arguments: Any, **changes: Any) -> Any:
        if update.progress.state is not State.REPORT:
            return self._journal.move(update, *arguments, **changes)
        return self._at("report", lambda: self._journal.move(update, *arguments, **changes))

    def _at(self, state: str, act: Callable[[], Any]) -> Any:
        self._before.get(state, lambda: None)()
        outcome = act()
        self._then.get(state, lambda: None)()
        return outcome


@dataclass
class Subject:
    """A device of one kind to which a good release is offered; put back as it was for each case."""

    kind: KindName
    device: Device
    new: str
    disk: Path | None
    kept: Path
    _lines: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.before = self.in_force()
        self._keep("offered")
        self.happens({"shadow": self._not_yet}, {})
        assert self.device.update(2).is_waiting
        self._keep("proved")

    @property
    def app(self) -> AppDevice:
        assert isinstance(self.device, AppDevice)
        return self.device

    def put_back(self, state: State) -> None:
        """Begin anew: with nothing done yet or, for what comes after SHADOW, waiting there after its proof."""
        device, name = self.device, "offered" if state in FIRST else "proved"
        shutil.rmtree(device.folder)
        shutil.copytree(self.kept / name, device.folder, symlinks=True)
        device.line.keep(self._lines[name])
        device.line.behaves.clear()
        device.deliver = device.reports.append
        self.happens({}, {})

    def _keep(self, name: str) -> None:
        shutil.copytree(self.device.folder, self.kept / name, symlinks=True)
        self._lines[name] = self.device.line.state

    def _not_yet(self) -> None:
        raise DeliveryError("not yet")

    def happens(self, before: Deeds, then: Deeds) -> None:
        """Let something happen before or after states' actions."""
        device = self.device
        device.around = lambda kind: Along(kind, before, then)
        device.around_journal = lambda journal: AlongJournal(journal, before, then)
        if self.kind == "app":
            self.app.around_app = lambda kind: Along(kind, before, then)  # type: ignore[arg-type]

    @contextmanager
    def on_its_way(self, state: State) -> Iterator[Deeds]:
        """Have what leads to a state: a release that is good, or is seen to be bad at the line for the way back."""
        if self.kind != "app":
            yield {"watch": self._goes_bad} if state in WAY_BACK else {}
            return
        if state in WAY_BACK:
            yield {"canary": self.app.crashes}
            return
        with self.app.systemd():
            yield {}

    def _goes_bad(self) -> None:
        self.device.line.behaves[self.new] = "late"

    def in_force(self) -> str:
        """What would be started now: it loads, and it was proved here."""
        if self.kind != "app":
            return self.device.in_force()
        slots = self.app.slots
        name = slots.current()
        if name:
            assert slots.read(name).state == launch.CONFIRMED  # type: ignore[union-attr]
            assert launch.why_it_cannot_run(slots.folder / name) == ""
        return slots.in_force()

    def states(self) -> list[str]:
        return [step.state for step in self.device.journal.steps(self.device.newest().number)]


@contextmanager
def subject(kind: KindName, folder: Path) -> Iterator[Subject]:
    """Have a device of a kind, on a small disk where one can be mounted, and a release that is offered to it."""
    with _disk(folder / "disk", DISK_BYTES[kind]) as disk:
        place = (disk or folder) / "device"
        fleet = AppFleet(folder) if kind == "app" else Fleet(folder, kind)  # type: ignore[arg-type]
        with UpdateServer(fleet.repository.files) as server:
            if isinstance(fleet, AppFleet):
                device: Device = fleet.app_device(place, server)
                new = fleet.bring(device, 7)  # type: ignore[arg-type]
            else:
                device = fleet.device(place, server)
                new = fleet.offer(2)
            yield Subject(kind, device, new, disk, folder / "kept")


@contextmanager
def _disk(folder: Path, size_bytes: int) -> Iterator[Path | None]:
    mounting = small_disk(folder, size_bytes)
    try:
        disk = mounting.__enter__()
    except pytest.skip.Exception:
        yield None
        return
    try:
        yield disk
    finally:
        mounting.__exit__(None, None, None)


def befall(fault: Fault, on: Subject, state: State, deeds: Deeds) -> None:
    """Let a fault befall an agent at a state, with what leads there; fails where it never came to that."""
    _WAYS[fault](on, state.value.lower(), deeds)


def _error(on: Subject, at: str, deeds: Deeds) -> None:
    """Of the conductor's own actions only the journal can fail; a report that nobody takes is no action's."""

    def refuses(report: bytes) -> None:
        raise DeliveryError("nobody takes a report now; it is sent again")

    own = at in ("report", "failure")
    errors = [StorageError, StorageError] if own else [DeliveryError, DeviceError]
    on.device.deliver = refuses
    _raises(on, at, deeds, [error("not now; this passes") for error in errors])
    on.device.deliver = on.device.reports.append


def _refused(on: Subject, at: str, deeds: Deeds) -> None:
    _raises(on, at, deeds, [BundleProofError("it may not judge here; ask whoever released it")])


def _raises(on: Subject, at: str, deeds: Deeds, errors: list[ApplianceError]) -> None:
    def fails() -> None:
        if errors:
            raise errors.pop(0)

    on.happens({**deeds, at: fails}, {})
    service = on.device.start()
    service.ask()
    _look_until(service, on, lambda: on.device.newest().progress.state is State.IDLE)
    service.journal.close()
    assert not errors, "it never came to that"


def _kill(on: Subject, at: str, deeds: Deeds) -> None:
    on.happens({**deeds, at: lambda: os._exit(KILLED)}, {})
    assert fork_agent(on.device, None) == {"ended": KILLED}


def _kill_after(on: Subject, at: str, deeds: Deeds) -> None:
    on.happens(deeds, {at: lambda: os._exit(KILLED)})
    assert fork_agent(on.device, None) == {"ended": KILLED}


def _hang(on: Subject, at: str, deeds: Deeds) -> None:
    for _ in range(HANGS):
        assert hangs(on, at, deeds), "it never came to that"
        assert on.in_force() in (on.before, on.new)


def hangs(on: Subject, at: str, deeds: Deeds) -> bool:
    """Have an agent whose action never returns, and end it as the one that hears it does; whether it came that far."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        os.close(reading)
        endless, _ = os.pipe()
        on.happens({**deeds, at: lambda: os.write(writing, HERE) and os.read(endless, 1)}, {})
        with suppress(BaseException):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            take_updates(on.device)
        os._exit(0)
    os.close(writing)
    is_hung = os.read(reading, len(HERE)) == HERE
    os.close(reading)
    if is_hung:
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    journal = on.device.journal
    journal.note(HUNG, {"at": iso(on.device.clock.utc()), "words": GOT_NO_FURTHER})
    journal.close()
    return is_hung


def _disk_full(on: Subject, at: str, deeds: Deeds) -> None:
    disk, ballast = on.disk, list[Path]()
    if disk is None:
        pytest.skip("no small file system can be mounted here")

    def fills() -> None:
        if not ballast:
            ballast.append(fill(disk))

    on.happens({**deeds, at: fills}, {})
    service = on.device.start()
    service.ask()
    _look_until(service, on, lambda: bool(ballast))
    for _ in range(LOOKS_ON_A_FULL_DISK):
        _look_until(service, on, lambda: True)
    ballast[0].unlink()
    service.journal.close()


def _look_until(service: Service, on: Subject, is_over: Callable[[], bool]) -> None:
    """What a running agent does; after each look a proven release can be started, and nothing succeeds too early."""
    for _ in range(MOST_LOOKS):
        with suppress(StorageError):
            service.look()
        assert on.in_force() in (on.before, on.new)
        assert on.device.newest().progress.outcome != "success" or "WATCH" in on.states()
        if is_over():
            return
    raise AssertionError("it never came to that")


_WAYS: dict[Fault, Callable[[Subject, str, Deeds], None]] = {
    Fault.ERROR: _error, Fault.REFUSED: _refused, Fault.KILL: _kill, Fault.KILL_AFTER: _kill_after, Fault.HANG: _hang,
    Fault.DISK_FULL: _disk_full,
}  # fmt: skip
