"""A thread that empties a free-running stream, so that a capture gets the picture of its moment, never an old one."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import numpy as np

from appliance.cameras.settings import OpenCvCameraSettings
from appliance.errors import CameraError
from appliance.events import Pixels, utc_now

log = logging.getLogger(__name__)

LONGEST_WAIT_S = 3.0
"""Nobody waits longer for a connection to be made or let go of, so that a waiting stage is not taken as hung."""


class PictureStream(Protocol):
    """What a grabber empties: one thread waits for pictures and decodes them."""

    def grab(self) -> bool:
        """Wait for the next picture, for a bounded time; False if none came."""
        ...

    def picture(self) -> Pixels | None:
        """Decode it; None if it is broken. Raises CameraError for another size or format than agreed."""
        ...

    def close(self) -> None:
        """Let go of the stream."""
        ...


@dataclass(frozen=True, slots=True)
class Grabbed:
    """One picture from the stream, or the words why it is none; captured_ns is monotonic, captured_at UTC."""

    frame_id: int
    captured_ns: int
    captured_at: datetime
    pixels: Pixels | None
    problem: str = ""


class Grabber:
    """Connects, keeps the newest pictures, and connects again for as long as it is not closed."""

    def __init__(self, name: str, settings: OpenCvCameraSettings, connect: Callable[[], PictureStream]) -> None:
        """Prepare; the thread begins with start().

        Args:
            name: of the source, for messages.
            settings: times and limits.
            connect: makes one attempt, bounded in time; raises CameraError.
        """
        self._name = name
        self._settings = settings
        self._connect = connect
        self._news = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"grabber-{name}", daemon=True)
        self._kept: deque[Grabbed] = deque(maxlen=settings.kept_frames)
        self._last_frame_id = 0
        self._is_connected = False
        self._lost_because: str | None = None
        self._retry_ms = settings.retry_first_ms
        self._repeats = 0
        self._last_pixels: Pixels | None = None
        self._last_taken = 0

    def start(self) -> None:
        """Begin to connect in the background."""
        self._thread.start()

    def wait_until_connected(self) -> None:
        """Wait for the first attempt to connect, for at most LONGEST_WAIT_S; returns at once on a running stream.

        Who asks again while the attempt goes on is not kept waiting again.

        Raises:
            CameraError: It failed or is not over yet, or the stream is lost and the next attempt is still to come.
        """
        with self._news:
            self._news.wait_for(lambda: self._is_connected or self._lost_because is not None, LONGEST_WAIT_S)
            if not self._is_connected and self._lost_because is None:
                self._lost_because = (
                    f"{self._name}: no picture within {LONGEST_WAIT_S} s of connecting (still trying); check the camera"
                )
            if self._lost_because is not None:
                raise CameraError(self._lost_because)

    def take(self, received_ns: int, timeout_s: float) -> Grabbed:
        """Return the first picture exposed at or after received_ns, none of them twice.

        Raises:
            CameraError: None within timeout_s; at once when the stream is lost.
        """
        until_ns = time.monotonic_ns() + int(timeout_s * 1e9)
        with self._news:
            while True:
                for grabbed in self._kept:
                    if grabbed.captured_ns >= received_ns and grabbed.frame_id > self._last_taken:
                        self._last_taken = grabbed.frame_id
                        return grabbed
                if self._lost_because is not None:
                    raise CameraError(self._lost_because)
                left_s = (until_ns - time.monotonic_ns()) / 1e9
                if left_s <= 0:
                    raise CameraError(f"{self._name}: no picture within {timeout_s} s; check the camera and its rate")
                self._news.wait(left_s)

    @property
    def last_frame_id(self) -> int:
        """Frame id of the newest picture; 0 before the first. A gap between two taken ones is what nobody saw."""
        with self._news:
            return self._last_frame_id

    def close(self) -> None:
        """End the thread; one that is stuck for longer than LONGEST_WAIT_S is left to end by itself."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(LONGEST_WAIT_S)
        if self._thread.is_alive():
            log.warning(
                "%s: did not let go in %s s; its thread is left to end by itself, the camera may be busy until then",
                self._name, LONGEST_WAIT_S,
            )  # fmt: skip

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                source = self._connect()
                try:
                    self._stream(source)
                finally:
                    source.close()
            except CameraError as error:
                self._note_loss(str(error))
                self._stop.wait(self._retry_ms / 1000.0)
                self._retry_ms = min(2 * self._retry_ms, self._settings.retry_longest_ms)

    def _stream(self, source: PictureStream) -> None:
        settled_ns = time.monotonic_ns() + self._settings.settle_ms * 1_000_000
        while not self._stop.is_set():
            if not source.grab():
                raise CameraError(f"{self._name}: the stream ended or was silent; check the cable and the camera")
            arrived_ns, arrived_at = time.monotonic_ns(), utc_now()
            pixels = source.picture()
            if arrived_ns < settled_ns:
                continue
            if pixels is not None and self._is_frozen(pixels):
                raise CameraError(f"{self._name}: the last {self._repeats} pictures are identical; restart the camera")
            latency = timedelta(milliseconds=self._settings.latency_ms)
            self._keep(arrived_ns - int(self._settings.latency_ms * 1e6), arrived_at - latency, pixels)

    def _keep(self, captured_ns: int, captured_at: datetime, pixels: Pixels | None) -> None:
        problem = "" if pixels is not None else f"{self._name}: the picture is broken or cut off; check the cable"
        with self._news:
            self._is_connected = True
            self._lost_because = None
            if pixels is not None:
                self._retry_ms = self._settings.retry_first_ms
            self._last_frame_id += 1
            self._kept.append(Grabbed(self._last_frame_id, captured_ns, captured_at, pixels, problem))
            self._news.notify_all()

    def _note_loss(self, reason: str) -> None:
        with self._news:
            self._is_connected = False
            self._lost_because = f"{reason} (connecting again every {self._retry_ms} ms)"
            self._news.notify_all()

    def _is_frozen(self, pixels: Pixels) -> bool:
        """Count identical pictures in a row, over reconnections too; a sample decides for nearly all live pictures."""
        limit = self._settings.frozen_after_frames
        if limit is None:
            return False
        last, self._last_pixels = self._last_pixels, pixels
        is_same = last is not None and is_same_picture(last, pixels)
        self._repeats = self._repeats + 1 if is_same else 1
        return self._repeats >= limit


def is_same_picture(one: Pixels, other: Pixels) -> bool:
    """Tell whether two pictures are identical; a sample decides for nearly all live ones."""
    return np.array_equal(one[::16, ::16], other[::16, ::16]) and np.array_equal(one, other)
