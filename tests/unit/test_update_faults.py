"""What the device's own disk and processes do to it: kills at each step, torn files, crowds, a full disk."""

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from appliance.errors import BundleTrustError, StorageError
from tests.c_compiler import needs_cc
from tests.small_disk import fill, small_disk
from tests.tuf_repository import ALL_BUT_ROOT, Repository, in_days
from tests.update_device import Device
from tests.update_server import UpdateServer
from tests.wall_clock import WallClock

ROOT = Path(__file__).resolve().parents[2]
OLD, NEW = b"the release before", b"the new release"


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> str:
    return str(getattr(request, "param", "model"))


of_each_kind = pytest.mark.parametrize("kind", ["model", "recipe", "app"], indirect=True)


@pytest.fixture
def repository(kind: str) -> Repository:
    repository, role = Repository(), f"{kind}s"
    repository.delegate(role, [f"{role}/*"], terminating=True)
    repository.add_target(f"{role}/old", OLD, role=role, custom={"kind": kind, "seq": 1})
    repository.publish(role, *ALL_BUT_ROOT)
    return repository


@pytest.fixture
def server(repository: Repository) -> Iterator[UpdateServer]:
    with UpdateServer(repository.files) as server:
        yield server


@pytest.fixture
def device(tmp_path: Path, server: UpdateServer, repository: Repository, kind: str) -> Device:
    """A device that has taken the old release; the repository has a newer one by now."""
    device, role = Device(tmp_path / "device", server, repository.root_bytes()), f"{kind}s"
    assert device.download(f"{role}/old") == OLD
    repository.add_target(f"{role}/new", NEW, role=role, custom={"kind": kind, "seq": 2})
    repository.publish("root", role, *ALL_BUT_ROOT)
    return device


def child(what: str, device: Device, last: object) -> list[str]:
    root = device.folder.with_name("root.json")
    root.write_bytes(device.root)
    return [
        sys.executable,
        "-m",
        "tests.update_child",
        what,
        str(device.folder),
        device.server.url,
        str(root),
        str(last),
    ]


