"""One life of one paho client: it connects once, and when it ends it is thrown away with all that it held.

paho keeps messages for later, resends them out of order, and calls back under its own locks. So nothing is left to
it: every call is made under one lock, its callbacks only write down what happened, and the thread that owns the
connection acts on that afterwards. There is no paho thread that could die unseen.
"""

import select
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, TypeAlias, cast

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from appliance.errors import DeliveryError
from appliance.links.credentials import read_password, tls_context
from appliance.links.envelopes import REFUSED, Answered, Incoming, Introduction, Outgoing
from appliance.links.settings import MqttSettings

Protocol: TypeAlias = Literal["mqtt5", "mqtt311"]

CONNECT_TIMEOUT_S = 5.0
MOST_READS = 1000
"""So many packets at a time: a flood must not keep whoever writes from their turn."""

UNSUPPORTED_PROTOCOL_VERSION = 0x84


class ProtocolRefusedError(DeliveryError):
    """The broker is there, but does not speak this version of MQTT."""


@dataclass(slots=True)
class _Notes:
    """What paho's callbacks wrote down; they do nothing else, so they cannot fail or block."""

    connack: tuple[ReasonCode, Properties | None] | None = None
    suback: list[ReasonCode] | None = None
    goodbye: str | None = None
    events: list[Incoming | Answered] = field(default_factory=list)


