"""What is told while an engine is built, which on a small board takes minutes."""

import logging
import time

from appliance.health import notify_systemd

log = logging.getLogger(__name__)

EXTEND_EVERY_NS, EXTEND_BY_US = 5 * 10**9, 60 * 10**6
STEP = 0.1


class BuildProgress:
    """Tells of an engine that is built: a line for each tenth, and systemd that this start takes longer."""

    def __init__(self) -> None:
        """Begin at nothing."""
        self._told = 0.0
        self._extended_ns = 0

    def __call__(self, progress: float) -> None:
        """Take the share that is done, 0..1."""
        now_ns = time.monotonic_ns()
        if now_ns - self._extended_ns > EXTEND_EVERY_NS:
            self._extended_ns = now_ns
            notify_systemd(f"EXTEND_TIMEOUT_USEC={EXTEND_BY_US}")
        if progress >= self._told + STEP:
            self._told = progress
            log.info("building the engine for this device: %.0f %%", 100 * progress)
