"""Alarms at a bearable rate, kept until somebody hears them: the first of a kind at once, then one a second."""

import itertools
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

    count: how many of this name since the last. text, at: of the newest of them, and when it was raised. number: of
    that one, growing; the clock may be set back. unheard: how many of them were said to nobody.
    """

    name: str
    text: str
    at: datetime
    number: int
    count: int = 1
    unheard: int = 0


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
        kind.waiting = _together(alarm, kind.waiting)
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


def _together(one: Alarm, other: Alarm | None) -> Alarm:
    if other is None:
        return one
    newest = max(one, other, key=lambda alarm: alarm.number)
    return replace(newest, count=one.count + other.count, unheard=one.unheard + other.unheard)


class Alarms:
    """Each alarm until somebody has heard it; may be used from any thread. The log has it whoever hears it.

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
        self._numbers = itertools.count()
        self._pace = AlarmPace()
        self._log_pace = AlarmPace()
        self._unanswered: set[Alarm] = set()

    def say(self, name: str, text: str) -> bool:
        """Say an alarm now, or later if there was one of its name within a second or the network does not take it.

        Returns:
            True if it was handed to the network.
        """
        now_ns = time.monotonic_ns()
        with self._lock:
            alarm = Alarm(name, text, self._utc(), next(self._numbers))
            to_log = self._log_pace.flush(now_ns) + ([alarm] if self._log_pace.ask(alarm, now_ns) else [])
            is_due = self._pace.ask(alarm, now_ns)
        _log(to_log)
        return is_due and self._say(alarm)

    def say_what_is_due(self) -> None:
        """Say what had to wait; to be called about once a second while there is a connection."""
        now_ns = time.monotonic_ns()
        with self._lock:
            to_log, due = self._log_pace.flush(now_ns), self._pace.flush(now_ns)
        _log(to_log)
        for alarm in due:
            self._say(alarm)

    def close(self) -> None:
        """Write into the log what still waits for that."""
        with self._lock:
            to_log = self._log_pace.flush(time.monotonic_ns() + INTERVAL_NS)
        _log(to_log)

    def answered(self, alarm: Alarm, *, is_unheard: bool) -> int:
        """Forget an alarm that the broker took, or will never take; keep one that it could hand on to nobody.

        Returns:
            How many alarms were unheard for the first time.
        """
        with self._lock:
            self._unanswered.discard(alarm)
            if not is_unheard:
                self._pace.heard(alarm)
                return 0
            self._pace.keep(replace(alarm, unheard=alarm.count), is_unheard=True)
            return alarm.count - alarm.unheard

    def keep_unanswered(self) -> None:
        """Keep for the next connection what the broker of a lost one has not answered for."""
        with self._lock:
            for alarm in self._unanswered:
                self._pace.keep(alarm)
            self._unanswered.clear()

    def _say(self, alarm: Alarm) -> bool:
        with self._lock:
            self._unanswered.add(alarm)
        if self._send(alarm):
            return True
        with self._lock:
            if alarm in self._unanswered:  # else the lost connection's were kept meanwhile, and it is among them
                self._unanswered.discard(alarm)
                self._pace.keep(alarm)
        return False


def _log(alarms: list[Alarm]) -> None:
    for alarm in alarms:
        log.warning("%s%s", alarm.text, f" ({alarm.count} times)" if alarm.count > 1 else "")
