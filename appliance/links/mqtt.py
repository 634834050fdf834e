"""The link to the line and the plant over MQTT: triggers in, actions and records out, signs of life, commands."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from appliance.command_messages import CommandMessage
from appliance.errors import ApplianceError
from appliance.events import Action, Challenge, Record
from appliance.links.alarms import Alarm, Alarms
from appliance.links.announcements import StationDescription, StationState, Voice
from appliance.links.commands import Commands
from appliance.links.envelopes import (
    Answered,
    Incoming,
    Introduction,
    Outgoing,
    Subscription,
)
from appliance.links.errands import Errands
from appliance.links.mqtt_connection import Connection
from appliance.links.mqtt_session import Session
from appliance.links.record_window import WINDOW, RecordToken, RecordWindow
from appliance.links.settings import MqttSettings
from appliance.links.topics import Topics
from appliance.links.triggers import Triggers, WaitingTrigger
from appliance.messages import AcknowledgeMessage, TriggerMessage
from appliance.ports import LineEvents, TriggerRequest

log = logging.getLogger(__name__)

HEARTBEAT_S = 1.0
HEARTBEAT_EXPIRY_S = 2
SILENT_BROKER_MS = 1000
"""A broker that owes an answer for longer gets no action: it would hand it on when it is stale."""

REFUSED_TRIGGERS_S = 2.0
"""A broker sends no more behind a few unacknowledged triggers: so long after the first one, a new connection."""

BROKER = "broker"

MessageT = TypeVar("MessageT", bound=BaseModel)


class MqttLink:
    """One broker, MQTT 5 (3.1.1 where the broker knows no better); implements ports.Link.

    Threads that meet here: the session's (network, heartbeat), the triggers', the errands' (acknowledgements,
    commands), and the station's own, which send straight into the socket: actions by whoever settles a part, records by
    the delivery thread.
    """

    def __init__(
        self,
        settings: MqttSettings,
        *,
        boot_id: str,
        state: Callable[[], StationState],
        describe: Callable[[], StationDescription],
    ) -> None:
        """Prepare the link; nothing is sent before open().

        Args:
            settings: broker and topics.
            boot_id: names this process's life in every message.
            state: asked once a second for the heartbeat; must be quick.
            describe: asked once a second for `meta`, which is published anew when it has changed.

        Raises:
            ConfigError: a topic name, certificate or password file is unfit.
        """
        self.topics = Topics.of(settings)
        self.counts: Counter[str] = Counter()
        self._settings = settings
        self._voice = Voice(settings.device_id, boot_id)
        self._state = state
        self._describe = describe
        self._session = Session(settings, self, f"mqtt:{settings.device_id}")
        self._errands = Errands(self._acknowledge, f"errands:{settings.device_id}")
        self._triggers = Triggers(self._hand_on, self._refuse_trigger, f"triggers:{settings.device_id}")
        self._commands = Commands(self.topics, settings.device_id, self._errands, self._publish)
        self._events: LineEvents | None = None
        self._connection: Connection | None = None
        self.over_because = "the appliance was shut down"
        self._records = threading.Lock()
        self._window = RecordWindow()
        self._alarms = Alarms(self._send_alarm, self._voice.utc)
        self._next_beat_ns = self._refused_since_ns = 0
        self._said_state: tuple[str, str] = ("", "")
        self._said_meta: StationDescription | None = None

    def status(self) -> dict[str, int | str]:
        """Return what the link has gone through: connects, protocol ("" while it is down), and its counts."""
        connection = self._connection
        protocol = connection.protocol if connection is not None else ""
        return {"connects": self._session.connects, "protocol": protocol, **dict(self.counts)}

    # -- ports.Link ---------------------------------------------------------------------------------------------------

    def open(self, events: LineEvents) -> None:
        """Start connecting in the background; never blocks on the network."""
        if self._events is not None:
            raise RuntimeError("the link is open already")
        self._events = events
        self._errands.start()
        self._triggers.start()
        self._session.start()

    def send_action(self, action: Action) -> bool:
        """Hand the action to the network now; False means that it was not and never will be sent."""
        connection = self._connection
        fresh = self._voice.action(action, time.monotonic_ns())
        was_sent = (
            connection is not None
            and fresh is not None
            and connection.silent_ms() < SILENT_BROKER_MS
            and connection.publish(
                Outgoing(
                    self.topics.action,
                    fresh.payload,
                    expiry_s=fresh.expiry_s,
                    leave_by_ns=action.deadline_ns,
                    token="action",
                )
            )
        )
        self.counts["actions_sent" if was_sent else "actions_not_sent"] += 1
        return was_sent

    def send_record(self, record: Record, attempt: int) -> bool:
        """Hand a record over; False if disconnected or too many are unanswered, so that it must be tried later."""
        connection = self._connection
        if connection is None:
            return False
        with self._records:
            if not self._window.may_send():
                return False
            token = RecordToken(record.seq, is_replay=attempt == 0)
            was_sent = connection.publish(
                Outgoing(
                    self.topics.record,
                    record.payload.encode(),
                    token=token,
                    user_properties=(("seq", str(record.seq)), ("attempt", str(attempt))),
                )
            )
            if not was_sent:
                return False
            self._window.sent(token)
        self.counts["records_sent"] += 1
        return True

    def close(self) -> None:
        """Say goodbye and stop the link's threads."""
        self._session.stop()
        self._triggers.stop()
        self._errands.stop()
        self._alarms.close()

    # -- more to say --------------------------------------------------------------------------------------------------

    def send_alarm(self, name: str, text: str) -> bool:
        """Tell people about something; alarms of one name are said once a second, with how many there were.

        While nobody can hear it, it waits; only the end of the process forgets it.

        Args:
            name: kind of alarm, one word.
            text: what happened, where, what to do next.

        Returns:
            False if it could not be sent yet.
        """
        return self._alarms.say(name, text)

    def describe_anew(self) -> None:
        """Publish `meta` now, because what judges here has changed; without a connection, at the next one."""
        connection, self._next_beat_ns = self._connection, 0
        if connection is not None:
            connection.wake()

    # -- mqtt_session.Party -------------------------------------------------------------------------------------------

    def introduce(self) -> Introduction:
        """Return who this device is, and what the broker must say if it vanishes."""
        will = self._voice.status("offline", "the connection was lost")
        return Introduction(
            client_id=f"inspection-{self._settings.device_id}",
            will=Outgoing(self.topics.status, will, is_retained=True),
            subscriptions=[Subscription(topic) for topic in self.topics.heard_by_the_station],
        )

    def greet(self, connection: Connection) -> None:
        """Tell the plant that this station is here, then let the records flow."""
        with self._records:
            self._window = RecordWindow(
                max(1, min(WINDOW, connection.receive_maximum // 2)), counts_upto=not self._settings.consumers
            )
        self._refused_since_ns = 0
        self._said_state, self._said_meta = ("", ""), None
        self._beat(connection)
        self._line.on_connected()  # before a record can go out: the first one must be of the new start
        self._connection = connection
        if connection.protocol == "mqtt311":
            self.send_alarm("mqtt311", "the broker speaks MQTT 3.1.1 only: it does not drop expired actions")

    def hear(self, connection: Connection, event: Incoming | Answered) -> None:
        """Deal with one message or one answer of the broker."""
        if isinstance(event, Answered):
            self._take_answer(event)
        elif event.topic == self.topics.trigger:
            self._take_trigger(connection, event)
        else:
            connection.acknowledge(event)
            self._take_word(event)

    def tick(self, connection: Connection) -> float:
        """Beat once a second; start records over when a refusal's pause is done."""
        now_ns = time.monotonic_ns()
        with self._records:
            must_start_over = self._window.may_resume(now_ns)
        if must_start_over:
            self._line.on_connected()  # while nothing can go out
            with self._records:
                self._window.restart()
        self._alarms.say_what_is_due()
        if self._refused_since_ns and now_ns - self._refused_since_ns > REFUSED_TRIGGERS_S * 1e9:
            connection.close()  # with goodbye: this is no fault of the link, and the status stays
        if now_ns >= self._next_beat_ns:
            self._beat(connection)
        return max(0.0, (self._next_beat_ns - now_ns) / 1e9)

    def lose(self) -> None:
        """Send nothing more: the connection is gone."""
        self._connection = None
        self._alarms.keep_unanswered()

    def farewell(self, connection: Connection) -> object | None:
        """Say that this is the end, so that nobody takes it for a fault."""
        self._connection = None
        token, payload = object(), self._voice.status("offline", self.over_because)
        message = Outgoing(self.topics.status, payload, is_retained=True, token=token)
        return token if connection.publish(message) else None

    # -- out ----------------------------------------------------------------------------------------------------------

    @property
    def _line(self) -> LineEvents:
        if self._events is None:
            raise RuntimeError("the link is not open")
        return self._events

    def _beat(self, connection: Connection) -> None:
        self._next_beat_ns = time.monotonic_ns() + int(HEARTBEAT_S * 1e9)
        station = self._station_state()
        if (station.state, station.reason) != self._said_state:
            payload = self._voice.status(station.state, station.reason)
            if connection.publish(Outgoing(self.topics.status, payload, is_retained=True, token="status")):
                self._said_state = (station.state, station.reason)
        payload = self._voice.heartbeat(station)
        connection.publish(Outgoing(self.topics.heartbeat, payload, qos=0, expiry_s=HEARTBEAT_EXPIRY_S))
        now = self._describe()
        if now != self._said_meta:
            payload = self._voice.meta(now, list(self._settings.consumers), connection.protocol)
            if connection.publish(Outgoing(self.topics.meta, payload, is_retained=True, token="meta")):
                self._said_meta = now

    def _station_state(self) -> StationState:
        try:
            return self._state()
        except ApplianceError as error:
            return StationState(state="stopped", reason=str(error))

    def _send_alarm(self, alarm: Alarm) -> bool:
        return self._publish(Outgoing(self.topics.alarm, self._voice.alarm(alarm), token=alarm))

    def _publish(self, message: Outgoing) -> bool:
        connection = self._connection
        return connection is not None and connection.publish(message)

    def _take_answer(self, answer: Answered) -> None:
        token = answer.token
        if isinstance(token, RecordToken):
            self._take_record_answer(token, answer)
            return
        kind = "alarm" if isinstance(token, Alarm) else token
        if isinstance(token, Alarm) and (unheard := self._alarms.answered(token, is_unheard=answer.is_unheard)):
            self.counts["alarms_unheard"] += unheard
        if answer.is_refused:
            self.counts[f"{kind}_refused"] += 1
            log.error("the broker refused our %s: %s; correct its access list", kind, answer.words)
        elif answer.is_unheard and kind == "action":
            self.counts["actions_unheard"] += 1
            log.warning("nobody heard an action: no client is subscribed to %s", self.topics.action)

    def _take_record_answer(self, token: RecordToken, answer: Answered) -> None:
        is_taken, is_news, upto = not (answer.is_refused or answer.is_unheard), False, None
        with self._records:
            if is_taken:
                upto = self._window.taken(token)
            else:
                is_news = self._window.refused(token, time.monotonic_ns())
        if upto is not None and not self._settings.consumers:
            self._errands.acknowledge(BROKER, upto)
        if not is_taken:
            self.counts["records_refused"] += 1
        if is_news:
            self.send_alarm("record_refused", f"the broker did not take a record ({answer.words}); it comes again")

    # -- in -----------------------------------------------------------------------------------------------------------

    def _take_trigger(self, connection: Connection, incoming: Incoming) -> None:
        if incoming.is_retained:
            connection.acknowledge(incoming)
            self.counts["triggers_retained"] += 1
            self.send_alarm("trigger_retained", "a retained trigger was refused: it is from the past; clear it")
            return
        message = self._read(TriggerMessage, incoming)
        if message is None:
            connection.acknowledge(incoming)
            self.counts["triggers_malformed"] += 1
            return
        part_id, is_repeat = message.part_id or message.trigger_id, message.repeat or incoming.is_duplicate
        challenge = Challenge(message.challenge) if message.challenge else None
        request = TriggerRequest(message.trigger_id, part_id, is_repeat, incoming.received_ns, challenge)
        self._triggers.take(WaitingTrigger(request, incoming, connection))

    def _hand_on(self, trigger: WaitingTrigger) -> None:
        self._line.on_trigger(trigger.request)
        self.counts["triggers"] += 1
        trigger.connection.acknowledge(trigger.incoming)

    def _refuse_trigger(self, trigger: WaitingTrigger, error: Exception) -> None:
        """Leave a trigger unacknowledged: the station did not write it down, so nobody may believe that it did."""
        self.counts["triggers_not_accepted"] += 1
        self.send_alarm("trigger_not_accepted", f"trigger {trigger.request.trigger_id} was not accepted: {error}")
        if trigger.connection is self._connection:
            self._refused_since_ns = self._refused_since_ns or time.monotonic_ns()

    def _take_word(self, incoming: Incoming) -> None:
        consumer = self.topics.name_below("ack", incoming.topic)
        command = self.topics.station_command(incoming.topic)
        if consumer is None and command is None:
            return  # a broker that sends what nobody asked for
        if incoming.is_retained:
            self.counts["words_retained"] += 1
            self.send_alarm("retained", f"{incoming.topic}: a retained message was refused; clear it at its sender")
        elif consumer is not None:
            self._take_acknowledgement(consumer, incoming)
        elif command is not None:
            self._take_command(command, incoming)

    def _take_acknowledgement(self, consumer: str, incoming: Incoming) -> None:
        message = self._read(AcknowledgeMessage, incoming)
        if message is None:
            self.counts["acknowledgements_malformed"] += 1
        elif message.device_id != self._settings.device_id:
            self.send_alarm("ack_foreign", f"{consumer} acknowledges records of another device, {message.device_id}")
        elif consumer not in self._settings.consumers:
            self.send_alarm("ack_unknown", f"{consumer} acknowledges, but is not registered; add it to `consumers`")
        else:
            self._take_number(consumer, message.upto)

    def _take_number(self, consumer: str, upto: int) -> None:
        try:
            last_seq = self._state().last_seq
        except ApplianceError as error:
            self.send_alarm("ack_failed", f"acknowledgement of {upto} by {consumer} cannot be checked: {error}")
            return
        if upto > last_seq:
            self.send_alarm("ack_ahead", f"{consumer} acknowledges {upto}, but the last record is {last_seq}")
        else:
            self._errands.acknowledge(consumer, upto)

    def _acknowledge(self, consumer: str, upto_seq: int) -> None:
        try:
            self._line.on_acknowledge(consumer, upto_seq)
        except ApplianceError as error:
            self.send_alarm("ack_failed", f"acknowledgement of {upto_seq} by {consumer} is not noted: {error}")

    def _take_command(self, name: str, incoming: Incoming) -> None:
        message = self._read(CommandMessage, incoming) if incoming.payload else CommandMessage()
        self.counts["commands_malformed" if message is None else "commands"] += 1
        if message is not None:
            self._commands.take(name, message, incoming, self._line.on_command)

    def _read(self, model: type[MessageT], incoming: Incoming) -> MessageT | None:
        """Read a message; one that cannot be read is reported, and never comes again because it is acknowledged."""
        try:
            return model.model_validate_json(incoming.payload, strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(key) for key in first["loc"]) or "message"
            self.send_alarm("malformed", f"{incoming.topic}: {where}: {first['msg']}; see docs/schemas")
            return None
