"""Alarms at a bearable rate, kept until somebody hears them: the first of a kind at once, then one a second."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

log = logging.getLogger(__name__)

INTERVAL_NS = 1_000_000_000
LONGEST_PAUSE_NS = 8 * INTERVAL_NS
"""Between two tries of an alarm that nobody hears: the pause doubles up to this."""


@dataclass(frozen=True, slots=True, eq=False)
class Alarm:
    """Something that a person should look at.

    count: how many of this name since the last. at: when the newest of them was raised. is_logged: the log has it.
    """

    name: str
    text: str
    at: datetime
    count: int = 1
    is_logged: bool = False


@dataclass(slots=True)
class _Kind:
    said_ns: int
    waiting: Alarm | None = None
    pause_ns: int = INTERVAL_NS


@dataclass(slots=True)
class AlarmPace:
    """Decides which alarms are said now; pure."""

    _kinds: dict[str, _Kind] = field(default_factory=dict)

    def ask(self, alarm: Alarm, now_ns: int) -> bool:
        """Return whether to say this alarm now; if not, flush() returns it later."""
        kind = self._kinds.get(alarm.name)
        if kind is None or (kind.waiting is None and now_ns - kind.said_ns >= INTERVAL_NS):
            self._kinds[alarm.name] = _Kind(now_ns)
            return True
        kind.waiting = _together(kind.waiting, alarm)
        return False

    def flush(self, now_ns: int) -> list[Alarm]:
        """Return the alarms whose second is over, all of one kind as one."""
        due = [
            (kind, kind.waiting)
            for kind in self._kinds.values()
            if kind.waiting is not None and now_ns - kind.said_ns >= kind.pause_ns
        ]
        for kind, _ in due:
            kind.said_ns, kind.waiting = now_ns, None
        return [alarm for _, alarm in due]

    def keep(self, alarm: Alarm, *, is_unheard: bool = False) -> None:
        """Take back an alarm that could not be said, or that nobody heard: flush() returns it again after a pause."""
        kind = self._kinds[alarm.name]
        kind.waiting = _together(alarm, kind.waiting)
        kind.pause_ns = min(2 * kind.pause_ns, LONGEST_PAUSE_NS) if is_unheard else INTERVAL_NS

    def heard(self, alarm: Alarm) -> None:
        """Note that somebody heard it: the next of its kind need not wait for longer than a second."""
        self._kinds[alarm.name].pause_ns = INTERVAL_NS


def _together(older: Alarm | None, newer: Alarm | None) -> Alarm | None:
    if older is None or newer is None:
        return newer or older
    return replace(newer, count=older.count + newer.count)


class Alarms:
    """Each alarm until somebody has heard it; may be used from any thread.

    What was sent and not answered when a connection is lost is said again at the next, so an alarm may come twice.
    """

    def __init__(self, send: Callable[[Alarm], bool], utc: Callable[[], datetime]) -> None:
        """Prepare to say alarms.

        Args:
            send: hands one to the network; False if it could not. What the broker answers is told by answered().
            utc: the clock of `at`.
        """
        self._send = send
        self._utc = utc
        self._lock = threading.Lock()
        self._pace = AlarmPace()
        self._unanswered: set[Alarm] = set()

    def say(self, name: str, text: str) -> bool:
        """Say an alarm now, or later if there was one of its name within a second or the network does not take it.

        Returns:
            True if it was handed to the network.
        """
        alarm = Alarm(name, text, self._utc())
        with self._lock:
            is_due = self._pace.ask(alarm, time.monotonic_ns())
        return is_due and self._say(alarm)

    def say_what_is_due(self) -> None:
        """Say what had to wait; to be called about once a second while there is a connection."""
        with self._lock:
            due = self._pace.flush(time.monotonic_ns())
        for alarm in due:
            self._say(alarm)

    def answered(self, alarm: Alarm, *, is_unheard: bool) -> None:
        """Forget an alarm that the broker took, or will never take; keep one that it could hand on to nobody."""
        with self._lock:
            self._unanswered.discard(alarm)
            if is_unheard:
                self._pace.keep(alarm, is_unheard=True)
            else:
                self._pace.heard(alarm)

    def keep_unanswered(self) -> None:
        """Keep for the next connection what the broker of a lost one has not answered for."""
        with self._lock:
            for alarm in self._unanswered:
                self._pace.keep(alarm)
            self._unanswered.clear()

    def _say(self, alarm: Alarm) -> bool:
        if not alarm.is_logged:
            log.warning("%s%s", alarm.text, f" ({alarm.count} times)" if alarm.count > 1 else "")
            alarm = replace(alarm, is_logged=True)
        with self._lock:
            self._unanswered.add(alarm)
        if self._send(alarm):
            return True
        with self._lock:
            if alarm in self._unanswered:  # else the lost connection's were kept meanwhile, and it is among them
                self._unanswered.discard(alarm)
                self._pace.keep(alarm)
        return False
