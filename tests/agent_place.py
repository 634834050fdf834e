"""A device whose agent is called as people call it: agent.yaml, a station at a broker, a repository over TLS."""

import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

import yaml

from appliance.__main__ import main
from appliance.bundle.archive import read_bundle
from appliance.clock import SystemClock
from appliance.simulator.broker import EmbeddedBroker
from appliance.stores.ledger import SqliteLedger
from appliance.update.journal import Journal
from tests.answering_station import AnsweringStation
from tests.certificates import make_certificates
from tests.plant import write_station
from tests.stations import mqtt_settings
from tests.tiny_releases import NAME
from tests.update_agent import DEVICE, SITE, Fleet
from tests.update_server import UpdateServer

ROOT = Path(__file__).resolve().parents[1]
GATES = {
    "shadow_parts": 4, "canary_parts": 4, "watch_parts": 4, "watch_h": 0, "alpha": 0.5, "most_escapes": 0.45,
    "most_overkill": 0.45, "most_disagreement": 0.45, "most_imbalance": 0.45, "most_faults": 0.45, "most_missed": 0.45,
    "most_late": 0.45, "most_score_shift": 0.25, "canary_factor": 1.0,
}  # fmt: skip
"""So loose that few parts show it; the line's real ones are judged the same way, by more."""

LOOKS = 8
REPORT = f"reports/{DEVICE}.json"


class Place:
    """A device with agent.yaml, its station at a broker, and a repository over TLS."""

    def __init__(self, folder: Path, fleet: Fleet, server: UpdateServer, port: int) -> None:
        self.folder, self.fleet, self.server = folder, fleet, server
        self.config = folder / "agent.yaml"
        self.current = folder / "agent" / "slots" / "models" / NAME / "current.bundle"
        (folder / "floor").mkdir()
        (folder / "root.json").write_bytes(fleet.repository.root_bytes())
        address = server.url.replace("http:", "https:")
        self.keys = {
            "metadata_url": f"{address}/metadata", "targets_url": f"{address}/targets", "root": "root.json",
            "state": "agent", "floor": "floor/floor.json", "ca_file": "ca.crt", "reserve_mb": 0,
            "built_at": "2026-01-01T00:00:00Z", "station": "config.yaml", "reports_url": f"{address}/reports",
            "assignment": {"site": SITE, "device_id": DEVICE}, "poll_min": 0.01, "look_s": 0.05,
        }  # fmt: skip
        self.config.write_text(yaml.safe_dump(self.keys))
        settings = mqtt_settings(port)
        station = yaml.safe_load(write_station(folder).read_text())
        names = ("device_id", "enterprise", "site", "area", "line", "station")
        station |= {
            "device": {name: getattr(settings, name) for name in names}, "bundle": str(self.current),
            "mqtt": {"host": "127.0.0.1", "port": port, "consumers": []}, "runtime": {"threads": 1},
            "releases": str(folder / "agent" / "slots"),
        }  # fmt: skip
        (folder / "config.yaml").write_text(yaml.safe_dump(station))
        ledger = SqliteLedger.open(folder / "ledger.db", settings.device_id, "boot-1", [])
        self.station = AnsweringStation(self.current, ledger, folder / "ledger.db")
        self.station.connect(settings)

    def agent(self, *words: str) -> int:
        return main(["agent", *words, "--config", str(self.config)])

    def adopt(self) -> str:
        assert self.agent("adopt", str(self.fleet.bundle(1)), "--name", NAME, "--by", "Ann") == 0
        return read_bundle(self.current).digest

    def update(self) -> None:
        """Call it until nothing is under way, or so often."""
        for _ in range(LOOKS):
            assert self.agent("update") == 0
            with closing(Journal(self.folder / "agent" / "journal.db", SystemClock())) as journal:
                if not journal.open_updates():
                    return

    def offer(self, revision: int) -> str:
        return self.fleet.offer(revision, gates=GATES)

    def in_force(self) -> str:
        return read_bundle(self.current).digest

    def start(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "appliance", "agent", "run", "--config", str(self.config)]
        return subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE)


PlaceT = TypeVar("PlaceT", bound=Place)


@contextmanager
def at_a_broker(folder: Path, fleet: Fleet, kind: type[PlaceT]) -> Iterator[PlaceT]:
    """Have a device of a kind in a folder, with its fleet's repository and a broker."""
    make_certificates(folder, {"server": "ca"})
    with UpdateServer(fleet.repository.files) as server, EmbeddedBroker("mosquitto") as broker:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.crt", folder / "server.key")
        server.use_tls(context)
        place = kind(folder, fleet, server, broker.port)
        yield place
        place.station.disconnect()


@contextmanager
def device_at_a_broker(folder: Path) -> Iterator[Place]:
    """Have a device whose models are updated."""
    with at_a_broker(folder, Fleet(folder), Place) as place:
        yield place


def workers(process: "subprocess.Popen[bytes]") -> list[int]:
    """The workers of an agent that runs."""
    found = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(number) for number in found.split()]
