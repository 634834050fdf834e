"""Invariant 3: an action that is retained, expired, repeated, foreign or from before a restart is never acted on.

Real brokers, the real link and the real consumer; the forger is a client that may write on every topic.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from appliance.events import Verdict
from appliance.links.announcements import Voice
from appliance.links.consumer import LineConsumer
from appliance.links.mqtt import MqttLink
from appliance.links.topics import Topics
from appliance.ports import TriggerRequest
from appliance.simulator.broker import EmbeddedBroker
from tests.stations import BOTH_BROKERS, Line, SmallStation, action, mqtt_settings, needs_mosquitto, until

HEARD_BY_THEN_MS = 2000
"""Until when the line waits for a better answer than the one that it hears and does not obey."""


@dataclass
class Scene:
    """Station, consumer and forger on one broker; the station says nothing unless a test makes it."""

    broker: EmbeddedBroker
    station: SmallStation
    link: MqttLink
    consumer: LineConsumer
    forger: Line

    def forge(self, part: str, **changes: Any) -> dict[str, Any]:
        """A message that the station could have sent for this part, with changes."""
        fresh = Voice("device-07", "boot-1").action(
            action(trigger_id=part, part_id=f"P-{part}", deadline_ns=time.monotonic_ns() + 9_000_000_000),
            time.monotonic_ns(),
        )
        assert fresh is not None
        return dict(json.loads(fresh.payload)) | changes


@pytest.fixture(params=BOTH_BROKERS)
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    with EmbeddedBroker(request.param) as broker:
        settings = mqtt_settings(broker.port)
        station = SmallStation()
        link = station.link(settings)
        link.open(station)
        consumer = LineConsumer(settings, "plc")
        consumer.open()
        assert consumer.wait_until_online(30.0)
        forger = Line(broker.port, Topics.of(settings), "forger", request.param != "amqtt")
        yield Scene(broker, station, link, consumer, forger)
        forger.close()  # or it would look for its broker for as long as the other tests run
        consumer.close()
        link.close()


def answer_with(link: MqttLink, verdict: Verdict = Verdict.ACCEPT, seq: int = 1) -> Callable[[TriggerRequest], None]:
    def answer(request: TriggerRequest) -> None:
        link.send_action(action(trigger_id=request.trigger_id, part_id=request.part_id, verdict=verdict, seq=seq))

    return answer


def test_a_part_passes_on_the_stations_own_fresh_accept(scene: Scene) -> None:
    scene.station.on_each_trigger = answer_with(scene.link)
    outcome = scene.consumer.announce("P-T1", 5000, "T1").result(30.0)
    assert outcome.passes, outcome.reason
    assert scene.consumer.parts.passed == 1


def test_no_answer_until_the_deadline_is_a_reject_at_the_deadline(scene: Scene) -> None:
    started_ns = time.monotonic_ns()
    outcome = scene.consumer.announce("P-T1", 200, "T1").result(30.0)
    assert not outcome.passes
    assert outcome.reason == "deadline: no answer"
    assert 200_000_000 <= time.monotonic_ns() - started_ns < 5_000_000_000


@pytest.mark.parametrize("verdict", [Verdict.REJECT, Verdict.REVIEW, Verdict.FAULT])
def test_every_other_verdict_diverts_the_part_at_once(scene: Scene, verdict: Verdict) -> None:
    scene.station.on_each_trigger = answer_with(scene.link, verdict)
    outcome = scene.consumer.announce("P-T1", 5000, "T1").result(30.0)
    assert not outcome.passes
    assert outcome.waited_us < 4_000_000


@pytest.mark.parametrize(
    "changes",
    [
        {"device_id": "device-08"},
        {"boot_id": "boot-0"},
        {"trigger_id": "T0"},
        {"part_id": "P-T0"},
        {"verdict": "REJECT"},
        {"sent_at": "2020-01-01T00:00:00.000Z", "valid_until": "2020-01-01T00:00:00.900Z", "valid_for_ms": 900},
        {"valid_for_ms": 3_600_000},
        {"schema": "vi.action/0"},
    ],
)
def test_a_foreign_or_expired_action_lets_nothing_through(scene: Scene, changes: dict[str, Any]) -> None:
    future = scene.consumer.announce("P-T1", 400, "T1")
    scene.forger.say(scene.link.topics.action, scene.forge("T1", **changes))
    outcome = future.result(30.0)
    assert not outcome.passes, outcome


FAR = {"sent_at": "2099-01-01T00:00:00.000Z", "valid_until": "2099-01-01T00:10:00.000Z", "valid_for_ms": 600_000}


def test_a_retained_accept_meets_a_consumer_that_comes_later_and_is_not_obeyed(scene: Scene) -> None:
    scene.consumer.close()
    scene.forger.say(scene.link.topics.action, scene.forge("T1", **FAR), retain=True)
    until(lambda: scene.forger.answers, "the broker keeps it")
    consumer = LineConsumer(mqtt_settings(scene.broker.port), "plc2")
    future = consumer.announce("P-T1", 1500, "T1")
    consumer.open()
    outcome = future.result(30.0)
    consumer.close()
    assert not outcome.passes, outcome


def test_an_accept_that_is_sent_to_be_retained_is_none_of_the_stations_and_not_obeyed(scene: Scene) -> None:
    if scene.broker.kind == "amqtt":
        pytest.skip("MQTT 3.1.1 does not show to whom is connected that a message is to be retained")
    future = scene.consumer.announce("P-T1", HEARD_BY_THEN_MS, "T1")
    scene.forger.say(scene.link.topics.action, scene.forge("T1"), retain=True)
    assert future.result(30.0).reason == "deadline: retained"


def test_the_same_action_twice_lets_one_part_through(scene: Scene) -> None:
    document = scene.forge("T1", seq=5)
    first = scene.consumer.announce("P-T1", 9000, "T1")
    scene.forger.say(scene.link.topics.action, document)
    assert first.result(30.0).passes
    second = scene.consumer.announce("P-T1", HEARD_BY_THEN_MS, "T1")
    scene.forger.say(scene.link.topics.action, document)
    outcome = second.result(30.0)
    assert not outcome.passes
    assert outcome.reason == "deadline: duplicate"


def test_after_a_restart_of_the_station_its_old_answers_count_no_more(scene: Scene) -> None:
    scene.link.close()
    again = SmallStation()
    link = again.link(mqtt_settings(scene.broker.port), boot_id="boot-2")
    link.open(again)
    until(lambda: scene.consumer.station.boot_id == "boot-2", "the consumer knows of the restart")
    future = scene.consumer.announce("P-T1", HEARD_BY_THEN_MS, "T1")
    scene.forger.say(link.topics.action, scene.forge("T1"))  # says boot-1
    outcome = future.result(30.0)
    link.close()
    assert not outcome.passes
    assert outcome.reason == "deadline: from before the station's restart"


def test_a_station_that_went_offline_lets_nothing_through(scene: Scene) -> None:
    scene.link.close()
    until(lambda: scene.consumer.station.state == "offline", "the consumer knows")
    future = scene.consumer.announce("P-T1", 400, "T1")
    scene.forger.say(scene.link.topics.action, scene.forge("T1"))
    assert not future.result(30.0).passes


def test_an_action_past_its_deadline_is_never_sent(scene: Scene) -> None:
    now_ns = time.monotonic_ns()
    assert not scene.link.send_action(action(trigger_id="late", deadline_ns=now_ns - 1))
    assert not scene.link.send_action(action(trigger_id="hopeless", deadline_ns=now_ns + 900_000))
    assert scene.link.send_action(action(trigger_id="fresh"))
    (heard,) = until(lambda: scene.forger.documents(scene.link.topics.action), "the fresh one")
    assert heard["trigger_id"] == "fresh"
    assert scene.link.counts["actions_not_sent"] == 2


def test_an_action_is_not_kept_for_a_broker_that_comes_back(scene: Scene) -> None:
    scene.broker.kill()
    until(lambda: not scene.link.send_action(action(trigger_id="lost")), "the link notices")
    before = scene.station.connected
    scene.broker.restart()
    until(lambda: scene.station.connected > before, "the link is back")
    settings = mqtt_settings(scene.broker.port)
    witness = Line(scene.broker.port, Topics.of(settings), "witness", scene.broker.kind == "mosquitto")
    assert scene.link.send_action(action(trigger_id="fresh"))
    until(lambda: witness.on(scene.link.topics.action), "the fresh one")
    assert [d["trigger_id"] for d in witness.documents(scene.link.topics.action)] == ["fresh"]
    witness.close()


@needs_mosquitto
def test_the_broker_drops_an_action_that_nobody_took_in_time() -> None:
    with EmbeddedBroker("mosquitto") as broker:
        settings = mqtt_settings(broker.port)
        station = SmallStation()
        link = station.link(settings)
        link.open(station)
        until(lambda: station.connected, "up")
        line = Line(broker.port, Topics.of(settings))
        assert link.send_action(action(deadline_ns=time.monotonic_ns() + 9_300_000_000))
        (message,) = until(lambda: line.on(link.topics.action), "the action")
        assert 1 <= message.properties.MessageExpiryInterval <= 10
        assert not message.retain
        link.close()
        line.close()


def test_triggers_from_while_the_station_was_away_do_not_arrive_as_if_fresh(scene: Scene) -> None:
    scene.link.close()
    scene.forger.trigger("queued")
    scene.forger.say(scene.link.topics.trigger, {"schema": "vi.trigger/1", "trigger_id": "kept"}, retain=True)
    until(lambda: len(scene.forger.on(scene.link.topics.trigger)) == 2, "the broker has passed both on")
    again = SmallStation()
    link = again.link(mqtt_settings(scene.broker.port), boot_id="boot-2")
    link.open(again)
    until(lambda: again.connected, "up again")
    scene.forger.trigger("fresh")
    until(lambda: again.triggers, "the fresh one")
    link.close()
    assert [request.trigger_id for request in again.triggers] == ["fresh"]


@needs_mosquitto
def test_a_trigger_that_its_sender_retains_is_refused_even_while_it_is_fresh() -> None:
    with EmbeddedBroker("mosquitto") as broker:
        station = SmallStation()
        link = station.link(mqtt_settings(broker.port))
        link.open(station)
        until(lambda: station.connected, "up")
        line = Line(broker.port, link.topics)
        line.say(link.topics.trigger, {"schema": "vi.trigger/1", "trigger_id": "T1"}, retain=True)
        until(lambda: "trigger_retained" in [alarm["name"] for alarm in line.documents(link.topics.alarm)], "an alarm")
        assert station.triggers == []
        link.close()
        line.close()


@needs_mosquitto
def test_a_session_that_somebody_left_behind_under_the_stations_name_brings_nothing_stale() -> None:
    with EmbeddedBroker("mosquitto") as broker:
        station = SmallStation()
        link = station.link(mqtt_settings(broker.port, protocol="mqtt5"))
        line = Line(broker.port, link.topics)
        client = paho.Client(CallbackAPIVersion.VERSION2, "inspection-device-07", protocol=MQTTProtocolVersion.MQTTv5)
        lasting = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        lasting.SessionExpiryInterval = 600
        heard: list[int] = []
        client.on_subscribe = lambda client, data, mid, reasons, properties: heard.append(mid)
        client.connect("127.0.0.1", broker.port, properties=lasting)
        client.loop_start()
        client.subscribe(link.topics.trigger, 1)
        until(lambda: heard, "subscribed")
        client.disconnect()
        client.loop_stop()
        line.trigger("queued")
        until(lambda: line.answers, "the broker keeps it")
        link.open(station)
        until(lambda: station.connected, "up")
        line.trigger("fresh")
        until(lambda: station.triggers, "the fresh one")
        assert [request.trigger_id for request in station.triggers] == ["fresh"]
        link.close()
        line.close()


def test_a_trigger_is_acknowledged_only_after_the_station_has_it(scene: Scene) -> None:
    scene.station.go_on.clear()
    scene.forger.trigger("T1")
    until(lambda: scene.station.triggers, "the station has it in hand")
    assert scene.link.counts["triggers"] == 0
    scene.station.go_on.set()
    until(lambda: scene.link.counts["triggers"] == 1, "acknowledged")


def test_a_trigger_that_the_station_cannot_write_down_is_not_acknowledged_and_the_link_stays_of_use(
    scene: Scene,
) -> None:
    scene.station.is_full = True
    scene.forger.trigger("T1")
    until(lambda: scene.link.counts["triggers_not_accepted"], "a refusal")
    until(lambda: scene.station.connected >= 2, "a new connection, because the broker may soon send no more")
    assert "offline" not in [status["state"] for status in scene.forger.documents(scene.link.topics.status)]
    scene.station.is_full = False
    accepted = threading.Event()
    scene.station.on_each_trigger = lambda request: accepted.set() if request.trigger_id == "later" else None
    until(lambda: scene.forger.trigger("later") and accepted.wait(0.2), "triggers are taken again")
    assert scene.link.counts["triggers"] >= 1


@needs_mosquitto
@pytest.mark.parametrize(("is_full", "arrive"), [(False, 40), (True, 3)])
def test_the_broker_learns_of_exactly_the_triggers_that_were_accepted(is_full: bool, arrive: int) -> None:
    with EmbeddedBroker("mosquitto", extra_lines=["max_inflight_messages 3"]) as broker:
        station = SmallStation()
        station.is_full = is_full
        link = station.link(mqtt_settings(broker.port))
        link.open(station)
        until(lambda: station.connected, "up")
        line = Line(broker.port, link.topics)
        for number in range(40):
            line.trigger(f"T{number}")
        until(lambda: len(line.answers) == 40, "the broker has all")
        came = "triggers_not_accepted" if is_full else "triggers"
        until(lambda: link.counts[came] >= arrive, "the triggers")
        if station.connected == 1:  # else a new connection has asked for more already
            assert link.counts[came] == arrive
        link.close()
        line.close()
