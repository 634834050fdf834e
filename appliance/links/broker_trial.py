"""A short visit to the broker as the station would make it, under a name of its own: what would it refuse?"""

import time
from typing import get_args

from appliance.command_messages import reply
from appliance.errors import DeliveryError
from appliance.links.envelopes import Answered, Introduction, Outgoing, Subscription
from appliance.links.mqtt_connection import Connection, Protocol, ProtocolRefusedError
from appliance.links.settings import MqttSettings
from appliance.links.topics import Topics

NAME = "appliance-check"
LONGEST_KEEPALIVE_S = 5
"""For paho before 2.2, which gives a TLS handshake so long: a broker that says nothing must not hold the visitor."""

ANSWER_S = 5.0


def try_broker(settings: MqttSettings) -> Protocol:
    """Connect with the station's credentials, ask for its subscriptions and write a reply that nobody waits for.

    The client id is not the station's, whose connection therefore stays; nothing that acts on a part is said.

    Args:
        settings: the station's.

    Returns:
        The version of MQTT that the station will speak.

    Raises:
        ConfigError: a certificate or the password file cannot be used.
        DeliveryError: the broker is away, says nothing, or refuses something; the message says what.
    """
    keepalive_s = min(settings.keepalive_s, LONGEST_KEEPALIVE_S)
    patient = settings.model_copy(update={"keepalive_s": keepalive_s})
    if settings.protocol != "auto":
        return _visit(patient, settings.protocol)
    newest, oldest = get_args(Protocol)
    try:
        return _visit(patient, newest)
    except ProtocolRefusedError:
        return _visit(patient, oldest)


def _visit(settings: MqttSettings, protocol: Protocol) -> Protocol:
    topics = Topics.of(settings)
    subscriptions = [Subscription(topic) for topic in topics.heard_by_the_station]
    connection = Connection(settings, Introduction(f"check-{settings.device_id}", subscriptions), protocol)
    try:
        connection.open()
        if protocol == "mqtt5":  # 3.1.1 has no way to say that a message was refused
            _write(connection, topics.reply(NAME), reply(settings.device_id, "check", {"ok": True}, None))
    finally:
        connection.close()
    return protocol


def _write(connection: Connection, topic: str, payload: bytes) -> None:
    connection.publish(Outgoing(topic, payload, expiry_s=1, token=topic))
    give_up_s = time.monotonic() + ANSWER_S
    while (remaining_s := give_up_s - time.monotonic()) > 0:
        for event in connection.step(remaining_s):
            if isinstance(event, Answered):
                if event.is_refused:
                    raise DeliveryError(
                        f"the broker does not let this station write {topic}: {event.words}; correct the broker's "
                        "access list, or the name that it knows the station by (the certificate's, or username)"
                    )
                return
    raise DeliveryError(f"the broker did not answer a message on {topic} within {ANSWER_S:.0f} s; check its log")
