"""The appliance's update client behind the command line that a conformance suite of TUF clients speaks.

What a device keeps apart from the metadata (the image's root, the floor, half-fetched files) lies beside the metadata
folder, in one of its own. `init` begins both anew, but for a device that lives by this very root: nothing is carried
from one client to the next, also where the folder was emptied in between. Plain http to this computer is allowed here,
time is the process's clock alone (nothing is known about its synchronisation), and a repository is TUF, nothing else.
"""

import argparse
import hashlib
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root

from appliance.bundle.whole_file import write_whole
from appliance.clock import SystemClock
from appliance.errors import ApplianceError, ConfigError
from appliance.ports import Clock
from appliance.update.download import TargetStore
from appliance.update.floor import Floor
from appliance.update.https import HttpsSource
from appliance.update.pace import TransferLimits
from appliance.update.repository import Target, TrustedRepository
from appliance.update.transport import Transport

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
"""No image was built: the process's clock is believed whatever it says."""

TRANSPORT = Transport(TransferLimits(), allows_plain_loopback=True)
NEEDED = {
    "init": (),
    "refresh": ("metadata_url",),
    "download": ("metadata_url", "target_name", "target_base_url", "target_dir"),
}
"""Command -> options that it needs beside the metadata folder."""


class OnlyTuf:
    """See `conventions.Conventions`: nothing was agreed with an outside repository, whatever its names look like."""

    def numbered(self, name: str, custom: object) -> dict[str, int]:
        return {}

    def issued_at(self, said: Mapping[str, Any], expires: datetime) -> datetime | None:
        return None


class Device:
    """What belongs to the client of one metadata folder."""

    clock: Clock = SystemClock(lambda: -1)

    def __init__(self, metadata: Path) -> None:
        metadata = metadata.resolve()
        self.metadata = metadata
        self.folder = metadata.with_name(f".{metadata.name}.device")
        self.root = self.folder / "root.json"

    def begin(self, root: Path) -> None:
        """Become a new device with this root; one that lives by it stays as it is."""
        content = root.read_bytes()
        check_root(content, root)
        if self._lives_by(content):
            return
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self.metadata.mkdir(parents=True, exist_ok=True)
        self.folder.mkdir()
        for path in self.metadata.glob("*.json"):
            path.unlink()
        shutil.rmtree(self.metadata / "root_history", ignore_errors=True)
        write_whole(self.root, content)
        (self.metadata / "root.json").write_bytes(content)  # what is trusted now

    def _lives_by(self, content: bytes) -> bool:
        """Whether it began with this root, and its metadata, which follows from it, was not taken away since."""
        began = self.root.is_file() and self.root.read_bytes() == content
        followed = (path.read_bytes() for path in self.metadata.glob("root_history/*.root.json"))
        return began and (self.metadata / "root.json").is_file() and content in followed

    def repository(self, url: str) -> TrustedRepository:
        """Know the repository at this address."""
        if not any(self.metadata.glob("*")):
            raise ConfigError(f"{self.metadata}: no metadata is there; begin with `init`")
        return TrustedRepository(
            "online",
            HttpsSource(url, TRANSPORT),
            self.metadata,
            root=self.root.read_bytes(),
            floor=Floor(self.folder / "floor.json", not_before=EPOCH),
            clock=self.clock,
            conventions=OnlyTuf(),
        )

    def download(self, url: str, names: Sequence[str], targets_url: str, folder: Path) -> None:
        """Fetch targets into the folder, up to the first that is refused; one that is there already stays untouched."""
        repository = self.repository(url)
        folder.mkdir(parents=True, exist_ok=True)
        with repository.up_to_date() as now:
            for name in names:
                self.fetch(now.find(name), targets_url, folder)

    def fetch(self, target: Target, targets_url: str, folder: Path) -> Path:
        """Fetch one that the repository vouches for, unless it is there; returns where it lies."""
        path = folder / quote(target.name, safe="")
        if not is_there(target, path):
            fetched = TargetStore(self.folder / "targets", HttpsSource(targets_url, TRANSPORT)).fetch(target)
            write_whole(path, fetched.read_bytes())
            fetched.unlink()  # the suite's folder is all that is kept: what it takes away is fetched anew
        return path


def check_root(content: bytes, path: Path) -> None:
    """Refuse what is no root that enough of its own keys have signed; one that has expired is a beginning, too."""
    try:
        metadata = Metadata.from_bytes(content)
        if not isinstance(metadata.signed, Root):
            raise ConfigError(f"{path}: this is {metadata.signed.type}.json and no root.json; name the root")
        metadata.signed.verify_delegate(Root.type, metadata.signed_bytes, metadata.signatures)
    except RepositoryError as error:
        raise ConfigError(f"{path}: no valid root.json ({error}); name the one that the repository has") from error


def is_there(target: Target, path: Path) -> bool:
    """Return whether a file is what the repository vouches for."""
    content = path.read_bytes() if path.is_file() else b""
    return (
        path.is_file()
        and len(content) == target.length
        and all(hashlib.new(name, content).hexdigest() == digest for name, digest in target.digests.items())
    )


class _Parser(argparse.ArgumentParser):
    """A wrong call is refused like everything else that is refused."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(1, f"{self.prog}: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0: done, 1: refused."""
    parser = _Parser(prog="tuf_client", description=__doc__)
    parser.add_argument("--metadata-dir", type=Path, required=True)
    parser.add_argument("--metadata-url")
    parser.add_argument("--target-name", action="append")
    parser.add_argument("--target-base-url")
    parser.add_argument("--target-dir", type=Path)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("init").add_argument("root", type=Path)
    commands.add_parser("refresh")
    commands.add_parser("download")
    given = parser.parse_args(argv)
    missing = [f"--{name.replace('_', '-')}" for name in NEEDED[given.command] if getattr(given, name) is None]
    if missing:
        parser.error(f"{given.command} needs {', '.join(missing)}")
    device = Device(given.metadata_dir)
    try:
        if given.command == "init":
            device.begin(given.root)
        elif given.command == "refresh":
            device.repository(given.metadata_url).refresh()
        else:
            device.download(given.metadata_url, given.target_name, given.target_base_url, given.target_dir)
    except (ApplianceError, OSError) as error:
        sys.stderr.write(f"tuf_client: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
