"""Invariant 5: a committed record reaches its subscribers, in order and however often somebody is away or dies.

Real ledger, delivery, link, broker and consumer. When the disk takes no more, the station takes no more parts. That
a record survives `kill -9` is in tests/faults/test_store_is_durable, that a gap is seen and filled in
tests/contracts/test_consumer.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest

from appliance.clock import SystemClock
from appliance.errors import StorageError
from appliance.events import Reason, Verdict, utc_now
from appliance.health import StageWatchdog
from appliance.links.consumer import LineConsumer
from appliance.links.mqtt import MqttLink
from appliance.links.record_chain import ReceivedRecord
from appliance.links.settings import MqttSettings
from appliance.simulator.broker import EmbeddedBroker
from appliance.stages.deliver import Delivery
from appliance.stores.ledger import SqliteLedger
from tests.ledger_inspections import open_ledger, store_many
from tests.line import Line as ScriptedLine
from tests.line import eventually
from tests.small_disk import fill, small_disk
from tests.stations import Line, SmallStation, mqtt_settings, needs_mosquitto, until

BEFORE, AFTER = 400, 100
PATIENCE_S = 40.0


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
def delivering(folder: Path, settings: MqttSettings, prefix: str = "before") -> Iterator[DeliveringStation]:
    with open_ledger(folder / "ledger.db", settings.consumers, settings.device_id) as ledger:
        station = DeliveringStation(ledger, settings)
        station.store(BEFORE, prefix)
        station.mqtt.open(station)
        station.thread.start()
        try:
            yield station
        finally:
            station.delivery.stop()
            station.thread.join()
            station.mqtt.close()


def attempt_of(message: paho.MQTTMessage) -> int:
    properties: dict[str, str] = dict(message.properties.UserProperty)  # type: ignore[union-attr]
    return int(properties["attempt"])


@needs_mosquitto
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
            until(lambda: station.ledger.depth() == 0, "the outbox is empty", PATIENCE_S)
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


@needs_mosquitto
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
            until(lambda: station.ledger.depth() == 0, "the outbox is empty", PATIENCE_S)
            assert int(station.mqtt.status()["connects"]) > 1
            mes.close()
    assert [record.message.seq for record in taken] == list(range(1, BEFORE + AFTER + 1))
    assert all(record.is_chained for record in taken)


@needs_mosquitto
def test_a_consumer_that_comes_after_records_were_purged_goes_on_with_the_first_that_is_there(tmp_path: Path) -> None:
    with EmbeddedBroker("mosquitto") as broker:
        settings = mqtt_settings(broker.port, consumers=["mes"])
        taken: list[ReceivedRecord] = []
        mes = LineConsumer(settings, "mes", on_record=taken.append, wants_all=True)
        with delivering(tmp_path, settings) as station:
            station.ledger.purge(utc_now() + timedelta(days=1), keep_unacknowledged=False)
            station.store(10, "after")
            mes.open()
            until(lambda: station.ledger.depth() == 0, "the outbox is empty", PATIENCE_S)
            mes.close()
    assert [record.message.seq for record in taken] == list(range(BEFORE + 1, BEFORE + 11))
    assert mes.counts["records_gone"] == BEFORE


@needs_mosquitto
def test_a_consumer_that_was_away_while_the_station_started_anew_gets_what_it_missed_once_and_in_order(
    tmp_path: Path,
) -> None:
    taken: dict[str, list[ReceivedRecord]] = {"mes": [], "archive": []}
    with EmbeddedBroker("mosquitto") as broker:
        settings = mqtt_settings(broker.port, consumers=list(taken))

        def consumer(name: str) -> LineConsumer:
            cursor = tmp_path / f"{name}.cursor"
            opened = LineConsumer(settings, name, on_record=taken[name].append, cursor_file=cursor, wants_all=True)
            opened.open()
            return opened

        mes, archive = consumer("mes"), consumer("archive")
        with delivering(tmp_path, settings) as station:
            until(lambda: station.ledger.depth() == 0, "both have everything", PATIENCE_S)
            archive.close()
            station.store(AFTER, "away")
            until(lambda: station.ledger.acknowledged()["mes"] == BEFORE + AFTER, "one has everything", PATIENCE_S)
            assert station.ledger.depth() == AFTER
        with delivering(tmp_path, settings, "restarted") as station:
            assert station.ledger.depth() == AFTER + BEFORE
            archive = consumer("archive")
            until(lambda: station.ledger.depth() == 0, "both have everything", PATIENCE_S)
            mes.close()
            archive.close()
    for records in taken.values():
        assert [record.message.seq for record in records] == list(range(1, 2 * BEFORE + AFTER + 1))
        assert all(record.is_chained for record in records)


def test_a_full_disk_stops_the_station_and_what_was_taken_before_and_after_is_on_record_and_sent(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "disk", 3 << 20) as disk, ScriptedLine(disk) as line:
        accepted = ["first"]
        line.trigger("first")
        line.wait_for(1)
        ballast = fill(disk)
        refusals: list[str] = []
        for number in range(100_000):
            try:
                line.trigger(f"part-{number}")
                accepted.append(f"part-{number}")
            except StorageError as error:
                refusals.append(str(error))
            if len(refusals) == 20:  # not the first: moving the log's pages may make room for another part or two
                break
        assert len(refusals) == 20
        assert all("free disk space" in words for words in refusals)
        ballast.unlink()
        assert eventually(lambda: line.station.stopped_because == "")
        line.trigger("last")
        line.wait_for(len(accepted) + 1)
        assert eventually(lambda: len(line.link.records) == len(accepted) + 1)
    assert set(line.verdicts()) == {*accepted, "last"}
    assert [record.seq for record in line.link.records] == list(range(1, len(accepted) + 2))


def test_a_disk_that_refuses_the_record_stops_the_station_and_no_action_leaves(tmp_path: Path) -> None:
    with ScriptedLine(tmp_path) as line:
        line.ledger.refuses_record = True
        line.trigger("part-1")
        assert eventually(lambda: "disk is full" in line.station.stopped_because)
        with pytest.raises(StorageError, match="disk is full"):
            line.trigger("part-2")
        assert line.link.actions == []
        line.ledger.refuses_record = False
        line.wait_for(1)
        assert eventually(lambda: line.station.stopped_because == "")
        line.trigger("part-2")
        line.wait_for(2)
    assert line.verdicts()["part-2"] == (Verdict.ACCEPT, Reason.COMPLETE)
    assert line.inspection.inspected == ["part-1", "part-2"]


def test_a_disk_that_refuses_the_trigger_means_it_was_never_accepted(tmp_path: Path) -> None:
    with ScriptedLine(tmp_path) as line:
        line.ledger.refuses_accept = True
        with pytest.raises(StorageError):
            line.trigger("refused")
        assert line.station.stopped_because
        line.ledger.refuses_accept = False
        line.trigger("taken")
        line.wait_for(1)
        assert eventually(lambda: line.station.stopped_because == "")
    assert list(line.verdicts()) == ["taken"]


def test_a_station_that_was_refused_a_trigger_goes_on_by_itself_when_there_is_room(tmp_path: Path) -> None:
    with ScriptedLine(tmp_path) as line:
        line.ledger.refuses_accept = True
        with pytest.raises(StorageError):
            line.trigger("refused")
        assert "disk is full" in line.station.stopped_because
        line.ledger.refuses_accept = False
        assert eventually(lambda: line.station.stopped_because == "")
