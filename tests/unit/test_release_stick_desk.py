"""The desk at which sticks are written: keys that go, clocks that go on, and what verify says of a stick."""

import shutil
from copy import deepcopy
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata

from tests.release_desk import said
from tests.stick_desk import StickDesk, begun_desk, offer_second, stick_device
from tests.usb_stick import UsbDevice
from trainer.__main__ import main as trainer
from trainer.release.keys import open_signer
from trainer.release.passphrases import Secrets
from trainer.release.publication import Change, publish, signed_by
from trainer.release.request import as_bytes
from trainer.release.shelf import Shelf
from trainer.stored_files import StoredFiles

pytestmark = pytest.mark.long

FIRST, SECOND = "models/boards/boards-1.bundle", "models/boards/boards-2.bundle"
EXPIRED = datetime(2026, 1, 2, 3, 4, tzinfo=timezone.utc)


@pytest.fixture
def desk(tmp_path: Path) -> StickDesk:
    return begun_desk(tmp_path / "desk")


@pytest.fixture
def device(tmp_path: Path, desk: StickDesk) -> UsbDevice:
    return stick_device(tmp_path / "line-1", desk)


def much_happens_at_the_server(desk: StickDesk) -> None:
    """A model with its figures and the first recipe are released, and the model before is withdrawn."""
    bundle = desk.online.bundle(revision=2)
    assert desk.online.release(bundle, "--report", desk.online.evaluated(bundle)[0]) == 0
    assert desk.online.release(desk.online.recipe()) == 0
    desk.assign(SECOND)
    words = ["publish", "withdraw", FIRST, "--by", "Anna", "--why", "bad", *desk.online.at()]
    assert trainer([*words, *desk.online.keyed("ci", "quentin", "online")]) == 0


def lists_without_ci(desk: StickDesk) -> tuple[list[Path], list[Path]]:
    """Take the key of CI away in both repositories; returns the server's lists of releases, and the sticks' of keys."""
    assert desk.online.new_key("ci2", "ci") == 0
    for side in (desk.online, desk.sticks):
        words = ("--old", desk.online.public("ci"), "--new", desk.online.public("ci2"))
        assert side.change("revoke", *words, folder="gone") == 0
    ours, theirs = desk.online.requests("gone"), desk.sticks.requests("gone")
    lists, keys = (
        [path for path in ours if not path.name.startswith("targets")],
        [path for path in theirs if path.name.startswith("targets")],
    )
    for name in ("ci2", "quentin"):
        assert desk.online.sign(name, *lists) == 0
    for name in ("anna", "ben"):
        assert desk.online.sign(name, *(path for path in ours if path not in lists)) == 0
        assert desk.sticks.sign(name, *keys) == 0
    assert desk.online.publish_signed(ours) == 0
    return lists, keys


def test_a_key_is_taken_away_in_both_repositories_after_releases_that_no_stick_has_yet(
    desk: StickDesk, device: UsbDevice
) -> None:
    assert desk.write() == 0
    much_happens_at_the_server(desk)
    lists, keys = lists_without_ci(desk)
    assert {path.name.partition("-")[0] for path in lists} == {"models", "recipes"}
    assert desk.sticks.publish_signed([*keys, *lists]) == 0
    assert desk.sticks.verify() == 0
    assert desk.write() == 0
    assert device.takes() == 0
    assert device.has() == [(desk.online.folder / "boards.bundle").read_bytes()]


def test_a_list_that_the_server_never_had_does_not_replace_the_copied_one(
    desk: StickDesk, capsys: pytest.CaptureFixture[str]
) -> None:
    request = desk.folder / "overtaken.json"
    assert desk.online.release(desk.online.bundle(revision=2), "--request", str(request), keys=("ci",)) == 0
    assert desk.online.sign("quentin", request) == 0
    assert desk.online.release(desk.online.bundle(revision=3)) == 0
    assert desk.write() == 0
    before = desk.sticks.standing().delegated["models"].signed_bytes
    capsys.readouterr()
    assert desk.sticks.publish_signed([request]) == 78
    assert "models 3 of the sticks is another list than models 3" in said(capsys)
    assert desk.sticks.standing().delegated["models"].signed_bytes == before


