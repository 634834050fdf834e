"""The broker as the device image configures it: everybody with a certificate can do its work, and nothing else."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import DeliveryError
from appliance.links.consumer import LineConsumer
from appliance.links.envelopes import Introduction, Outgoing, Subscription
from appliance.links.mqtt_connection import Connection
from appliance.links.question import ask
from appliance.links.record_chain import ReceivedRecord
from appliance.links.settings import MqttSettings
from appliance.links.topics import UPDATE_COMMANDS, Topics
from appliance.links.updates import UpdatesLink
from appliance.ports import Answer, TriggerRequest
from appliance.simulator.broker import EmbeddedBroker
from tests.certificates import AS_ME, make_certificates, needs_openssl, tls_of
from tests.stations import SmallStation, action, mqtt_settings, needs_mosquitto, records, until

FIRMWARE = Path(__file__).resolve().parents[2] / "firmware-config"
NOT_AUTHORIZED = 0x87

pytestmark = [needs_mosquitto, needs_openssl]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    names = ("broker", "aoi2", "aoi9", "line-control", "mes")
    return make_certificates(tmp_path_factory.mktemp("certificates"), dict.fromkeys(names, "ca"))


@pytest.fixture
def broker(certificates: Path, tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """mosquitto with the shipped files; only port, folders and the user it runs as are the test's."""
    text = (FIRMWARE / "mosquitto.conf").read_text()
    for shipped, mine in {
        "listener 8883": "listener {port} 127.0.0.1",
        "/etc/inspection/tls/": f"{certificates}/",
        "/etc/inspection/mosquitto.acl": f"{FIRMWARE}/mosquitto.acl",
    }.items():
        assert shipped in text
        text = text.replace(shipped, mine)
    with EmbeddedBroker("mosquitto", [*text.splitlines(), AS_ME, f"persistence_location {tmp_path}/"]) as running:
        yield running


def settings(broker: EmbeddedBroker, certificates: Path, name: str) -> MqttSettings:
    return mqtt_settings(broker.port, tls=tls_of(certificates, name), consumers=["mes"])


def test_trigger_action_record_acknowledgement_command_and_reply_all_pass(
    broker: EmbeddedBroker, certificates: Path
) -> None:
    station, taken = SmallStation(), list[ReceivedRecord]()
    link = station.link(settings(broker, certificates, "aoi2"))

    def answer(request: TriggerRequest) -> None:
        link.send_action(action(trigger_id=request.trigger_id, part_id=request.part_id))

    station.on_each_trigger = answer
    station.last_seq = 3
    line = LineConsumer(settings(broker, certificates, "line-control"), "line-control")
    mes = LineConsumer(settings(broker, certificates, "mes"), "mes", on_record=taken.append, wants_all=True)
    link.open(station)
    line.open()
    mes.open()
    until(lambda: station.connected and line.wait_until_online(0.1) and mes.wait_until_online(0.1), "all are up")
    assert line.announce("P1", 9000).result(30.0).passes
    for record in records(3):
        until(partial(link.send_record, record, 1), "a place in the window")
    until(lambda: ("mes", 3) in station.acknowledged, "the consumer's acknowledgement")
    assert [record.message.seq for record in taken] == [1, 2, 3]
    for consumer in (line, mes):
        assert consumer.command("status").result(30.0).ok
    link.send_alarm("x", "something to look at")
    assert not [name for name in link.status() if name.endswith("_refused")]
    for client in (line, mes, link):
        client.close()


def test_a_technician_changes_over_with_the_stations_own_certificate(
    broker: EmbeddedBroker, certificates: Path
) -> None:
    station = SmallStation()
    mine = settings(broker, certificates, "aoi2")
    link = station.link(mine)
    link.open(station)
    until(lambda: station.connected, "the station is up")
    reply = ask(mine, "changeover", {"product": "b", "by": "A. Person"})
    assert reply.ok
    assert station.commands == [("changeover", {"product": "b", "by": "A. Person"})]
    with pytest.raises(DeliveryError, match=r"does not let this station write .*/aoi2/command/changeover"):
        ask(settings(broker, certificates, "aoi9"), "changeover", {"product": "b", "by": "A. Person"}, 5.0)
    link.close()


