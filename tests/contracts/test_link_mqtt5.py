"""What MqttLink makes of MQTT 5, of TLS with client certificates, and of a broker that says no. Real mosquitto."""

import logging
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import ConfigError
from appliance.events import iso, utc_now
from appliance.links.consumer import LineConsumer
from appliance.links.record_chain import ReceivedRecord
from appliance.links.settings import TlsSettings
from appliance.links.topics import Topics
from appliance.simulator.broker import EmbeddedBroker
from tests.certificates import AS_ME, make_certificates, needs_openssl, tls_of
from tests.stations import Line, SmallStation, Stage, action, mqtt_settings, needs_mosquitto, records, stage_on, until


@pytest.fixture
def stage() -> Iterator[Stage]:
    with stage_on("mosquitto") as found:
        yield found


@needs_mosquitto
def test_a_command_is_answered_on_its_response_topic_with_its_correlation_data(stage: Stage) -> None:
    link, line = stage.link, stage.line
    line.say(link.topics.command("echo"), b"", ResponseTopic=link.topics.reply("hmi"), CorrelationData=b"\x01\xff")
    (message,) = until(lambda: line.on(link.topics.reply("hmi")), "the reply")
    assert message.properties.CorrelationData == b"\x01\xff"
    line.say(link.topics.command("echo"), b"", retain=True, ResponseTopic=link.topics.reply("hmi"))
    until(lambda: link.counts["words_retained"], "the retained command is refused")
    assert len(stage.station.commands) == 1


@needs_mosquitto
def test_a_record_carries_its_number_and_attempt_as_user_properties(stage: Stage) -> None:
    assert stage.link.send_record(records(1)[0], 3)
    (message,) = until(lambda: stage.line.on(stage.link.topics.record), "the record")
    assert message.properties.UserProperty == [("seq", "1"), ("attempt", "3")]


def heat(line: Line) -> list[dict[str, Any]]:
    return [each for each in line.documents(line.topics.alarm) if each["name"] == "throttled"]


@needs_mosquitto
def test_an_alarm_that_was_raised_without_a_connection_waits_until_somebody_listens() -> None:
    with EmbeddedBroker("mosquitto") as broker:
        station = SmallStation()
        link = station.link(mqtt_settings(broker.port))
        assert not link.send_alarm("throttled", "too hot")
        assert not link.send_alarm("throttled", "hotter still")
        raised_by = iso(utc_now())
        link.open(station)
        until(lambda: station.connected, "up, and nobody has subscribed")
        link.send_alarm("other", "that nobody hears either")
        until(lambda: link.counts["alarms_unheard"] == 3, "all were offered")
        line = Line(broker.port, link.topics)
        (alarm,) = until(lambda: heat(line), "the alarm of before")
        assert (alarm["text"], alarm["count"]) == ("hotter still", 2)
        assert alarm["at"] <= raised_by
        link.close()
        line.close()


@needs_mosquitto
def test_an_alarm_that_the_broker_has_not_answered_for_comes_again(stage: Stage) -> None:
    stage.broker.freeze()
    assert stage.link.send_alarm("throttled", "too hot")
    stage.broker.kill()
    stage.broker.restart()
    until(lambda: heat(stage.line), "the alarm that was under way")


@needs_mosquitto
def test_a_record_that_nobody_hears_stays_owed_and_comes_again_when_somebody_listens() -> None:
    with EmbeddedBroker("mosquitto") as broker:
        station = SmallStation()
        link = station.link(mqtt_settings(broker.port))
        link.open(station)
        until(lambda: station.connected, "up")
        (record,) = records(1)
        assert link.send_record(record, 1)
        until(lambda: link.counts["records_refused"] == 1, "the broker says that nobody heard it")
        assert not link.send_record(record, 1)
        went_out: list[bool] = []
        station.on_each_connection = lambda: went_out.append(link.send_record(records(1, first_seq=9)[0], 1))
        line = Line(broker.port, link.topics)
        until(lambda: station.connected == 2, "the link asks to start over")
        assert station.acknowledged == []
        until(partial(link.send_record, record, 2), "the pause is over")
        until(lambda: station.acknowledged == [("broker", 1)], "acknowledged")
        until(lambda: len(line.on(link.topics.record)) == 1, "heard; that may be after the broker has acknowledged it")
        assert went_out == [False]  # nothing of the old place before the station has started over
        link.close()
        line.close()


@needs_mosquitto
def test_what_the_brokers_access_list_denies_is_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    acl = tmp_path / "acl"
    prefix = Topics.of(mqtt_settings(1)).prefix
    acl.write_text(f"topic read {prefix}/#\ntopic write {prefix}/status\ntopic write {prefix}/meta\n")
    with EmbeddedBroker("mosquitto", extra_lines=[AS_ME, f"acl_file {acl}"]) as broker:
        station = SmallStation()
        link = station.link(mqtt_settings(broker.port))
        link.open(station)
        until(lambda: station.connected, "up")
        assert link.send_action(action())
        assert link.send_record(records(1)[0], 1)
        until(lambda: link.counts["action_refused"] and link.counts["records_refused"], "both are refused")
        assert "the broker refused our action: Not authorized; correct its access list" in caplog.text
        assert station.acknowledged == []
        link.close()