def test_no_stick_is_written_of_a_damaged_assignment(desk: StickDesk, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = (Path(desk.online.address) / "targets" / "assign" / "ulm").glob("*.line-1.json")
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    capsys.readouterr()
    assert desk.write() == 65
    assert "assign/ulm/line-1.json is damaged" in said(capsys)
    assert not desk.stick.exists()


def keys(desk: StickDesk, *names: str) -> list[Signer]:
    secrets = Secrets((desk.online.folder / "passphrase",))
    return [open_signer(str(desk.online.key(name)), secrets) for name in names]


def nobody_refreshed(desk: StickDesk, role: str) -> int:
    """Leave the server's repository as it is when its timer stopped; returns the version of what has expired."""
    shelf, standing = Shelf(desk.online.address), desk.online.standing()
    held: Metadata[Any] = standing.timestamp if role == "timestamp" else standing.delegated[role]
    old = deepcopy(held.signed)
    version: int = old.version + 1
    old.version, old.expires = version, EXPIRED
    if role == "timestamp":
        shelf.swap(as_bytes(signed_by(keys(desk, "online"), role, old, [(standing.root.signed, None)])), shelf.mark())
        return version
    signed = signed_by(keys(desk, "ulm"), role, old, [(standing.root.signed, standing.targets.signed)])
    publish(shelf, standing, Change(roles={role: signed}), keys(desk, "online"))
    return version


def put_elsewhere(desk: StickDesk) -> None:
    """Let the server's repository lie in a store that is no folder of this computer."""
    folder, address = Path(desk.online.address), f"memory://{desk.folder}"
    store = StoredFiles(address)
    for path in folder.rglob("*.*"):
        if path.is_file():
            store.write(str(path.relative_to(folder)), path.read_bytes())
    desk.online.address = address


@pytest.mark.parametrize("role", ["timestamp", "assign-ulm"])
def test_a_store_in_which_nothing_is_signed_anew_any_more_gives_no_new_life_to_its_assignments(
    desk: StickDesk, capsys: pytest.CaptureFixture[str], role: str
) -> None:
    put_elsewhere(desk)
    assert desk.write() == 0
    before = {path: path.read_bytes() for path in desk.stick.rglob("*") if path.is_file()}
    version = nobody_refreshed(desk, role)
    capsys.readouterr()
    assert desk.write() == 65
    told = said(capsys)
    assert f"{role} {version} was valid until 2026-01-02 03:04 UTC" in told
    assert "`trainer publish refresh`" in told
    assert {path: path.read_bytes() for path in desk.stick.rglob("*") if path.is_file()} == before
    assert desk.online.refresh("online", "ulm") == 0
    assert desk.write() == 0


@pytest.mark.parametrize("role", ["timestamp", "assign-ulm"])
def test_a_folder_at_the_desk_needs_no_timer_and_what_has_expired_there_is_told(
    desk: StickDesk, device: UsbDevice, capsys: pytest.CaptureFixture[str], role: str
) -> None:
    version = nobody_refreshed(desk, role)
    capsys.readouterr()
    assert desk.write() == 0
    assert f"{role} {version} was valid until 2026-01-02 03:04 UTC" in said(capsys)
    assert device.takes() == 0


def test_a_stick_says_until_when_what_is_copied_to_it_was_valid(
    desk: StickDesk, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert desk.write() == 0
    told, standing = capsys.readouterr(), desk.online.standing()
    for role, signed in (("timestamp", standing.timestamp), ("assign-ulm", standing.delegated["assign-ulm"])):
        until = f"{signed.signed.expires:%Y-%m-%d %H:%M} UTC"
        assert f"{role} {signed.signed.version} until {until}" in " ".join(told.out.split())
    assert "beware" not in told.err


def test_a_file_that_nobody_signed_makes_no_stick_of_an_old_state_of_the_sticks_repository(
    desk: StickDesk, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever can write to the store puts last month's state back, and what only a stick has."""
    timestamp = Path(desk.sticks.address) / "metadata" / "timestamp.json"
    assert desk.write() == 0
    old = timestamp.read_bytes()
    offer_second(desk)
    assert desk.write() == 0
    assert desk.sticks.verify() == 0
    timestamp.chmod(0o644)
    timestamp.write_bytes(old)
    shutil.copy(desk.stick / "STICK.txt", desk.sticks.address)
    capsys.readouterr()
    assert desk.sticks.verify() == 65
    told = said(capsys)
    assert "older than this publisher has seen" in told
    assert "if this is a USB stick, add --stick" in told


def test_a_stick_of_which_a_person_says_so_may_be_an_older_one_in_the_place_of_the_newest(
    desk: StickDesk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.write() == 0
    old = desk.stick.rename(desk.folder / "old-stick")
    offer_second(desk)
    assert desk.write() == 0
    assert trainer(["publish", "verify", *desk.at_stick()]) == 0, "looked at as the repository, and remembered as it"
    desk.stick.rename(desk.folder / "new-stick")
    old.rename(desk.stick)
    assert trainer(["publish", "verify", *desk.at_stick()]) == 65
    assert desk.verify() == 0


def test_a_servers_repository_is_no_stick_whatever_a_person_says(
    desk: StickDesk, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert desk.online.verify("--stick") == 78
    assert "is for a server" in said(capsys)
