"""How the agent's worker says that it gets on; by the thread that does the work, so that none says it in its place."""

import time
from dataclasses import dataclass

from appliance.runtimes.engines.child import say

BEAT_S = 1.0
"""How often it says so at most."""


@dataclass(slots=True)
class Beats:
    """Called at the worker's own steps, and at each look at a child process, which has a limit of its own."""

    _next: float = 0.0

    def __call__(self) -> None:
        """Say so, if it was not said a moment ago."""
        if (now := time.monotonic()) >= self._next:
            self._next = now + BEAT_S
            say(looks=True)
