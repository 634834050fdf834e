"""One step in the life of an application's release, in a process of its own, and what a kill would leave of it.

    python -m tests.app_child PHASE FOLDER PACKAGE MOMENTS BEFORE

Before each system call that changes the disk, the device's FOLDER is copied to MOMENTS, if it differs from the copy
before: what a process that ends right there leaves behind. Prints the files of a slot, or renamed ones, that were not
synced when the name that makes them count was given.
"""

import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import BuiltinFunctionType, FrameType
from typing import Any

from appliance.update.app_build import AppBuilder
from appliance.update.app_settings import AppWork
from appliance.update.app_slots import AppSlots
from tests.update_child import MODULES, STEPS


def builder_in(folder: Path) -> AppBuilder:
    """The agent's side of a device: slots, and the file of one unit's launcher."""
    return AppBuilder(AppSlots(folder / "slots", {"run": folder / "starts.json"}), AppWork())


PHASES: Mapping[str, Callable[[AppBuilder, Path, str, str], object]] = {
    "stage": lambda builder, package, sha256, before: builder.stage(package, sha256),
    "build": lambda builder, package, sha256, before: builder.build(sha256),
    "prove": lambda builder, package, sha256, before: builder.prove(sha256),
    "try": lambda builder, package, sha256, before: builder.slots.begin_trial(sha256),
    "confirm": lambda builder, package, sha256, before: builder.slots.confirm(sha256),
    "roll-back": lambda builder, package, sha256, before: builder.slots.roll_back(before),
    "clean-up": lambda builder, package, sha256, before: builder.clean_up(),
}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def tree(folder: Path) -> dict[str, str]:
    """What is in a folder; of what an interpreter compiles, nothing."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".pyc" or path.name == "__pycache__":
            continue
        kind = str(path.readlink()) if path.is_symlink() else "folder" if path.is_dir() else digest(path)
        found[str(path.relative_to(folder))] = kind
    return found


class Moments:
    """Copies a folder before each step on disk, and hears what is synced when a file is renamed."""

    def __init__(self, folder: Path, moments: Path, *, makes_slots: bool) -> None:
        self._makes_slots = makes_slots  # then slot.json makes all that lies beside it count
        self.unsynced: list[str] = []
        self._folder, self._moments = folder, moments
        self._last: dict[str, str] = {}
        self._synced: dict[Path, tuple[int, int]] = {}
        sys.addaudithook(self._hear)

    def see(self, frame: FrameType, event: str, called: Any) -> None:
        if not isinstance(called, BuiltinFunctionType) or called.__module__ not in MODULES:
            return
        if event == "c_return" and called.__name__ == "fsync":
            sys.setprofile(None)
            for path in [link.resolve() for link in Path("/proc/self/fd").iterdir()]:
                if path.is_file():
                    self._synced[path] = _state(path)
            sys.setprofile(self.see)
        if event == "c_call" and called.__name__ in STEPS:
            sys.setprofile(None)
            self._copy()
            sys.setprofile(self.see)

    def _copy(self) -> None:
        found = tree(self._folder)
        if found != self._last:
            shutil.copytree(self._folder, self._moments / f"{len(list(self._moments.iterdir())):03}", symlinks=True)
            self._last = found

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event != "os.rename" or sys.getprofile() is None:
            return
        sys.setprofile(None)
        source, target = Path(arguments[0]), Path(arguments[1])
        folder = target.parent if target.name == "slot.json" and self._makes_slots else source
        counted = [source] if folder.is_symlink() else [source, *folder.rglob("*")]
        self.unsynced += [
            str(path) for path in counted
            if path.is_file() and not path.is_symlink() and path != target
            and self._synced.get(path.resolve()) != _state(path)
        ]  # fmt: skip
        sys.setprofile(self.see)


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def main() -> None:
    phase, folder, package, moments, before = sys.argv[1], *map(Path, sys.argv[2:5]), sys.argv[5]
    builder, seen = builder_in(folder), Moments(folder, moments, makes_slots=phase == "build")
    sha256 = digest(package)
    sys.setprofile(seen.see)
    PHASES[phase](builder, package, sha256, before)
    sys.setprofile(None)
    sys.stdout.write(json.dumps({"unsynced": seen.unsynced}) + "\n")


if __name__ == "__main__":
    main()
