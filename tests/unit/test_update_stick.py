"""appliance agent import: a stick may be old, foreign, damaged, pulled out, or made to mislead; one test each."""

import os
import re
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.errors import DeliveryError
from appliance.update.pace import TransferLimits
from appliance.update.stick import FolderSource
from tests.small_disk import fill, small_disk
from tests.tuf_repository import ALL_BUT_ROOT, Repository, in_days
from tests.update_device import Device
from tests.update_server import UpdateServer
from tests.usb_stick import UsbDevice, add_release, dying_stick, stick_repository

OLD, NEW = b"the release before", b"".join(number.to_bytes(4, "big") for number in range(500_000))
HALF = len(NEW) // 2


@pytest.fixture
def repository() -> Repository:
    repository = stick_repository()
    add_release(repository, 12, NEW)
    return repository


@pytest.fixture
def device(tmp_path: Path, repository: Repository) -> UsbDevice:
    device = UsbDevice(tmp_path, repository.root_bytes())
    device.plug_in(repository)
    return device


NAME = "models/boards/boards-12.bundle"


def test_a_stick_is_taken_as_if_it_came_from_the_server(
    device: UsbDevice, repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    add_release(repository, 11, OLD)
    add_release(repository, 3, b"lids", name="lids")
    repository.add_target("notes/today.txt", b"read me")
    repository.publish(*ALL_BUT_ROOT)
    device.plug_in(repository)
    before = {path: path.stat() for path in device.stick.rglob("*")}
    assert device.takes() == 0
    assert device.has() == sorted([NEW, b"lids", b"read me"])
    said = dict(line.split(" ", 1) for line in capsys.readouterr().out.splitlines())
    assert Path(said[NAME]).read_bytes() == NEW
    assert said["3"] == f"files of {device.stick} are here, checked"
    assert {name: each.seq for name, each in device.floor.read().releases.items()} == {
        "model/boards": 12, "model/lids": 3,
    }  # fmt: skip
    after = {path: path.stat() for path in device.stick.rglob("*")}
    assert {path: (each.st_size, each.st_mtime_ns) for path, each in before.items()} == {
        path: (each.st_size, each.st_mtime_ns) for path, each in after.items()
    }


def test_only_what_is_named_is_taken(device: UsbDevice, repository: Repository) -> None:
    lids = add_release(repository, 3, b"lids", name="lids")
    device.plug_in(repository)
    assert device.takes(lids) == 0
    assert device.has() == [b"lids"]


def test_a_name_that_nobody_on_the_stick_signed_is_refused(
    device: UsbDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    stranger = device.stick / "targets" / "models" / "boards" / "boards-13.bundle"
    stranger.write_bytes(b"unsigned")
    assert device.takes("models/boards/boards-13.bundle") == 65
    assert "nobody whom this device trusts vouches for it" in capsys.readouterr().err
    assert device.has() == []


def symlink(path: Path) -> None:
    real = path.rename(path.with_name("real"))
    path.symlink_to(real)


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def listening(path: Path) -> None:
    path.unlink()
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's name has few bytes
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("s")
    finally:
        os.chdir(here)
    path.with_name("s").rename(path)


def character_device(path: Path) -> None:
    path.unlink()
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero
    except PermissionError:
        pytest.skip("making a device file needs rights that this user or container does not have")


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("turns_into", [symlink, fifo, listening, character_device, folder])
@pytest.mark.parametrize("is_metadata", [True, False], ids=["metadata", "target"])
def test_what_is_no_plain_file_is_never_read(
    device: UsbDevice,
    repository: Repository,
    capsys: pytest.CaptureFixture[str],
    turns_into: Callable[[Path], None],
    is_metadata: bool,
) -> None:
    path = device.stick / "metadata" / "timestamp.json" if is_metadata else device.place(repository, NAME)
    turns_into(path)
    assert device.takes() == 1
    assert f"{path.name}: not a plain file" in capsys.readouterr().err
    assert device.has() == []


@pytest.mark.parametrize("name", ["metadata", "targets", "targets/models", "targets/models/boards"])
def test_a_folder_that_is_a_link_is_not_followed(
    device: UsbDevice, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Outside the stick is everything that a link there would name: a key, another device's files."""
    outside = (device.stick / name).rename(device.folder / "outside")
    (device.stick / name).symlink_to(outside, target_is_directory=True)
    assert device.takes() == 1
    assert "on its way is a link" in capsys.readouterr().err
    assert device.has() == []


def test_a_file_where_a_folder_should_be_is_told_in_words(
    device: UsbDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    (device.stick / "targets").rename(device.folder / "outside")
    (device.stick / "targets").write_bytes(b"a file")
    assert device.takes() == 1
    assert "a file where a folder should be" in capsys.readouterr().err


def test_a_flipped_bit_in_a_target_is_refused_and_nothing_of_it_is_kept(
    device: UsbDevice, repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    content = bytearray(NEW)
    content[HALF] ^= 1
    device.place(repository, NAME).write_bytes(content)
    assert device.takes() == 65
    assert "another file under this name than was signed" in capsys.readouterr().err
    assert [path.name for path in device.files.iterdir()] == [".lock"]


@pytest.mark.parametrize("name", ["timestamp.json", "3.snapshot.json", "3.targets.json", "2.models.json"])
def test_a_flipped_bit_in_metadata_is_refused(device: UsbDevice, name: str) -> None:
    path = device.stick / "metadata" / name
    content = bytearray(path.read_bytes())
    content[content.index(b'"expires"') + len('"expires": "')] ^= 1
    path.write_bytes(content)
    assert device.takes() == 65
    assert device.has() == []


def test_a_cut_off_metadata_file_is_refused(device: UsbDevice) -> None:
    path = device.stick / "metadata" / "timestamp.json"
    os.truncate(path, path.stat().st_size // 2)
    assert device.takes() == 65


def test_an_endless_metadata_file_ends_at_what_it_may_have(
    device: UsbDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    os.truncate(device.stick / "metadata" / "timestamp.json", 1 << 40)
    assert device.takes() == 1
    assert "at most were signed; write the stick anew" in capsys.readouterr().err


def test_a_file_that_is_longer_than_signed_is_not_even_read(
    device: UsbDevice, repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    os.truncate(device.place(repository, NAME), 1 << 40)
    assert device.takes() == 1
    assert "at most were signed; write the stick anew" in capsys.readouterr().err
    assert device.has() == []


def test_a_file_that_is_still_being_written_is_taken_when_it_is_whole(
    device: UsbDevice, repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was read while it was half there is not read again."""
    path = device.place(repository, NAME)
    path.write_bytes(NEW[:HALF])
    assert device.takes() == 1
    assert f"ends after {HALF} of {len(NEW)} bytes" in capsys.readouterr().err
    path.write_bytes(bytes(HALF) + NEW[HALF:])
    assert device.takes() == 0
    assert device.has() == [NEW]


def test_a_file_that_grows_without_end_is_taken_whole_or_not_at_all(device: UsbDevice, repository: Repository) -> None:
    path, stopped = device.place(repository, NAME), threading.Event()

    def grow() -> None:
        with path.open("ab") as file:
            while not stopped.wait(0.001):
                file.write(bytes(1000))
                file.flush()

    writer = threading.Thread(target=grow)
    writer.start()
    code = device.takes()
    stopped.set()
    writer.join()
    assert (code, device.has()) in ((0, [NEW]), (1, []))


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets", "models"])
def test_a_stick_that_has_expired_is_refused(
    device: UsbDevice, repository: Repository, capsys: pytest.CaptureFixture[str], role: str
) -> None:
    repository.roles[role].expires = in_days(-1)
    repository.publish(*(["root"] if role == "root" else []), "models", *ALL_BUT_ROOT)
    device.plug_in(repository)
    assert device.takes() == 65
    assert re.search(rf"({role}.json|{role}) is expired? ", capsys.readouterr().err)
    assert device.has() == []


def test_a_stick_that_is_older_than_one_before_is_refused(
    tmp_path: Path, device: UsbDevice, repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    older = dict(repository.files)
    lids = add_release(repository, 3, b"lids", name="lids")
    device.plug_in(repository)
    assert device.takes(lids) == 0
    repository.files = older
    device.plug_in(repository)
    assert device.takes() == 65
    device.metadata.rename(tmp_path / "lost")  # so that only the floor knows better
    capsys.readouterr()
    assert device.takes() == 65
    assert "repository stick: timestamp version 3 is offered, and this device has seen 4" in capsys.readouterr().err
    assert device.has() == [b"lids"]


def test_a_stick_of_another_plant_is_refused(device: UsbDevice, capsys: pytest.CaptureFixture[str]) -> None:
    other = stick_repository()
    add_release(other, 12, b"theirs")
    other.publish("root")
    device.plug_in(other)
    assert device.takes() == 65
    assert "look at who signs and publishes there" in capsys.readouterr().err
    assert device.has() == []


def test_a_stick_that_is_pulled_out_between_two_files_is_gone_on_with(
    device: UsbDevice, repository: Repository
) -> None:
    """What was copied is not copied again: on the second stick there is something else in its place."""
    lids = add_release(repository, 3, b"lids", name="lids")
    device.plug_in(repository)
    path = device.place(repository, lids)
    path.unlink()
    assert device.takes() == 1
    assert device.has() == [NEW]
    path.write_bytes(b"lids")
    device.place(repository, NAME).write_bytes(bytes(len(NEW)))
    assert device.takes() == 0
    assert device.has() == sorted([NEW, b"lids"])


def test_bad_sectors_are_errors_in_words_and_what_was_read_stays(
    device: UsbDevice, repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file system whose last blocks cannot be read; the second stick has nothing where the first was right."""
    with dying_stick(device.stick, repository, last=NEW[1_500_000:1_501_000]):
        assert device.takes() == 1
        assert "Input/output error; the stick is damaged or was pulled out: try again" in capsys.readouterr().err
    assert device.has() == []
    [draft] = device.files.glob(".*.part")
    reached = draft.stat().st_size
    assert 0 < reached < len(NEW)
    device.place(repository, NAME).write_bytes(bytes(reached) + NEW[reached:])
    assert device.takes() == 0
    assert device.has() == [NEW]


def test_a_sector_that_cannot_be_read_is_a_delivery_error() -> None:
    """The kernel's own picture of this process: a plain file whose first page nobody can read."""
    source = FolderSource(Path("/proc"), str(os.getpid()), TransferLimits())
    with pytest.raises(DeliveryError, match=r"\d/mem: Input/output error; the stick is damaged"):
        source.read("mem", most_bytes=100, ends_at=float("inf"))


@pytest.mark.parametrize("is_whole", [True, False])
def test_without_a_stick_a_person_is_told(
    device: UsbDevice, capsys: pytest.CaptureFixture[str], is_whole: bool
) -> None:
    (device.stick / ("metadata" if is_whole else ".")).resolve().rename(device.folder / "gone")
    assert device.takes() == 1
    assert "not there; plug the stick in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("keys", "words"), [({}, "as `stick_root`"), ({"stick_root": "nobody.json"}, "name the root.json that the image")]
)
def test_without_a_root_no_stick_is_believed(
    device: UsbDevice, capsys: pytest.CaptureFixture[str], keys: dict[str, object], words: str
) -> None:
    device.configure(**keys)
    assert device.takes() == 78
    assert words in capsys.readouterr().err


def test_a_release_below_the_floor_is_left_out_and_refused_by_name(
    tmp_path: Path, device: UsbDevice, repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    """The floor is the same as the server's: a stick is no way back."""
    server_side = stick_repository()
    name = add_release(server_side, 13, b"newer")
    with UpdateServer(server_side.files) as server:
        target = Device(tmp_path / "elsewhere", server, server_side.root_bytes()).repository.find(name)
    device.floor.rise_to_releases(target.releases)
    lids = add_release(repository, 3, b"lids", name="lids")
    device.plug_in(repository)
    assert device.takes() == 0
    assert device.has() == [b"lids"]
    assert device.takes(NAME) == 65
    assert "model/boards release 12 is offered, and this device has taken 13" in capsys.readouterr().err
    assert device.takes(lids) == 0


def test_a_lost_floor_is_no_new_device_for_a_stick_either(
    device: UsbDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    assert device.takes() == 0
    device.floor.path.unlink()
    (device.metadata).rename(device.folder / "lost")
    assert device.takes() == 74
    assert "knows nothing of repository stick, and" in capsys.readouterr().err


def test_a_full_disk_leaves_the_old_release_and_the_stick_goes_on_later(
    tmp_path: Path, device: UsbDevice, repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    lids = add_release(repository, 3, OLD, name="lids")
    device.plug_in(repository)
    with small_disk(tmp_path / "agent", 4_000_000) as disk:
        assert device.takes(lids) == 0
        ballast = fill(disk)
        assert device.takes(NAME) == 74
        assert device.has() == [OLD]
        ballast.unlink()
        assert device.takes(NAME) == 0
        assert device.has() == sorted([OLD, NEW])


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(st.sampled_from(["..", "%2e%2e", ".", "", "inside", "%69nside", "%00", "%ff", "%"]), max_size=5))
def test_no_name_leads_out_of_the_stick(tmp_path: Path, parts: list[str]) -> None:
    (tmp_path / "stick" / "targets" / "inside").mkdir(parents=True, exist_ok=True)
    for place in (tmp_path, tmp_path / "stick", tmp_path / "stick" / "targets"):
        (place / "secret").write_bytes(b"secret")
    (tmp_path / "stick" / "targets" / "inside" / "secret").write_bytes(b"public")
    source = FolderSource(tmp_path / "stick", "targets", TransferLimits())
    path = "/".join([*parts, "secret"])
    try:
        content = b"".join(source.rest(path, first_byte=0, length=6, ends_at=float("inf")))
    except DeliveryError:
        assert parts not in ([], ["inside"], ["%69nside"])
        return
    assert content == (b"public" if parts else b"secret")


def test_a_stick_that_is_too_slow_ends_with_its_time(tmp_path: Path) -> None:
    (tmp_path / "targets").mkdir()
    (tmp_path / "targets" / "a").write_bytes(NEW)
    rest = FolderSource(tmp_path, "targets", TransferLimits()).rest("a", first_byte=0, length=len(NEW), ends_at=0.0)
    with pytest.raises(DeliveryError, match="not complete when its time was over"):
        next(rest)
