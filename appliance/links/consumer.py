"""The line's side in Python: announces parts, obeys fresh answers only, and takes every record exactly once."""

import json
import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from appliance.command_messages import CommandMessage, CommandReply
from appliance.errors import DeliveryError
from appliance.events import Challenge, new_id
from appliance.links.awaited_parts import AwaitedParts, Outcome, trigger_document
from appliance.links.consumer_rules import Expectation, ReceivedAction, StationSeen
from appliance.links.envelopes import Answered, Incoming, Introduction, Outgoing, Subscription
from appliance.links.mqtt_connection import Connection
from appliance.links.mqtt_session import Session
from appliance.links.record_chain import ReceivedRecord, RecordChain, load_cursor, save_cursor
from appliance.links.settings import MqttSettings
from appliance.links.topics import Topics, check_name
from appliance.messages import AcknowledgeMessage, HeartbeatMessage, StatusMessage
from appliance.wire import as_json

log = logging.getLogger(__name__)

ACKNOWLEDGE_EVERY_S = 0.1
MOST_UNACKNOWLEDGED = 50
ASK_AGAIN_S = 1.0
COMMAND_EXPIRY_S = 5
MOST_OPEN_COMMANDS = 100
"""Commands that may wait for their answer; the oldest is given up for one more."""

SILENT_STATION_S = 2.5
"""A station whose heart has not beaten for so long is unknown, whatever its retained status says."""


