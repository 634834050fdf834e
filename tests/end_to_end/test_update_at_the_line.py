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
from appliance.events import Challenge
from appliance.update.statistical import make_judge
from tests.agent_place import GATES
from tests.plant import START_S, Plant
from tests.releases import BUNDLES
from tests.stations import needs_mosquitto, until
from tests.tiny_releases import NAME
from tests.update_agent import Device, Fleet
from tests.update_server import UpdateServer


@contextmanager
def parts_passing(plant: Plant, *, bad_ones_are_known: bool = False) -> Iterator[None]:
    """Announce a part every 0.05 s, until the block ends; every second one is bad."""
    stopped = threading.Event()

    def announce() -> None:
        while not stopped.wait(0.05):
            number = len(plant.announced_ns) + 1
            is_known = bad_ones_are_known and number % 2 == 0
            plant.announce(f"part-{number}", 5000, challenge=Challenge.BAD if is_known else None)

    line = threading.Thread(target=announce, daemon=True)
    line.start()
    yield
    stopped.set()
    line.join()


@contextmanager
def running(folder: Path) -> Iterator[tuple[Plant, Device, Fleet]]:
    """Start a station with release 1 in force, beside an agent's parts that judge as the product does."""
    fleet, place = Fleet(folder), folder / "plant"
    place.mkdir()
    models = folder / "device" / "agent" / "slots" / "models"

    def products(_: Path) -> dict[str, Any]:
        return {"bundle": str(models / NAME / "current.bundle"), "recipe": "recipe.yaml", "releases": str(models)}

    with UpdateServer(fleet.repository.files) as server:
        plant = Plant(place, products=products)
        device = Device(folder / "device", server.url, line_folder=folder, make_judge=make_judge)
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
            yield plant, device, fleet


def take_to_its_end(device: Device) -> None:
    """Let the agent ask, and look until nothing is under way."""
    service = device.start()
    assert service.ask() is None
    until(lambda: service.look() or not service.journal.open_updates(), "the update has ended", 90)


@pytest.mark.long
@needs_mosquitto
def test_a_release_reaches_a_running_station_and_is_taken_back(tmp_path: Path) -> None:
    with running(tmp_path) as (plant, device, fleet):
        old, new = device.in_force(), fleet.offer(2, gates=GATES)
        with parts_passing(plant):
            take_to_its_end(device)
            assert device.newest().progress.outcome == "success", device.newest()
            assert device.line.in_force(NAME) == device.in_force() == new
            service = device.start()
            service.journal.wish("model", NAME, "Ann")
            service.look()
            assert device.line.in_force(NAME) == device.in_force() == old
        changes = plant.query(f"SELECT from_revision, to_revision, is_rollback, who FROM {BUNDLES}")
        assert changes == [(0, 1, 0, "configuration"), (1, 2, 0, "agent"), (2, 1, 1, "agent")]
        told = [state for (state,) in plant.query("SELECT state FROM update_event ORDER BY id")]
        assert told[:8] == ["CHECK", "DOWNLOAD", "VERIFY", "STAGE", "BUILD", "PROVE", "SHADOW", "CANARY"]
        assert told[-6:] == ["ROLLBACK", "VERIFY_ROLLBACK", "FAILURE", "REPORT", "CLEANUP", "IDLE"]
        assert plant.query("SELECT count(*) FROM inspection WHERE verdict = 'FAULT'") == [(0,)]


@pytest.mark.long
@needs_mosquitto
def test_challenge_parts_that_are_asked_for_decide_when_the_line_announces_them(tmp_path: Path) -> None:
    gates = GATES | {"challenge_parts": 3, "patience": 15, "least_reject_ratio": 0}
    with running(tmp_path) as (plant, device, fleet):
        old, release = device.in_force(), fleet.publish(2, fleet.bundle(2).read_bytes())
        fleet.assign(release, gates=gates)
        with parts_passing(plant):
            plant.wait_for_records(80)  # what is usual at this line
            take_to_its_end(device)
        update = device.newest()
        assert update.progress.outcome == "failed", "a release is not to blame for what people did not bring"
        assert update.reason.startswith("no bad challenge part came, 3 must be found"), update.reason
        assert device.line.in_force(NAME) == device.in_force() == old
        assert not device.journal.quarantined()
        take_to_its_end(device)
        assert device.newest().number == update.number, "the same assignment would end in the same way"
        fleet.assign(release, gates=gates)
        with parts_passing(plant, bad_ones_are_known=True):
            take_to_its_end(device)
        assert device.newest().progress.outcome == "success", device.newest()
        told = "SELECT DISTINCT json_extract(record, '$.challenge'), verdict FROM inspection ORDER BY 1, 2"
        assert plant.query(told) == [(None, "ACCEPT"), (None, "REJECT"), ("bad", "REJECT")]
