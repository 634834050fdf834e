"""A stick from the desk to a device's store: what lies on it, and what publisher and device refuse."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.c_compiler import needs_cc
from tests.release_desk import said
from tests.stick_desk import StickDesk, begun_desk, content, offer_second, ordered, stick_device
from tests.usb_stick import UsbDevice
from tests.wall_clock import WallClock
from trainer.__main__ import main as trainer
from trainer.release.request import contents, read_request

pytestmark = pytest.mark.long

FIRST, SECOND, LIDS = "models/boards/boards-1.bundle", "models/boards/boards-2.bundle", "models/lids/lids-1.bundle"


@pytest.fixture
def desk(tmp_path: Path) -> StickDesk:
    return begun_desk(tmp_path / "desk")


@pytest.fixture
def device(tmp_path: Path, desk: StickDesk) -> UsbDevice:
    return stick_device(tmp_path / "line-1", desk)


def signed_by(desk: StickDesk, folder: str, where: str) -> list[Path]:
    """Let two people, and who must, sign what a change of keys asks for."""
    side = getattr(desk, where)
    files: list[Path] = side.requests(folder)
    signers = {"root": ("anna", "ben"), "targets": ("anna", "ben"), "models": ("ci2", "quentin")}
    for path in files:
        for name in signers[path.name.partition("-")[0]]:
            assert side.sign(name, path) == 0
    return files


def test_a_stick_has_what_its_devices_need_and_nobody_signed_a_release_twice(
    desk: StickDesk, device: UsbDevice, tmp_path: Path
) -> None:
    assert desk.write() == 0
    assert desk.verify() == 0
    on_it = [name.rpartition("/")[2].partition(".")[2] for name in desk.files() if name.startswith("targets/")]
    assert sorted(on_it) == ["boards-1.bundle", "lids-1.bundle", "line-1.json", "line-2.json"]
    online = Path(desk.online.address)
    for name in ("metadata/2.models.json", *(name for name in desk.files() if name.startswith("targets/assign/"))):
        assert (desk.stick / name).read_bytes() == (online / name).read_bytes()
    assert device.takes() == 0
    assert device.has() == [content(desk)]
    found = ordered(device)
    assert found is not None
    assert [(each.path, each.seq) for each in found.assignment.releases] == [(FIRST, 1)]
    assert {name: each.seq for name, each in device.floor.read().releases.items()} == {
        "stick-assignment/ulm": 1, "model/boards": 1,
    }  # fmt: skip
    other = stick_device(tmp_path / "line-2", desk, device_id="line-2")
    assert other.takes() == 0
    assert other.has() == [content(desk, "lids")]


def test_a_stick_for_one_device_has_the_files_of_that_one(
    desk: StickDesk, device: UsbDevice, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.write("--device", "line-1") == 0
    assert not [name for name in desk.files() if "lids" in name or "line-2" in name]
    assert desk.verify() == 0
    assert device.takes() == 0
    capsys.readouterr()
    assert stick_device(tmp_path / "line-2", desk, device_id="line-2").takes() == 1
    assert "not there" in said(capsys)


def test_a_stick_says_for_whom_it_is(desk: StickDesk, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert desk.write() == 0
    for number, who in enumerate(({"device_id": "line-3"}, {"site": "graz"})):
        device = stick_device(tmp_path / str(number), desk, **who)
        assert device.takes() == 65
        assert "is for ulm/line-1, ulm/line-2, and this is" in said(capsys)
        assert (device.has(), ordered(device)) == ([], None)


def test_a_stick_of_another_plant_is_refused(
    desk: StickDesk, device: UsbDevice, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = StickDesk(tmp_path / "other")
    other.folder.mkdir()
    other.begin()
    assert other.online.release(other.online.bundle()) == 0
    other.assign(FIRST)
    assert other.write() == 0
    device.stick = other.stick
    assert device.takes() == 65
    assert (device.has(), ordered(device)) == ([], None)


def test_a_stick_that_is_older_than_one_before_is_refused_and_the_newer_order_stays(
    desk: StickDesk, device: UsbDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.write() == 0
    old = shutil.copytree(desk.stick, desk.folder / "old-stick")
    second = offer_second(desk)
    assert desk.write() == 0
    assert device.takes() == 0
    device.stick = old
    assert device.takes() == 65
    assert second in device.has()
    found = ordered(device)
    assert found is not None
    assert found.assignment.releases[0].path == SECOND
    assert desk.verify(old) == 0, "for a device that has not seen the newer one it is good"


@pytest.mark.long
@needs_cc
def test_a_site_to_which_no_stick_went_for_long_is_in_nobodys_way(
    desk: StickDesk, device: UsbDevice, tmp_path: Path
) -> None:
    for side in (desk.online, desk.sticks):
        assert side.new_key("graz", "online") == 0
        assert side.change("site", f"graz={side.public('graz')}", folder="graz") == 0
        files = side.requests("graz")
        for name in ("anna", "ben"):
            assert side.sign(name, *files) == 0
        assert side.publish_signed(files) == 0
    assert desk.online.assign("--device", "line-8", "--release", FIRST, site="graz", keys=("graz", "online")) == 0
    assert desk.write("--site", "graz", keys=("online", "graz")) == 0
    clock = WallClock(tmp_path)
    clock.set_by(40 * 86400)

    def later(*words: str) -> int:
        ended = subprocess.run([sys.executable, "-m", *words], env=os.environ | clock.environment, check=False)
        return ended.returncode

    assert later("trainer", *desk.words()) == 0
    assert later("appliance", "agent", "import", str(desk.stick), "--config", str(device.config)) == 0
    assert device.has() == [content(desk)]
    assert later("trainer", "publish", "verify", "--stick", *desk.at_stick()) == 0
    clock.set_by(65 * 86400)
    assert later("trainer", "publish", "verify", "--stick", *desk.at_stick()) == 1, "its own lists have five days left"


def test_an_old_stick_is_replaced_and_what_only_it_needed_is_gone(desk: StickDesk, device: UsbDevice) -> None:
    (desk.stick).mkdir()
    (desk.stick / "holiday.jpg").write_bytes(b"not ours")
    assert desk.write() == 0
    offer_second(desk)
    assert desk.write() == 0
    assert not [name for name in desk.files() if "boards-1" in name or name.startswith("metadata/1.assign")]
    assert (desk.stick / "holiday.jpg").read_bytes() == b"not ours"
    assert device.takes() == 0


@pytest.mark.parametrize(
    ("what", "harm", "complaint"),
    [
        ("boards-1.bundle", "flipped", "models/boards/boards-1.bundle is damaged"),
        ("boards-1.bundle", "gone", "models/boards/boards-1.bundle is missing"),
        ("line-1.json", "flipped", "assign/ulm/line-1.json is damaged"),
        ("line-1.json", "gone", "every assignment is missing"),
    ],
)
def test_verify_is_a_client_of_a_stick(
    desk: StickDesk, capsys: pytest.CaptureFixture[str], what: str, harm: str, complaint: str
) -> None:
    assert desk.write("--device", "line-1") == 0
    (path,) = desk.stick.rglob(f"*.{what}")
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    capsys.readouterr()
    assert desk.verify() == 65
    assert complaint in said(capsys)


@pytest.mark.parametrize(
    ("now", "words"),
    [
        ({"site": "graz", "device_id": "line-1"}, "is for another site, and this is graz"),
        ({"site": "ulm", "device_id": "line-7"}, "is for device line-1, and this is line-7"),
        (None, "model/boards is nothing that this device runs"),
    ],
)
def test_what_a_stick_brought_ends_where_the_device_becomes_another(
    desk: StickDesk, device: UsbDevice, caplog: pytest.LogCaptureFixture, now: dict[str, str] | None, words: str
) -> None:
    assert desk.write() == 0
    assert device.takes() == 0
    assert ordered(device) is not None
    if now is None:
        (device.folder / "agent" / "slots" / "models" / "boards").rmdir()
    else:
        keys = yaml.safe_load(device.config.read_text()) | {"assignment": now}
        device.config.write_text(yaml.safe_dump(keys))
    assert ordered(device) is None
    assert words in caplog.text


def test_half_a_stick_leaves_the_order_before(desk: StickDesk, device: UsbDevice) -> None:
    assert desk.write() == 0
    assert device.takes() == 0
    offer_second(desk)
    assert desk.write() == 0
    (path,) = desk.stick.rglob("*.boards-2.bundle")
    path.unlink()
    assert device.takes() == 1
    found = ordered(device)
    assert found is not None
    assert (found.assignment.releases[0].path, device.floor.read().releases["stick-assignment/ulm"].seq) == (FIRST, 1)


def test_half_a_stick_of_two_releases_leaves_the_floor_where_the_order_before_can_be_checked(
    desk: StickDesk, device: UsbDevice
) -> None:
    assert desk.write() == 0
    assert device.takes() == 0
    for name in ("boards", "lids"):
        assert desk.online.release(desk.online.bundle(name, revision=2)) == 0
    both = [word for name in ("boards", "lids") for word in ("--release", f"models/{name}/{name}-2.bundle")]
    assert desk.online.assign("--device", "line-1", *both) == 0
    assert desk.write() == 0
    (path,) = desk.stick.rglob("*.lids-2.bundle")
    content_of_lids = path.read_bytes()
    path.unlink()
    assert device.takes() == 1
    assert len(device.has()) == 2, "the file of boards-2 is here already"
    found = ordered(device)
    assert found is not None
    device.floor.check_releases(found.signed[FIRST].releases)
    path.write_bytes(content_of_lids)
    assert device.takes() == 0
    taken = device.floor.read().releases
    assert (taken["model/boards"].seq, taken["model/lids"].seq) == (2, 2)


def test_a_stolen_key_of_ci_is_taken_away_in_both_repositories_and_people_sign_their_list_once(
    desk: StickDesk, device: UsbDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.write() == 0
    old = shutil.copytree(desk.stick, desk.folder / "old-stick")
    assert desk.online.new_key("ci2", "ci") == 0
    for side in (desk.online, desk.sticks):
        words = ("--old", desk.online.public("ci"), "--new", desk.online.public("ci2"))
        assert side.change("revoke", *words, folder="gone") == 0
    ours = signed_by(desk, "gone", "online")
    assert desk.online.publish_signed(ours) == 0
    capsys.readouterr()
    assert desk.write() == 65
    assert "models 3: is not signed by enough of those whom the sticks' targets name" in said(capsys)
    theirs = [path for path in desk.sticks.requests("gone") if path.name.startswith("targets")]
    for name in ("anna", "ben"):
        assert desk.sticks.sign(name, *theirs) == 0
    (models,) = [path for path in ours if path.name.startswith("models")]
    assert desk.sticks.publish_signed([*theirs, models]) == 0
    assert desk.write() == 0
    assert device.takes() == 0
    device.stick = old
    assert device.takes() == 65


def test_a_stick_that_a_revoked_key_of_the_site_signed_is_refused(
    desk: StickDesk, device: UsbDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.sticks.new_key("ulm2", "online") == 0
    words = ("--old", desk.sticks.public("ulm"), "--new", desk.sticks.public("ulm2"))
    assert desk.sticks.change("revoke", *words, folder="gone") == 0
    assert desk.sticks.publish_signed(signed_by(desk, "gone", "sticks")) == 0
    capsys.readouterr()
    assert desk.write() == 78
    assert "assign-ulm is signed with the key of Ulm2" in said(capsys)
    assert desk.write(keys=("online", "ulm2")) == 0
    assert device.takes() == 0


def test_the_longer_terms_are_signed_and_stay_when_keys_change(desk: StickDesk) -> None:
    assert desk.sticks.new_key("online2", "online") == 0
    words = ("--old", desk.sticks.public("online"), "--new", desk.sticks.public("online2"))
    assert desk.sticks.change("rotate", *words, folder="rotation") == 0
    files = signed_by(desk, "rotation", "sticks")
    assert desk.sticks.publish_signed(files, "online", "online2") == 0
    assert desk.write(keys=("online2", "ulm")) == 0
    figures = desk.folder / "figures.json"
    assert desk.sticks.verify("--json", str(figures)) == 0
    days = {each["role"]: round(each["days_left"]) for each in json.loads(figures.read_text())["expiries"]}
    assert (days["timestamp"], days["snapshot"], days["assign-ulm"], days["models"]) == (30, 30, 30, 90)


@pytest.mark.parametrize(
    ("purpose", "complaint"),
    [(None, "makes it a repository for a server"), ("planes", "the repository is for 'planes' (x-for), which this")],
)
def test_what_a_repository_is_for_is_signed_and_never_changes(
    desk: StickDesk, capsys: pytest.CaptureFixture[str], purpose: str | None, complaint: str
) -> None:
    assert desk.sticks.change("renew", "root", folder="renewal") == 0
    (path,) = desk.sticks.requests("renewal")
    assert dict(contents(read_request(path)))["for"] == "sticks", "who signs sees it"
    request = json.loads(path.read_text())
    request["metadata"]["signed"]["x-for"] = purpose
    path.write_text(json.dumps(request))
    capsys.readouterr()
    assert desk.sticks.publish_signed(signed_by(desk, "renewal", "sticks")) == 65
    assert complaint in said(capsys)


def is_published_to(desk: StickDesk) -> int:
    return desk.sticks.release(desk.online.bundle(revision=9), keys=("ci", "quentin", "online"))


def is_assigned_in(desk: StickDesk) -> int:
    return desk.sticks.assign("--device", "line-1", "--release", FIRST)


def has_a_release_withdrawn(desk: StickDesk) -> int:
    words = ["publish", "withdraw", FIRST, "--by", "Anna", "--why", "bad", *desk.sticks.at()]
    return trainer([*words, *desk.sticks.keyed("ci", "quentin", "online")])


def has_models_renewed(desk: StickDesk) -> int:
    return desk.sticks.change("renew", "models", folder="renewal")


def is_refreshed(desk: StickDesk) -> int:
    return desk.sticks.refresh()


@pytest.mark.parametrize(
    "change", [is_published_to, is_assigned_in, has_a_release_withdrawn, has_models_renewed, is_refreshed]
)
def test_what_is_copied_is_changed_where_it_comes_from(
    desk: StickDesk, capsys: pytest.CaptureFixture[str], change: Callable[[StickDesk], int]
) -> None:
    assert desk.write() == 0
    capsys.readouterr()
    assert change(desk) == 78
    assert "is the repository of sticks, to which `trainer publish stick` copies" in said(capsys)


def test_what_cannot_become_a_stick_is_told_before_anything_is_written(
    desk: StickDesk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = tmp_path / "foreign"
    (foreign / "metadata").mkdir(parents=True)
    (foreign / "metadata" / "mine.txt").write_bytes(b"mine")
    link = tmp_path / "linked"
    link.mkdir()
    (link / "targets").symlink_to(foreign)
    copy = shutil.copytree(desk.online.address, tmp_path / "copy")
    before = sorted(Path(desk.sticks.address).rglob("*"))
    for words, out, keys, complaint in (
        ((), foreign, ("online", "ulm"), "of no stick that was written here"),
        ((), link, ("online", "ulm"), "devices follow no link"),
        ((), Path(desk.sticks.address), ("online", "ulm"), "is the repository itself"),
        ((), copy, ("online", "ulm"), "a repository lies there"),
        (("--device", "line-9"), None, ("online", "ulm"), "nothing was assigned to this device"),
        (("--site", "graz"), None, ("online", "ulm"), "the site 'graz' is not known"),
        ((), None, ("online",), "assign-ulm is signed with the key of Ulm"),
        ((), None, ("ulm",), "timestamp is signed with the key of Online"),
        (("--sticks", desk.online.address, "--stick-root", str(desk.online.root)), None, ("online", "ulm"),
         "is for a server; `trainer keys ceremony --sticks` begins one of sticks"),
        (("--repository", desk.sticks.address, "--root", str(desk.sticks.root)), None, ("online", "ulm"),
         "is the one of sticks"),
    ):  # fmt: skip
        capsys.readouterr()
        assert desk.write(*words, out=out, keys=keys) == 78, complaint
        assert complaint in said(capsys)
        assert sorted(Path(desk.sticks.address).rglob("*")) == before
        assert not desk.stick.exists()
    assert (foreign / "metadata" / "mine.txt").read_bytes() == b"mine"
