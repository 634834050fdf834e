"""From a package to a slot that runs: real wheels, a real pip, real virtual environments, without a network."""

import fcntl
import hashlib
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from appliance import launch
from appliance.errors import (
    BundleDigestError,
    BundleFormatError,
    BundleProofError,
    RuntimeFault,
    StorageError,
)
from appliance.launch import BUILT, PROVED
from appliance.update.app_build import AppBuilder
from appliance.update.app_settings import AppWork
from appliance.update.app_slots import AppSlots
from appliance.update.kinds import InterruptedWorkError
from appliance.update.slots import READ_BYTES
from tests.app_releases import Wheels, make_slot
from tests.small_disk import fill, small_disk

pytestmark = pytest.mark.long


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release")
    return Wheels.write(folder / "wheels", "2.0").pack(folder / "appliance-2.zip", "2.0")


def builder_in(folder: Path, **work: float) -> AppBuilder:
    folder.mkdir(exist_ok=True)
    return AppBuilder(AppSlots(folder, {}), AppWork.model_validate(work))


@pytest.fixture(scope="module")
def built(package: Path, tmp_path_factory: pytest.TempPathFactory) -> AppBuilder:
    """A device with 1.0 in slot a, and 2.0 built beside it."""
    builder = builder_in(tmp_path_factory.mktemp("device") / "slots")
    make_slot(builder.slots.folder, "a", "1.0")
    (builder.slots.folder / "current").symlink_to("a")
    builder.stage(package, digest(package))
    builder.build(digest(package))
    return builder


@pytest.fixture
def room(tmp_path: Path, package: Path) -> Iterator[AppBuilder]:
    """A device on which nothing is built yet, and the package is staged."""
    builder = builder_in(tmp_path / "slots")
    builder.stage(package, digest(package))
    yield builder


def files_in(folder: Path) -> int:
    return sum(path.is_file() and not path.is_symlink() for path in folder.rglob("*"))


