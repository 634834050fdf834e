"""A small real station for the links' tests: takes triggers, answers commands, keeps what it was told."""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any, Literal

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from appliance.errors import StorageError
from appliance.events import Action, Decision, Inspection, Reason, Record, Trigger, Verdict, Versions, new_id
from appliance.links.announcements import StationDescription, StationState
from appliance.links.mqtt import MqttLink
from appliance.links.settings import MqttSettings
from appliance.links.topics import Topics
from appliance.messages import FIRST_PREVIOUS_HASH, record_payload
from appliance.ports import TriggerRequest
from appliance.simulator.broker import EmbeddedBroker, find_mosquitto

needs_mosquitto = pytest.mark.skipif(find_mosquitto() is None, reason="the mosquitto broker is not installed")
BOTH_BROKERS = [pytest.param("mosquitto", marks=needs_mosquitto), "amqtt"]
"""Parameters of a fixture: MQTT 5, and 3.1.1 only."""

WAIT_S = 30.0
_TICK = threading.Event()


def until(condition: Callable[[], Any], what: str, timeout_s: float = WAIT_S) -> Any:
    """Wait until the condition holds and return its value; fail with words if it never does."""
    give_up_s = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < give_up_s, f"not within {timeout_s} s: {what}"
        _TICK.wait(0.005)
    return value


def mqtt_settings(port: int, **changes: Any) -> MqttSettings:
    """Settings for a broker on the loopback."""
    values: dict[str, Any] = {
        "port": port, "enterprise": "acme", "site": "ulm", "area": "smt", "line": "line1", "station": "aoi2",
        "device_id": "device-07", "keepalive_s": 2,
    }  # fmt: skip
    return MqttSettings(**(values | changes))


def action(**changes: Any) -> Action:
    """A fresh ACCEPT for part P1, good for ten seconds."""
    values: dict[str, Any] = {
        "trigger_id": "T1", "part_id": "P1", "inspection_id": new_id(), "seq": 1, "verdict": Verdict.ACCEPT,
        "reason": Reason.COMPLETE, "deadline_ns": time.monotonic_ns() + 10_000_000_000,
    }  # fmt: skip
    return Action(**(values | changes))


