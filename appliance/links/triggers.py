"""Triggers between the network and the station: read and stamped at once, handed on one by one, in their order."""

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

from appliance.errors import ApplianceError, DeliveryError
from appliance.links.envelopes import Incoming
from appliance.links.mqtt_connection import Connection
from appliance.ports import TriggerRequest

log = logging.getLogger(__name__)

MOST_WAITING = 1000
JOIN_S = 5.0


@dataclass(frozen=True, slots=True)
class WaitingTrigger:
    """A trigger as it was read, and the connection on which the broker waits for its PUBACK."""

    request: TriggerRequest
    incoming: Incoming
    connection: Connection


class Triggers:
    """A thread of its own hands triggers on, because the station takes its time to write each one down.

    If the thread that reads the network did it, the next trigger would wait unread in the socket and get a later
    time than that of its arrival: the next part's picture would pass for its own.
    """

    def __init__(
        self,
        hand_on: Callable[[WaitingTrigger], None],
        refuse: Callable[[WaitingTrigger, Exception], None],
        name: str,
    ) -> None:
        """Prepare the thread.

        Args:
            hand_on: gives a trigger to the station.
            refuse: told of a trigger that was not accepted, and why; may be called by either thread.
            name: the thread's name.
        """
        self._hand_on = hand_on
        self._refuse = refuse
        self._waiting: queue.SimpleQueue[WaitingTrigger | None] = queue.SimpleQueue()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to hand on."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the trigger at hand and end the thread; what waits was never acknowledged and is dropped."""
        self._is_stopping = True
        self._waiting.put(None)
        if self._thread.is_alive():
            self._thread.join(JOIN_S)

    def take(self, trigger: WaitingTrigger) -> None:
        """Let a trigger wait for its turn; one too many is refused."""
        if self._waiting.qsize() >= MOST_WAITING:
            self._refuse(trigger, DeliveryError(f"{MOST_WAITING} triggers wait already; slow the line down"))
        else:
            self._waiting.put(trigger)

    def _run(self) -> None:
        while not self._is_stopping:
            trigger = self._waiting.get()
            if trigger is None:
                return
            try:
                self._hand_on(trigger)
            except ApplianceError as error:
                self._refuse(trigger, error)
