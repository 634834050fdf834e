"""One thread that is connected to the broker whenever it can be: connect, serve, and begin anew with a new client."""

import logging
import random
import threading
import time
import typing

from appliance.errors import ApplianceError, DeliveryError
from appliance.links.credentials import read_password, tls_context
from appliance.links.envelopes import Answered, Incoming, Introduction
from appliance.links.mqtt_connection import Connection, Protocol, ProtocolRefusedError
from appliance.links.settings import MqttSettings

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
STEADY_S = 2.0
"""A connection that held for so long was a good one: the next pause is the shortest again."""

FAREWELL_S = 1.0
JOIN_S = 10.0


class Party(typing.Protocol):
    """Who speaks over the session; every method is called by the session's thread only."""

    def introduce(self) -> Introduction:
        """Return client id, last will and subscriptions for the next connection."""
        ...

    def greet(self, connection: Connection) -> None:
        """Begin to talk: the connection is up and subscribed."""
        ...

    def hear(self, connection: Connection, event: Incoming | Answered) -> None:
        """Deal with what came."""
        ...

    def tick(self, connection: Connection) -> float:
        """Do what is due by the clock; returns the seconds until something is due again."""
        ...

    def lose(self) -> None:
        """Stop using the connection: it is gone."""
        ...

    def farewell(self, connection: Connection) -> object | None:
        """Say the last words; returns the token of the message to wait for, if any."""
        ...


class Session:
    """A thread that is connected whenever it can be; a new paho client for every connection."""

    def __init__(self, settings: MqttSettings, party: Party, name: str) -> None:
        """Prepare to speak for a party.

        Args:
            settings: broker, certificates, protocol.
            party: who speaks.
            name: the thread's name.

        Raises:
            ConfigError: a certificate or the password file cannot be read.
        """
        tls_context(settings)
        read_password(settings)
        self._settings = settings
        self._party = party
        self._stop = threading.Event()
        self._connection: Connection | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._known_protocol: Protocol | None = None
        self._last_words = ""
        self.connects = 0

    def start(self) -> None:
        """Begin to connect in the background."""
        self._thread.start()

    def stop(self) -> None:
        """Say farewell and end the thread."""
        self._stop.set()
        connection = self._connection
        if connection is not None:
            connection.wake()
        if self._thread.is_alive():
            self._thread.join(JOIN_S)

    def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._stop.is_set():
            started_ns = time.monotonic_ns()
            try:
                self._serve_once()
            except ApplianceError as error:
                self._complain(str(error))
            except Exception:  # the guard of this thread: whatever it was, the line needs its link back
                log.exception("the link failed in an unforeseen way; connecting again")
            if time.monotonic_ns() - started_ns > STEADY_S * 1e9:
                pause_s = FIRST_PAUSE_S
            self._stop.wait(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    def _serve_once(self) -> None:
        connection = self._connect()
        try:
            self._connection = connection
            self.connects += 1
            self._last_words = ""
            log.info("connected to %s:%s (%s)", self._settings.host, self._settings.port, connection.protocol)
            self._party.greet(connection)
            while not self._stop.is_set():
                wait_s = self._party.tick(connection)
                events = connection.step(wait_s)
                for event in events:
                    self._party.hear(connection, event)
                if not events:
                    self._check_answers(connection)
            self._take_leave(connection)
        finally:
            self._connection = None
            self._party.lose()
            if self._stop.is_set():
                connection.close()
            else:
                connection.abandon()

    def _connect(self) -> Connection:
        introduction = self._party.introduce()
        if self._settings.protocol != "auto":
            return self._open(introduction, self._settings.protocol)
        if self._known_protocol != "mqtt5":
            self._known_protocol = self._ask_for_protocol(introduction)
        try:
            return self._open(introduction, self._known_protocol)
        except DeliveryError:
            self._known_protocol = None
            raise

    def _ask_for_protocol(self, introduction: Introduction) -> Protocol:
        """Knock with a bare MQTT 5 CONNECT: a last will would make some 3.1.1 brokers trip before they say no."""
        try:
            self._open(Introduction(introduction.client_id, ()), "mqtt5").close()
        except ProtocolRefusedError:
            if self._known_protocol != "mqtt311":
                log.warning(
                    "the broker %s:%s does not speak MQTT 5: using 3.1.1, where the broker does NOT drop "
                    "expired actions; only the consumer's rules (valid_until, valid_for_ms) keep a stale one from "
                    "being acted on",
                    self._settings.host,
                    self._settings.port,
                )
            return "mqtt311"
        return "mqtt5"

    def _open(self, introduction: Introduction, protocol: Protocol) -> Connection:
        connection = Connection(self._settings, introduction, protocol)
        try:
            connection.open()
        except DeliveryError:
            connection.abandon()
            raise
        return connection

    def _check_answers(self, connection: Connection) -> None:
        silent_ms = connection.silent_ms()
        if silent_ms > self._settings.keepalive_s * 1000:
            raise DeliveryError(f"the broker has not answered a message for {silent_ms} ms; connecting again")

    def _take_leave(self, connection: Connection) -> None:
        token = self._party.farewell(connection)
        give_up_ns = time.monotonic_ns() + int(FAREWELL_S * 1e9)
        while token is not None and time.monotonic_ns() < give_up_ns:
            for event in connection.step(0.1):
                if isinstance(event, Answered) and event.token is token:
                    token = None

    def _complain(self, words: str) -> None:
        if words != self._last_words:  # once, not ten times a second while the broker is away
            log.warning("%s", words)
            self._last_words = words
