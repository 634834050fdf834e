"""Triggers on their way to the station: in order, bounded, and never lost in silence."""

import threading

from appliance.errors import StorageError
from appliance.links.envelopes import Incoming, Introduction
from appliance.links.mqtt_connection import Connection
from appliance.links.triggers import MOST_WAITING, Triggers, WaitingTrigger
from appliance.ports import TriggerRequest
from tests.stations import WAIT_S, mqtt_settings, until


class Scene:
    """A station that takes triggers one at a time, when `gate` lets it."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.taken: list[str] = []
        self.refused: list[tuple[str, str]] = []
        self.triggers = Triggers(self._take, self._refuse, "triggers")
        self._nowhere = Connection(mqtt_settings(1), Introduction("me", ()), "mqtt5")

    def announce(self, trigger_id: str) -> None:
        incoming = Incoming("t", b"", 1, 1, False, False, 5)
        self.triggers.take(WaitingTrigger(TriggerRequest(trigger_id, "P", False, 5), incoming, self._nowhere))

    def _take(self, trigger: WaitingTrigger) -> None:
        self.taken.append(trigger.request.trigger_id)
        self.gate.wait(WAIT_S)
        if trigger.request.trigger_id == "full":
            raise StorageError("the disk is full")

    def _refuse(self, trigger: WaitingTrigger, error: Exception) -> None:
        self.refused.append((trigger.request.trigger_id, str(error)))


def test_triggers_keep_their_order_and_one_too_many_is_refused_in_words() -> None:
    scene = Scene()
    scene.triggers.start()
    scene.announce("first")
    until(lambda: scene.taken, "the first is at the station")
    for number in range(MOST_WAITING + 2):
        scene.announce(f"T{number}")
    refused = [f"T{MOST_WAITING}", f"T{MOST_WAITING + 1}"]
    assert [trigger_id for trigger_id, _ in scene.refused] == refused
    assert "1000 triggers wait already" in scene.refused[0][1]
    scene.gate.set()
    until(lambda: len(scene.taken) == MOST_WAITING + 1, "all that were taken")
    scene.triggers.stop()
    assert scene.taken == ["first", *(f"T{number}" for number in range(MOST_WAITING))]


def test_a_station_that_says_no_refuses_that_trigger_only() -> None:
    scene = Scene()
    scene.gate.set()
    scene.triggers.start()
    for trigger_id in ("full", "good"):
        scene.announce(trigger_id)
    until(lambda: "good" in scene.taken, "the one behind")
    scene.triggers.stop()
    assert scene.refused == [("full", "the disk is full")]


def test_what_waits_when_the_link_is_closed_is_not_handed_on() -> None:
    scene = Scene()
    scene.triggers.start()
    for number in range(3):
        scene.announce(f"T{number}")
    until(lambda: scene.taken, "the first is at the station")
    stopping = threading.Thread(target=scene.triggers.stop)
    stopping.start()
    until(lambda: scene.triggers._is_stopping, "the end is near")
    scene.gate.set()
    stopping.join(WAIT_S)
    assert scene.taken == ["T0"]
    assert not scene.refused