@needs_mosquitto
def test_a_broker_that_stands_still_gets_no_action_until_it_answers_again() -> None:
    with EmbeddedBroker("mosquitto") as broker:
        station = SmallStation()
        link = station.link(mqtt_settings(broker.port, keepalive_s=30))
        line = Line(broker.port, link.topics)
        link.open(station)
        until(lambda: station.connected, "up")
        broker.freeze()
        until(lambda: not link.send_action(action()), "the link sees that nothing is answered")
        broker.thaw()
        until(lambda: link.send_action(action()), "of use again")
        link.close()
        line.close()


@needs_mosquitto
def test_a_broker_that_stands_still_for_longer_than_the_keepalive_is_given_up() -> None:
    with EmbeddedBroker("mosquitto") as broker:
        station = SmallStation()
        link = station.link(mqtt_settings(broker.port, keepalive_s=1))
        link.open(station)
        until(lambda: station.connected, "up")
        broker.freeze()
        assert link.send_action(action())
        until(lambda: link._connection is None, "given up")
        broker.thaw()
        until(lambda: station.connected >= 2, "connected anew")
        link.close()


def test_a_protocol_that_was_asked_for_is_not_silently_replaced(caplog: pytest.LogCaptureFixture) -> None:
    with EmbeddedBroker("amqtt") as broker:
        station = SmallStation()
        link = station.link(mqtt_settings(broker.port, protocol="mqtt5"))
        link.open(station)
        until(lambda: caplog.text, "a complaint")
        assert station.connected == 0
        link.close()


def test_the_fallback_to_mqtt_311_is_said_in_the_log_in_meta_and_as_an_alarm(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with EmbeddedBroker("amqtt") as broker:
        station = SmallStation()
        link = station.link(mqtt_settings(broker.port))
        line = Line(broker.port, link.topics, is_mqtt5=False)
        link.open(station)
        until(lambda: station.connected, "up")
        (meta,) = until(lambda: line.documents(link.topics.meta), "meta")
        assert meta["protocol"] == "mqtt311"
        (alarm,) = until(lambda: line.documents(link.topics.alarm), "the alarm")
        assert alarm["name"] == "mqtt311"
        until(lambda: "does NOT drop expired actions" in caplog.text, "the warning")
        link.close()
        line.close()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, a broker's and a device's certificate, and a stranger's from another authority."""
    names = {"broker": "ca", "device-07": "ca", "stranger": "other-ca"}
    return make_certificates(tmp_path_factory.mktemp("certificates"), names)


@needs_mosquitto
@needs_openssl
def test_a_device_with_a_certificate_may_speak_and_a_stranger_may_not(
    certificates: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = [
        AS_ME,
        "listener {port} 127.0.0.1",
        f"cafile {certificates}/ca.crt",
        f"certfile {certificates}/broker.crt",
        f"keyfile {certificates}/broker.key",
        "require_certificate true",
        "use_identity_as_username true",
    ]
    with EmbeddedBroker("mosquitto", extra_lines=lines) as broker:
        for tls in (
            tls_of(certificates, "stranger"),
            tls_of(certificates, None),
            tls_of(certificates, "device-07", "other-ca"),
        ):
            caplog.clear()
            refused = SmallStation()
            link = refused.link(mqtt_settings(broker.port, tls=tls))
            link.open(refused)
            until(lambda: caplog.text, "a complaint")
            assert refused.connected == 0
            link.close()
        station = SmallStation()
        station.last_seq = 200
        link = station.link(mqtt_settings(broker.port, tls=tls_of(certificates, "device-07"), consumers=["mes"]))
        link.open(station)
        taken: list[ReceivedRecord] = []
        mes = LineConsumer(
            mqtt_settings(broker.port, tls=tls_of(certificates, "device-07")), "mes", on_record=taken.append
        )
        mes.open()
        until(lambda: station.connected and mes.wait_until_online(0.1), "both are up")
        many = records(200)
        for record in many:  # through the window of 20, so that answers are read from the encrypted stream
            until(partial(link.send_record, record, 1), "a place in the window")
        assert link.send_action(action())
        until(lambda: ("mes", 200) in station.acknowledged, "the consumer has all")
        mes.close()
        link.close()


def test_a_certificate_that_cannot_be_read_is_a_persons_mistake(tmp_path: Path) -> None:
    tls = TlsSettings(ca_file=tmp_path / "absent.crt")
    with pytest.raises(ConfigError, match=r"absent\.crt.*give PEM files"):
        SmallStation().link(mqtt_settings(1, tls=tls))
    with pytest.raises(ConfigError, match="password_file"):
        SmallStation().link(mqtt_settings(1, username="u", password_file=tmp_path / "absent"))


@needs_mosquitto
def test_a_password_is_read_from_its_file(tmp_path: Path) -> None:
    passwords, password = tmp_path / "passwords", tmp_path / "password"
    program = shutil.which("mosquitto_passwd")
    if program is None:
        pytest.skip("mosquitto_passwd is not installed")
    subprocess.run([program, "-b", "-c", str(passwords), "device-07", "secret"], check=True, capture_output=True)
    password.write_text("secret\n")
    lines = [AS_ME, "listener {port} 127.0.0.1", "allow_anonymous false", f"password_file {passwords}"]
    with EmbeddedBroker("mosquitto", extra_lines=lines) as broker:
        station = SmallStation()
        link = station.link(mqtt_settings(broker.port, username="device-07", password_file=password))
        link.open(station)
        until(lambda: station.connected, "up")
        link.close()
