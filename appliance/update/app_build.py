"""From a package to a slot: a virtual environment made offline, beside what runs, and tried before it counts."""

import contextlib
import fcntl
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from appliance import launch
from appliance.bundle import strict_json
from appliance.bundle.app_package import INSTALLER, MAX_MANIFEST_BYTES, SCHEMA, AppManifest, read_app
from appliance.bundle.whole_file import write_whole
from appliance.errors import BundleDigestError, BundleFormatError, BundleProofError, RuntimeFault, StorageError
from appliance.launch import BUILT, CONFIRMED, PROVED, SLOT, Slot
from appliance.update.app_settings import AppWork
from appliance.update.app_slots import AppSlots
from appliance.update.bounded import Bounds, Ended, run_bounded
from appliance.update.durable import in_words
from appliance.update.slots import digest_of

MEGABYTE = 10**6
MAX_FILE_BYTES = 8 * 2**30
NO_SPACE = "No space left on device"


class DamagedPackageError(BundleDigestError):
    """The package on disk is not the one that was signed, and was: the disk is to blame, and not the release."""


@dataclass(frozen=True, slots=True)
class AppBuilder:
    """Makes slots; never the one that is started, nor one of which a program runs.

    slots: where. work: bounds. reserve_bytes: what stays free on the disk. is_wanted: asked while a child works; True
    ends it. on_step: called often while the disk works, which no limit holds.
    """

    slots: AppSlots
    work: AppWork
    reserve_bytes: int = 0
    is_wanted: Callable[[], bool] = lambda: False
    on_step: Callable[[], None] = lambda: None

    def verify(self, package: Path, sha256: str) -> AppManifest:
        """Judge a package on disk, and whether it is for this device.

        Args:
            package: the file.
            sha256: of it, as it was signed.

        Returns:
            What it is.

        Raises:
            DamagedPackageError: it is gone, or not what was signed.
            BundleError: it is no package, or for another device.
            StorageError: it cannot be read.
        """
        if digest_of(package, self.on_step) != sha256:
            raise DamagedPackageError(f"{package} is not the file that was signed; it is fetched anew")
        with in_words(package):
            manifest = read_app(package, on_step=self.on_step)
        here = (f"{sys.version_info.major}.{sys.version_info.minor}", platform.machine())
        if (manifest.python, manifest.architecture) != here:
            raise BundleFormatError(
                f"{package} is for Python {manifest.python} on {manifest.architecture}, and this is Python {here[0]} "
                f"on {here[1]}; pack one for this device"
            )
        return manifest

    def stage(self, package: Path, sha256: str) -> AppManifest:
        """Unpack a package beside the slots, whole or not at all.

        Args:
            package: the file.
            sha256: of it, as it was signed.

        Raises:
            BundleError: see verify.
            StorageError: the disk refuses, or has too little space.
        """
        staged, draft = self._staged(sha256), self.slots.folder / "staged" / ".part"
        with in_words(self.slots.folder):
            if staged.exists():
                return self._manifest(sha256)
            manifest = self.verify(package, sha256)
            self._clear(self.slots.folder / "staged")
            self._check_space(sum(wheel.length for wheel in manifest.wheels) + manifest.installed_bytes)
            draft.mkdir(parents=True)
            if read_app(package, draft, self.on_step) != manifest:
                raise DamagedPackageError(
                    f"{package} is not the file that was verified a moment ago; it is fetched anew"
                )
            write_whole(draft / "manifest.json", strict_json.dump(manifest))
            lines = [f"./{wheel.file} --hash=sha256:{wheel.sha256}\n" for wheel in manifest.wheels
                     if wheel.distribution != INSTALLER]  # fmt: skip
            write_whole(draft / "requirements.txt", "".join(lines).encode("ascii"))
            self._sync_tree(draft)
            draft.replace(staged)
            launch.sync(staged.parent)
        return manifest

    def build(self, sha256: str) -> str:
        """Make the spare slot a virtual environment of what is staged; says what it did.

        Args:
            sha256: of the package.

        Raises:
            BundleError: its wheels cannot be installed here.
            RuntimeFault: it took too long or too much memory, or was killed.
            StorageError: the disk refuses, or a program of that slot still runs.
        """
        name = self.slots.holder(sha256) or self.slots.spare()
        folder = self.slots.folder / name
        slot = self.slots.read(name)
        if slot is not None and slot.sha256 == sha256 and not launch.why_it_cannot_run(folder):
            return f"slot {name} has it"
        if name == launch.current_slot(self.slots.folder):
            raise StorageError(
                f"{folder} is what is started, and does not run; go back first (`appliance agent rollback --kind app`)"
            )
        manifest = self._manifest(sha256)
        with in_words(self.slots.folder):
            folder.mkdir(parents=True, exist_ok=True)
            with self._alone(folder):
                self._check_space(manifest.installed_bytes)
                self._clear(folder)
                self._install(folder, sha256, manifest)
                self._sync_tree(folder)
                slot = Slot(sha256, manifest.name, manifest.version, manifest.seq, BUILT)
                launch.write_note(launch.slot_note(self.slots.folder, name), slot, SLOT)
        return f"slot {name} made from {len(manifest.wheels) - 1} wheels"

    def prove(self, sha256: str, station: Path | None = None) -> str:
        """Try the built slot beside the running line: its version, and the station's configuration; says what it did.

        Args:
            sha256: of the package.
            station: the station's configuration, which the new program must understand; None: there is none.

        Raises:
            BundleProofError: the program does not start, is another version, or finds something wrong.
            RuntimeFault: it took too long or too much memory, or was killed.
            StorageError: the disk refuses, or nothing is built.
        """
        name = next((each for each in launch.SLOTS if (slot := self.slots.read(each)) and slot.sha256 == sha256), "")
        slot = self.slots.read(name)
        if slot is None:
            raise StorageError(f"{self.slots.folder}: no slot was made from {sha256[:12]}; it is begun anew")
        folder = self.slots.folder / name
        said = self._try(folder, "--version")
        if said.code != 0 or said.last_line.split()[-1] != slot.version:
            raise BundleProofError(f"slot {name} does not say that it is {slot.version}: {said.last_line}")
        if station is not None:
            said = self._try(folder, "check", "--config", str(station), "--software")
            if said.code != 0:
                raise BundleProofError(f"version {slot.version} refuses this station: {said.said[-600:].strip()}")
        if slot.state not in (PROVED, CONFIRMED):
            with in_words(self.slots.folder):
                proved = Slot(sha256, slot.name, slot.version, slot.seq, PROVED)
                launch.write_note(launch.slot_note(self.slots.folder, name), proved, SLOT)
        return f"slot {name} starts as version {slot.version}"

    def clean_up(self) -> None:
        """Remove what was unpacked; slots stay.

        Raises:
            StorageError: the disk refuses.
        """
        with in_words(self.slots.folder):
            self._clear(self.slots.folder / "staged")

    def _install(self, folder: Path, sha256: str, manifest: AppManifest) -> None:
        """Make the environment and install by the package's own pip, from its own wheels, each with its digest."""
        staged = self._staged(sha256)
        python, pip = folder / "bin" / "python", staged / manifest.wheel(INSTALLER).file / "pip"
        system = ["--system-site-packages"] if self.work.system_packages else []
        self._done(staged, sys.executable, "-I", "-m", "venv", "--without-pip", *system, folder)
        options = ["--isolated", "--disable-pip-version-check", "--no-input", "--no-cache-dir"]
        install = ["--no-index", "--no-deps", "--require-hashes", "--ignore-installed", "--no-warn-script-location"]
        self._done(staged, python, "-I", pip, *options, "install", *install, "-r", "requirements.txt")
        if not self.work.system_packages:  # else what the system lacks would count, too
            self._done(staged, python, "-I", pip, *options, "check")

    def _done(self, staged: Path, *command: str | Path) -> None:
        bounds = self._bounds(self.work.build_s)
        ended = run_bounded(command, bounds, staged)
        if ended.code == 0:
            return
        if NO_SPACE in ended.said:
            raise StorageError(f"{self.slots.folder}: the disk is full; free some space")
        if "MemoryError" in ended.said:
            raise RuntimeFault(
                f"it needs more than {self.work.memory_mb} MB of memory; raise `apps.work.memory_mb` in agent.yaml"
            )
        raise BundleFormatError(
            f"its wheels cannot be installed here; pack it for this device: {ended.said[-600:].strip()}"
        )

    def _try(self, folder: Path, *arguments: str) -> Ended:
        bounds = self._bounds(self.work.smoke_s)
        command = [str(folder / "bin" / "python"), "-I", "-m", "appliance", *arguments]
        with in_words(self.slots.folder):
            room = self.slots.folder / "staged"
            room.mkdir(parents=True, exist_ok=True)
        return run_bounded(command, bounds, room)

    def _bounds(self, seconds: float) -> Bounds:
        return Bounds(seconds, self.work.memory_mb * MEGABYTE, MAX_FILE_BYTES, self.is_wanted)

    def _staged(self, sha256: str) -> Path:
        return self.slots.folder / "staged" / sha256

    def _manifest(self, sha256: str) -> AppManifest:
        path = self._staged(sha256) / "manifest.json"
        try:
            data = path.read_bytes()
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}; it is begun anew") from error
        return strict_json.parse(data, AppManifest, schema=SCHEMA, origin=str(path), max_bytes=MAX_MANIFEST_BYTES)

    def _check_space(self, wanted: int) -> None:
        free = shutil.disk_usage(self.slots.folder).free
        if free < wanted + self.reserve_bytes:
            raise StorageError(
                f"{self.slots.folder}: it needs {wanted + self.reserve_bytes} bytes with the reserve, and {free} are "
                "free; free some space, or lower the reserve"
            )

    @contextlib.contextmanager
    def _alone(self, folder: Path) -> Iterator[None]:
        try:
            with launch.held(folder, fcntl.LOCK_EX):
                yield
        except BlockingIOError as error:
            raise StorageError(f"{folder}: a program of it still runs; restart the units, then it goes on") from error

    def _clear(self, folder: Path) -> None:
        """Empty a folder, what makes it valid first; the folder stays, as its lock hangs on it."""
        folder.mkdir(parents=True, exist_ok=True)
        first = folder / "slot.json"
        if first.exists():
            first.unlink()
            launch.sync(folder)
        for path in sorted(folder.iterdir()):
            if path.is_dir() and not path.is_symlink():
                self._remove_tree(path)
            else:
                path.unlink()

    def _remove_tree(self, folder: Path) -> None:
        for root, folders, files in os.walk(folder, topdown=False):
            for path in (Path(root) / name for name in (*folders, *files)):
                if path.is_dir() and not path.is_symlink():
                    path.rmdir()
                else:
                    path.unlink()
                self.on_step()
        folder.rmdir()

    def _sync_tree(self, folder: Path) -> None:
        """Bring every file and name of a folder to disk, one by one, so that the line's own writes come in between."""
        for root, _, files in os.walk(folder):
            for path in (Path(root) / name for name in files):
                if not path.is_symlink():
                    launch.sync(path)
                    self.on_step()
            launch.sync(Path(root))