def start(builder: AppBuilder, name: str, *arguments: str) -> str:
    command = [builder.slots.folder / name / "bin" / "python", "-I", "-m", "appliance", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_a_slot_is_made_from_the_wheels_beside_the_one_that_is_started(built: AppBuilder, package: Path) -> None:
    assert start(built, "b", "--version") == "inspection-appliance 2.0"
    assert start(built, "a", "--version") == "inspection-appliance 1.0"
    slot = built.slots.read("b")
    assert slot is not None
    assert (slot.sha256, slot.name, slot.version, slot.seq) == (digest(package), "appliance", "2.0", 2)
    assert built.slots.in_force() != digest(package)


def test_it_has_what_the_program_needs_and_no_installer(built: AppBuilder) -> None:
    names = {path.name for path in (built.slots.folder / "b" / "lib").glob("*/site-packages/*")}
    assert {"appliance", "tiny_lib.py"} <= names
    assert not any(name.startswith("pip") for name in names)


def test_it_is_tried_before_it_counts(built: AppBuilder, package: Path, tmp_path: Path) -> None:
    station = tmp_path / "station.yaml"
    station.write_text("refuse 2.0\n")
    with pytest.raises(BundleProofError, match=r"version 2\.0 refuses this station.*this key is unknown"):
        built.prove(digest(package), station)
    slot = built.slots.read("b")
    assert slot is not None and slot.state == BUILT
    with pytest.raises(StorageError, match="no slot has the release"):
        built.slots.begin_trial(digest(package))
    station.write_text("product: boards\n")
    for _ in range(2):
        assert built.prove(digest(package), station) == "slot b starts as version 2.0"
    assert built.slots.holder(digest(package)) == "b"


def test_what_was_built_is_not_built_again(built: AppBuilder, package: Path) -> None:
    before = (built.slots.folder / "b" / "pyvenv.cfg").stat().st_mtime_ns
    assert built.build(digest(package)) == "slot b has it"
    assert (built.slots.folder / "b" / "pyvenv.cfg").stat().st_mtime_ns == before


def test_another_program_than_the_package_says_is_refused(tmp_path: Path, package: Path) -> None:
    builder = builder_in(tmp_path / "slots")
    sha256 = make_slot(builder.slots.folder, "a", "1.0", state=BUILT)
    path = launch.slot_note(builder.slots.folder, "a")
    slot = builder.slots.read("a")
    assert slot is not None
    launch.write_note(path, replace(slot, version="1.1"), launch.SLOT)
    with pytest.raises(BundleProofError, match=r"does not say that it is 1\.1: inspection-appliance 1\.0"):
        builder.prove(sha256)


def test_a_package_for_another_device_is_refused(tmp_path: Path) -> None:
    wheels = Wheels.write(tmp_path / "wheels", "2.0")
    from appliance.bundle.app_package import write_app

    for changes, words in (({"python": "3.99"}, r"for Python 3\.99"), ({"architecture": "riscv128"}, "riscv128")):
        package = tmp_path / "appliance.zip"
        write_app(package, wheels.manifest("2.0").model_copy(update=changes), wheels.files)
        with pytest.raises(BundleFormatError, match=words):
            builder_in(tmp_path / "slots").stage(package, digest(package))


def test_another_file_than_was_signed_is_refused(tmp_path: Path, package: Path) -> None:
    builder = builder_in(tmp_path / "slots")
    with pytest.raises(BundleDigestError, match="is not the file that was signed"):
        builder.stage(package, "0" * 64)
    assert not list(builder.slots.folder.iterdir())


def test_a_wheel_that_changed_after_it_was_staged_is_not_installed(room: AppBuilder, package: Path) -> None:
    wheel = next((room.slots.folder / "staged").rglob("tiny_lib-*.whl"))
    wheel.write_bytes(wheel.read_bytes() + b"\0")
    with pytest.raises(BundleFormatError, match=r"(?i)hash"):
        room.build(digest(package))
    assert room.slots.read("a") is None


def test_a_release_that_lacks_what_it_needs_is_refused(tmp_path: Path) -> None:
    package = Wheels.write(tmp_path / "wheels", "2.0", lacks="tiny_lib").pack(tmp_path / "appliance.zip", "2.0")
    builder = builder_in(tmp_path / "slots")
    builder.stage(package, digest(package))
    with pytest.raises(BundleFormatError, match="requires tiny-lib, which is not installed"):
        builder.build(digest(package))
    assert not builder.slots.keeps(digest(package))


@pytest.mark.parametrize(
    ("work", "words"),
    [({"build_s": 0.05}, "took more than 0.05 s"), ({"memory_mb": 16}, "more than 16 MB|ended by signal|MemoryError")],
)
def test_work_that_takes_too_much_is_ended(room: AppBuilder, package: Path, work: dict[str, float], words: str) -> None:
    builder = builder_in(room.slots.folder, **work)
    with pytest.raises(RuntimeFault, match=words):
        builder.build(digest(package))
    assert builder.slots.read("a") is None


def test_a_slot_of_which_a_program_runs_is_never_touched(built: AppBuilder, tmp_path: Path) -> None:
    package = Wheels.write(tmp_path / "wheels", "3.0").pack(tmp_path / "appliance-3.zip", "3.0", seq=3)
    built.stage(package, digest(package))
    before = sorted((built.slots.folder / "b").rglob("*"))
    with launch.held(built.slots.folder / "b", fcntl.LOCK_SH):
        assert built.slots.is_running("b")
        with pytest.raises(StorageError, match="a program of it still runs"):
            built.build(digest(package))
    assert not built.slots.is_running("b")
    assert sorted((built.slots.folder / "b").rglob("*")) == before


def test_a_disk_that_is_too_full_is_said_before_anything_is_written(tmp_path: Path, package: Path) -> None:
    builder = replace(builder_in(tmp_path / "slots"), reserve_bytes=2**60)
    with pytest.raises(StorageError, match=r"it needs .* bytes with the reserve"):
        builder.stage(package, digest(package))


def test_a_disk_that_fills_up_leaves_no_slot_and_what_runs_as_it_was(tmp_path: Path, package: Path) -> None:
    with small_disk(tmp_path / "small", 8 << 20) as small:
        builder = builder_in(small / "slots")
        make_slot(builder.slots.folder, "a", "1.0")
        (builder.slots.folder / "current").symlink_to("a")
        builder.stage(package, digest(package))
        ballast = fill(small)
        room = 30_000 // os.statvfs(small).f_bsize * os.statvfs(small).f_bsize
        os.truncate(ballast, ballast.stat().st_size - room)
        cramped = replace(builder, reserve_bytes=-(10**6))
        with pytest.raises(StorageError, match=r"full|No space"):
            cramped.build(digest(package))
        assert builder.slots.read("b") is None
        assert start(builder, "a", "--version") == "inspection-appliance 1.0"
        ballast.unlink()
        builder.build(digest(package))
        assert start(builder, "b", "--version") == "inspection-appliance 2.0"


def test_cleaning_up_leaves_the_slots(tmp_path: Path, package: Path) -> None:
    builder = builder_in(tmp_path / "slots")
    builder.stage(package, digest(package))
    sha256 = make_slot(builder.slots.folder, "a", "1.0", state=PROVED)
    for _ in range(2):
        builder.clean_up()
    assert not list((builder.slots.folder / "staged").iterdir())
    assert builder.slots.keeps(sha256)


def test_what_keeps_the_disk_at_work_says_file_by_file_that_it_gets_on(tmp_path: Path, package: Path) -> None:
    """Nothing else bounds it, so an agent that said nothing meanwhile would be taken as hung on a slow disk."""
    steps = list[None]()
    builder = replace(builder_in(tmp_path / "slots"), on_step=lambda: steps.append(None))

    def taken() -> int:
        count = len(steps)
        steps.clear()
        return count

    def pieces(*lengths: int) -> int:
        return sum(-(-length // READ_BYTES) for length in lengths)

    wheels = pieces(*(wheel.length for wheel in builder.verify(package, digest(package)).wheels))
    to_judge = pieces(package.stat().st_size) + wheels
    assert taken() == to_judge
    builder.stage(package, digest(package))
    staged = files_in(builder.slots.folder / "staged")
    assert taken() == to_judge + wheels + staged
    builder.build(digest(package))
    assert taken() >= files_in(builder.slots.folder / "a") - 1 > 0, "its note comes last"
    builder.clean_up()
    assert taken() >= staged


def test_making_a_slot_is_broken_off_when_the_agent_is_needed(room: AppBuilder, package: Path) -> None:
    before = time.monotonic()
    with pytest.raises(InterruptedWorkError, match="was broken off; it is done again"):
        replace(room, is_wanted=lambda: True).build(digest(package))
    assert time.monotonic() - before < room.work.build_s / 10
    assert not any(map(room.slots.read, launch.SLOTS))
