"""What every link must do, shown with MqttLink on real brokers: mosquitto (MQTT 5) and amqtt (3.1.1)."""

import time
from collections.abc import Iterator
from functools import partial

import pytest

from appliance.events import Challenge, Verdict
from appliance.links.announcements import StationState
from appliance.links.topics import Topics
from appliance.simulator.broker import EmbeddedBroker
from tests.stations import (
    BOTH_BROKERS,
    Line,
    Outbox,
    SmallStation,
    Stage,
    action,
    mqtt_settings,
    needs_mosquitto,
    records,
    stage_on,
    until,
)


@pytest.fixture(params=BOTH_BROKERS)
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    with stage_on(request.param) as found:
        yield found


def test_open_returns_at_once_where_there_is_no_broker_and_nothing_is_taken() -> None:
    station = SmallStation()
    link = station.link(mqtt_settings(1))
    started_ns = time.monotonic_ns()
    link.open(station)
    assert time.monotonic_ns() - started_ns < 2_000_000_000
    assert not link.send_action(action())
    assert not link.send_record(records(1)[0], 1)
    link.close()
    assert station.connected == 0


def test_a_trigger_reaches_the_station(stage: Stage) -> None:
    stage.line.trigger("T1", part_id="P9")
    stage.line.trigger("T2", repeat=True)
    until(lambda: len(stage.station.triggers) == 2, "both triggers")
    first, second = stage.station.triggers
    assert (first.trigger_id, first.part_id, first.is_repeat) == ("T1", "P9", False)
    assert (second.trigger_id, second.part_id, second.is_repeat) == ("T2", "T2", True)


def test_a_trigger_of_a_known_part_says_so_and_one_that_says_something_else_is_no_trigger(stage: Stage) -> None:
    for challenge in ("good", "bad", "maybe", None):
        stage.line.trigger(f"T-{challenge}", challenge=challenge)
    until(lambda: len(stage.station.triggers) == 3, "the triggers")
    assert [request.challenge for request in stage.station.triggers] == [Challenge.GOOD, Challenge.BAD, None]
    assert stage.link.counts["triggers_malformed"] == 1


@pytest.mark.parametrize("verdict", list(Verdict))
def test_only_an_accept_lets_the_part_through(stage: Stage, verdict: Verdict) -> None:
    assert stage.link.send_action(action(verdict=verdict, deadline_ns=time.monotonic_ns() + 10_000_000_000))
    (heard,) = until(lambda: stage.line.documents(stage.link.topics.action), "the action")
    assert heard["action"] == ("pass" if verdict is Verdict.ACCEPT else "divert")
    assert heard["verdict"] == verdict.value
    assert 5000 < heard["valid_for_ms"] <= 10_000
    assert heard["sent_at"] < heard["valid_until"]
    assert stage.line.on(stage.link.topics.action)[0].retain is False


def test_records_arrive_in_order_and_the_broker_acknowledges_where_no_consumer_is_registered(stage: Stage) -> None:
    outbox = Outbox(records(100))
    for record in outbox.records:
        until(partial(stage.link.send_record, record, 1), "a place in the window")
    until(lambda: ("broker", 100) in stage.station.acknowledged, "the broker's acknowledgement of all")
    until(lambda: len(stage.line.on(stage.link.topics.record)) == 100, "all records")
    assert [message.payload.decode() for message in stage.line.on(stage.link.topics.record)] == [
        record.payload for record in outbox.records
    ]
    acknowledged = [seq for _, seq in stage.station.acknowledged]
    assert acknowledged == sorted(acknowledged)


def test_a_malformed_trigger_is_reported_in_words_and_holds_nothing_up(stage: Stage) -> None:
    stage.line.say(stage.link.topics.trigger, b"\xff\x00 not json")
    stage.line.trigger("T1")
    until(lambda: stage.station.triggers, "the trigger behind it")
    (alarm,) = until(lambda: stage.line.documents(stage.link.topics.alarm)[-1:], "an alarm")
    until(lambda: any(a["name"] == "malformed" for a in stage.line.documents(stage.link.topics.alarm)), "the alarm")
    assert alarm["device_id"] == "device-07"
    assert stage.link.counts["triggers_malformed"] == 1


