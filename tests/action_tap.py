"""Hears what leaves a station for its line, and when: on the monotonic clock, which no jump moves."""

import threading
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from appliance.links.topics import Topics
from appliance.messages import ActionMessage
from tests.plant import START_S, Plant

ECHO = "echo/action-tap"


@dataclass(frozen=True, slots=True)
class TappedAction:
    """One message on `action`; received_ns is monotonic."""

    message: ActionMessage
    received_ns: int


class ActionTap:
    """A client of its own on the topic `action`; judges nothing and obeys nothing."""

    def __init__(self, plant: Plant) -> None:
        self.actions: list[TappedAction] = []
        self._topic = Topics.of(plant.settings()).action
        self._port = plant.broker.port
        self._listens = threading.Event()
        self._echo = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="action-tap")
        self._client.on_connect = lambda client, *_: client.subscribe([(self._topic, 1), (ECHO, 1)])
        self._client.on_subscribe = lambda *_: self._listens.set()
        self._client.on_message = self._take

    def __enter__(self) -> "ActionTap":
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        assert self._listens.wait(START_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def all(self) -> dict[str, list[TappedAction]]:
        """Return everything that the broker had until now, by trigger."""
        self._echo.clear()
        self._client.publish(ECHO, qos=1)
        assert self._echo.wait(START_S)
        found = dict[str, list[TappedAction]]()
        for action in self.actions:
            found.setdefault(action.message.trigger_id, []).append(action)
        return found

    def _take(self, client: paho.Client, data: Any, message: paho.MQTTMessage) -> None:
        received_ns = time.monotonic_ns()
        if message.topic == ECHO:
            self._echo.set()
        else:
            self.actions.append(TappedAction(ActionMessage.model_validate_json(message.payload), received_ns))


def moment(text: str) -> datetime:
    """Read a time of a message."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
