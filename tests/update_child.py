"""A device in a process of its own: it refreshes again and again, or it ends itself at each of its steps on disk.

    python -m tests.update_child refresh FOLDER URL ROOT TIMES
    python -m tests.update_child crash FOLDER URL ROOT TARGET

`crash` forks once for each step that FOLDER's device takes on its way to TARGET: a copy of FOLDER in which the process
ends right before that step. It then looks at what is left, and lets the device try again; one line of JSON per step,
with the device's own files that this second try renamed without having synced them as they are.
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Collection
from pathlib import Path
from types import BuiltinFunctionType, FrameType
from typing import Any

from appliance.update.floor import Floor
from tests.update_device import BUILT_AT, Device

STEPS = {"fsync", "mkdir", "open", "remove", "rename", "replace", "symlink", "unlink"}
MODULES = {"posix", "io", "_io"}
CRASHED = 9


class Place:
    """Where a repository is; what `Device` needs of a server."""

    def __init__(self, url: str) -> None:
        self.metadata_url, self.targets_url = f"{url}/metadata/", f"{url}/targets/"


def device_in(folder: Path, url: str, root: str) -> Device:
    return Device(folder, Place(url), Path(root).read_bytes())  # type: ignore[arg-type]


def take(device: Device, target: str) -> bytes:
    """The whole way: refresh, look up, fetch, note the release."""
    found = device.repository.find(target)
    content = device.store.fetch(found).read_bytes()
    device.floor.rise_to_releases(found.releases)
    return content


def end_before_step(number: int, told: int, steps: Collection[str] = STEPS) -> None:
    """From now on count the system calls that change the disk, of these names; end without a word before the given."""
    passed = 0

    def watch(frame: FrameType, event: str, called: Any) -> None:
        nonlocal passed
        if event != "c_call" or not isinstance(called, BuiltinFunctionType):
            return
        if called.__module__ in MODULES and called.__name__ in steps:
            passed += 1
            if passed == number:
                os.write(told, called.__name__.encode())
                os._exit(CRASHED)

    sys.setprofile(watch)


class Renames:
    """Which files were renamed that were not synced since they were written to."""

    def __init__(self) -> None:
        self.unsynced: list[str] = []
        self.synced: list[str] = []
        self._states: dict[Path, tuple[int, int]] = {}
        sys.addaudithook(self._hear)  # os.fsync says nothing there, and a profiler does not see what is renamed

    def watch(self) -> None:
        """Begin anew."""
        self.unsynced, self.synced, self._states = [], [], {}
        sys.setprofile(self._see)

    def _see(self, frame: FrameType, event: str, called: Any) -> None:
        if event == "c_return" and getattr(called, "__name__", "") == "fsync":
            for path in [link.resolve() for link in Path("/proc/self/fd").iterdir()]:
                if path.is_file():
                    self._states[path] = _state(path)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event != "os.rename" or sys.getprofile() is None:
            return
        path = Path(arguments[0]).resolve()
        is_synced = self._states.get(path) == _state(path)
        (self.synced if is_synced else self.unsynced).append(str(arguments[1]))


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def crash_at(number: int, device: Device, target: str) -> str | None:
    """Let a child take the target until its step; returns the step's name, None if it has fewer steps."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        end_before_step(number, writing)
        take(device, target)
        os._exit(0)
    os.close(writing)
    _, status = os.waitpid(child, 0)
    name = os.read(reading, 100).decode()
    os.close(reading)
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, CRASHED):
        raise SystemExit(f"step {number}: the child ended with {code}")
    return name if code == CRASHED else None


def left_behind(folder: Path) -> dict[str, object]:
    """What is there after a crash: visible files, and whether they are what their names say; the floor is readable."""
    files = list((folder / "files").glob("[!.]*"))
    Floor(folder / "floor.json", BUILT_AT).read()
    return {
        "visible": sorted(path.read_bytes().decode() for path in files),
        "right": all(hashlib.sha256(path.read_bytes()).hexdigest() == path.name for path in files),
    }


def own(folder: Path, paths: list[str]) -> list[str]:
    """Those that the device writes itself; python-tuf's do not sync, and a torn one is fetched anew."""
    return [path for path in paths if folder / "metadata" not in Path(path).parents]


def litter(folder: Path) -> list[str]:
    """What nobody needs any more."""
    return sorted(path.name for path in folder.rglob("*") if path.name.startswith("tmp") or path.suffix == ".part")


def crash(folder: Path, url: str, root: str, target: str) -> None:
    number, step, renames = 1, "", Renames()
    while True:
        copy = folder.with_name(f"{folder.name}-{number}")
        shutil.copytree(folder, copy, symlinks=True)
        device = device_in(copy, url, root)
        found = crash_at(number, device, target)
        if found is None:
            return
        step = found
        seen = left_behind(copy)
        renames.watch()
        content = take(device, target).decode()
        sys.setprofile(None)
        seen |= {"synced": renames.synced, "unsynced": own(copy, renames.unsynced)}
        again = {"content": content, "timestamp": device.repository.refresh().timestamp, "litter": litter(copy)}
        sys.stdout.write(json.dumps({"number": number, "step": step, **seen, **again}) + "\n")
        number += 1


def main() -> None:
    what, folder, url, root, last = sys.argv[1:]
    if what == "crash":
        crash(Path(folder), url, root, last)
        return
    device = device_in(Path(folder), url, root)
    for _ in range(int(last)):
        device.repository.refresh()


if __name__ == "__main__":
    main()