def test_a_command_is_answered_where_the_sender_asks(stage: Stage) -> None:
    answer_topic = "elsewhere/hmi"
    stage.line.say(
        stage.link.topics.command("echo"),
        {"arguments": {"a": 1}, "response_topic": answer_topic, "correlation": "c1"},
    )
    (reply,) = until(lambda: stage.line.documents(answer_topic), "the reply")
    assert reply["ok"] is True
    assert reply["result"] == {"echo": {"a": 1}}
    assert (reply["command"], reply["correlation"]) == ("echo", "c1")


def test_a_command_that_fails_says_why(stage: Stage) -> None:
    stage.line.say(stage.link.topics.command("fail"), {"response_topic": "elsewhere/x"})
    (reply,) = until(lambda: stage.line.documents("elsewhere/x"), "the reply")
    assert (reply["ok"], reply["error"]) == (False, "no such thing")


def test_a_command_never_makes_the_link_speak_on_the_stations_own_topics(stage: Stage) -> None:
    for topic in (stage.link.topics.action, stage.link.topics.record, "elsewhere/#", "$SYS/x"):
        stage.line.say(stage.link.topics.command("echo"), {"response_topic": topic})
    until(lambda: len(stage.station.commands) == 4, "the commands")
    stage.line.say(stage.link.topics.command("echo"), {"response_topic": stage.link.topics.reply("me")})
    until(lambda: stage.line.on(stage.link.topics.reply("me")), "the answer that is allowed")
    assert not stage.line.on(stage.link.topics.action)
    assert not stage.line.on(stage.link.topics.record)


def test_the_status_tells_online_stopped_and_offline(stage: Stage) -> None:
    status = stage.link.topics.status
    until(lambda: [d["state"] for d in stage.line.documents(status)] == ["online"], "online")
    stage.station.state_now = StationState(state="stopped", reason="the disk is full")
    until(lambda: [d["state"] for d in stage.line.documents(status)][-1] == "stopped", "stopped")
    assert stage.line.documents(status)[-1]["reason"] == "the disk is full"
    stage.link.close()
    until(lambda: stage.line.documents(status)[-1]["state"] == "offline", "offline")
    assert stage.line.documents(status)[-1]["reason"] == "the appliance was shut down"
    late = Line(stage.broker.port, stage.line.topics, "late", stage.broker.kind == "mosquitto")
    until(lambda: [message for message in late.on(status) if message.retain], "the retained status")
    assert {document["state"] for document in late.documents(status)} == {"offline"}  # amqtt may tell it twice
    late.close()


def test_the_heart_beats_once_a_second_with_what_a_consumer_may_miss(stage: Stage) -> None:
    stage.station.last_seq = 41
    stage.station.state_now = StationState(outbox_depth=7)
    started_ns = time.monotonic_ns()
    beats = until(
        lambda: [d for d in stage.line.documents(stage.link.topics.heartbeat) if d["last_seq"] == 41][1:], "two beats"
    )
    assert time.monotonic_ns() - started_ns > 900_000_000
    assert beats[0]["outbox_depth"] == 7


def test_meta_and_the_links_status_tell_the_protocol(stage: Stage) -> None:
    (meta,) = until(lambda: stage.line.documents(stage.link.topics.meta), "meta")
    expected = "mqtt5" if stage.broker.kind == "mosquitto" else "mqtt311"
    assert meta["protocol"] == expected
    assert stage.link.send_action(action())
    status = stage.link.status()
    assert (status["connects"], status["protocol"], status["actions_sent"]) == (1, expected, 1)
    stage.link.close()
    assert stage.link.status()["protocol"] == ""


