"""A changeover at a real station over a real broker, as the line's control software and a technician make it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from appliance.links.topics import Topics
from appliance.simulator.broker import EmbeddedBroker
from tests.models import tiny_bundle
from tests.plant import PLACE, Plant, write_station
from tests.products import with_products, write_products
from tests.stations import Line as HeardLine
from tests.stations import SmallStation, mqtt_settings, needs_mosquitto, until

pytestmark = pytest.mark.long

SECONDS = 60.0


def change_over(config: Path, product: str = "tolerant", by: str = "A. Person", *more: str) -> tuple[int, str, str]:
    """Type the command; returns exit code, output and complaints."""
    words = ["changeover", "--config", str(config), "--product", product, "--by", by, *more]
    command = [sys.executable, "-m", "appliance", *words]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert "Traceback" not in ended.stderr
    return ended.returncode, ended.stdout, ended.stderr


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """The configuration of a station with two products that does not run and has no broker."""
    tiny_bundle(tmp_path / "tiny.bundle")
    path = write_station(tmp_path)
    path.write_text(yaml.safe_dump(with_products(yaml.safe_load(path.read_text()), write_products(tmp_path))))
    return path


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    """A running station with the products plain and tolerant, which goes through good and spotted pictures in turn."""
    with Plant(tmp_path, products=write_products) as running:
        yield running


@needs_mosquitto
def test_each_part_is_judged_by_the_product_in_force_and_everybody_hears_of_the_change(plant: Plant) -> None:
    heard = HeardLine(plant.broker.port, Topics.of(plant.settings()), "listener")
    for number in range(2):
        plant.announce(f"before-{number}", 9000)
    plant.wait_for_outcomes(2)
    reply = plant.consumer.command("changeover", {"product": "tolerant", "by": "line-control"}).result(SECONDS)
    for number in range(2):
        plant.announce(f"after-{number}", 9000)
    plant.wait_for_records(4)
    plant.wait_for_outcomes(4)
    assert reply.ok
    assert reply.result["last_trigger_id"] == "t-before-1"
    assert reply.result["took_ms"] < 5000
    said = {record.message.part_id: record.message for record in plant.records}
    assert {part: message.versions["product"] for part, message in said.items()} == {
        "before-0": "plain", "before-1": "plain", "after-0": "tolerant", "after-1": "tolerant"
    }  # fmt: skip
    assert {part: message.versions["recipe"] for part, message in said.items()}["after-0"] == "tolerant"
    assert [said[f"before-{number}"].verdict for number in range(2)] == ["ACCEPT", "REJECT"]
    assert [said[f"after-{number}"].verdict for number in range(2)] == ["ACCEPT", "ACCEPT"]
    assert plant.outcomes["after-1"].passes
    until(lambda: [each["product"] for each in heard.documents(heard.topics.meta)][-1:] == ["tolerant"], "meta anew")
    assert [each["recipe"]["name"] for each in heard.documents(heard.topics.meta)][-1] == "tolerant"
    heard.close()


@needs_mosquitto
def test_a_technician_changes_over_and_a_restart_goes_on_with_it(plant: Plant) -> None:
    config = plant.folder / "config.yaml"
    code, told, _ = change_over(config)
    assert code == 0
    assert told.startswith("tolerant is in force from the first part on, in place of plain (")
    assert change_over(config)[:2] == (0, "tolerant was in force already\n")
    code, _, complaint = change_over(config, "nothing")
    assert (code, complaint) == (1, "appliance: there is no product 'nothing'; there are plain, tolerant\n")
    code, _, complaint = change_over(config, "plain", "A. Person", "--stopped")
    assert code == 74
    assert "stop it first" in complaint
    assert "changeover from plain to tolerant by A. Person" in plant.log()
    plant.kill()
    plant.start()
    plant.announce("part", 30_000, 200)
    plant.wait_for_records(1)
    assert plant.records[0].message.versions["product"] == "tolerant"
    assert plant.query("SELECT who, from_product, to_product FROM changeover ORDER BY id") == [
        ("configuration", "", "plain"), ("A. Person", "plain", "tolerant")
    ]  # fmt: skip


def test_a_stopped_station_is_told_in_its_ledger(stopped: Path) -> None:
    assert change_over(stopped, "tolerant", "A. Person", "--stopped")[:2] == (
        0, "tolerant is in force from the next start on, in place of none\n"
    )  # fmt: skip
    assert change_over(stopped, "tolerant", "B", "--stopped")[:2] == (0, "tolerant was in force already\n")
    code, _, complaint = change_over(stopped, "nothing", "A. Person", "--stopped")
    assert code == 78
    assert "products: there is no product 'nothing'; there are plain, tolerant" in complaint


@pytest.mark.parametrize(
    ("product", "by", "words"),
    [("plain", "A. Person", "a station without `mqtt` hears no command; add it, or use --stopped"),
     ("plain", " ", "--by is ' '; say who wants it")],
)  # fmt: skip
def test_what_the_command_cannot_do_is_said_with_a_remedy(stopped: Path, product: str, by: str, words: str) -> None:
    code, told, complaint = change_over(stopped, product, by)
    assert (code, told) == (78, "")
    assert words in complaint


def configure(config: Path, port: int) -> None:
    document = yaml.safe_load(config.read_text())
    document["device"] = {"device_id": "device-07"} | mqtt_settings(1).model_dump(include=set(PLACE))
    config.write_text(yaml.safe_dump(document | {"mqtt": {"host": "127.0.0.1", "port": port}}))


@needs_mosquitto
def test_a_broker_or_a_station_that_is_not_there_is_said(stopped: Path) -> None:
    with EmbeddedBroker("mosquitto") as broker:
        configure(stopped, broker.port)
        code, _, complaint = change_over(stopped)
        assert code == 1
        assert "the station is not connected to the broker 127.0.0.1" in complaint
        listener = HeardLine(broker.port, Topics.of(mqtt_settings(broker.port)), "listener")
        code, _, complaint = change_over(stopped)
        assert code == 1
        assert "no station answered on " in complaint
        listener.close()
    code, _, complaint = change_over(stopped)
    assert code == 1
    assert "no connection to the broker 127.0.0.1" in complaint


def test_a_broker_without_mqtt5_carries_the_command_too(stopped: Path) -> None:
    with EmbeddedBroker("amqtt") as broker:
        configure(stopped, broker.port)
        station = SmallStation()
        link = station.link(mqtt_settings(broker.port))
        link.open(station)
        until(lambda: station.connected, "the station is up")
        code, _, complaint = change_over(stopped)
        link.close()
    assert code == 0, complaint
    assert station.commands == [("changeover", {"product": "tolerant", "by": "A. Person"})]