class LineConsumer:
    """A client for line controllers and plant systems in Python; the same rules as the PLC's code.

    Give it on_record to make it a registered consumer of records; without it, only parts and actions are handled.
    """

    def __init__(
        self,
        settings: MqttSettings,
        name: str,
        *,
        on_record: Callable[[ReceivedRecord], None] | None = None,
        cursor_file: Path | None = None,
        wants_all: bool = False,
        clock_tolerance_ms: int = 0,
    ) -> None:
        """Prepare the client; nothing is sent before open().

        Args:
            settings: the station's broker and place, and its device_id.
            name: this consumer's, as in the station's `consumers`.
            on_record: called in order with every record, once; the record is acknowledged after it returned.
            cursor_file: remembers over restarts how far the records have come.
            wants_all: begin with record 1 where no cursor says otherwise; else with the first record that comes.
            clock_tolerance_ms: by how much this clock may be ahead of the station's.

        Raises:
            ConfigError: a name, certificate or password file is unfit.
            StorageError: the cursor file is damaged.
        """
        self.topics = Topics.of(settings)
        self.counts: Counter[str] = Counter()
        self.station = StationSeen(settings.device_id)
        self._name = check_name(name, "the consumer's name")
        self._settings = settings
        self._on_record = on_record
        self._cursor_file = cursor_file
        self._chain = RecordChain.from_first(settings.device_id) if wants_all else RecordChain(settings.device_id)
        if cursor_file is not None and (cursor := load_cursor(cursor_file, settings.device_id)) is not None:
            self._chain.cursor = cursor
        self._acknowledged: int | None = None
        self._acknowledge_ns = 0
        self._progress_ns = 0
        self._last_seq = 0
        self._beat_ns: int | None = None
        self._answers: dict[str, Future[CommandReply]] = {}
        self._up = threading.Event()
        self._connection: Connection | None = None
        self._session = Session(settings, self, f"consumer:{name}")
        self._parts = AwaitedParts(self._announce, f"parts:{name}", clock_tolerance_ms=clock_tolerance_ms)

    # -- for the line -------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Start connecting in the background."""
        self._parts.start()
        self._session.start()

    def close(self) -> None:
        """Reject what still waits, say goodbye, end the threads."""
        self._session.stop()
        self._parts.stop()

    def wait_until_online(self, timeout_s: float) -> bool:
        """Wait until the broker is reached and the station says that it takes parts; False if that took too long."""
        return self._up.wait(timeout_s)

    @property
    def station_state(self) -> str:
        """What the station is: online, stopped, offline, or unknown if its heart has not beaten lately."""
        if self.station.state == "offline":
            return "offline"
        beat_ns = self._beat_ns
        is_alive = beat_ns is not None and time.monotonic_ns() - beat_ns < SILENT_STATION_S * 1e9
        return (self.station.state or "unknown") if is_alive else "unknown"

    @property
    def record_upto(self) -> int | None:
        """The number up to which every record was taken; None before the first."""
        return self._chain.upto

    @property
    def parts(self) -> AwaitedParts:
        """Counts of passed and rejected parts."""
        return self._parts

    def announce(
        self,
        part_id: str,
        deadline_ms: int,
        trigger_id: str | None = None,
        repeat_every_ms: int | None = None,
        challenge: Challenge | None = None,
    ) -> "Future[Outcome]":
        """Tell the station that a part is at the camera.

        Args:
            part_id: the part.
            deadline_ms: after so many milliseconds without a fresh ACCEPT the part is rejected.
            trigger_id: names this announcement; made if None.
            repeat_every_ms: the trigger is sent again at this interval; half the deadline if None.
            challenge: the part is known to be good or bad, and is run on purpose; take it out again, whatever comes.

        Returns:
            The outcome; it always comes, at the deadline at the latest.
        """
        until_ns = time.monotonic_ns() + deadline_ms * 1_000_000
        expectation = Expectation(trigger_id or new_id(), part_id, until_ns, challenge)
        return self._parts.expect(expectation, repeat_every_ms or max(1, deadline_ms // 2))

    def command(self, name: str, arguments: dict[str, Any] | None = None) -> "Future[CommandReply]":
        """Ask the station to do something; the future gets its answer, for which the caller sets the time limit.

        Raises:
            DeliveryError: there is no connection; the command was not sent.
        """
        connection = self._connection
        correlation, answer = new_id(), Future[CommandReply]()
        while len(self._answers) >= MOST_OPEN_COMMANDS:
            self._answers.pop(next(iter(self._answers)))
        self._answers[correlation] = answer
        if connection is None or not self._send_command(connection, name, arguments or {}, correlation):
            del self._answers[correlation]
            raise DeliveryError(f"command {name} was not sent: there is no connection to the broker; try again")
        return answer

    # -- mqtt_session.Party -------------------------------------------------------------------------------------------

    def introduce(self) -> Introduction:
        """Return who this consumer is and what it listens to."""
        topics = self.topics
        wanted = [Subscription(topics.action), Subscription(topics.heartbeat), Subscription(topics.reply(self._name))]
        wanted.append(Subscription(topics.status, with_retained=True))
        if self._on_record is not None:
            wanted.append(Subscription(topics.record))
        return Introduction(f"consumer-{self._settings.device_id}-{self._name}", wanted)

    def greet(self, connection: Connection) -> None:
        """Begin: whatever was known about the station is from before."""
        self.station = StationSeen(self._settings.device_id)
        self._acknowledged = None
        self._progress_ns = time.monotonic_ns()
        self._connection = connection

    def hear(self, connection: Connection, event: Incoming | Answered) -> None:
        """Deal with one message; it is acknowledged to the broker after that."""
        if isinstance(event, Answered):
            return
        topics = self.topics
        if event.topic == topics.action:
            self._hear_action(event)
        elif event.topic == topics.record and self._on_record is not None:
            self._hear_record(event, self._on_record)
        elif event.topic == topics.status:
            self._hear_status(event)
        elif event.topic == topics.heartbeat:
            self._hear_heartbeat(event)
        elif event.topic == topics.reply(self._name):
            self._hear_reply(event)
        connection.acknowledge(event)

    def tick(self, connection: Connection) -> float:
        """Acknowledge records now and then, and ask for those that are missing."""
        now_ns = time.monotonic_ns()
        upto = self._chain.upto
        if upto is not None and upto != self._acknowledged:
            is_much = upto - (self._acknowledged or 0) >= MOST_UNACKNOWLEDGED
            if is_much or now_ns - self._acknowledge_ns >= ACKNOWLEDGE_EVERY_S * 1e9:
                self._acknowledge(connection, upto)
        if self._on_record is not None and now_ns - self._progress_ns >= ASK_AGAIN_S * 1e9:
            self._progress_ns = now_ns
            self._ask_for_missing(connection)
        return ACKNOWLEDGE_EVERY_S if upto == self._acknowledged else ACKNOWLEDGE_EVERY_S / 4

    def lose(self) -> None:
        """Nothing can be sent any more; parts that wait are rejected at their deadline."""
        self._connection = None
        self._up.clear()

    def farewell(self, connection: Connection) -> object | None:
        """Acknowledge what is here before leaving."""
        upto = self._chain.upto
        if upto is None or upto == self._acknowledged:
            return None
        return self._acknowledge(connection, upto)

    # -- in -----------------------------------------------------------------------------------------------------------

    def _hear_action(self, incoming: Incoming) -> None:
        try:
            trigger_id = str(json.loads(incoming.payload)["trigger_id"])
        except (ValueError, KeyError, TypeError):
            self.counts["actions_unreadable"] += 1
            return
        received = ReceivedAction(incoming.payload, incoming.is_retained, incoming.received_ns)
        ruling = self._parts.hear(received, trigger_id, self.station)
        if ruling is None:
            self.counts["actions_unexpected"] += 1
        elif not ruling.settles:
            self.counts["actions_ignored"] += 1
            log.warning("an action for trigger %s is no answer: %s", trigger_id, ruling.reason)

    def _hear_record(self, incoming: Incoming, on_record: Callable[[ReceivedRecord], None]) -> None:
        known = self._chain.duplicates
        self._chain.take(incoming.payload)
        if self._chain.duplicates > known:
            self._acknowledged = None  # it comes again: the station does not know that it is here
        self._hand_on(on_record)

    def _hand_on(self, on_record: Callable[[ReceivedRecord], None]) -> None:
        for record in self._chain.complete():
            self._progress_ns = time.monotonic_ns()
            self.counts["records"] += 1
            if not record.is_chained:
                self.counts["records_unchained"] += 1
                log.error(
                    "record %d does not carry its predecessor's hash: one of them was altered", record.message.seq
                )
            on_record(record)

    def _hear_status(self, incoming: Incoming) -> None:
        try:
            status = StatusMessage.model_validate_json(incoming.payload)
        except ValidationError:
            log.warning("unreadable status: %r", incoming.payload[:200])
            return
        if status.device_id != self._settings.device_id:
            log.warning("status of %s on the topic of %s", status.device_id, self._settings.device_id)
            return
        self.station = StationSeen(status.device_id, status.boot_id, status.state)
        if status.state == "online":
            self._up.set()
        else:
            self._up.clear()

    def _hear_heartbeat(self, incoming: Incoming) -> None:
        try:
            beat = HeartbeatMessage.model_validate_json(incoming.payload)
        except ValidationError:
            return
        if beat.device_id == self._settings.device_id and not incoming.is_retained:
            self._beat_ns = incoming.received_ns
            self._last_seq = beat.last_seq

    def _hear_reply(self, incoming: Incoming) -> None:
        try:
            reply = CommandReply.model_validate_json(incoming.payload)
        except ValidationError:
            return
        if reply.command == "replay" and isinstance(first_seq := reply.result.get("first_seq"), int):
            self._skip_what_is_gone(first_seq)
        answer = self._answers.pop(reply.correlation or "", None)
        if answer is not None and answer.set_running_or_notify_cancel():
            answer.set_result(reply)
        elif not reply.ok:
            log.warning("the station did not carry out %s: %s", reply.command, reply.error)

    def _skip_what_is_gone(self, first_seq: int) -> None:
        gone = self._chain.skip_to(first_seq)
        if gone:
            self.counts["records_gone"] += gone
            log.error(
                "%d records before number %s are gone: the station purged them before this consumer was registered, or "
                "while it was not",
                gone,
                (self._chain.upto or 0) + 1,
            )
            if self._on_record is not None:
                self._hand_on(self._on_record)

    # -- out ----------------------------------------------------------------------------------------------------------

    def _announce(self, expectation: Expectation, is_repeat: bool) -> None:
        connection = self._connection
        left_ms = (expectation.until_ns - time.monotonic_ns()) // 1_000_000
        if connection is None or left_ms <= 0:
            self.counts["triggers_not_sent"] += 1
            return
        payload = json.dumps(trigger_document(expectation, is_repeat)).encode()
        message = Outgoing(
            self.topics.trigger, payload, expiry_s=math.ceil(left_ms / 1000), leave_by_ns=expectation.until_ns
        )
        self.counts["triggers_sent" if connection.publish(message) else "triggers_not_sent"] += 1

    def _acknowledge(self, connection: Connection, upto: int) -> object | None:
        if self._cursor_file is not None and self._chain.cursor is not None:
            save_cursor(self._cursor_file, self._chain.cursor)
        message = AcknowledgeMessage(device_id=self._settings.device_id, upto=upto)
        token = object()
        if not connection.publish(Outgoing(self.topics.acknowledge(self._name), as_json(message), token=token)):
            return None
        self._acknowledged = upto
        self._acknowledge_ns = time.monotonic_ns()
        return token

    def _ask_for_missing(self, connection: Connection) -> None:
        missing = self._chain.missing(self._last_seq)
        if missing is None:
            return
        self.counts["replays_asked"] += 1
        log.info("asking for records %d to %d", *missing)
        self._send_command(connection, "replay", {"from_seq": missing[0], "to_seq": missing[1]}, None)

    def _send_command(
        self, connection: Connection, name: str, arguments: dict[str, Any], correlation: str | None
    ) -> bool:
        answer_topic = self.topics.reply(self._name)
        message = CommandMessage(
            arguments=arguments,
            response_topic=None if connection.protocol == "mqtt5" else answer_topic,
            correlation=correlation,
        )
        return connection.publish(
            Outgoing(
                self.topics.command(name),
                as_json(message),
                expiry_s=COMMAND_EXPIRY_S,
                response_topic=answer_topic,
                token="command",
            )
        )