@pytest.mark.parametrize("command", ["release", "shadow", "update-event", "status"])
def test_the_updates_of_a_device_speak_with_the_stations_own_certificate(
    broker: EmbeddedBroker, certificates: Path, command: str
) -> None:
    station = SmallStation()
    mine = settings(broker, certificates, "aoi2")
    link = station.link(mine)
    link.open(station)
    until(lambda: station.connected, "the station is up")
    assert ask(mine, command, {"by": "agent"}).ok
    link.close()
    with pytest.raises(DeliveryError, match="the station is offline"):
        ask(mine, command, {"by": "agent"})


class Held:
    """Updates that are held, whatever is asked."""

    def content(self) -> dict[str, Any]:
        return {"held_by": "Ann"}

    def carry_out(self, name: str, arguments: dict[str, Any]) -> Answer:
        return {"ok": True, "did": name}


def test_an_agent_tells_of_updates_and_answers_with_the_stations_own_certificate(
    broker: EmbeddedBroker, certificates: Path
) -> None:
    mine = settings(broker, certificates, "aoi2")
    station, topics = SmallStation().link(mine), Topics.of(mine)
    link = UpdatesLink(mine, "boot-1", Held())
    link.open()
    mes = settings(broker, certificates, "mes")
    listener = Connection(mes, Introduction("listener", [Subscription(topics.update, with_retained=True)]), "mqtt5")
    listener.open()
    (heard,) = until(partial(listener.step, 0.1), "how the updates are")
    assert b'"held_by":"Ann"' in heard.payload
    for command in UPDATE_COMMANDS:
        assert ask(mine, command, {"by": "Ann"}).result == {"did": command}
    for client in (listener, link, station):
        client.close()


@pytest.mark.parametrize(
    ("name", "topic"),
    [
        ("aoi9", "action"),
        ("aoi9", "reply/mes"),
        ("aoi9", "trigger"),
        ("aoi9", "command/changeover"),
        ("aoi9", "command/release"),
        ("mes", "command/release"),
        ("line-control", "command/release"),
        ("line-control", "command/shadow"),
        ("line-control", "command/update-rollback"),
        ("mes", "command/update-hold"),
        ("mes", "update"),
        ("aoi9", "update"),
        ("aoi9", "command/update-rollback"),
        ("aoi2", "command/replay"),
        ("aoi2", "trigger"),
        ("aoi2", "ack/mes"),
        ("mes", "action"),
        ("mes", "trigger"),
        ("mes", "ack/line-control"),
        ("line-control", "ack/mes"),
        ("line-control", "status"),
    ],
)
def test_nobody_speaks_for_another(broker: EmbeddedBroker, certificates: Path, name: str, topic: str) -> None:
    mine = settings(broker, certificates, name)
    prefix = SmallStation().link(mine).topics.prefix
    intruder = Connection(mine, Introduction("intruder", ()), "mqtt5")
    intruder.open()
    assert intruder.publish(Outgoing(f"{prefix}/{topic}", b"{}", token="t"))
    (answer,) = until(partial(intruder.step, 0.1), "the broker's answer")
    intruder.close()
    assert answer.code == NOT_AUTHORIZED


def test_nobody_hears_the_answers_to_another(broker: EmbeddedBroker, certificates: Path) -> None:
    station = SmallStation()
    link = station.link(settings(broker, certificates, "aoi2"))
    listener = Connection(
        settings(broker, certificates, "line-control"),
        Introduction("listener", [Subscription(f"{link.topics.prefix}/#")]),
        "mqtt5",
    )
    listener.open()
    mes = LineConsumer(settings(broker, certificates, "mes"), "mes")
    link.open(station)
    mes.open()
    until(lambda: station.connected and mes.wait_until_online(0.1), "both are up")
    assert mes.command("status").result(30.0).ok
    assert link.send_action(action())
    heard: list[str] = []

    def hears_the_action() -> bool:
        heard.extend(getattr(event, "topic", "") for event in listener.step(0.05))
        return link.topics.action in heard

    until(hears_the_action, "the action, which was sent after the answer")
    assert link.topics.reply("mes") not in heard
    listener.close()
    mes.close()
    link.close()
