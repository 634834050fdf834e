"""A publisher's desk with two repositories, the server's and the sticks', and sticks that are written there."""

import shutil
from contextlib import closing
from pathlib import Path

import yaml

from appliance.clock import SystemClock
from appliance.update.brought import Brought, LastStick
from appliance.update.journal import Journal
from appliance.update.settings import load_agent_config
from tests.begun_once import begun_once
from tests.release_desk import Desk
from tests.usb_stick import UsbDevice
from trainer.__main__ import main as trainer

MACHINES = {"online": "online", "ulm": "online"}
PEOPLE = ("anna", "ben", "carla", "quentin", "quirin", "ci")


class StickDesk:
    """The same people hold the keys of both repositories; the unattended machines' keys are others."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.stick = folder, folder / "media"
        self.online = Desk(folder, str(folder / "updates"))
        self.sticks = Desk(folder / "sticks-desk", str(folder / "sticks"))

    def begin(self) -> None:
        """Hold both ceremonies."""
        self.online.begin()
        self.sticks.folder.mkdir()
        for name in PEOPLE:
            for suffix in ("", ".pub.json"):
                shutil.copy(f"{self.online.key(name)}{suffix}", self.sticks.folder)
        self.sticks.make_keys(MACHINES)
        assert trainer([*self.sticks.ceremony_words(), "--sticks"]) == 0
        files = self.sticks.requests("ceremony")
        for name in ("anna", "carla"):
            assert self.sticks.sign(name, *files) == 0
        assert self.sticks.publish_signed(files) == 0

    def assign(self, path: str, *devices: str) -> None:
        """Choose a release for devices, in the server's repository."""
        words = [word for device in devices or ("line-1",) for word in ("--device", device)]
        assert self.online.assign(*words, "--release", path) == 0

    def words(self, *words: str, out: Path | None = None, keys: tuple[str, ...] = ("online", "ulm")) -> list[str]:
        """The words of `trainer publish stick`."""
        sticks = ["--sticks", self.sticks.address, "--stick-root", str(self.sticks.root)]
        site = [] if "--site" in words else ["--site", "ulm"]
        return [
            "publish",
            "stick",
            *self.online.at(),
            *sticks,
            "--out",
            str(out or self.stick),
            *site,
            *self.sticks.keyed(*keys),
            *words,
        ]

    def write(self, *words: str, out: Path | None = None, keys: tuple[str, ...] = ("online", "ulm")) -> int:
        """Call `trainer publish stick`; returns its exit code."""
        return trainer(self.words(*words, out=out, keys=keys))

    def verify(self, out: Path | None = None) -> int:
        """Call `trainer publish verify` for a stick; returns its exit code."""
        return trainer(["publish", "verify", "--stick", *self.at_stick(out)])

    def at_stick(self, out: Path | None = None) -> list[str]:
        """The words that name a stick."""
        return ["--repository", str(out or self.stick), "--root", str(self.sticks.root)]

    def files(self) -> list[str]:
        """What lies on the stick."""
        return sorted(str(path.relative_to(self.stick)) for path in self.stick.rglob("*") if path.is_file())


def begin(folder: Path) -> StickDesk:
    """A desk whose keys are its own, after both ceremonies."""
    made = StickDesk(folder)
    made.begin()
    return made


def _begin_with_releases(folder: Path) -> None:
    made = begin(folder)
    for name, device in (("boards", "line-1"), ("lids", "line-2")):
        assert made.online.release(made.online.bundle(name)) == 0
        made.assign(f"models/{name}/{name}-1.bundle", device)


def begun(folder: Path) -> StickDesk:
    """A desk after both ceremonies, with repositories of its own and the keys of every other of this process."""
    begun_once(folder, begin)
    return StickDesk(folder)


def begun_desk(folder: Path) -> StickDesk:
    """The same, where boards-1 is assigned to line-1, and lids-1 to line-2."""
    begun_once(folder, _begin_with_releases)
    return StickDesk(folder)


def content(desk: StickDesk, name: str = "boards") -> bytes:
    """The bundle that was released."""
    return (desk.online.folder / f"{name}.bundle").read_bytes()


def offer_second(desk: StickDesk) -> bytes:
    """Release boards-2 and assign it to line-1; returns the bundle."""
    bundle = desk.online.bundle(revision=2)
    assert desk.online.release(bundle) == 0
    desk.assign("models/boards/boards-2.bundle")
    return bundle.read_bytes()


def stick_device(folder: Path, desk: StickDesk, *, site: str = "ulm", device_id: str = "line-1") -> UsbDevice:
    """A device without a network, on which `boards` and `lids` were adopted, and into which the desk's stick is put."""
    device = UsbDevice(folder, desk.sticks.root.read_bytes())
    for name in ("boards", "lids"):
        (folder / "agent" / "slots" / "models" / name).mkdir(parents=True)
    keys = {
        "stick_root": "stick-root.json", "state": "agent", "floor": "floor/floor.json", "reserve_mb": 0,
        "built_at": "2020-01-01T00:00:00Z", "assignment": {"site": site, "device_id": device_id},
    }  # fmt: skip
    device.config.write_text(yaml.safe_dump(keys))
    device.stick = desk.stick
    return device


def ordered(device: UsbDevice) -> Brought | None:
    """What the device keeps of the last stick."""
    with closing(Journal(device.folder / "agent" / "journal.db", SystemClock())) as journal:
        config = load_agent_config(device.config)
        who = config.assignment
        assert who is not None
        stick = LastStick(journal, device.floor, who.site, who.device_id, config.allowed, config.has_server)
        return stick.find()
