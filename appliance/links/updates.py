"""The agent's place at the station's broker: what it tells of updates, and the commands that it answers."""

import logging
from typing import Any, Literal, Protocol

from pydantic import ValidationError

from appliance.command_messages import CommandMessage, UpdateStatusMessage
from appliance.errors import ApplianceError
from appliance.events import iso, utc_now
from appliance.links.commands import Commands
from appliance.links.envelopes import Answered, Incoming, Introduction, Outgoing, Subscription
from appliance.links.errands import Errands
from appliance.links.mqtt_connection import Connection
from appliance.links.mqtt_session import Session
from appliance.links.settings import MqttSettings
from appliance.links.topics import UPDATE_COMMANDS, Topics
from appliance.ports import Answer
from appliance.wire import as_json

log = logging.getLogger(__name__)

LOOK_S = 0.5
"""How often something new is looked for."""


class Updates(Protocol):
    """Who knows of the updates; content() is called by the session's thread, carry_out() by the errands'."""

    def content(self) -> dict[str, Any]:
        """Return what there is to tell: keys of UpdateStatusMessage.

        Raises:
            ApplianceError: it cannot be read; that is told instead.
        """
        ...

    def carry_out(self, name: str, arguments: dict[str, Any]) -> Answer:
        """Carry out one of UPDATE_COMMANDS, or begin to.

        Raises:
            ApplianceError: refused, in words.
        """
        ...


class UpdatesLink:
    """A connection of the agent's own, beside the station's; both use the same settings and certificate."""

    def __init__(self, settings: MqttSettings, boot_id: str, updates: Updates) -> None:
        """Prepare the link; nothing is sent before open().

        Args:
            settings: the station's.
            boot_id: names this agent's life in every message.
            updates: what is told, and who answers.

        Raises:
            ConfigError: a topic name, certificate or password file is unfit.
        """
        self._topics, self._settings, self._updates, self._boot_id = Topics.of(settings), settings, updates, boot_id
        self._session = Session(settings, self, f"updates:{settings.device_id}")
        self._errands = Errands(lambda consumer, upto: None, f"update commands:{settings.device_id}")
        self._commands = Commands(self._topics, settings.device_id, self._errands, self._publish)
        self._connection: Connection | None = None
        self._said: dict[str, Any] | None = None

    def open(self) -> None:
        """Start connecting in the background; never waits for the network."""
        self._errands.start()
        self._session.start()

    def close(self) -> None:
        """Say that the agent ends, and stop the link's threads."""
        self._session.stop()
        self._errands.stop()

    # -- mqtt_session.Party -------------------------------------------------------------------------------------------

    def introduce(self) -> Introduction:
        """Return who this is, and what the broker must say if it vanishes."""
        will = self._message("offline", "the agent's connection was lost", {})
        subscriptions = [Subscription(self._topics.command(name)) for name in UPDATE_COMMANDS]
        return Introduction(
            f"updates-{self._settings.device_id}", subscriptions, Outgoing(self._topics.update, will, is_retained=True)
        )

    def greet(self, connection: Connection) -> None:
        """Tell how the updates are."""
        self._connection, self._said = connection, None

    def hear(self, connection: Connection, event: Incoming | Answered) -> None:
        """Take a command; one from the past is refused."""
        if isinstance(event, Answered):
            if event.is_refused:
                log.error("the broker refused our %s: %s; correct its access list", event.token, event.words)
            return
        connection.acknowledge(event)
        name = self._topics.name_below("command", event.topic)
        if name not in UPDATE_COMMANDS:
            return  # a broker that sends what nobody asked for
        if event.is_retained:
            log.warning("%s: a retained command was refused: it is from the past; clear it", event.topic)
            return
        try:
            message = CommandMessage.model_validate_json(event.payload, strict=True)
        except ValidationError as error:
            log.warning("%s: a command that cannot be read: %s", event.topic, error.errors(include_url=False)[0]["msg"])
            return
        self._commands.take(name, message, event, self._updates.carry_out)

    def tick(self, connection: Connection) -> float:
        """Tell what is new."""
        now = self._content()
        if now != self._said:
            payload = self._message("online", "", now)
            if connection.publish(Outgoing(self._topics.update, payload, is_retained=True, token="update")):
                self._said = now
        return LOOK_S

    def lose(self) -> None:
        """Send nothing more: the connection is gone."""
        self._connection = None

    def farewell(self, connection: Connection) -> object | None:
        """Say that this is the end, so that nobody takes it for a fault; what was last known stays."""
        self._connection, token = None, object()
        payload = self._message("offline", "the agent was stopped", self._content())
        message = Outgoing(self._topics.update, payload, is_retained=True, token=token)
        return token if connection.publish(message) else None

    def _content(self) -> dict[str, Any]:
        try:
            return self._updates.content()
        except ApplianceError as error:
            return {"problem": str(error)}

    def _message(self, state: Literal["online", "offline"], reason: str, content: dict[str, Any]) -> bytes:
        who = {"device_id": self._settings.device_id, "boot_id": self._boot_id}
        return as_json(
            UpdateStatusMessage.model_validate(
                {**who, "state": state, "reason": reason, "at": iso(utc_now()), **content}
            )
        )

    def _publish(self, message: Outgoing) -> bool:
        connection = self._connection
        return connection is not None and connection.publish(message)
