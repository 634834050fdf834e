"""The topic `update` and the commands of updates: a running agent, a station and people at a real broker."""

import json
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from appliance.command_messages import CommandReply
from appliance.errors import StorageError
from appliance.events import new_id
from appliance.links.question import ask
from appliance.links.topics import UPDATE_COMMANDS, Topics
from appliance.links.updates import UpdatesLink
from appliance.ports import Answer
from appliance.simulator.broker import EmbeddedBroker
from tests.agent_place import Place, device_at_a_broker
from tests.certificates import needs_openssl
from tests.stations import Line, SmallStation, mqtt_settings, needs_mosquitto, until
from tests.tiny_releases import NAME

SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "update.json"
ANN = {"by": "Ann"}

pytestmark = [needs_openssl, needs_mosquitto, pytest.mark.long]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with device_at_a_broker(tmp_path) as place:
        yield place


class Plant:
    """A client of the plant that hears `update`, and people who send commands."""

    def __init__(self, place: Place) -> None:
        port = yaml.safe_load((place.folder / "config.yaml").read_text())["mqtt"]["port"]
        self.settings = mqtt_settings(port)
        self.line = Line(port, Topics.of(self.settings))

    @property
    def told(self) -> list[dict[str, Any]]:
        return self.line.documents(self.line.topics.update)

    def until_told(self, what: str, **wanted: Any) -> dict[str, Any]:
        """Wait until the newest message says so, of itself or of its first release."""

        def says_so() -> bool:
            newest = self.told[-1] if self.told else {}
            flat = newest | (newest.get("releases") or [{}])[0] | {"state": newest.get("state")}
            return bool(newest) and all(flat.get(key) == value for key, value in wanted.items())

        until(says_so, f"{what}: {self.told[-1:]}", 60.0)
        return self.told[-1]

    def ask(self, command: str, **arguments: Any) -> CommandReply:
        return ask(self.settings, command, arguments, 30.0)


def test_the_plant_sees_an_update_holds_it_releases_it_and_takes_it_back(place: Place) -> None:
    old, plant = place.adopt(), Plant(place)
    agent = place.start()
    plant.until_told("the agent is there", state="online", releases=[])
    assert plant.ask("update-hold", **ANN).result == {
        "words": "nothing new begins to judge until `appliance agent release-hold`"
    }
    plant.until_told("it is held", held_by="Ann")
    new = place.offer(2)
    plant.until_told("the assignment was read", assignment_seq=1)
    assert place.in_force() == old
    assert plant.ask("update-release-hold", by="Bob").result["words"].startswith("held by Ann since")
    plant.until_told("the new release stays", outcome="success", sha256=new, held_by="")
    states = {told["releases"][0]["state"] for told in plant.told if told["releases"]}
    assert states - {"IDLE"}, "progress is told, and not only the end"

    reply = plant.ask("update-rollback", **ANN)
    assert (reply.ok, reply.result["digest"], place.in_force(), place.station.in_force) == (True, old, old, old)
    plant.until_told("it was rolled back", outcome="rolled_back", by="Ann", reason="rolled back by Ann")
    assert not set(UPDATE_COMMANDS) & {name for name, _ in place.station.commands}, "the station leaves them alone"
    schema = Draft202012Validator(json.loads(SCHEMA.read_text()))
    for each in plant.told:
        schema.validate(each)
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(30) == 0
    last = plant.until_told("it says goodbye", state="offline")
    assert last["reason"] == "the agent was stopped"
    assert last["releases"], "what was last known stays"
    plant.line.close()


def test_a_dead_agent_shows_and_a_wrong_command_is_refused_in_words(place: Place) -> None:
    place.adopt()
    plant, agent = Plant(place), place.start()
    boot = plant.until_told("the agent is there", state="online")["boot_id"]
    for command, arguments, complaint in (
        ("update-rollback", ANN, "nothing to roll back"),
        ("update-rollback", ANN | {"name": "other"}, f"the agent has {NAME}"),
        ("update-rollback", ANN | {"kind": "recipe"}, "the agent has no recipe yet"),
        ("update-rollback", {}, "update-rollback: `by`"),
        ("update-hold", {"by": ""}, "update-hold: `by`"),
        ("update-release-hold", {}, "update-release-hold: `by`"),
    ):
        reply = plant.ask(command, **arguments)
        assert not reply.ok
        assert complaint in str(reply.error)
    agent.kill()
    agent.wait()
    gone = plant.until_told("the broker says so", state="offline", reason="the agent's connection was lost")
    assert (gone["boot_id"], gone["releases"]) == (boot, [])
    again = place.start()
    assert plant.until_told("it is back", state="online")["boot_id"] != boot
    again.terminate()
    assert again.wait(30) == 0
    plant.line.close()


class Broken:
    """Updates of which nothing can be read."""

    def content(self) -> dict[str, Any]:
        raise StorageError("the journal is torn")

    def carry_out(self, name: str, arguments: dict[str, Any]) -> Answer:
        raise StorageError(f"no {name}: the journal is torn")


def test_a_journal_that_cannot_be_read_is_told_and_a_retained_command_is_refused() -> None:
    with EmbeddedBroker("mosquitto") as broker:
        settings = mqtt_settings(broker.port)
        line = Line(broker.port, Topics.of(settings))
        line.say(line.topics.command("update-hold"), {"schema": "vi.command/1", "arguments": ANN}, retain=True)
        link = UpdatesLink(settings, new_id(), Broken())
        link.open()
        until(partial(line.documents, line.topics.update), "it is told")
        assert line.documents(line.topics.update)[0]["problem"] == "the journal is torn"
        assert ask(settings, "update-hold", ANN).error == "no update-hold: the journal is torn"
        link.close()
        line.close()


def test_the_station_answers_no_command_of_the_agent() -> None:
    station = SmallStation()
    with EmbeddedBroker("mosquitto") as broker:
        settings = mqtt_settings(broker.port)
        line, link = Line(broker.port, Topics.of(settings)), station.link(settings)
        link.open(station)
        until(lambda: station.connected, "up")
        for name in (*UPDATE_COMMANDS, "status"):
            line.say(line.topics.command(name), {"schema": "vi.command/1", "arguments": ANN})
        until(lambda: station.commands, "the last one is heard")
        assert [name for name, _ in station.commands] == ["status"]
        link.close()
        line.close()
