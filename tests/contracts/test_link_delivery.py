"""The real delivery, the real link, a real ledger and a broker that dies in the middle: everything arrives."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho

from appliance.clock import SystemClock
from appliance.health import StageWatchdog
from appliance.links.consumer import LineConsumer
from appliance.links.mqtt import MqttLink
from appliance.links.record_chain import ReceivedRecord
from appliance.links.settings import MqttSettings
from appliance.simulator.broker import EmbeddedBroker
from appliance.stages.deliver import Delivery
from appliance.stores.ledger import SqliteLedger
from tests.ledger_inspections import open_ledger, store_many
from tests.stations import Line, SmallStation, mqtt_settings, needs_mosquitto, until

BEFORE, AFTER = 400, 100
pytestmark = needs_mosquitto


class DeliveringStation(SmallStation):
    """The half of a station that delivers: a ledger, and a thread from it to the link."""

    def __init__(self, ledger: SqliteLedger, settings: MqttSettings) -> None:
        super().__init__()
        self.ledger = ledger
        self.mqtt: MqttLink = self.link(settings)
        clock = SystemClock()
        watchdog = StageWatchdog(clock, on_hang=lambda stage: None)
        self.delivery = Delivery([self.mqtt], ledger, clock, watchdog, resend_after_s=2.0)
        self.thread = threading.Thread(target=self.delivery.run, daemon=True)

    def store(self, count: int, prefix: str) -> None:
        self.last_seq = store_many(self.ledger, count, prefix=prefix)[-1].seq
        self.delivery.news()

    def on_acknowledge(self, consumer: str, upto_seq: int) -> None:
        self.delivery.acknowledged(consumer, upto_seq)

    def on_command(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        return self.delivery.replay_on_request(arguments) if name == "replay" else super().on_command(name, arguments)

    def on_connected(self) -> None:
        super().on_connected()
        self.delivery.start_over()


@contextmanager
def delivering(folder: Path, settings: MqttSettings) -> Iterator[DeliveringStation]:
    with open_ledger(folder / "ledger.db", settings.consumers, settings.device_id) as ledger:
        station = DeliveringStation(ledger, settings)
        station.store(BEFORE, "before")
        station.mqtt.open(station)
        station.thread.start()
        yield station
        station.delivery.stop()
        station.thread.join(10.0)
        station.mqtt.close()
        assert not station.thread.is_alive()


def attempt_of(message: paho.MQTTMessage) -> int:
    properties: dict[str, str] = dict(message.properties.UserProperty)  # type: ignore[union-attr]
    return int(properties["attempt"])


def test_without_a_consumer_every_record_arrives_and_the_outbox_drains_although_the_broker_dies(tmp_path: Path) -> None:
    with EmbeddedBroker("mosquitto") as broker:
        settings = mqtt_settings(broker.port)
        with delivering(tmp_path, settings) as station:
            topics = station.mqtt.topics
            line = Line(broker.port, topics, qos=0)
            until(lambda: len(line.on(topics.record)) > 50, "the first records")
            broker.kill()
            station.store(AFTER, "after")
            broker.restart()
            until(lambda: station.ledger.depth() == 0, "the outbox is empty", 40.0)
            until(lambda: line.documents(topics.record)[-1]["seq"] == BEFORE + AFTER, "the last record")
            heard = [document["seq"] for document in line.documents(topics.record)]
            attempts = [attempt_of(message) for message in line.on(topics.record)]
            line.close()
    assert set(heard) == set(range(1, BEFORE + AFTER + 1))
    assert attempts == sorted(attempts)
    assert len(set(attempts)) > 1
    for attempt in set(attempts):
        seqs = [seq for seq, its in zip(heard, attempts, strict=True) if its == attempt]
        assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))


def test_a_registered_consumer_gets_every_record_once_in_order_although_the_broker_dies(tmp_path: Path) -> None:
    with EmbeddedBroker("mosquitto") as broker:
        settings = mqtt_settings(broker.port, consumers=["mes"])
        taken: list[ReceivedRecord] = []
        mes = LineConsumer(settings, "mes", on_record=taken.append, wants_all=True)
        with delivering(tmp_path, settings) as station:
            mes.open()
            until(lambda: len(taken) > 50, "the first records")
            broker.kill()
            station.store(AFTER, "after")
            broker.restart()
            until(lambda: station.ledger.depth() == 0, "the outbox is empty", 40.0)
            assert int(station.mqtt.status()["connects"]) > 1
            mes.close()
    assert [record.message.seq for record in taken] == list(range(1, BEFORE + AFTER + 1))
    assert all(record.is_chained for record in taken)
