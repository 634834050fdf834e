"""A USB stick with a repository of its own, and a device that believes its root."""

import hashlib
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import yaml

from appliance.__main__ import main
from appliance.update.floor import Floor
from tests.tuf_repository import ALL_BUT_ROOT, Repository
from tests.update_device import BUILT_AT

PAGE_BYTES = 4096
"""A system that reads less than a page from its device takes the rest for zeros."""


def stick_repository() -> Repository:
    """A repository whose role `models` vouches for what lies in models/NAME/."""
    repository = Repository()
    repository.delegate("models", ["models/*/*"], terminating=True)
    repository.publish("models", *ALL_BUT_ROOT)
    return repository


def add_release(repository: Repository, sequence: int, content: bytes, name: str = "boards") -> str:
    """Vouch for a release and publish; returns its name."""
    path = f"models/{name}/{name}-{sequence}.bundle"
    repository.add_target(path, content, role="models", custom={"kind": "model", "seq": sequence})
    repository.publish("models", *ALL_BUT_ROOT)
    return path


class UsbDevice:
    """A device's folder with agent.yaml, and a folder that is its stick."""

    def __init__(self, folder: Path, root: bytes) -> None:
        self.folder, self.stick = folder, folder / "media" / "stick"
        self.stick.mkdir(parents=True)
        (folder / "floor").mkdir()
        (folder / "stick-root.json").write_bytes(root)
        self.config = folder / "agent.yaml"
        self.configure(stick_root="stick-root.json")

    def configure(self, **keys: object) -> None:
        known = {
            "metadata_url": "https://updates.example.com/metadata", "targets_url": "https://updates.example.com/targets",
            "root": "root.json", "state": "agent", "floor": "floor/floor.json", "reserve_mb": 0,
            "built_at": "2020-01-01T00:00:00Z",
        }  # fmt: skip
        self.config.write_text(yaml.safe_dump(known | keys))

    @property
    def files(self) -> Path:
        return self.folder / "agent" / "files"

    @property
    def metadata(self) -> Path:
        return self.folder / "agent" / "stick"

    @property
    def floor(self) -> Floor:
        return Floor(self.folder / "floor" / "floor.json", BUILT_AT)

    def plug_in(self, repository: Repository) -> None:
        """Write everything that the repository has published onto the stick."""
        write_stick(self.stick, repository)

    def place(self, repository: Repository, name: str) -> Path:
        """Where a target lies on the stick."""
        for role in repository.roles.values():
            if name in getattr(role, "targets", {}):
                return self.stick / repository.path_of(role.targets[name])
        raise KeyError(name)

    def takes(self, *names: str) -> int:
        """Call `appliance agent import`; returns its exit code."""
        return main(["agent", "import", str(self.stick), *names, "--config", str(self.config)])

    def has(self) -> list[bytes]:
        """What lies in the store, each under its own digest."""
        found = sorted(self.files.glob("[!.]*"))
        assert [hashlib.sha256(path.read_bytes()).hexdigest() for path in found] == [path.name for path in found]
        return sorted(path.read_bytes() for path in found)


def write_stick(folder: Path, repository: Repository) -> None:
    for name, content in sorted(repository.files.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@contextmanager
def dying_stick(folder: Path, repository: Repository, last: bytes, size_bytes: int = 8 << 20) -> Iterator[Path]:
    """Mount a file system on the folder that gives errors from a block on, as a stick does that is worn or pulled out.

    The image behind it is cut down to where these bytes lie, after the metadata was read once, so that the system still
    has that in its memory; skip the test where mounting is not allowed.
    """
    image = folder.with_name(f"{folder.name}.image")
    image.write_bytes(bytes(size_bytes))
    try:
        _run("mkfs.ext4", "-q", "-F", "-O", "^has_journal", str(image))
        _run("mount", "-o", "loop", str(image), str(folder))
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a file system in a file cannot be mounted here: {error}")
    try:
        write_stick(folder, repository)
        _run("umount", str(folder))
        kept_bytes = image.read_bytes().index(last) // PAGE_BYTES * PAGE_BYTES
        _run("mount", "-o", "loop,ro", str(image), str(folder))
        for path in folder.rglob("*"):
            if path.suffix == ".json":
                path.read_bytes()
        with image.open("r+b") as file:
            file.truncate(kept_bytes)
        yield folder
    finally:
        with suppress(subprocess.CalledProcessError):
            _run("umount", "--lazy", str(folder))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
