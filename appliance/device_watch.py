"""Notices while parts are inspected that the device is another than it was proved on, or that something holds it back.

Nothing here is on a verdict's way: a thread of its own reads files every ten seconds, and what the proof of latency
needs is measured on live parts anyway (docs/decisions/0020-a-changed-device.md).
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from appliance.device_state import DeviceState, differences, held_back, read_device_state
from appliance.latency_watch import LatencyWatch
from appliance.live_latency import LiveLatency
from appliance.throttling import Throttling, read_throttling, signs

log = logging.getLogger(__name__)

EVERY_S = 10.0
FREE_LOOKS = 6
"""So many looks in a row must find nothing before throttling is over: a minute."""

REMINDER_LOOKS = 60
"""While throttling lasts, people are told again after so many looks: ten minutes."""


class DeviceWatch:
    """Looks at the device now and then; start() and stop() run it in a thread of its own."""

    def __init__(
        self,
        proved_on: Callable[[], DeviceState],
        latency: LatencyWatch,
        *,
        alarm: Callable[[str, str], None],
        hold: Callable[[str], None],
        root: Path = Path("/"),
        every_s: float = EVERY_S,
    ) -> None:
        """Prepare; nothing runs before start().

        Args:
            proved_on: tells the device of the certificate by which parts are judged now; a changeover or a release
                may bring another one.
            latency: gets the times of live parts.
            alarm: tells people: one word, and what happened and what to do next.
            hold: makes the station take no more parts for a reason; an empty one makes it take parts again.
            root: the folder that stands for "/" of the device.
            every_s: seconds between two looks of the thread.
        """
        self._proved_on = proved_on
        self._last_free = proved_on()
        self._unread: tuple[str, ...] = ()
        self._latency = latency
        self._turns, self._is_too_slow = latency.turns, False
        self._alarm = alarm
        self._hold = hold
        self._root = root
        self._every_s = every_s
        self._looking = threading.Lock()
        self._seen: Throttling | None = None
        self._free_looks = 0
        self._throttled_looks = 0
        self._throttled: tuple[str, ...] = ()
        self._changed: tuple[str, ...] = ()
        self._measured: LiveLatency | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="device", daemon=True)

    def start(self) -> None:
        """Begin with a first look."""
        self._thread.start()

    def stop(self) -> None:
        """End after the look that is being taken."""
        self._stop.set()
        self._thread.join()

    def status(self) -> dict[str, Any]:
        """Return how the device is, what changed, what holds it back, and how far the latency is proved again."""
        measured = self._measured
        return {
            "changed": list(self._changed),
            "throttled": list(self._throttled),
            "latency_parts": self._latency.collected,
            "latency_parts_needed": self._latency.wanted,
            "latency": asdict(measured) if measured else None,
            "unread": list(self._unread),
        }

    def look(self) -> None:
        """Look once; called again and again by the thread, and by whoever cannot wait for it."""
        with self._looking:
            self._look()

    def _look(self) -> None:
        throttling = read_throttling(self._root)
        self._judge_throttling(signs(self._seen or throttling, throttling))
        self._seen = throttling
        now = read_device_state(self._root)
        self._unread = now.unread
        if self._throttled:
            now = held_back(now, self._last_free)
        else:
            self._last_free = now
        self._judge_state(now)

    def _run(self) -> None:
        while not self._stop.is_set():
            self.look()
            self._stop.wait(self._every_s)

    def _judge_throttling(self, found: list[str]) -> None:
        if found:
            self._free_looks = 0
            self._throttled = tuple(found)
            if self._throttled_looks % REMINDER_LOOKS == 0:
                self._alarm(
                    "throttled",
                    f"the device is held back, parts may be late: {'; '.join(found)}; look after its cooling and its "
                    "power supply, or set a lower power mode",
                )
            self._throttled_looks += 1
        elif self._throttled:
            self._free_looks += 1
            if self._free_looks >= FREE_LOOKS:
                log.info("nothing holds the device back any more")
                self._throttled, self._throttled_looks = (), 0

    def _judge_state(self, now: DeviceState) -> None:
        changed = tuple(differences(self._proved_on(), now))
        if changed != self._changed:
            self._changed = changed
            self._take_note()
        if self._turns != self._latency.turns:
            self._turns = self._latency.turns
            self._let_another_try()
        result = self._latency.result()
        if result is not None:
            self._judge_latency(result)

    def _take_note(self) -> None:
        self._measured = None
        if not self._changed:
            self._is_too_slow = False
            self._latency.end()
            self._hold("")
            log.info("the device is as it was proved: the proof holds")
            return
        self._latency.begin()
        self._alarm(
            "device_changed",
            f"the device is not as it was proved: {'; '.join(self._changed)}; the next {self._latency.runs} parts show "
            "whether it is fast enough; set it back, or restart the station to prove it anew",
        )

    def _let_another_try(self) -> None:
        """Take parts again if they were stopped because of a product or release that no longer judges."""
        if self._is_too_slow:
            self._is_too_slow = False
            self._latency.begin()
            self._hold("")
            log.info("another product or release judges now: the next %s parts show how fast it is", self._latency.runs)

    def _judge_latency(self, result: LiveLatency) -> None:
        times = (
            f"99 in 100 of {result.runs} parts of {result.product} took at most {result.p99_ms:g} ms in the model, "
            f"{result.budget_ms:g} ms"
        )
        self._measured = result
        if not result.is_within:
            self._is_too_slow = True
            self._latency.end()
            because = (
                f"the device is too slow since it changed: {'; '.join(self._changed)}; {times} are allowed; "
                "set it back, or restart the station to prove it anew"
            )
            self._hold(because)
            self._alarm("device_slow", because)
            return
        self._latency.judged(result)
        log.info("the changed device is fast enough: %s are allowed; %s", times, "; ".join(self._changed))
