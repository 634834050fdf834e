"""A whole update at a real station: judged beside the line, at the line, committed, watched, and taken back."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from appliance.agent_line import MqttLine
from appliance.agent_station import Station
from appliance.bundle.archive import read_bundle
from appliance.simulator.broker import find_mosquitto
from appliance.update.statistical import make_judge
from tests.agent_place import GATES
from tests.plant import START_S, Plant
from tests.releases import BUNDLES
from tests.stations import until
from tests.tiny_releases import NAME
from tests.update_agent import Device, Fleet
from tests.update_server import UpdateServer


@contextmanager
def parts_passing(plant: Plant) -> Iterator[None]:
    """Announce a part every 0.15 s, until the block ends."""
    stopped = threading.Event()

    def announce() -> None:
        number = 0
        while not stopped.wait(0.15):
            number += 1
            plant.announce(f"part-{number}", 5000)

    line = threading.Thread(target=announce, daemon=True)
    line.start()
    yield
    stopped.set()
    line.join()


@pytest.mark.long
@pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is not installed")
def test_a_release_reaches_a_running_station_and_is_taken_back(tmp_path: Path) -> None:
    fleet, place = Fleet(tmp_path), tmp_path / "plant"
    place.mkdir()
    models = tmp_path / "device" / "agent" / "slots" / "models"

    def products(folder: Path) -> dict[str, Any]:
        return {"bundle": str(models / NAME / "current.bundle"), "recipe": "recipe.yaml", "releases": str(models)}

    with UpdateServer(fleet.repository.files) as server:
        plant = Plant(place, products=products)
        device = Device(tmp_path / "device", server.url, line_folder=tmp_path, make_judge=make_judge)
        device.folder.mkdir()
        (device.folder / "root.json").write_bytes(fleet.repository.root_bytes())
        device.station = place / "config.yaml"
        device.station.write_text(yaml.safe_dump(plant.config))
        slots, old = device.kind.slots(NAME), read_bundle(fleet.bundle(1)).digest
        slots.stage(fleet.bundle(1))
        device.kind.workshop.prove(NAME, slots.candidate)
        slots.commit(old)
        with plant:
            assert plant.consumer.wait_until_online(START_S), plant.log()
            device.line = MqttLine(Station.read(device.station), models)  # type: ignore[assignment]
            new = fleet.offer(2, gates=GATES)
            service = device.start()
            with parts_passing(plant):
                assert service.ask() is None
                until(lambda: service.look() or not service.journal.open_updates(), "the update has ended", 90)
                assert device.newest().progress.outcome == "success", device.newest()
                assert device.line.in_force(NAME) == device.in_force() == new
                service.journal.wish("model", NAME, "Ann")
                service.look()
                assert device.line.in_force(NAME) == device.in_force() == old
            changes = plant.query(f"SELECT from_revision, to_revision, is_rollback, who FROM {BUNDLES}")
            assert changes == [(0, 1, 0, "configuration"), (1, 2, 0, "agent"), (2, 1, 1, "agent")]
            told = [state for (state,) in plant.query("SELECT state FROM update_event ORDER BY id")]
            assert told[:8] == ["CHECK", "DOWNLOAD", "VERIFY", "STAGE", "BUILD", "PROVE", "SHADOW", "CANARY"]
            assert told[-6:] == ["ROLLBACK", "VERIFY_ROLLBACK", "FAILURE", "REPORT", "CLEANUP", "IDLE"]
            assert plant.query("SELECT count(*) FROM inspection WHERE verdict = 'FAULT'") == [(0,)]
