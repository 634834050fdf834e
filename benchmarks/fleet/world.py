"""A whole fleet: repository, server, devices and the fleet file; time is a number of hours that the benchmark moves."""

import json
import random
import subprocess
import sys
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from appliance.events import utc_now
from benchmarks.fleet.device import Nature, SimulatedDevice
from benchmarks.fleet.publisher import Publisher, begin, content_of
from trainer.rollout.fleet import Fleet, read_fleet
from trainer.rollout.steering import Steering

SITE_DEVICES, LINE_DEVICES, LAB_DEVICES = 100, 5, 5
MIX: Mapping[Nature, float] = {"failing": 0.002, "silent": 0.002, "lying": 0.002, "forging": 0.001, "replaying": 0.001}
"""Share of devices that are not healthy, whatever they are given; a person, a disk or an attacker does that."""


@dataclass
class World:
    """Everything; hours: the time of the story. has: the content that the devices were given last and kept."""

    folder: Path
    publisher: Publisher
    devices: dict[str, SimulatedDevice]
    port: int
    process: subprocess.Popen[str]
    begun: datetime = field(default_factory=utc_now)
    hours: float = 0.0
    polls: int = 0
    has: str = "first"

    def steering(self) -> Steering:
        """The rollouts of this fleet, at the story's time."""
        return Steering(
            str(self.folder / "updates"), self.folder / "root.json", self.fleet(), self.publisher.online,
            lambda: self.begun + timedelta(hours=self.hours),
        )  # fmt: skip

    def fleet(self) -> Fleet:
        """The fleet file, as it is read."""
        return read_fleet(self.folder / "fleet.yaml")

    def write_fleet(self, rings: dict[str, Any]) -> None:
        """Write the fleet file with these terms."""
        sites: dict[str, Any] = {}
        for number, device in enumerate(self.devices.values()):
            line = "bench" if number < LAB_DEVICES else f"line-{number % SITE_DEVICES // LINE_DEVICES}"
            place = {"key": device.public} | ({"ring": "lab"} if line == "bench" else {})
            sites.setdefault(device.site, {}).setdefault(line, {})[device.device_id] = place
        content = {"reports": str(self.folder / "reports"), "sites": sites, "rings": rings}
        (self.folder / "fleet.yaml").write_text(yaml.safe_dump(content))

    def poll(self, devices: Iterable[str]) -> int:
        """Let devices ask; returns for how many there was something new."""
        asked = [self.devices[device] for device in devices if self.devices[device].nature != "silent"]
        self.polls += len(asked)
        return sum(device.poll(self.hours) for device in asked)

    def figures(self) -> dict[str, list[int]]:
        """What the server has counted since this was asked last."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/figures") as answer:
            return json.loads(answer.read())  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the server."""
        self.process.terminate()
        self.process.wait()


def build(folder: Path, count: int, seed: int = 1) -> World:
    """Begin a repository, give every device what it has, and start the server."""
    sites = [f"site-{number:03}" for number in range(max(2, -(-count // SITE_DEVICES)))]
    for name in ("updates", "reports"):
        (folder / name).mkdir()
    publisher = begin(folder / "updates", sites)
    (folder / "root.json").write_bytes(publisher.pinned)
    first = publisher.release(content_of("first"))
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.fleet.server", str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    port = int(process.stdout.readline())
    chance, digest = random.Random(seed), publisher.standing().releases("model")[first].hashes["sha256"]
    devices: dict[str, SimulatedDevice] = {}
    for number in range(count):
        nature: Nature = "healthy"
        if number >= LAB_DEVICES:  # a laboratory is looked after
            nature = chance.choices(["healthy", *MIX], [1 - sum(MIX.values()), *MIX.values()])[0]  # type: ignore[assignment]
        site = sites[min(number // SITE_DEVICES, len(sites) - 1)] if count >= SITE_DEVICES else sites[number % 2]
        name = f"d{number:05}"
        devices[name] = SimulatedDevice(
            name,
            site,
            nature,
            folder / "devices" / name,
            port,
            publisher.pinned,
            in_force=digest,
            victim=f"d{(number + 1) % count:05}",
        )
    places: dict[str, list[str]] = {}
    for device in devices.values():
        places.setdefault(device.site, []).append(device.device_id)
    publisher.assign(places, first)
    return World(folder, publisher, devices, port, process)
