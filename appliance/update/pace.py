"""How long a transfer may take, how slow and how fast it may be."""

import threading
import time
from typing import Annotated

from pydantic import Field, model_validator

from appliance.bundle.section import Section
from appliance.errors import DeliveryError

MAX_READ_BYTES = 1 << 16
"""Taken off the wire at once: small enough for a limited bandwidth to be kept evenly."""


class TransferLimits(Section):
    """What a transfer must keep to; a server that is slower than min_bytes_per_s over a window is given up.

    refresh_s: all metadata together. connect_s: until one of a server's addresses has answered the connection and the
    TLS handshake. Neither bounds how long the system's resolver takes to find the addresses.
    max_bytes_per_s: of the plant's network; 0 takes what there is.
    """

    connect_s: Annotated[float, Field(gt=0, le=300)] = 15.0
    refresh_s: Annotated[float, Field(gt=0, le=3600)] = 120.0
    window_s: Annotated[float, Field(gt=0, le=600)] = 30.0
    min_bytes_per_s: Annotated[int, Field(ge=1, le=1_000_000_000)] = 1_000
    max_bytes_per_s: Annotated[int, Field(ge=0, le=100_000_000_000)] = 0

    @property
    def longest_s(self) -> float:
        """So long may one question take in which nothing comes: all metadata, and the first window of a file."""
        return 2 * (self.connect_s + self.window_s) + self.refresh_s

    @model_validator(mode="after")
    def _leaves_room(self) -> "TransferLimits":
        if 0 < self.max_bytes_per_s < 2 * self.min_bytes_per_s:
            raise ValueError("max_bytes_per_s is less than twice min_bytes_per_s; raise it, or lower the other")
        return self


class Pace:
    """Watches one transfer; every byte off the wire is counted, those of headers too."""

    def __init__(self, limits: TransferLimits, place: str, *, most_bytes: int, ends_at: float | None = None) -> None:
        """Start the clock.

        Args:
            limits: what it must keep to.
            place: the address, for messages.
            most_bytes: on the wire, with headers; more is an attack or a defect.
            ends_at: monotonic seconds at which it must be over; None: as long as it is fast enough.
        """
        self._limits, self._place, self._most_bytes, self._ends_at = limits, place, most_bytes, ends_at
        self._began = self._window_began = time.monotonic()
        self._bytes = self._window_bytes = 0

    def patience_s(self) -> float:
        """Return how long to wait for the next bytes before asking again.

        Raises:
            DeliveryError: the time is over, or the last window brought too little.
        """
        now = time.monotonic()
        if self._ends_at is not None and now >= self._ends_at:
            raise DeliveryError(
                f"{self._place}: not complete when its time was over; look at the network and the server, "
                "or allow more time"
            )
        left = self._window_began + self._limits.window_s - now
        if left <= 0:
            if self._window_bytes < self._limits.min_bytes_per_s * self._limits.window_s:
                raise DeliveryError(
                    f"{self._place}: {self._window_bytes} bytes came in {self._limits.window_s:g} s, less than "
                    f"{self._limits.min_bytes_per_s} bytes/s; look at the network and the server"
                )
            self._window_began, self._window_bytes, left = now, 0, self._limits.window_s
        return max(0.001, left if self._ends_at is None else min(left, self._ends_at - now))

    def took(self, count: int) -> None:
        """Note bytes that came, and wait where they came faster than the plant's network may be used.

        Raises:
            DeliveryError: more came than there can be.
        """
        self._bytes += count
        self._window_bytes += count
        if self._bytes > self._most_bytes:
            raise DeliveryError(
                f"{self._place}: more than {self._most_bytes} bytes came, longer than was signed; "
                "the server is misused or broken"
            )
        if self._limits.max_bytes_per_s:
            ahead_s = self._began + self._bytes / self._limits.max_bytes_per_s - time.monotonic()
            if ahead_s > 0:
                threading.Event().wait(ahead_s)