class SmallStation:
    """Implements LineEvents with lists; refuses triggers while `is_full`, and can hold a trigger back."""

    def __init__(self) -> None:
        self.triggers: list[TriggerRequest] = []
        self.acknowledged: list[tuple[str, int]] = []
        self.commands: list[tuple[str, dict[str, Any]]] = []
        self._connected = 0
        self._link: MqttLink | None = None
        self.is_full = False
        self.go_on = threading.Event()
        self.go_on.set()
        self.last_seq = 0
        self.state_now = StationState()
        self.on_each_connection: Callable[[], object] = lambda: None
        self.on_each_trigger: Callable[[TriggerRequest], None] = lambda request: None

    def on_trigger(self, request: TriggerRequest) -> None:
        if self.is_full:
            raise StorageError("the disk is full")
        self.triggers.append(request)
        self.on_each_trigger(request)
        self.go_on.wait(WAIT_S)

    def on_acknowledge(self, consumer: str, upto_seq: int) -> None:
        self.acknowledged.append((consumer, upto_seq))

    def on_command(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        self.commands.append((name, arguments))
        if name == "fail":
            return {"ok": False, "error": "no such thing"}
        return {"ok": True, "echo": arguments}

    def on_connected(self) -> None:
        self._connected += 1
        self.on_each_connection()

    @property
    def connected(self) -> int:
        """How often the link has come up or started over, once it is of use; 0 while it is down."""
        is_up = self._link is None or self._link.status()["protocol"] != ""
        return self._connected if is_up else 0

    def state(self) -> StationState:
        return replace(self.state_now, last_seq=self.last_seq)

    def link(self, settings: MqttSettings, boot_id: str = "boot-1") -> MqttLink:
        """Make a link that speaks for this station; not open yet."""
        self._link = MqttLink(
            settings, boot_id=boot_id, state=self.state, describe=lambda: StationDescription("0.1.0", "onnx")
        )
        return self._link


class Outbox(SmallStation):
    """Delivers records in order; starts over when the link is up again or acknowledgements stay away."""

    def __init__(self, records: list[Record]) -> None:
        super().__init__()
        self.records = records
        self.last_seq = records[-1].seq if records else 0
        self._next = 0
        self._replays: list[Record] = []
        self.attempts = 0
        self._upto = 0
        self._progress_s = time.monotonic()
        self._stop = threading.Event()
        self._lock = threading.Lock()

    def on_connected(self) -> None:
        super().on_connected()
        self._start_over()

    def on_acknowledge(self, consumer: str, upto_seq: int) -> None:
        super().on_acknowledge(consumer, upto_seq)
        if upto_seq > self._upto:
            self._upto, self._progress_s = upto_seq, time.monotonic()

    def _start_over(self) -> None:
        with self._lock:
            self._progress_s = time.monotonic()
            upto = max((seq for _, seq in self.acknowledged), default=0)
            self._next = next((i for i, record in enumerate(self.records) if record.seq > upto), len(self.records))
            self.attempts += 1

    def on_command(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if name != "replay":
            return super().on_command(name, arguments)
        self.commands.append((name, arguments))
        asked = range(arguments["from_seq"], arguments["to_seq"] + 1)
        with self._lock:
            self._replays += [record for record in self.records if record.seq in asked]
        return {"ok": True}

    def deliver_through(self, link: MqttLink) -> threading.Thread:
        """Start to deliver; ends with stop()."""
        thread = threading.Thread(target=self._deliver, args=(link,), daemon=True)
        thread.start()
        return thread

    def hold(self) -> None:
        """Send nothing but replays: everything was sent before."""
        with self._lock:
            self._next = len(self.records)
            self._upto = self.last_seq

    def stop(self) -> None:
        self._stop.set()

    def _deliver(self, link: MqttLink) -> None:
        while not self._stop.wait(0.001):
            if self._upto < self.last_seq and time.monotonic() - self._progress_s > 1.0:
                self._start_over()
            with self._lock:
                while self._replays and link.send_record(self._replays[0], self.attempts):
                    self._replays.pop(0)
                while self._next < len(self.records) and link.send_record(self.records[self._next], self.attempts):
                    self._next += 1


class Line:
    """A client of the plant with paho's plain API: hears all of the station's topics and keeps the messages.

    With qos 0 it hears all that a broker sent before it was killed; with 1 its own PUBACKs end the connection first.
    """

    def __init__(self, port: int, topics: Topics, name: str = "line", is_mqtt5: bool = True, qos: int = 1) -> None:
        self.topics = topics
        self.messages: list[paho.MQTTMessage] = []
        self.answers: list[int] = []
        version = MQTTProtocolVersion.MQTTv5 if is_mqtt5 else MQTTProtocolVersion.MQTTv311
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=version)
        self.client.on_message = lambda client, data, message: self.messages.append(message)
        self.client.on_publish = lambda client, data, mid, reason, properties: self.answers.append(mid)
        is_heard = threading.Event()
        self.client.on_subscribe = lambda *_: is_heard.set()
        self.client.on_connect = lambda client, *_: client.subscribe(
            [(f"{topics.prefix}/#", qos), ("elsewhere/#", qos)]
        )
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert is_heard.wait(WAIT_S)

    def on(self, topic: str) -> list[paho.MQTTMessage]:
        """Return what was heard on one topic, oldest first."""
        return [message for message in list(self.messages) if message.topic == topic]

    def documents(self, topic: str) -> list[dict[str, Any]]:
        """Return what was heard on one topic as JSON."""
        return [json.loads(message.payload) for message in self.on(topic)]

    def say(self, topic: str, document: object, retain: bool = False, **properties: Any) -> int:
        """Publish JSON (or bytes as they are) with QoS 1; returns the message id."""
        payload = document if isinstance(document, bytes) else json.dumps(document).encode()
        carried = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        for name, value in properties.items():
            setattr(carried, name, value)
        return self.client.publish(topic, payload, 1, retain, carried if properties else None).mid

    def trigger(self, trigger_id: str, **more: Any) -> int:
        """Announce a part."""
        return self.say(self.topics.trigger, {"schema": "vi.trigger/1", "trigger_id": trigger_id} | more)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def records(count: int, device_id: str = "device-07", first_seq: int = 1) -> list[Record]:
    """Records with a hash chain, as a ledger would commit them."""
    made: list[Record] = []
    previous = FIRST_PREVIOUS_HASH
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    versions = Versions("0.1.0", "demo", 1, "0" * 64, "board", 1, "0" * 64, "0" * 64, "onnx", "board")
    for seq in range(first_seq, first_seq + count):
        trigger = Trigger(f"T{seq}", f"P{seq}", moment, 0, 10)
        inspection = Inspection(
            new_id(moment), trigger, Decision(Verdict.ACCEPT, Reason.COMPLETE), (), moment, 5,
            {"infer": 3}, versions, {},
        )  # fmt: skip
        payload = record_payload(inspection, device_id=device_id, boot_id="boot-1", seq=seq, prev_hash=previous)
        previous = hashlib.sha256(payload.encode()).hexdigest()
        made.append(Record(seq, trigger.trigger_id, payload, previous))
    return made


@dataclass
class Stage:
    """A broker, a link that is up, its station, and somebody from the plant who hears everything."""

    broker: EmbeddedBroker
    link: MqttLink
    station: SmallStation
    line: Line


@contextmanager
def stage_on(kind: Literal["mosquitto", "amqtt"]) -> Iterator[Stage]:
    """Bring up all of a stage on one kind of broker."""
    with EmbeddedBroker(kind) as broker:
        settings = mqtt_settings(broker.port)
        station = SmallStation()
        link = station.link(settings)
        line = Line(broker.port, Topics.of(settings), is_mqtt5=broker.kind == "mosquitto")
        link.open(station)
        until(lambda: station.connected, "the link is up")
        yield Stage(broker, link, station, line)
        link.close()
        line.close()
