"""The belt: issues a trigger with a part id for each part, at a rate with jitter, and never drifts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, islice
from typing import Final

import numpy as np

from appliance.errors import ConfigError

_NS_PER_S: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class PartTrigger:
    """A part reaches the camera: its number, its id, and when, in ns after the belt's start."""

    number: int
    part_id: str
    due_ns: int


@dataclass(frozen=True, slots=True)
class Conveyor:
    """A belt that carries parts past the camera.

    Attributes:
        rate_hz: parts per second on average, above 0.
        jitter: how far a part may lie from its even place, as a part of the spacing, 0..0.45; order is kept.
        seed: of the jitter, 0 or more; also the start of each part id.
        parts: how many come; None without end.
        first: number of the first part.
    """

    rate_hz: float
    jitter: float = 0.1
    seed: int = 0
    parts: int | None = None
    first: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.rate_hz <= 10_000:
            raise ConfigError(f"conveyor: rate {self.rate_hz:g} Hz is outside 0..10000; name parts per second, above 0")
        if not 0 <= self.jitter <= 0.45:
            raise ConfigError(f"conveyor: jitter {self.jitter:g} is outside 0..0.45 of the spacing; make it smaller")
        if self.parts is not None and self.parts < 0:
            raise ConfigError(f"conveyor: {self.parts} parts asked for; name 0 or more, or none for an endless belt")

    def schedule(self) -> Iterator[PartTrigger]:
        """Give every trigger with the time it is due, without waiting.

        Each time is counted from the start and not from the trigger before, so that errors do not add up.

        Yields:
            Triggers in order of time; the same arguments give the same ones.
        """
        spacing_ns = _NS_PER_S / self.rate_hz
        numbers = count(self.first)
        for place, number in enumerate(numbers if self.parts is None else islice(numbers, self.parts)):
            rng = np.random.default_rng([self.seed, number, 11])
            offset = self.jitter * (2 * float(rng.random()) - 1)
            yield PartTrigger(number, f"{self.seed}-{number:06d}", round((place + 0.5 + offset) * spacing_ns))

    def run(
        self,
        on_trigger: Callable[[PartTrigger], None],
        stop: threading.Event,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> int:
        """Issue the triggers in real time, in the caller's thread, until the parts or the patience end.

        A callable that is slower than the belt makes triggers late, not fewer: they follow at once until it has
        caught up.

        Args:
            on_trigger: takes each trigger; its exceptions end the belt.
            stop: set from another thread to stop the belt; also ends a wait.
            now_ns: monotonic clock in ns.

        Returns:
            Number of triggers issued.
        """
        start_ns, issued = now_ns(), 0
        for trigger in self.schedule():
            left_ns = start_ns + trigger.due_ns - now_ns()
            while left_ns > 0 and not stop.is_set():
                stop.wait(left_ns / _NS_PER_S)
                left_ns = start_ns + trigger.due_ns - now_ns()
            if stop.is_set():
                break
            on_trigger(trigger)
            issued += 1
        return issued
