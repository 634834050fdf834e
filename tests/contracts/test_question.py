"""Who asks a station something waits for an answer only as long as the station can give one."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from appliance.errors import DeliveryError
from appliance.links.envelopes import Introduction, Subscription
from appliance.links.mqtt_connection import Connection
from appliance.links.question import ask
from appliance.links.topics import Topics
from appliance.simulator.broker import EmbeddedBroker
from tests.dynamic_security import ALL_IS_ALLOWED, needs_plugin, with_plugin
from tests.stations import BOTH_BROKERS, SmallStation, mqtt_settings, needs_mosquitto, until

LONG_S = 600.0
"""Nobody waits so long in a test: what ends earlier ended for another reason."""


class ThinkingStation(SmallStation):
    """Does not answer before `may_answer` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.may_answer = threading.Event()

    def on_command(self, name: str, arguments: dict[str, object]) -> dict[str, object]:
        told = super().on_command(name, arguments)
        self.may_answer.wait(LONG_S)
        return told


@pytest.fixture(params=BOTH_BROKERS)
def broker(request: pytest.FixtureRequest) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(request.param) as running:
        yield running


def test_a_station_that_was_shut_down_is_not_waited_for(broker: EmbeddedBroker) -> None:
    station, settings = SmallStation(), mqtt_settings(broker.port)
    link = station.link(settings)
    link.open(station)
    until(lambda: station.connected, "the station is up")
    assert ask(settings, "status", {}).ok
    link.close()
    with pytest.raises(DeliveryError, match=r"the station is offline, the appliance was shut down: .*/command/status"):
        ask(settings, "status", {}, LONG_S)


@needs_mosquitto
def test_one_that_is_lost_while_it_is_asked_is_waited_for_no_longer() -> None:
    with EmbeddedBroker("mosquitto") as broker, ThreadPoolExecutor(1) as pool:
        station, settings = ThinkingStation(), mqtt_settings(broker.port)
        link = station.link(settings)
        link.open(station)
        until(lambda: station.connected, "the station is up")
        answer = pool.submit(ask, settings, "release", {"by": "Ann"}, LONG_S)
        until(lambda: station.commands, "the station is asked")
        rival = Connection(settings, Introduction(f"inspection-{settings.device_id}", ()), "mqtt5")
        rival.open()  # the broker cuts the station off
        with pytest.raises(DeliveryError, match="the station is offline, the connection was lost"):
            answer.result(60)
        rival.close()
        station.may_answer.set()
        link.close()


@needs_mosquitto
@needs_plugin
def test_a_broker_that_does_not_let_it_hear_the_status_carries_the_question_all_the_same(tmp_path: Path) -> None:
    settings = mqtt_settings(1)
    refusal = {"acltype": "subscribeLiteral", "topic": Topics.of(settings).status, "allow": False}
    with EmbeddedBroker("mosquitto", with_plugin(tmp_path, ALL_IS_ALLOWED, [refusal])) as broker:
        settings = mqtt_settings(broker.port)
        status = Subscription(Topics.of(settings).status)
        with pytest.raises(DeliveryError, match=r"does not let somebody hear .*/status"):
            Connection(settings, Introduction("somebody", [status]), "mqtt5").open()
        station = SmallStation()
        link = station.link(settings)
        link.open(station)
        until(lambda: station.connected, "the station is up")
        assert ask(settings, "status", {}).ok
        link.close()