def contiguous(seqs: list[int]) -> int:
    """The number up to which everything is there."""
    have = set(seqs)
    return next(seq for seq in range(max(have, default=0) + 1) if seq + 1 not in have)


def test_a_killed_broker_is_found_again_and_no_record_is_lost(stage: Stage) -> None:
    stage.link.close()
    outbox = Outbox(records(400))
    link = outbox.link(mqtt_settings(stage.broker.port, consumers=["mes"]))
    heard = partial(stage.line.documents, link.topics.record)

    def acknowledge_all() -> bool:
        upto = contiguous([document["seq"] for document in heard()])
        stage.line.say(link.topics.acknowledge("mes"), {"schema": "vi.ack/1", "device_id": "device-07", "upto": upto})
        return ("mes", 400) in outbox.acknowledged

    link.open(outbox)
    outbox.deliver_through(link)
    until(lambda: len(heard()) > 50, "the first records")
    stage.broker.kill()
    stage.broker.restart()
    until(acknowledge_all, "every record heard and acknowledged", 30.0)
    outbox.stop()
    link.close()
    seqs = [document["seq"] for document in heard()]
    assert set(seqs) == set(range(1, 401))
    steps_back = [i for i in range(1, len(seqs)) if seqs[i] <= seqs[i - 1]]
    assert len(steps_back) < outbox.attempts  # in order within each attempt
    assert all(who == "mes" for who, _ in outbox.acknowledged)


@needs_mosquitto
def test_a_vanished_link_is_reported_by_its_last_will_and_comes_back() -> None:
    with EmbeddedBroker("mosquitto") as broker:
        settings = mqtt_settings(broker.port)
        station = SmallStation()
        link = station.link(settings, boot_id="boot-7")
        line = Line(broker.port, Topics.of(settings))
        link.open(station)
        until(lambda: station.connected, "up")
        rival = SmallStation()  # the same device id elsewhere: the broker cuts the first one off
        usurper = rival.link(settings, boot_id="boot-8")
        usurper.open(rival)
        until(lambda: rival.connected, "the rival is up")
        offline = until(
            lambda: [d for d in line.documents(link.topics.status) if d["state"] == "offline"], "the last will"
        )
        assert offline[0]["boot_id"] == "boot-7"
        usurper.close()
        before = station.connected
        until(lambda: station.connected > before, "the first one is back")
        link.close()
        line.close()


def test_a_record_of_the_old_place_does_not_go_out_before_the_station_has_started_over(stage: Stage) -> None:
    stage.link.close()
    went_out: list[bool] = []
    station = SmallStation()
    link = station.link(mqtt_settings(stage.broker.port))
    station.on_each_connection = lambda: went_out.append(link.send_record(records(1, first_seq=9)[0], 1))
    link.open(station)
    until(lambda: station.connected, "up")
    until(partial(link.send_record, records(1)[0], 2), "the first record of the new start")
    until(lambda: station.acknowledged == [("broker", 1)], "acknowledged")
    link.close()
    assert went_out == [False]


def test_a_trigger_has_the_time_of_its_arrival_while_the_station_is_busy_with_the_one_before(stage: Stage) -> None:
    station, line = stage.station, stage.line
    station.go_on.clear()
    for number in range(10):
        line.trigger(f"T{number}")
    heartbeats = partial(line.on, stage.link.topics.heartbeat)
    until(lambda: station.triggers, "the first trigger")
    before = len(heartbeats())
    until(lambda: len(heartbeats()) >= before + 2, "the heart beats although the station is busy")
    released_ns = time.monotonic_ns()
    assert len(station.triggers) == 1
    station.go_on.set()
    until(lambda: len(station.triggers) == 10, "all triggers")
    until(lambda: len(line.answers) == 10, "the broker has all")
    assert [request.trigger_id for request in station.triggers] == [f"T{number}" for number in range(10)]
    arrived_ns = [request.received_ns or released_ns for request in station.triggers]
    assert arrived_ns == sorted(arrived_ns)
    assert arrived_ns[-1] < released_ns - 500_000_000
