"""Hears what leaves a station for its line, and when: on the monotonic clock, which no jump moves."""

import threading
import time
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from appliance.links.topics import Topics
from appliance.messages import ActionMessage
from tests.plant import START_S, Plant

ECHO = "echo/action-tap"
AGAIN_AFTER_S = 0.05


@dataclass(frozen=True, slots=True)
class TappedAction:
    """One message on `action`; received_ns is monotonic."""

    message: ActionMessage
    received_ns: int


class ActionTap:
    """A client of its own on the topic `action`; obeys nothing, and is there again when a broker is."""

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
        self._client.reconnect_delay_set(AGAIN_AFTER_S, AGAIN_AFTER_S)  # type: ignore[arg-type]

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


def accepts_in_time(plant: Plant, actions: dict[str, list[TappedAction]], deadline_ms: int) -> int:
    """Hold what was heard to the announcements and to the ledger; whoever obeys actions is not asked.

    Args:
        plant: says when each trigger was announced first, and what is on record.
        actions: from all().
        deadline_ms: the station's: an ACCEPT that comes later is stale.

    Returns:
        How many triggers got an ACCEPT, each of them in time.
    """
    rows = plant.query("SELECT seq, trigger_id, part_id, inspection_id, verdict FROM inspection")
    on_record = {row[0]: row[1:] for row in rows}
    accepted = set[str]()
    for trigger_id, heard in actions.items():
        for action in heard:
            said = action.message
            assert (trigger_id, said.part_id, said.inspection_id, said.verdict) == on_record[said.seq], said
            assert (said.action == "pass") == (said.verdict == "ACCEPT"), said
            waited_ms = (action.received_ns - plant.announced_ns[trigger_id]) / 1e6
            assert said.verdict != "ACCEPT" or waited_ms <= deadline_ms, f"after {waited_ms:.0f} ms: {said}"
        assert len({(action.message.seq, action.message.inspection_id) for action in heard}) == 1, heard
        if heard[0].message.verdict == "ACCEPT":
            accepted.add(trigger_id)
    return len(accepted)
