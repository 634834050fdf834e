"""Liveness: one table of how long each stage may be silent, one thread that holds everybody to it."""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping

from appliance.errors import ConfigError
from appliance.ports import Clock

log = logging.getLogger(__name__)

LONGEST_SILENCE_S: dict[str, float] = {
    "capture": 10.0,  # opening a camera over the network takes seconds
    "inspect": 10.0,  # longest single inference that can still be hope
    "deadline": 10.0,  # it also writes what the disk refused before
    "deliver": 10.0,
}
"""Stage (the part before a colon) -> seconds without a beat after which the process is taken as hung."""

AGENT_SILENCE_S = {"agent": 120.0}
"""The same for `appliance agent run`, which only waits, and hears its worker; that has a limit of its own."""

EXIT_HUNG = 70
EXIT_CONFIG = 78
CHECK_S = 0.5
EXTEND_EVERY_NS, EXTEND_BY_US = 5 * 10**9, 60 * 10**6


class StageWatchdog:
    """Collects beats; tells systemd that all is well, or ends the process when a stage hangs."""

    def __init__(
        self,
        clock: Clock,
        on_hang: Callable[[str], None] | None = None,
        allowed_s: Mapping[str, float] = LONGEST_SILENCE_S,
    ) -> None:
        """Watch nobody yet: a stage is watched from its first beat on.

        Args:
            clock: its monotonic half measures silence.
            on_hang: told the stage's name; ends the process by default, so that systemd starts it afresh.
            allowed_s: stage -> longest silence, seconds.
        """
        self._clock, self._allowed_s = clock, allowed_s
        self._on_hang = on_hang or self._end_process
        self._last_ns: dict[str, int] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def beat(self, stage: str) -> None:
        """Note that this stage ("capture:top", "inspect", ...) made progress just now."""
        self._last_ns[stage] = self._clock.monotonic_ns()

    def silent_stage(self) -> str | None:
        """Return a stage that has been silent for longer than its row allows, or None."""
        now_ns = self._clock.monotonic_ns()
        for stage, last_ns in list(self._last_ns.items()):
            if now_ns - last_ns > self._allowed_s[stage.partition(":")[0]] * 1e9:
                return stage
        return None

    @property
    def is_started(self) -> bool:
        """Whether it watches, or has watched."""
        return self._thread is not None

    def start(self) -> None:
        """Begin to watch, in a thread of its own."""
        notify_systemd("READY=1")
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the watch."""
        notify_systemd("STOPPING=1")
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(CHECK_S):
            stage = self.silent_stage()
            if stage is None:
                notify_systemd("WATCHDOG=1")
            else:
                self._on_hang(stage)
                return

    def _end_process(self, stage: str) -> None:
        allowed_s = self._allowed_s[stage.partition(":")[0]]
        log.critical("stage %s has been silent for more than %g s: ending the process", stage, allowed_s)
        os._exit(EXIT_HUNG)


class LongStart:
    """Tells systemd, every few seconds at most, that this start takes longer but goes on."""

    def __init__(self) -> None:
        """Begin: the first call tells."""
        self._told_ns = 0

    def __call__(self) -> None:
        """Note that something was done just now; may be called as often as one likes."""
        now_ns = time.monotonic_ns()
        if now_ns - self._told_ns > EXTEND_EVERY_NS:
            self._told_ns = now_ns
            notify_systemd(f"EXTEND_TIMEOUT_USEC={EXTEND_BY_US}")


def notify_systemd(state: str) -> None:
    """Send one state line to systemd, if it started this process.

    Source:
        sd_notify(3).
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            channel.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
        except OSError as error:
            log.warning("systemd did not take %s: %s", state, error)


def end_process_when_a_thread_crashes() -> None:
    """Make an unexpected error in any thread end the process: a half-dead station must not look alive.

    A person's mistake that only shows at work ends it with 78, so that systemd does not start it again.
    """

    def guard(crash: threading.ExceptHookArgs) -> None:
        name = crash.thread.name if crash.thread else "unknown"
        if isinstance(crash.exc_value, ConfigError):
            log.critical("%s: %s", name, crash.exc_value)
            os._exit(EXIT_CONFIG)
        log.critical("thread %s crashed: ending the process", name, exc_info=crash.exc_value)
        os._exit(EXIT_HUNG)

    threading.excepthook = guard
