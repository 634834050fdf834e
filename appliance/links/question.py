"""One command to a station and its answer, for a person at a terminal who waits for it."""

import time
from collections.abc import Callable, Mapping
from typing import Any, get_args

from pydantic import ValidationError

from appliance.command_messages import CommandMessage, CommandReply
from appliance.errors import DeliveryError
from appliance.events import new_id
from appliance.links.envelopes import (
    Answered,
    Incoming,
    Introduction,
    Outgoing,
    Subscription,
)
from appliance.links.mqtt_connection import Connection, Protocol, ProtocolRefusedError
from appliance.links.settings import MqttSettings
from appliance.links.topics import UPDATE_COMMANDS, Topics
from appliance.messages import StatusMessage
from appliance.wire import as_json

ANSWER_S = 10.0
COMMAND_EXPIRY_S = 5
STEP_S = 0.5
"""Shorter than any keepalive, which is kept between two steps."""

LONGEST_KEEPALIVE_S = 5
"""For paho before 2.2, which gives a TLS handshake so long."""


def ask(
    settings: MqttSettings,
    command: str,
    arguments: Mapping[str, Any],
    timeout_s: float = ANSWER_S,
    meanwhile: Callable[[], None] = lambda: None,
) -> CommandReply:
    """Send a command through the station's broker and wait for its answer.

    The client id is not the station's, whose connection therefore stays. The answer comes on reply/<station>, which the
    shipped access list opens to the station's own certificate. A station that is offline, or goes offline before it has
    answered, is not waited for; what it did before that, it did.

    Args:
        settings: the station's.
        command: its name.
        arguments: JSON values.
        timeout_s: seconds until nobody is taken to answer.
        meanwhile: called before the broker is asked, and every STEP_S while the answer is waited for.

    Raises:
        ConfigError: a certificate or the password file cannot be used.
        DeliveryError: the broker is away or refuses something, or no station answers; the message says what.
    """
    patient = settings.model_copy(update={"keepalive_s": min(settings.keepalive_s, LONGEST_KEEPALIVE_S)})
    if settings.protocol != "auto":
        return _Question(patient, command, arguments, settings.protocol).ask(timeout_s, meanwhile)
    newest, oldest = get_args(Protocol)
    try:
        return _Question(patient, command, arguments, newest).ask(timeout_s, meanwhile)
    except ProtocolRefusedError:
        return _Question(patient, command, arguments, oldest).ask(timeout_s, meanwhile)


class _Question:
    def __init__(self, settings: MqttSettings, command: str, arguments: Mapping[str, Any], protocol: Protocol) -> None:
        topics = Topics.of(settings)
        self._where = f"{settings.host}:{settings.port}"
        self._command, self._arguments = command, dict(arguments)
        self._topic, self._answer_topic = topics.command(command), topics.reply(settings.station)
        self._status_topic, self._correlation = topics.status, new_id()
        client_id = f"command-{settings.device_id}-{self._correlation[-8:]}"
        wanted = [Subscription(self._answer_topic)]
        if command not in UPDATE_COMMANDS:  # which the agent answers, with or without a station
            wanted.append(Subscription(self._status_topic, with_retained=True, is_optional=True))
        self._connection = Connection(settings, Introduction(client_id, wanted), protocol)

    def ask(self, timeout_s: float, meanwhile: Callable[[], None]) -> CommandReply:
        try:
            meanwhile()
            self._connection.open()
            self._send()
            give_up_s = time.monotonic() + timeout_s
            while (remaining_s := give_up_s - time.monotonic()) > 0:
                meanwhile()
                for event in self._connection.step(min(remaining_s, STEP_S)):
                    if (reply := self._read(event)) is not None:
                        return reply
        finally:
            self._connection.close()
        raise DeliveryError(
            f"no station answered on {self._topic} within {timeout_s:g} s; does it run, and is it connected to the "
            f"broker {self._where}? What it did nevertheless is in its log"
        )

    def _send(self) -> None:
        message = CommandMessage(
            arguments=self._arguments,
            response_topic=None if self._connection.protocol == "mqtt5" else self._answer_topic,
            correlation=self._correlation,
        )
        self._connection.publish(
            Outgoing(
                self._topic,
                as_json(message),
                expiry_s=COMMAND_EXPIRY_S,
                response_topic=self._answer_topic,
                token=self._correlation,
            )
        )

    def _read(self, event: Incoming | Answered) -> CommandReply | None:
        if isinstance(event, Answered):
            if event.is_refused:
                raise DeliveryError(
                    f"the broker {self._where} does not let this station write {self._topic}: {event.words}; correct "
                    "the broker's access list, or the name that it knows this station by (certificate, username)"
                )
            if event.is_unheard:
                raise DeliveryError(
                    f"nobody hears {self._topic}: the station is not connected to the broker {self._where}; start it, "
                    "or look at its log"
                )
            return None
        self._connection.acknowledge(event)
        if event.topic == self._status_topic:
            self._check_online(event)
            return None
        try:
            reply = CommandReply.model_validate_json(event.payload)
        except ValidationError as error:
            raise DeliveryError(f"{event.topic}: an answer that cannot be read; who else writes there?") from error
        return reply if reply.correlation == self._correlation else None

    def _check_online(self, event: Incoming) -> None:
        try:
            status = StatusMessage.model_validate_json(event.payload)
        except ValidationError:
            return  # of a later version, or somebody else's: then the answer, or its absence, will tell
        if status.state == "offline":
            raise DeliveryError(
                f"the station is offline, {status.reason}: {self._topic} has no answer; start the station. What it did "
                "nevertheless is in its log"
            )
