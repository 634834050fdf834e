"""Parts that were announced and wait for their answer: repeats the trigger, and rejects when the deadline comes."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from appliance.events import utc_now
from appliance.links.consumer_rules import Expectation, ReceivedAction, Ruling, StationSeen, decide
from appliance.messages import ActionMessage

log = logging.getLogger(__name__)

MOST_REMEMBERED = 10_000
IDLE_S = 1.0
JOIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the line does with a part; action is the station's answer, None if none came in time."""

    trigger_id: str
    part_id: str
    passes: bool
    reason: str
    action: ActionMessage | None
    waited_us: int


@dataclass(slots=True)
class _Waiting:
    expectation: Expectation
    announced_ns: int
    repeat_ns: int
    repeat_every_ns: int
    last_reason: str = "no answer"
    future: "Future[Outcome]" = field(default_factory=Future)


class AwaitedParts:
    """One thread watches the deadlines; answers may be handed in by another."""

    def __init__(
        self,
        announce: Callable[[Expectation, bool], None],
        name: str,
        utc: Callable[[], datetime] = utc_now,
        clock_tolerance_ms: int = 0,
    ) -> None:
        """Prepare to wait.

        Args:
            announce: sends the trigger; told whether it is a repetition.
            name: the thread's name.
            utc: the consumer's wall clock.
            clock_tolerance_ms: see consumer_rules.decide.
        """
        self.passed = 0
        self.rejected = 0
        self._announce = announce
        self._utc = utc
        self._clock_tolerance_ms = clock_tolerance_ms
        self._wake = threading.Condition()
        self._waiting: dict[str, _Waiting] = {}
        self._acted_on: dict[tuple[str, int], None] = {}
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to watch the deadlines."""
        self._thread.start()

    def stop(self) -> None:
        """Reject what still waits and end the thread."""
        with self._wake:
            self._is_stopping = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join(JOIN_S)
        for waiting in list(self._waiting.values()):
            self._settle(waiting, Ruling(False, True, "the consumer was closed"))

    def expect(self, expectation: Expectation, repeat_every_ms: int) -> "Future[Outcome]":
        """Announce a part and wait for the answer.

        Raises:
            RuntimeError: a part with this trigger id is waiting already.
        """
        now_ns = time.monotonic_ns()
        every_ns = repeat_every_ms * 1_000_000
        waiting = _Waiting(expectation, now_ns, now_ns + every_ns, every_ns)
        with self._wake:
            if expectation.trigger_id in self._waiting:
                raise RuntimeError(f"trigger {expectation.trigger_id} is waiting already")
            self._waiting[expectation.trigger_id] = waiting
        self._announce(expectation, False)
        with self._wake:  # after the trigger has left: the watching thread must not get in its way
            self._wake.notify()
        return waiting.future

    def hear(self, received: ReceivedAction, trigger_id: str, station: StationSeen) -> Ruling | None:
        """Take a message on `action`; returns the ruling, or None if nobody waits for this trigger."""
        with self._wake:
            waiting = self._waiting.get(trigger_id)
        if waiting is None:
            return None
        ruling = decide(
            received,
            waiting.expectation,
            station,
            self._acted_on,
            time.monotonic_ns(),
            self._utc(),
            self._clock_tolerance_ms,
        )
        waiting.last_reason = ruling.reason
        if ruling.settles:
            self._settle(waiting, ruling)
        return ruling

    def _settle(self, waiting: _Waiting, ruling: Ruling) -> None:
        expectation, action = waiting.expectation, ruling.action
        with self._wake:
            if self._waiting.pop(expectation.trigger_id, None) is not waiting:
                return  # the deadline and the answer met: whoever came first has settled it
            if action is not None:
                self._acted_on[(action.device_id, action.seq)] = None
                if len(self._acted_on) > MOST_REMEMBERED:
                    del self._acted_on[next(iter(self._acted_on))]
            if ruling.passes:
                self.passed += 1
            else:
                self.rejected += 1
        waited_us = (time.monotonic_ns() - waiting.announced_ns) // 1000
        outcome = Outcome(expectation.trigger_id, expectation.part_id, ruling.passes, ruling.reason, action, waited_us)
        try:
            waiting.future.set_result(outcome)
        except InvalidStateError:  # whoever waited has cancelled
            log.info("nobody waits any more for the outcome of trigger %s", expectation.trigger_id)

    def _run(self) -> None:
        while not self._is_stopping:
            try:
                self._watch()
            except Exception:  # the guard of this thread: every part still needs its deadline
                log.exception("watching the deadlines failed in an unforeseen way; going on")

    def _watch(self) -> None:
        now_ns = time.monotonic_ns()
        with self._wake:
            parts = list(self._waiting.values())
        for waiting in parts:
            if now_ns > waiting.expectation.until_ns:
                self._settle(waiting, Ruling(False, True, f"deadline: {waiting.last_reason}"))
            elif now_ns >= waiting.repeat_ns:
                waiting.repeat_ns = now_ns + waiting.repeat_every_ns
                self._announce(waiting.expectation, True)
        with self._wake:
            due_ns: list[int] = [min(w.repeat_ns, w.expectation.until_ns + 1) for w in self._waiting.values()]
            wait_s = (min(due_ns) - time.monotonic_ns()) / 1e9 if due_ns else IDLE_S
            if wait_s > 0 and not self._is_stopping:
                self._wake.wait(wait_s)


def trigger_document(expectation: Expectation, is_repeat: bool) -> dict[str, Any]:
    """Return the trigger message for a part."""
    challenge = {"challenge": expectation.challenge.value} if expectation.challenge else {}
    return {
        "schema": "vi.trigger/1",
        "trigger_id": expectation.trigger_id,
        "part_id": expectation.part_id,
        "repeat": is_repeat,
        **challenge,
    }