@pytest.mark.long
@of_each_kind
def test_a_kill_before_any_step_on_disk_leaves_the_old_release_and_a_device_that_goes_on(
    device: Device, kind: str
) -> None:
    ended = subprocess.run(
        child("crash", device, f"{kind}s/new"), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    steps = [json.loads(line) for line in ended.stdout.splitlines()]
    kinds = Counter(step["step"] for step in steps if step["step"] != "open")
    assert kinds.total() >= 18
    assert min(kinds[name] for name in ("replace", "fsync", "symlink", "unlink")) >= 2
    for step in steps:
        assert step["right"], step
        assert step["visible"] in ([OLD.decode()], sorted([OLD.decode(), NEW.decode()])), step
        assert (step["content"], step["timestamp"], step["litter"]) == (NEW.decode(), 3, []), step
        assert step["unsynced"] == [], step
    renamed = {Path(path).name for step in steps for path in step["synced"]}
    assert renamed == {"floor.json", hashlib.sha256(NEW).hexdigest()}
    assert {len(step["visible"]) for step in steps} == {1, 2}


@pytest.mark.long
def test_a_kill_before_any_step_of_a_new_device_is_no_dead_end(
    tmp_path: Path, server: UpdateServer, repository: Repository
) -> None:
    device = Device(tmp_path / "new", server, repository.root_bytes())
    device.folder.mkdir()
    ended = subprocess.run(child("crash", device, "models/old"), cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    steps = [json.loads(line) for line in ended.stdout.splitlines()]
    assert len(steps) >= 40
    assert {(step["content"], step["right"], *step["litter"], *step["unsynced"]) for step in steps} == {
        (OLD.decode(), True)
    }


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def zeroed(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def deleted(path: Path) -> None:
    path.unlink()


def halved(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


NAMES = ["root.json", "root_history/1.root.json", "timestamp.json", "snapshot.json", "targets.json", "KINDs.json"]
"""KIND stands for the release's."""


@of_each_kind
@pytest.mark.parametrize("tear", [emptied, zeroed, deleted, halved])
@pytest.mark.parametrize("names", [[name] for name in NAMES] + [NAMES[2:4], NAMES[1:]], ids="+".join)
def test_a_torn_file_is_no_way_back_and_no_dead_end(
    device: Device, repository: Repository, kind: str, names: list[str], tear: Callable[[Path], None]
) -> None:
    old = dict(repository.files)
    repository.publish(f"{kind}s", *ALL_BUT_ROOT)
    assert device.download(f"{kind}s/new") == NEW
    for name in names:
        tear(device.metadata / name.replace("KIND", kind))
    device.server.files = old
    with pytest.raises(BundleTrustError):
        device.repository.refresh()
    device.server.files = repository.files
    assert device.repository.refresh().timestamp == 4
    assert device.download(f"{kind}s/new") == NEW


def test_four_processes_share_a_folder(device: Device) -> None:
    crowd = [subprocess.Popen(child("refresh", device, 10), cwd=ROOT) for _ in range(4)]
    assert [process.wait() for process in crowd] == [0, 0, 0, 0]
    assert device.repository.refresh().timestamp == 3


def test_a_full_disk_is_told_in_words_and_left_as_it_was(
    tmp_path: Path, server: UpdateServer, repository: Repository
) -> None:
    with small_disk(tmp_path / "disk", 1_000_000) as disk:
        device = Device(disk / "device", server, repository.root_bytes())
        device.download("models/old")
        repository.publish(*ALL_BUT_ROOT)
        kept = {path: path.read_bytes() for path in device.folder.rglob("*") if path.is_file()}
        ballast = fill(disk)
        with pytest.raises(StorageError, match=r"No space left on device; check space"):
            device.repository.refresh()
        assert {path: path.read_bytes() for path in kept} == kept
        ballast.unlink()
        assert device.repository.refresh().timestamp == 3
        assert device.download("models/old") == OLD


def test_a_full_disk_of_the_floor_lets_nothing_be_used_and_leaves_the_floor(
    tmp_path: Path, server: UpdateServer, repository: Repository
) -> None:
    """The floor has a partition of its own: what cannot be noted there is not used, whatever space is elsewhere."""
    with small_disk(tmp_path / "disk", 100_000) as disk:
        device = Device(tmp_path / "device", server, repository.root_bytes())
        device.folder.mkdir()
        (device.folder / "floor.json").symlink_to(disk / "floor.json")
        assert device.download("models/old") == OLD
        before = (disk / "floor.json").read_bytes()
        repository.publish(*ALL_BUT_ROOT)
        ballast = fill(disk)
        for _ in range(2):
            with pytest.raises(StorageError, match=r"floor\.json cannot be written: No space left on device; check"):
                device.repository.find("models/old")
            assert (disk / "floor.json").read_bytes() == before
        ballast.unlink()
        assert device.repository.refresh().timestamp == 3
        assert sorted(path.name for path in disk.iterdir()) == ["floor.json", "floor.json.lock"]


DAY_S = 86_400
SINCE_1970_S = int(in_days(0).timestamp())
TO_2038_S = 2_147_483_000 - SINCE_1970_S


@needs_cc
@pytest.mark.parametrize(
    ("offset_s", "valid_days", "refused"),
    [
        (-SINCE_1970_S + DAY_S, -1, "timestamp.json is expired"),  # what has expired stays so at a clock in 1970 ...
        (-5 * 365 * DAY_S, -1, "timestamp.json is expired"),
        (-SINCE_1970_S + DAY_S, 1, ""),  # ... and what has not is taken
        (25 * DAY_S, 1, "timestamp.json is expired"),
        (TO_2038_S, 1, "root.json is expired"),
    ],
    ids=["1970, expired", "5 years ago, expired", "1970, valid", "in 25 days", "2038"],
)
def test_the_devices_own_clock_may_say_anything(
    device: Device, repository: Repository, tmp_path: Path, offset_s: int, valid_days: int, refused: str
) -> None:
    device.clock.synchronised = True
    device.repository.refresh()
    repository.timestamp.expires = in_days(valid_days)
    repository.publish("timestamp")
    clock = WallClock(tmp_path)
    clock.set_by(offset_s)
    ended = subprocess.run(
        child("refresh", device, 1), cwd=ROOT, env=os.environ | clock.environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (ended.returncode != 0, refused in ended.stderr) == (bool(refused), True), ended.stderr
    repository.timestamp.expires = in_days(1)
    repository.publish("timestamp")
    assert device.repository.refresh().timestamp == 5
