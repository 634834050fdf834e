"""The published JSON Schemas are those of the code, and what really goes over a broker obeys them."""

import copy
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from appliance.links.schemas import COMMANDS, FILES, MODELS, schema_of, write_schemas
from appliance.links.topics import Topics
from appliance.links.updates import UpdatesLink
from appliance.ports import Answer
from appliance.simulator.broker import EmbeddedBroker
from tests.plant import CONSUMER, Plant
from tests.stations import Line, SmallStation, action, mqtt_settings, needs_mosquitto, records, until

PUBLISHED = Path(__file__).parents[2] / "docs" / "schemas"


def validator(topic: str) -> Draft202012Validator:
    schema = json.loads((PUBLISHED / f"{topic}.json").read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_the_published_schemas_are_those_of_the_code(tmp_path: Path) -> None:
    written = write_schemas(tmp_path)
    assert {path.name for path in written} == {path.name for path in PUBLISHED.glob("*.json")}
    for path in written:
        assert (PUBLISHED / path.name).read_text() == path.read_text(), (
            "run python -m appliance.links.schemas docs/schemas"
        )


def test_the_command_writes_them(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "appliance.links.schemas", str(tmp_path / "new")], check=True)
    assert len(list((tmp_path / "new").glob("*.json"))) == len(MODELS) + len(COMMANDS) + len(FILES)


@pytest.mark.parametrize("topic", sorted(MODELS | FILES))
def test_every_schema_is_a_schema_and_names_its_version(topic: str) -> None:
    Draft202012Validator.check_schema(schema_of(topic))
    assert schema_of(topic)["properties"]["schema"]["const"].startswith("vi.")


def test_the_arguments_of_commands_are_described_as_they_are_read() -> None:
    good = {"product": "board", "bundle": "a.bundle", "sha256": "a" * 64, "by": "A. Person"}
    for name in COMMANDS:
        Draft202012Validator.check_schema(schema_of(name))
    assert validator("command-release").is_valid(good)
    assert not validator("command-release").is_valid(good | {"sha256": "A" * 64})
    assert validator("command-shadow").is_valid({"product": "board", "stop": True, "by": "A. Person"})
    step = {"kind": "model", "name": "boards", "seq": 3, "sha256": "a" * 64, "state": "VERIFY", "by": "agent"}
    assert validator("command-update-event").is_valid(step)
    assert not validator("command-update-event").is_valid(step | {"kind": "coffee"})


class Updating:
    """One update under way, as an agent tells of it."""

    def content(self) -> dict[str, Any]:
        release = {
            "kind": "model", "name": "boards", "seq": 12, "sha256": "a" * 64, "assignment_seq": 3, "rollout": "r",
            "state": "SHADOW", "outcome": "running", "reason": "", "by": "", "waits_for": "", "parts": 4,
            "p99_ms": None,
        }  # fmt: skip
        return {"assignment_seq": 3, "rollout": "r", "releases": [release]}

    def carry_out(self, name: str, arguments: dict[str, Any]) -> Answer:
        return {"ok": False, "error": f"no {name}"}


@pytest.fixture(scope="module")
def heard() -> Iterator[dict[str, dict[str, Any]]]:
    """One real message of every topic, as a plain client hears it from a real broker."""
    with EmbeddedBroker("mosquitto") as broker:
        settings = mqtt_settings(broker.port, consumers=["mes"])
        station = SmallStation()
        station.last_seq = 3
        link = station.link(settings)
        line = Line(broker.port, Topics.of(settings))
        link.open(station)
        until(lambda: station.connected, "up")
        line.trigger("T1", part_id="P1")
        line.trigger("bad id")
        line.say(link.topics.acknowledge("mes"), {"schema": "vi.ack/1", "device_id": "device-07", "upto": 3})
        line.say(link.topics.command("echo"), {"schema": "vi.command/1"}, ResponseTopic=link.topics.reply("x"))
        link.send_action(action())
        link.send_record(records(1)[0], 1)
        updates = UpdatesLink(settings, "boot-2", Updating())
        updates.open()
        t = link.topics
        topics = {
            "trigger": t.trigger, "action": t.action, "record": t.record, "ack": t.acknowledge("mes"),
            "status": t.status, "heartbeat": t.heartbeat, "meta": t.meta, "alarm": t.alarm,
            "command": t.command("echo"), "reply": t.reply("x"), "update": t.update,
        }  # fmt: skip
        yield {topic: until(partial(line.documents, name), name)[0] for topic, name in topics.items()}
        updates.close()
        link.close()
        line.close()


