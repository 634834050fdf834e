"""A stick that is being written: killed before any step, or on a disk that is too small."""

import shutil
from pathlib import Path

import pytest

from tests.killed_at import GOING, STEPS, killed_at
from tests.release_desk import said
from tests.small_disk import small_disk
from tests.stick_desk import StickDesk, begun_desk, content, offer_second, ordered, stick_device
from tests.usb_stick import UsbDevice

pytestmark = pytest.mark.long


@pytest.fixture
def desk(tmp_path: Path) -> StickDesk:
    return begun_desk(tmp_path / "desk")


@pytest.fixture
def device(tmp_path: Path, desk: StickDesk) -> UsbDevice:
    return stick_device(tmp_path / "line-1", desk)


def test_a_stick_whose_writer_was_killed_anywhere_is_the_old_one_or_none_and_is_completed(
    desk: StickDesk, tmp_path: Path
) -> None:
    assert desk.write() == 0
    first, second = content(desk), offer_second(desk)
    states = {"sticks": Path(desk.sticks.address), "stick": desk.stick}
    begun = tmp_path / "as-it-was"
    for name, place in states.items():
        shutil.copytree(place, begun / name)
    step, seen = 0, set()
    while True:
        step += 1
        for name, place in states.items():
            shutil.rmtree(place)
            shutil.copytree(begun / name, place)
        Path(f"{desk.sticks.root}.seen.json").unlink()
        if not killed_at(step, desk.stick, desk.write, {**STEPS, **GOING}):
            break
        device = stick_device(tmp_path / f"device-{step}", desk)
        code = device.takes()
        assert (code, device.has()) in ((0, [first]), (0, [second]), (65, []), (1, [])), step
        seen.add((code, *device.has()))
        assert desk.write() == 0
        assert stick_device(tmp_path / f"then-{step}", desk).takes() == 0
        assert not [name for name in desk.files() if name.endswith(".part")]
        assert desk.verify() == 0
    assert step > 10  # marker, bundle, assignment, four lists, timestamp; what only the old one needed
    assert {(0, first), (0, second)} <= seen


def test_a_first_stick_whose_writer_was_killed_is_none_before_its_last_file(desk: StickDesk, tmp_path: Path) -> None:
    step, refused = 0, 0
    while True:
        step += 1
        shutil.rmtree(desk.stick, ignore_errors=True)
        if not killed_at(step, desk.stick, desk.write, {**STEPS, **GOING}):
            break
        device = stick_device(tmp_path / f"device-{step}", desk)
        if (desk.stick / "metadata" / "timestamp.json").exists():
            assert device.takes() == 0, step
            continue
        assert (device.takes(), device.has(), ordered(device)) == (1, [], None), step
        refused += 1
    assert refused > 8


def test_where_both_do_not_fit_the_old_stick_goes_first_and_too_little_space_is_told_before(
    desk: StickDesk, device: UsbDevice, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with small_disk(tmp_path / "small", 2 << 20) as small:
        out = small / "stick"
        assert desk.write("--device", "line-1", out=out) == 0
        ballast = small / "ballast"
        ballast.write_bytes(bytes(shutil.disk_usage(small).free - (300 << 10)))
        before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
        program = tmp_path / "program.whl"
        program.write_bytes(bytes(2 << 20))
        words = ["--kind", "app", "--name", "appliance"]
        assert desk.online.release(program, *words, keys=("anna", "ben", "online")) == 0
        desk.assign("apps/appliance/appliance-1.whl")
        capsys.readouterr()
        assert desk.write("--device", "line-1", out=out) == 74
        assert "bytes are still to be written" in said(capsys)
        assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
        offer_second(desk)
        free = shutil.disk_usage(small).free
        with ballast.open("ab") as file:
            file.write(bytes(free - (200 << 10)))
        assert desk.write("--device", "line-1", out=out) == 0
        device.stick = out
        assert device.takes() == 0
