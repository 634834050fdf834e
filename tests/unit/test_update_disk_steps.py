"""An agent that ends right before each of its steps on disk, over whole updates; and files that the disk has torn."""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.test_update_faults import deleted, emptied, halved, zeroed
from tests.update_agent import Along, Device, Fleet, fork_agent, take_updates
from tests.update_child import CRASHED, STEPS, end_before_step
from tests.update_server import UpdateServer

pytestmark = pytest.mark.long


@pytest.fixture(params=["model", "recipe"])
def fleet(tmp_path: Path, request: pytest.FixtureRequest) -> Fleet:
    return Fleet(tmp_path, request.param)


@pytest.fixture
def device(tmp_path: Path, fleet: Fleet) -> Iterator[Device]:
    with UpdateServer(fleet.repository.files) as server:
        yield fleet.device(tmp_path / "device", server)


class Snapshot:
    """A device, with its line, as it was once."""

    def __init__(self, device: Device) -> None:
        self._device, self._kept = device, device.folder.with_name("kept")
        shutil.copytree(device.folder, self._kept, symlinks=True)
        self._line = device.line.state

    def put_back(self) -> None:
        shutil.rmtree(self._device.folder)
        shutil.copytree(self._kept, self._device.folder, symlinks=True)
        self._device.line.keep(self._line)


def crash_before(step: int, device: Device) -> str:
    """Let a child take the updates until its step; returns the step's name, empty if it has fewer steps."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        end_before_step(step, writing, STEPS - {"open"})
        take_updates(device)
        os._exit(0)
    os.close(writing)
    _, status = os.waitpid(child, 0)
    name = os.read(reading, 100).decode()
    os.close(reading)
    assert os.waitstatus_to_exitcode(status) == (CRASHED if name else 0)
    return name


def test_a_kill_before_any_step_on_disk_of_a_whole_update_is_gone_on_with(device: Device, fleet: Fleet) -> None:
    old, new, before = device.in_force(), fleet.offer(2), Snapshot(device)
    steps, states, seen = Counter[str](), set[str](), set[str]()
    while name := crash_before(steps.total() + 1, device):
        steps[name] += 1
        states |= {update.progress.state.value for update in device.journal.latest()}
        seen.add(device.in_force())
        if steps.total() % 2:
            device.line.restart()
        update = device.update()
        assert (update.progress.outcome, device.in_force()) == ("success", new), (steps, update)
        assert device.line.in_force(device.name) == new, steps
        before.put_back()
    assert seen == {old, new}
    assert steps.total() >= 18
    assert states >= {"CHECK", "DOWNLOAD", "STAGE", "PROVE", "SHADOW", "CANARY", "COMMIT", "WATCH", "CLEANUP"}


def verified(device: Device, new: str) -> Path:
    return device.state / "files" / new


def candidate(device: Device, new: str) -> Path:
    return device.kind.slots(device.name).candidate


def journal(device: Device, new: str) -> Path:
    return device.state / "journal.db"


def newest_of_the_journal(device: Device, new: str) -> Path:
    return device.state / "journal.db-wal"


Torn = Callable[[Device, str], Path]
MENDED: list[tuple[Torn, str]] = [
    (verified, "verify"), (verified, "stage"), (verified, "prove"), (candidate, "build"), (candidate, "prove"),
    (candidate, "watch"), (candidate, "cleanup"), (journal, "prove"), (journal, "commit"),
    (newest_of_the_journal, "prove"), (newest_of_the_journal, "commit"),
]  # fmt: skip
TEARS = [emptied, zeroed, deleted, halved]


def tear_at(device: Device, state: str, torn: Torn, tear: Callable[[Path], None], new: str) -> None:
    """End an agent right before a state's action, and tear a file that has no other name then."""
    device.around = lambda kind: Along(kind, {state: lambda: os._exit(CRASHED)})
    assert fork_agent(device, None) == {"ended": CRASHED}
    device.around = lambda kind: kind
    path = torn(device, new)
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    tear(path)
    device.line.restart()


@pytest.mark.parametrize("tear", TEARS)
@pytest.mark.parametrize(("torn", "state"), MENDED, ids=[f"{torn.__name__}-{state}" for torn, state in MENDED])
def test_a_torn_file_is_mended_and_the_release_comes_into_force(
    device: Device, fleet: Fleet, torn: Torn, state: str, tear: Callable[[Path], None]
) -> None:
    new = fleet.offer(2)
    tear_at(device, state, torn, tear, new)
    device.in_force()
    update = device.update()
    assert (update.progress.outcome, device.in_force()) == ("success", new), update
    assert device.line.in_force(device.name) == new


@pytest.mark.parametrize("tear", TEARS)
@pytest.mark.parametrize("state", ["shadow", "canary", "commit"])
def test_what_the_disk_tears_after_its_proof_is_given_up_and_blamed_on_no_release(
    device: Device, fleet: Fleet, state: str, tear: Callable[[Path], None]
) -> None:
    old, new = device.in_force(), fleet.offer(2)
    tear_at(device, state, candidate, tear, new)
    service = device.start()
    service.conductor.advance()
    update = device.newest()
    assert update.progress.outcome == ("failed" if state == "shadow" else "rolled_back"), update
    assert "was damaged on disk since it was proved" in update.reason
    assert device.in_force() == device.line.in_force(device.name) == old
    assert device.journal.quarantined() == {}
    assert fleet.offer(2) == new
    assert device.update().progress.outcome == "success"
    assert device.in_force() == new
