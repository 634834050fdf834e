"""The line's side in Python with the real link on real brokers: parts, records, gaps, restarts."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import ConfigError, DeliveryError, StorageError
from appliance.events import Challenge
from appliance.links.consumer import LineConsumer
from appliance.links.record_chain import ReceivedRecord
from appliance.links.topics import Topics
from appliance.ports import TriggerRequest
from appliance.simulator.broker import EmbeddedBroker
from tests.stations import BOTH_BROKERS, Line, Outbox, SmallStation, action, mqtt_settings, records, until


@pytest.fixture(params=BOTH_BROKERS)
def broker(request: pytest.FixtureRequest) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(request.param) as running:
        yield running


class Mes:
    """A plant system that keeps every record it is given."""

    def __init__(self, broker: EmbeddedBroker, cursor_file: Path | None = None, wants_all: bool = True) -> None:
        self.records: list[ReceivedRecord] = []
        self.client = LineConsumer(
            mqtt_settings(broker.port), "mes", on_record=self.records.append, cursor_file=cursor_file,
            wants_all=wants_all,
        )  # fmt: skip
        self.client.open()

    @property
    def seqs(self) -> list[int]:
        return [record.message.seq for record in self.records]


def test_many_parts_at_once_each_get_their_own_answer(broker: EmbeddedBroker) -> None:
    station = SmallStation()
    link = station.link(mqtt_settings(broker.port))
    numbers: dict[str, int] = {}

    def answer(request: TriggerRequest) -> None:
        seq = numbers.setdefault(request.trigger_id, len(numbers) + 1)
        link.send_action(action(trigger_id=request.trigger_id, part_id=request.part_id, seq=seq))

    station.on_each_trigger = answer
    link.open(station)
    consumer = LineConsumer(mqtt_settings(broker.port), "plc")
    consumer.open()
    assert consumer.wait_until_online(30.0)
    futures = [consumer.announce(f"P{number}", 60_000) for number in range(100)]
    outcomes = [future.result(60.0) for future in futures]
    consumer.close()
    link.close()
    assert [outcome.part_id for outcome in outcomes if outcome.passes] == [f"P{number}" for number in range(100)]
    assert consumer.parts.passed == 100


def test_a_known_part_is_announced_as_such_each_time(broker: EmbeddedBroker) -> None:
    station = SmallStation()
    link = station.link(mqtt_settings(broker.port))
    link.open(station)
    consumer = LineConsumer(mqtt_settings(broker.port), "plc")
    consumer.open()
    assert consumer.wait_until_online(30.0)
    consumer.announce("P1", 3000, "T1", repeat_every_ms=200, challenge=Challenge.BAD)
    consumer.announce("P2", 3000, "T2", repeat_every_ms=200)
    until(lambda: len(station.triggers) >= 4, "both, and repeated")
    consumer.close()
    link.close()
    assert {(request.part_id, request.challenge) for request in station.triggers} == {
        ("P1", Challenge.BAD), ("P2", None),
    }  # fmt: skip


def test_an_unanswered_trigger_is_repeated_as_such(broker: EmbeddedBroker) -> None:
    station = SmallStation()
    link = station.link(mqtt_settings(broker.port))
    link.open(station)
    consumer = LineConsumer(mqtt_settings(broker.port), "plc")
    consumer.open()
    assert consumer.wait_until_online(30.0)
    assert consumer.station_state in ("online", "unknown")  # unknown until its heart was heard
    future = consumer.announce("P1", 3000, "T1", repeat_every_ms=200)
    assert not future.result(30.0).passes
    repeats = [request.is_repeat for request in station.triggers]
    assert repeats[0] is False
    assert len(repeats) >= 3
    assert all(repeats[1:])
    until(lambda: consumer.station_state == "online", "its heart is heard")
    link.close()
    until(lambda: consumer.station_state == "offline", "the station is gone")
    consumer.close()


def test_a_part_that_waits_when_the_consumer_closes_is_rejected(broker: EmbeddedBroker) -> None:
    consumer = LineConsumer(mqtt_settings(broker.port), "plc")
    consumer.open()
    future = consumer.announce("P1", 60_000, "T1")
    with pytest.raises(RuntimeError, match="waiting already"):
        consumer.announce("P1", 60_000, "T1")
    consumer.close()
    assert not future.result(1.0).passes


def test_every_record_is_taken_once_in_order_and_acknowledged(broker: EmbeddedBroker) -> None:
    outbox = Outbox(records(300))
    link = outbox.link(mqtt_settings(broker.port, consumers=["mes"]))
    mes = Mes(broker)
    link.open(outbox)
    outbox.deliver_through(link)
    until(lambda: ("mes", 300) in outbox.acknowledged, "all acknowledged")
    outbox.stop()
    mes.client.close()
    link.close()
    assert mes.seqs == list(range(1, 301))
    assert all(record.is_chained for record in mes.records)
    assert [record.payload.decode() for record in mes.records] == [record.payload for record in outbox.records]
    assert len(outbox.acknowledged) < 150  # cumulative, not one by one


def test_a_gap_is_seen_and_filled_by_asking(broker: EmbeddedBroker) -> None:
    outbox = Outbox(records(30))
    link = outbox.link(mqtt_settings(broker.port, consumers=["mes"]))
    mes = Mes(broker)
    link.open(outbox)
    until(lambda: mes.client.wait_until_online(0.1) and outbox.connected, "both are up")
    for record in outbox.records:
        if record.seq not in (1, 7, 8, 30):  # lost on the way; the last one shows by the heartbeat only
            until(partial(link.send_record, record, 1), "a place in the window")
    outbox.last_seq = 30
    outbox.hold()
    outbox.deliver_through(link)
    until(lambda: mes.client.record_upto == 30, "the gaps are filled")
    outbox.stop()
    mes.client.close()
    link.close()
    assert mes.seqs == list(range(1, 31))
    asked = [arguments for name, arguments in outbox.commands if name == "replay"]
    assert asked[:2] == [{"from_seq": 1, "to_seq": 1}, {"from_seq": 7, "to_seq": 8}]


def test_a_restarted_consumer_goes_on_where_its_cursor_stands(broker: EmbeddedBroker, tmp_path: Path) -> None:
    *before, more = records(61)
    outbox = Outbox(before)
    settings = mqtt_settings(broker.port, consumers=["mes"])
    link = outbox.link(settings)
    link.open(outbox)
    first = Mes(broker, tmp_path / "cursor")
    outbox.deliver_through(link)
    until(lambda: ("mes", 60) in outbox.acknowledged, "the first consumer has all")
    first.client.close()
    again = Mes(broker, tmp_path / "cursor")
    assert again.client.record_upto == 60
    until(lambda: again.client.wait_until_online(0.1), "up")
    outbox.last_seq = 61
    for record in (*outbox.records[-3:], more):  # a slow broker may still owe the answers to a window full
        until(partial(link.send_record, record, 2), "a place in the window")
    until(lambda: again.seqs, "the new one")
    outbox.stop()
    again.client.close()
    link.close()
    assert again.seqs == [61]
    assert again.records[0].is_chained


def test_a_record_that_its_taker_could_not_keep_is_not_acknowledged_and_comes_again(broker: EmbeddedBroker) -> None:
    outbox = Outbox(records(5))
    settings = mqtt_settings(broker.port, consumers=["mes"])
    link = outbox.link(settings)
    kept: list[int] = []
    is_broken = threading.Event()
    is_broken.set()

    def keep(record: ReceivedRecord) -> None:
        if record.message.seq == 3 and is_broken.is_set():
            is_broken.clear()
            raise StorageError("the plant's database is away")
        kept.append(record.message.seq)

    consumer = LineConsumer(settings, "mes", on_record=keep, wants_all=True)
    consumer.open()
    assert link.status() == {"connects": 0, "protocol": ""}
    link.open(outbox)
    outbox.deliver_through(link)
    until(lambda: ("mes", 5) in outbox.acknowledged, "all acknowledged in the end")
    outbox.stop()
    consumer.close()
    link.close()
    assert kept == [1, 2, 3, 4, 5]


def test_whoever_is_not_registered_or_acknowledges_too_much_changes_nothing(broker: EmbeddedBroker) -> None:
    outbox = Outbox(records(5))
    settings = mqtt_settings(broker.port, consumers=["mes"])
    link = outbox.link(settings)
    link.open(outbox)
    until(lambda: outbox.connected, "up")
    line = Line(broker.port, Topics.of(settings), is_mqtt5=broker.kind == "mosquitto")
    good = {"schema": "vi.ack/1", "device_id": "device-07", "upto": 4}
    line.say(link.topics.acknowledge("stranger"), good)
    line.say(link.topics.acknowledge("mes"), good | {"device_id": "device-08"})
    line.say(link.topics.acknowledge("mes"), good | {"upto": -1})
    line.say(link.topics.acknowledge("mes"), good | {"upto": 6})
    line.say(link.topics.acknowledge("mes"), good)
    until(lambda: outbox.acknowledged, "the good one")
    names = {"ack_unknown", "ack_foreign", "malformed", "ack_ahead"}
    until(lambda: names <= {alarm["name"] for alarm in line.documents(link.topics.alarm)}, "an alarm for each")
    assert outbox.acknowledged == [("mes", 4)]
    link.close()
    line.close()


def test_a_consumers_name_must_fit_a_topic() -> None:
    with pytest.raises(ConfigError, match="the consumer's name"):
        LineConsumer(mqtt_settings(1), "m/e/s")


class SlowStation(SmallStation):
    """Answers the command `slow` when the test says so, and every other one at once."""

    def __init__(self) -> None:
        super().__init__()
        self.slow: Future[dict[str, Any]] = Future()

    def on_command(self, name: str, arguments: dict[str, Any]) -> "dict[str, Any] | Future[dict[str, Any]]":
        return self.slow if name == "slow" else super().on_command(name, arguments)


def test_a_command_that_takes_long_holds_up_neither_others_nor_acknowledgements(broker: EmbeddedBroker) -> None:
    station = SlowStation()
    link = station.link(mqtt_settings(broker.port))
    link.open(station)
    consumer = LineConsumer(mqtt_settings(broker.port), "plc")
    consumer.open()
    assert consumer.wait_until_online(30.0)
    slow, quick = consumer.command("slow"), consumer.command("quick").result(30.0)
    assert quick.ok
    assert not slow.done()
    station.slow.set_result({"ok": True, "took": "long"})
    assert slow.result(30.0).result == {"took": "long"}
    consumer.close()
    link.close()


def test_a_command_gets_the_stations_answer(broker: EmbeddedBroker) -> None:
    station = SmallStation()
    link = station.link(mqtt_settings(broker.port))
    link.open(station)
    consumer = LineConsumer(mqtt_settings(broker.port), "plc")
    with pytest.raises(DeliveryError, match="status"):
        consumer.command("status")
    consumer.open()
    assert consumer.wait_until_online(30.0)
    replies = [consumer.command("status").result(30.0), consumer.command("no-such-command").result(30.0)]
    consumer.close()
    link.close()
    assert [(reply.command, reply.device_id) for reply in replies] == [
        ("status", "device-07"), ("no-such-command", "device-07"),
    ]  # fmt: skip
