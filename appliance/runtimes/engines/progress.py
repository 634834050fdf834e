"""What is told while an engine is built, which on a small board takes minutes."""

import logging

from appliance.health import LongStart

log = logging.getLogger(__name__)

STEP = 0.1


class BuildProgress:
    """Tells of an engine that is built: a line for each tenth, and systemd that this start takes longer."""

    def __init__(self) -> None:
        """Begin at nothing."""
        self._told = 0.0
        self._goes_on = LongStart()

    def __call__(self, progress: float) -> None:
        """Take the share that is done, 0..1."""
        self._goes_on()
        if progress >= self._told + STEP:
            self._told = progress
            log.info("building the engine for this device: %.0f %%", 100 * progress)