@needs_mosquitto
@pytest.mark.parametrize("topic", sorted(MODELS))
def test_a_real_message_obeys_its_published_schema(heard: dict[str, dict[str, Any]], topic: str) -> None:
    validator(topic).validate(heard[topic])


@needs_mosquitto
@pytest.mark.parametrize("topic", sorted(set(MODELS) - {"trigger", "ack", "command"}))
def test_the_schema_notices_when_a_key_of_ours_is_missing(heard: dict[str, dict[str, Any]], topic: str) -> None:
    for key in heard[topic]:
        rest = {name: value for name, value in heard[topic].items() if name != key}
        assert not validator(topic).is_valid(rest), key


@pytest.fixture(scope="module")
def plant_talk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """All that a plant of real processes says about a good part, one with a spot and one without a picture."""
    folder = tmp_path_factory.mktemp("plant")
    plant = Plant(folder)
    (folder / "pictures" / "unreadable.png").write_bytes(b"\x89PNG cut off")
    with plant:
        topics = plant.consumer.topics
        line = Line(plant.broker.port, topics)
        for number in range(3):
            plant.announce(f"part-{number}", deadline_ms=20_000)
            plant.wait_for_outcomes(number + 1)
        until(lambda: line.on(topics.acknowledge(CONSUMER)), "an acknowledgement")
        until(lambda: len(line.on(topics.record)) >= 3 and line.on(topics.heartbeat), "the records and a heartbeat")
        line.close()
        names = [message.topic.removeprefix(f"{topics.prefix}/").split("/")[0] for message in line.messages]
        yield list(zip(names, [json.loads(message.payload) for message in line.messages], strict=True))


@needs_mosquitto
def test_all_that_a_running_plant_says_obeys_the_published_schemas(
    plant_talk: list[tuple[str, dict[str, Any]]],
) -> None:
    for topic, document in plant_talk:
        validator(topic).validate(document)
    assert {topic for topic, _ in plant_talk} >= {"trigger", "action", "record", "ack", "status", "heartbeat", "meta"}


@needs_mosquitto
def test_records_with_findings_and_without_a_picture_are_what_the_schema_says(
    plant_talk: list[tuple[str, dict[str, Any]]],
) -> None:
    records = {document["verdict"]: document for topic, document in plant_talk if topic == "record"}
    assert set(records) == {"ACCEPT", "REJECT", "FAULT"}
    assert records["ACCEPT"]["views"][0]["statistics"]
    assert records["REJECT"]["views"][0]["detections"]
    assert records["REJECT"]["views"][0]["image"]
    assert not [view for view in records["FAULT"]["views"] if view["frame_id"] is not None]
    for place in ((), ("views", 0), ("views", 0, "detections", 0)):
        for key in inside(records["REJECT"], place):
            lacking = copy.deepcopy(records["REJECT"])
            del inside(lacking, place)[key]
            assert not validator("record").is_valid(lacking), (place, key)


@needs_mosquitto
def test_a_record_tells_how_its_part_lay_against_a_reference(plant_talk: list[tuple[str, dict[str, Any]]]) -> None:
    record = next(document for topic, document in plant_talk if topic == "record" and document["verdict"] == "ACCEPT")
    assert record["views"][0]["alignment"] is None
    compared = copy.deepcopy(record)
    laid = {"reference": "good.png", "shift_px": [1.5, -0.25], "rotation_deg": 0.1, "match": 0.98}
    laid |= {"stretch_percent": [0.4, -0.02]}
    compared["views"][0]["alignment"] = laid
    validator("record").validate(compared)
    for key in laid:
        compared["views"][0]["alignment"] = {name: value for name, value in laid.items() if name != key}
        assert not validator("record").is_valid(compared), key


def inside(document: Any, place: tuple[str | int, ...]) -> dict[str, Any]:
    for step in place:
        document = document[step]
    found: dict[str, Any] = document
    return found


def test_a_trigger_that_the_link_would_refuse_is_refused_by_the_schema_too() -> None:
    good = {"schema": "vi.trigger/1", "trigger_id": "T1"}
    validator("trigger").validate(good)
    for change in ({"trigger_id": 1}, {"trigger_id": "a b"}, {"schema": "vi.trigger/2"}, {"repeat": "yes"}):
        assert not validator("trigger").is_valid(good | change)
