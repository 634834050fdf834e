"""A device and the desk that it gets its sticks from; the server, where there is one, is the desk's folder over TLS."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.agent_place import GATES, Place, at_a_broker
from tests.release_desk import ServedFolder
from tests.stick_desk import StickDesk, begun
from tests.tiny_releases import NAME, RELEASED

SITE, DEVICE = "ulm", "line-1"
OF_A_SERVER = ("metadata_url", "targets_url", "root", "ca_file", "reports_url")


class DeskFleet:
    """What a place needs to know of who publishes for it: here people at a desk."""

    def __init__(self, desk: StickDesk) -> None:
        self.desk, self.repository, self.files = desk, self, ServedFolder(Path(desk.online.address))

    def root_bytes(self) -> bytes:
        return self.desk.online.root.read_bytes()

    def bundle(self, revision: int) -> Path:
        return RELEASED["model"].file(self.desk.folder, revision)

    def offer(self, revision: int) -> None:
        """Release a revision and assign it, as people type it."""
        online = self.desk.online
        assert online.release(self.bundle(revision), "--seq", str(revision)) == 0
        gates = [word for key, value in GATES.items() for word in ("--gate", f"{key}={value}")]
        release = f"models/{NAME}/{NAME}-{revision}.bundle"
        assert online.assign("--device", DEVICE, "--release", release, *gates) == 0


class StickPlace(Place):
    """A device that believes sticks, and at first nothing else."""

    def __init__(self, folder: Path, fleet: DeskFleet, server: object, port: int) -> None:
        super().__init__(folder, fleet, server, port)  # type: ignore[arg-type]
        (folder / "stick-root.json").write_bytes(fleet.desk.sticks.root.read_bytes())
        self.configure()

    def configure(self, *, has_server: bool = False, **keys: object) -> None:
        """Write agent.yaml."""
        known = {key: value for key, value in self.keys.items() if has_server or key not in OF_A_SERVER}
        known |= {"stick_root": "stick-root.json", "assignment": {"site": SITE, "device_id": DEVICE}}
        self.config.write_text(yaml.safe_dump(known | keys))

    def takes(self, stick: Path) -> int:
        """Call `appliance agent import`; returns its exit code."""
        return self.agent("import", str(stick))


@contextmanager
def place_with_sticks(folder: Path) -> Iterator[tuple[StickDesk, StickPlace]]:
    """Have a desk after both ceremonies, and a device that has adopted what its station runs."""
    desk = begun(folder / "desk")
    with at_a_broker(folder, DeskFleet(desk), StickPlace) as place:  # type: ignore[arg-type]
        place.adopt()
        yield desk, place
