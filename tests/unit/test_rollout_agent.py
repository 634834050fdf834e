"""A real agent on a device, the trainer's commands on the other side: what one says is what the other judges."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import yaml

from appliance.update.device_key import open_device_key
from appliance.update.lifecycle import State
from tests.release_desk import Desk, ServedFolder
from tests.update_agent import DEVICE, GATES, SITE, Device
from tests.update_server import UpdateServer
from trainer.__main__ import main as trainer

OLD, NEW, BACK = (f"models/tiny/tiny-{seq}.bundle" for seq in (1, 2, 3))


class Plant:
    """A laboratory's device with its agent, one device of a line, and the desk of who publishes."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.desk = folder, Desk(folder, str(folder / "updates"))
        (folder / "reports").mkdir()
        desk = self.desk
        desk.make_keys()
        assert trainer([*desk.ceremony_words(), f"--site={SITE}={desk.public('ulm')}"]) == 0
        for name in ("anna", "ben"):
            assert desk.sign(name, *desk.requests("ceremony")) == 0
        assert desk.publish_signed(desk.requests("ceremony")) == 0
        self.old = desk.bundle("tiny", revision=1).rename(folder / "old.bundle")
        assert desk.release(self.old) == 0
        devices = ("--device", DEVICE, "--device", "aoi-2")
        assert desk.assign(*devices, "--release", OLD, "--rollout", "before", site=SITE) == 0
        assert desk.release(desk.bundle("tiny", revision=2)) == 0
        assert desk.release(self.old) == 0

    def add(self, device: Device) -> None:
        """Set the device up, and take its key into the fleet file."""
        device.set_up(self.desk.root.read_bytes(), self.old)
        device.deliver = (self.folder / "reports" / f"{DEVICE}.json").write_bytes  # type: ignore[assignment]
        self.key = open_device_key(device.state / "device.key").public
        self.write_fleet(watch_h=0)

    def write_fleet(self, watch_h: float, **gates: float) -> None:
        lines = {"bench": {DEVICE: {"key": self.key, "ring": "lab"}}, "line-1": {"aoi-2": {"key": "ab" * 32}}}
        rings = {"lab": {"least_h": 0, "gates": GATES | {"watch_h": watch_h, **gates}}}
        (self.folder / "fleet.yaml").write_text(
            yaml.safe_dump({"reports": "reports", "sites": {SITE: lines}, "rings": rings})
        )

    def run(self, task: str, *words: str) -> int:
        signers = [] if task == "status" else self.desk.keyed("ulm", "online")
        fleet = ["--fleet", str(self.folder / "fleet.yaml")]
        return trainer(["rollout", task, "r1", *fleet, *self.desk.at(), *signers, *words])

    def seen(self) -> dict[str, object]:
        out = self.folder / "status.json"
        assert self.run("status", "--json", str(out)) == 0
        document = json.loads(out.read_text())
        rings = {ring["ring"]: ring["seen"] for ring in document["rings"]}
        return {"phase": document["phase"], **rings, "not_back_yet": document["not_back_yet"]}


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return Plant(tmp_path)


@pytest.fixture
def device(plant: Plant, tmp_path: Path) -> Iterator[Device]:
    with UpdateServer(ServedFolder(Path(plant.desk.address))) as server:
        made = Device(tmp_path / "device", server.url, line_folder=tmp_path)
        plant.add(made)
        yield made


def start(plant: Plant) -> None:
    assert plant.run("start", "--release", NEW, "--back", BACK, "--by", "Anna") == 0


def test_the_next_ring_is_told_when_the_agent_has_watched_and_not_before(plant: Plant, device: Device) -> None:
    plant.write_fleet(watch_h=24)
    start(plant)
    now = device.clock.now = datetime.now(timezone.utc)
    device.update()
    assert device.newest().progress.state is State.WATCH
    assert plant.run("advance") == 0
    assert (plant.seen()["lab"], plant.seen()["line"]) == ({"running": 1}, {})
    device.clock.now = now + timedelta(hours=24.1)
    device.start().look()
    assert plant.run("advance") == 0
    assert plant.seen() == {
        "phase": "running", "lab": {"success": 1}, "line": {"told": 1}, "quarter": {}, "all": {}, "not_back_yet": 0,
    }  # fmt: skip


def test_gates_of_the_fleet_file_are_what_the_agent_judges_by(plant: Plant, device: Device) -> None:
    plant.write_fleet(watch_h=0, challenge_parts=2, most_overkill=0.05)
    start(plant)
    gates = device.update().gates.settings()
    assert (gates.challenge_parts, gates.most_overkill, gates.shadow_parts, gates.alpha) == (2, 0.05, 10, 0.01)


def test_a_release_that_the_device_gives_up_ends_there(plant: Plant, device: Device) -> None:
    start(plant)
    before = device.in_force()
    new = plant.desk.standing().releases("model")[NEW].hashes["sha256"]
    device.line.behaves[new] = "faults"
    device.update()
    assert plant.run("advance") == 1
    assert plant.seen()["phase"] == "halted"
    assert plant.seen()["not_back_yet"] == 1
    device.update()
    assert plant.seen()["not_back_yet"] == 0, "the agent has read that it is called back"
    assert device.in_force() == before


def test_a_recalled_agent_takes_what_it_had_under_a_new_number(plant: Plant, device: Device) -> None:
    start(plant)
    before = device.in_force()
    device.update()
    assert device.in_force() != before
    assert plant.run("recall", "--by", "Anna") == 0
    assert plant.seen()["not_back_yet"] == 1
    device.update()
    assert device.in_force() == before
    assert plant.seen()["not_back_yet"] == 0
