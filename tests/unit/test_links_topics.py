import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from appliance.errors import ConfigError
from appliance.links.settings import MqttSettings
from appliance.links.topics import Topics, check_name
from tests.stations import mqtt_settings

TOPICS = Topics.of(mqtt_settings(1883))


def test_topics_follow_the_path_of_the_plant() -> None:
    assert TOPICS.prefix == "vi/v1/acme/ulm/smt/line1/aoi2"
    assert TOPICS.action == "vi/v1/acme/ulm/smt/line1/aoi2/action"
    assert TOPICS.acknowledge("mes") == "vi/v1/acme/ulm/smt/line1/aoi2/ack/mes"
    assert TOPICS.command("replay").endswith("/command/replay")


def test_every_topic_is_another_one() -> None:
    names = ("trigger", "action", "record", "status", "heartbeat", "meta", "alarm")
    assert len({getattr(TOPICS, name) for name in names}) == len(names)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "+", "#", "$SYS", "ä", "a\n", "a" * 65])
def test_a_name_that_cannot_stand_in_a_topic_is_a_persons_mistake(name: str) -> None:
    with pytest.raises(ConfigError, match=r"the station is .* write 1 to 64 letters"):
        check_name(name, "the station")
    with pytest.raises(ValidationError):
        mqtt_settings(1883, station=name)


@given(st.text(max_size=70))
def test_a_name_that_is_taken_holds_nothing_that_mqtt_reads_otherwise(name: str) -> None:
    try:
        assert check_name(name, "x") == name
    except ConfigError:
        return
    assert re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name)


@pytest.mark.parametrize(
    ("topic", "name"),
    [
        (TOPICS.command("replay"), "replay"),
        (TOPICS.command("replay/now"), None),
        (TOPICS.command(""), None),
        (TOPICS.acknowledge("mes"), None),
        ("vi/v1/other/ulm/smt/line1/aoi2/command/replay", None),
    ],
)
def test_the_name_below_a_topic_is_read_from_this_stations_topics_only(topic: str, name: str | None) -> None:
    assert TOPICS.name_below("command", topic) == name


@pytest.mark.parametrize(
    ("topic", "is_fit"),
    [
        ("hmi/replies/1", True),
        (TOPICS.reply("hmi"), True),
        (TOPICS.action, False),
        (TOPICS.status, False),
        (TOPICS.trigger, False),
        (TOPICS.command("x"), False),
        ("a/+/b", False),
        ("a/#", False),
        ("$SYS/broker", False),
        ("", False),
        ("x" * 513, False),
        ("a\x00b", False),
    ],
)
def test_answers_go_nowhere_where_they_could_be_taken_for_something_else(topic: str, is_fit: bool) -> None:
    assert TOPICS.may_answer_on(topic) is is_fit


def test_settings_refuse_an_unknown_key_and_a_wrong_type() -> None:
    good = mqtt_settings(1883).model_dump()
    assert MqttSettings(**good).protocol == "auto"
    for change in ({"retain": True}, {"port": "1883"}, {"port": 0}, {"protocol": "mqtt4"}, {"keepalive_s": 0}):
        with pytest.raises(ValidationError):
            MqttSettings(**(good | change))