class Connection:
    """A connection that is up between open() and the first DeliveryError; publish() may be called by any thread."""

    def __init__(self, settings: MqttSettings, introduction: Introduction, protocol: Protocol) -> None:
        """Prepare a client; nothing is sent yet.

        Raises:
            ConfigError: a certificate or the password file cannot be read.
        """
        self.protocol: Protocol = protocol
        self.receive_maximum = 65535
        self._settings = settings
        self._introduction = introduction
        self._io = threading.Lock()
        self._notes = _Notes()
        self._tokens: dict[int, tuple[object, int]] = {}
        self._must_leave_by_ns: int | None = None
        self._is_dropped = False
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._client = self._make_client()

    def open(self) -> None:
        """Connect, subscribe and wait for the broker's word on both.

        Raises:
            ProtocolRefusedError: the broker does not speak this version of MQTT.
            DeliveryError: the broker is away, says no, or says nothing.
        """
        settings, where = self._settings, f"{self._settings.host}:{self._settings.port}"
        session: dict[str, Any] = {"clean_start": True} if self.protocol == "mqtt5" else {}
        try:
            with self._io:
                self._client.connect(settings.host, settings.port, settings.keepalive_s, **session)
        except ssl.SSLError as error:
            words = f"no TLS with the broker {where}: {error}; check tls.ca_file, the broker's certificate and its port"
            raise DeliveryError(words) from error
        except (OSError, ValueError) as error:
            raise DeliveryError(f"no connection to the broker {where}: {error}; check address and network") from error
        give_up_ns = time.monotonic_ns() + int(CONNECT_TIMEOUT_S * 1e9)
        while self._notes.connack is None:
            self._wait_for_answer(give_up_ns, "CONNECT")
        reason, properties = self._notes.connack
        if reason.value == UNSUPPORTED_PROTOCOL_VERSION:
            raise ProtocolRefusedError(f"the broker {where} does not speak {self.protocol}; let mqtt.protocol be auto")
        if reason.is_failure:
            words = f"the broker {where} refuses {self._introduction.client_id}: {reason}"
            raise DeliveryError(f"{words}; check its log, and username, password and certificate here")
        self.receive_maximum = getattr(properties, "ReceiveMaximum", 65535)
        if self._introduction.subscriptions:
            self._subscribe(give_up_ns)

    def step(self, timeout_s: float) -> list[Incoming | Answered]:
        """Wait for the network at most timeout_s and return what came; only for the thread that owns the connection.

        Raises:
            DeliveryError: the connection is lost; this object is of no more use but for close().
        """
        is_readable = self._wait(timeout_s)
        with self._io:
            self._exchange(is_readable)
            events, self._notes.events = self._notes.events, []
            if not events and self._socket() is None:
                raise DeliveryError(f"the connection to the broker is lost: {self._notes.goodbye or 'no reason given'}")
            return events

    def publish(self, message: Outgoing) -> bool:
        """Hand a message to the network at once, or not at all.

        Returns:
            False if it was not sent and never will be: disconnected, the network is stalled, or leave_by_ns is over.
        """
        properties = None
        if self.protocol == "mqtt5":
            extras = message.response_topic, message.correlation, message.user_properties
            properties = _properties(message.expiry_s, *extras)
        with self._io:
            if not self._flush():
                return False
            now_ns = time.monotonic_ns()
            if message.leave_by_ns is not None and now_ns >= message.leave_by_ns:
                return False
            info = self._client.publish(message.topic, message.payload, message.qos, message.is_retained, properties)
            if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
                return False
            if message.qos:
                self._tokens[info.mid] = (message.token, now_ns)
            if not self._flush():  # the rest waits for the network: it must not wait for longer than it is fresh
                self._must_leave_by_ns = message.leave_by_ns
                self.wake()
            return self._socket() is not None

    def acknowledge(self, message: Incoming) -> None:
        """Send the PUBACK of a message that has been dealt with; nothing if the connection has gone meanwhile."""
        if message.qos == 0:
            return
        with self._io:
            if self._socket() is None:
                return
            self._client.ack(message.mid, message.qos)
            if not self._flush():
                self.wake()

    def silent_ms(self) -> int:
        """Return for how many milliseconds the broker has owed us the answer to a QoS 1 message; 0 if it owes none."""
        with self._io:
            oldest = next(iter(self._tokens.values()), None)
        return 0 if oldest is None else (time.monotonic_ns() - oldest[1]) // 1_000_000

    def wake(self) -> None:
        """End the wait of step() now."""
        try:
            self._wake_out.send(b"!")
        except OSError:
            return  # full (so it is awake) or closed (so there is nothing to wake)

    def close(self) -> None:
        """Say goodbye, if somebody listens, and free the sockets; the broker then does not send the last will."""
        with self._io:
            if self._socket() is not None:
                self._client.disconnect()
                self._flush()
            self._free()

    def abandon(self) -> None:
        """Cut the connection without goodbye: the broker sends the last will."""
        with self._io:
            self._free()

    # -- paho's side --------------------------------------------------------------------------------------------------

    def _make_client(self) -> paho.Client:
        is_mqtt5 = self.protocol == "mqtt5"
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._introduction.client_id,
            clean_session=None if is_mqtt5 else True,
            protocol=MQTTProtocolVersion.MQTTv5 if is_mqtt5 else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.max_inflight_messages_set(0)  # else paho would hold an action back behind 20 records
        settings = self._settings
        if settings.username is not None:
            client.username_pw_set(settings.username, read_password(settings))
        context = tls_context(settings)
        if context is not None:
            client.tls_set_context(context)
        will = self._introduction.will
        if will is not None:
            client.will_set(will.topic, will.payload, will.qos, will.is_retained)
        client.on_socket_open = _prepare_socket(settings.keepalive_s)
        client.on_socket_register_write = _ignore  # its presence keeps paho from writing outside of loop_write()
        client.on_connect = self._note_connack
        client.on_subscribe = self._note_suback
        client.on_disconnect = self._note_disconnect
        client.on_publish = self._note_puback
        client.on_message = self._note_message
        return client

    def _note_connack(
        self,
        client: paho.Client,
        data: Any,
        flags: paho.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        self._notes.connack = (reason, properties)

    def _note_suback(
        self, client: paho.Client, data: Any, mid: int, reasons: list[ReasonCode], properties: Properties | None
    ) -> None:
        self._notes.suback = reasons

    def _note_disconnect(
        self, client: paho.Client, data: Any, flags: paho.DisconnectFlags, reason: ReasonCode, properties: Any
    ) -> None:
        self._notes.goodbye = self._notes.goodbye or str(reason)

    def _note_puback(
        self, client: paho.Client, data: Any, mid: int, reason: ReasonCode, properties: Properties | None
    ) -> None:
        entry = self._tokens.pop(mid, None)
        if entry is not None:
            self._notes.events.append(Answered(entry[0], reason.value, str(reason)))

    def _note_message(self, client: paho.Client, data: Any, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""
        properties = message.properties
        self._notes.events.append(
            Incoming(
                topic=topic,
                payload=bytes(message.payload),
                qos=message.qos,
                mid=message.mid,
                is_retained=message.retain,
                is_duplicate=message.dup,
                received_ns=time.monotonic_ns(),
                response_topic=getattr(properties, "ResponseTopic", None),
                correlation=getattr(properties, "CorrelationData", None),
            )
        )

    # -- waiting ------------------------------------------------------------------------------------------------------

    def _subscribe(self, give_up_ns: int) -> None:
        topics: list[tuple[str, Any]] = []
        for wanted in self._introduction.subscriptions:
            kept = (
                SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE
                if wanted.with_retained
                else SubscribeOptions.RETAIN_DO_NOT_SEND
            )
            options = (
                SubscribeOptions(qos=1, retainAsPublished=True, retainHandling=kept) if self.protocol == "mqtt5" else 1
            )
            topics.append((wanted.topic, options))
        with self._io:
            self._client.subscribe(topics)
        while self._notes.suback is None:
            self._wait_for_answer(give_up_ns, "SUBSCRIBE")
        refused = [
            wanted.topic
            for wanted, reason in zip(self._introduction.subscriptions, self._notes.suback, strict=False)
            if reason.value >= REFUSED and not wanted.is_optional
        ]
        if refused:
            raise DeliveryError(
                f"the broker does not let {self._introduction.client_id} hear {', '.join(refused)}; "
                "correct the broker's access list"
            )

    def _wait_for_answer(self, give_up_ns: int, question: str) -> None:
        remaining_s = (give_up_ns - time.monotonic_ns()) / 1e9
        if remaining_s <= 0:
            raise DeliveryError(f"the broker did not answer {question} within {CONNECT_TIMEOUT_S:.0f} s; check its log")
        is_readable = self._wait(remaining_s)
        with self._io:
            self._exchange(is_readable)
            is_answered = (self._notes.connack if question == "CONNECT" else self._notes.suback) is not None
            if self._socket() is None and not is_answered:
                raise DeliveryError(
                    f"the broker hung up on {question}: {self._notes.goodbye or 'no reason given'}; "
                    "check certificates, access and, for an old broker, the protocol"
                )

    def _wait(self, timeout_s: float) -> bool:
        """Wait for the socket or wake(); True if there is something to read."""
        with self._io:
            sock = self._socket()
            if sock is None:
                return False
            descriptor = sock.fileno()
            if isinstance(sock, ssl.SSLSocket) and sock.pending():
                return True
            is_writing = self._client.want_write()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN | (select.POLLOUT if is_writing else 0))
        poll.register(self._wake_in, select.POLLIN)
        ready = dict(poll.poll(max(0.0, timeout_s) * 1000))
        if ready.pop(self._wake_in.fileno(), 0):
            self._wake_in.recv(4096)
        return bool(ready.get(descriptor, 0) & ~select.POLLOUT)

    def _exchange(self, is_readable: bool) -> None:
        if is_readable:
            self._read_all()
        self._flush()
        if self._socket() is not None:
            self._client.loop_misc()

    def _flush(self) -> bool:
        """Write what waits for the network, but never the rest of an action whose time is over; True if all is gone."""
        if self._socket() is None:
            return False
        if self._must_leave_by_ns is not None and time.monotonic_ns() >= self._must_leave_by_ns:
            self._notes.goodbye = "the network stalled with an action half sent, which would have arrived stale"
            self._drop()
            return False
        if self._client.want_write():
            self._client.loop_write()
        if self._socket() is None or self._client.want_write():
            return False
        self._must_leave_by_ns = None
        return True

    def _read_all(self) -> None:
        """Read until nothing is left, so that each message gets the time of its arrival; paho reads one at a time."""
        poll, sock = select.poll(), self._socket()
        if sock is not None:
            poll.register(sock, select.POLLIN)
        for _ in range(MOST_READS):
            self._client.loop_read()
            sock = self._socket()
            if sock is None or not ((isinstance(sock, ssl.SSLSocket) and sock.pending()) or poll.poll(0)):
                return

    def _socket(self) -> socket.socket | None:
        sock = None if self._is_dropped else self._client.socket()
        return cast(socket.socket, sock) if sock is not None and sock.fileno() >= 0 else None

    def _free(self) -> None:
        self._drop()
        self._wake_in.close()
        self._wake_out.close()

    def _drop(self) -> None:
        sock = self._socket()
        if sock is not None:
            self._notes.goodbye = self._notes.goodbye or "closed by this side"
            sock.close()
        self._is_dropped = True


def _prepare_socket(keepalive_s: int) -> Any:
    def prepare(client: paho.Client, data: Any, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux: give up on bytes that the peer does not confirm
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, keepalive_s * 1000)

    return prepare


@lru_cache(maxsize=64)
def _properties(
    expiry_s: int | None, response_topic: str | None, correlation: bytes | None, user: tuple[tuple[str, str], ...]
) -> Properties:
    """Make properties, which paho only reads: those of every action are the same, and take 40 microseconds to make."""
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    if expiry_s is not None:
        properties.MessageExpiryInterval = expiry_s
    if response_topic is not None:
        properties.ResponseTopic = response_topic
    if correlation is not None:
        properties.CorrelationData = correlation
    if user:
        properties.UserProperty = list(user)
    return properties


def _ignore(client: paho.Client, data: Any, sock: Any) -> None:
    """Take note of nothing."""
