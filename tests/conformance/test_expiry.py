"""What has expired, and what time it is: that of the process, as a suite sets it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.c_compiler import needs_cc
from tests.conformance.device import Pair
from tests.tuf_repository import ALL_BUT_ROOT, in_days
from tests.wall_clock import WallClock

DAY_S = 86_400
ROOT = Path(__file__).resolve().parents[2]


def later(pair: Pair, folder: Path, days: int, *words: str) -> int:
    """Run one of the front's commands in a process whose clock is that many days off."""
    clock = WallClock(folder)
    clock.set_by(days * DAY_S)
    known = ["--metadata-url", pair.server.metadata_url, "--metadata-dir", str(pair.client.metadata)]
    command = [sys.executable, "-m", "tests.conformance.client", *known, *words]
    return subprocess.run(command, cwd=ROOT, env=os.environ | clock.environment, check=False).returncode


def download_later(pair: Pair, folder: Path, days: int, name: str) -> int:
    place = ["--target-base-url", pair.server.targets_url, "--target-dir", str(pair.client.targets)]
    return later(pair, folder, days, "--target-name", name, *place, "download")


def test_an_expired_root_is_kept_and_ends_the_refresh(pair: Pair) -> None:
    assert pair.client.refresh() == 0
    pair.repository.root.expires = in_days(-1)
    pair.repository.publish("root", "targets", "snapshot", "timestamp")
    assert pair.client.refresh() == 1
    assert pair.client.trusted() == {"root": 2, "snapshot": 1, "targets": 1, "timestamp": 1}


@pytest.mark.parametrize(
    ("role", "trusted"),
    [
        ("timestamp", {"root": 1, "snapshot": 1, "targets": 1, "timestamp": 1}),
        ("snapshot", {"root": 1, "snapshot": 1, "targets": 1, "timestamp": 2}),
        ("targets", {"root": 1, "snapshot": 2, "targets": 1, "timestamp": 2}),
    ],
)
def test_an_expired_role_is_not_taken(pair: Pair, role: str, trusted: dict[str, int]) -> None:
    assert pair.client.refresh() == 0
    pair.repository.roles[role].expires = in_days(-5)
    pair.repository.update()
    assert pair.client.refresh() == 1
    assert pair.client.trusted() == trusted


@needs_cc
def test_the_processs_clock_decides(pair: Pair, tmp_path: Path) -> None:
    pair.repository.root.expires = in_days(7)
    pair.repository.publish("root")
    assert later(pair, tmp_path, 8, "refresh") == 1
    assert later(pair, tmp_path, 0, "refresh") == 0
    assert later(pair, tmp_path, 18, "refresh") == 1
    assert later(pair, tmp_path, 6, "refresh") == 0
    assert later(pair, tmp_path, -400, "refresh") == 0


@needs_cc
def test_expired_files_on_disk_are_no_obstacle_to_newer_ones(pair: Pair, tmp_path: Path) -> None:
    pair.repository.timestamp.expires = in_days(7)
    pair.repository.root.expires = in_days(7)
    pair.repository.publish("root", "timestamp")
    assert pair.client.refresh() == 0
    pair.repository.root.expires = pair.repository.timestamp.expires = in_days(21)
    pair.repository.publish("root", *ALL_BUT_ROOT)
    assert later(pair, tmp_path, 18, "refresh") == 0
    assert pair.client.trusted() == {"root": 3, "snapshot": 2, "targets": 2, "timestamp": 3}


@needs_cc
def test_an_expired_timestamp_on_disk_still_forbids_an_older_one(pair: Pair, tmp_path: Path) -> None:
    pair.repository.timestamp.expires = in_days(7)
    pair.repository.publish("timestamp", "timestamp")
    assert pair.client.refresh() == 0
    pair.repository.timestamp.version, pair.repository.timestamp.expires = 2, in_days(21)
    pair.repository.publish("timestamp", bump=False)
    assert later(pair, tmp_path, 18, "refresh") == 1
    assert pair.client.version("timestamp") == 3


@needs_cc
def test_a_delegated_role_on_disk_expires_and_is_renewed(pair: Pair, tmp_path: Path) -> None:
    pair.repository.delegate("models", ["boards/*"], expires=in_days(7))
    for name in ("first", "second"):
        pair.repository.add_target(f"boards/{name}", name.encode(), role="models")
    pair.repository.publish("models", *ALL_BUT_ROOT)
    assert pair.client.download("boards/first") == 0
    assert download_later(pair, tmp_path, 18, "boards/second") == 1
    assert pair.client.got() == [b"first"]
    pair.repository.roles["models"].expires = in_days(21)
    pair.repository.publish("models", "snapshot", "timestamp")
    assert download_later(pair, tmp_path, 18, "boards/second") == 0
    assert pair.client.got() == [b"first", b"second"]


@needs_cc
def test_an_expired_timestamp_on_disk_still_forbids_an_older_snapshot(pair: Pair, tmp_path: Path) -> None:
    pair.repository.timestamp.expires = in_days(7)
    pair.repository.publish("snapshot", "timestamp")
    assert pair.client.refresh() == 0
    pair.repository.snapshot.version, pair.repository.timestamp.expires = 1, in_days(21)
    pair.repository.publish("snapshot", bump=False)
    pair.repository.publish("timestamp")
    assert later(pair, tmp_path, 18, "refresh") == 1
    assert pair.client.version("timestamp") == 2
