"""The grabber alone, in front of a scripted stream whose every picture is released by the test."""

import queue
import threading
import time
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

from appliance.cameras.grabber import Grabber
from appliance.cameras.settings import OpenCvCameraSettings
from appliance.errors import CameraError
from appliance.events import Pixels


class ScriptedStream:
    """Gives a picture of each grey value put into it: 1005 is 5 with a speck, -1 is broken, None ends the stream."""

    def __init__(self) -> None:
        self.greys: queue.Queue[int | None] = queue.Queue()
        self.done = threading.Semaphore(0)
        self._grey: int | None = None

    def grab(self) -> bool:
        if self._grey is not None:
            self.done.release()
        try:
            self._grey = self.greys.get(timeout=5.0)
        except queue.Empty:
            self._grey = None
        return self._grey is not None

    def picture(self) -> Pixels | None:
        if self._grey is None or self._grey < 0:
            return None
        pixels = np.full((4, 4, 1), self._grey % 1000, np.uint8)
        pixels[3, 3] = 255 if self._grey >= 1000 else pixels[3, 3]
        return pixels

    def close(self) -> None:
        self._grey = None

    def show(self, *greys: int) -> None:
        """Return when the grabber has taken all of them in."""
        for grey in greys:
            self.greys.put(grey)
        for _ in greys:
            assert self.done.acquire(timeout=5.0)

    def end(self) -> None:
        self.greys.put(None)


@pytest.fixture
def stream() -> ScriptedStream:
    return ScriptedStream()


def grabber(stream: ScriptedStream, **settings: object) -> Grabber:
    defaults = {"type": "opencv", "url": "http://x/y", "width": 64, "height": 48, "channels": 1, "settle_ms": 0}
    parsed = OpenCvCameraSettings.model_validate({**defaults, "retry_first_ms": 10, "retry_longest_ms": 40, **settings})
    return Grabber("x", parsed, lambda: stream)


@pytest.fixture
def running(stream: ScriptedStream) -> Iterator[Grabber]:
    made = grabber(stream, kept_frames=3)
    made.start()
    yield made
    stream.end()
    made.close()


def grey(made: Grabber, received_ns: int, timeout_s: float = 0.05) -> int:
    pixels = made.take(received_ns, timeout_s).pixels
    assert pixels is not None
    return int(pixels[0, 0, 0])


def test_a_late_capture_gets_the_first_picture_after_its_trigger_not_the_newest(
    stream: ScriptedStream, running: Grabber
) -> None:
    stream.show(1)
    received_ns = time.monotonic_ns()
    stream.show(2, 3)
    assert grey(running, received_ns) == 2


def test_a_picture_from_before_the_trigger_is_never_taken(stream: ScriptedStream, running: Grabber) -> None:
    stream.show(1, 2)
    with pytest.raises(CameraError, match=r"no picture within 0\.05 s"):
        running.take(time.monotonic_ns(), 0.05)


def test_a_capture_waits_for_the_next_picture(stream: ScriptedStream, running: Grabber) -> None:
    stream.show(1)
    received_ns = time.monotonic_ns()
    threading.Timer(0.05, stream.greys.put, (2,)).start()
    assert grey(running, received_ns, 2.0) == 2


def test_pictures_that_made_way_unseen_are_a_gap_in_the_frame_ids(stream: ScriptedStream, running: Grabber) -> None:
    stream.show(1, 2, 3)
    assert grey(running, 0) == 1
    stream.show(4, 5)  # 4 pushes out 1, which was seen; 5 pushes out 2, which was not
    assert running.take(0, 0.05).frame_id == 3
    assert running.last_frame_id == 5


def test_a_broken_picture_is_the_answer_to_its_own_trigger_only(stream: ScriptedStream, running: Grabber) -> None:
    stream.show(-1, 7)
    broken = running.take(0, 0.05)
    assert broken.pixels is None
    assert "broken or cut off" in broken.problem
    assert grey(running, 0) == 7


def test_the_latency_is_taken_off_the_time_of_arrival(stream: ScriptedStream) -> None:
    made = grabber(stream, latency_ms=500.0)
    made.start()
    received_ns = time.monotonic_ns()
    stream.show(1)
    with pytest.raises(CameraError, match="no picture within"):
        made.take(received_ns, 0.02)
    assert grey(made, received_ns - 500_000_000) == 1
    stream.end()
    made.close()


def test_pictures_buffered_before_the_connection_settled_are_thrown_away(stream: ScriptedStream) -> None:
    made = grabber(stream, settle_ms=200)
    made.start()
    stream.show(1, 2)
    assert made.last_frame_id == 0
    threading.Event().wait(0.25)
    stream.show(3)
    assert grey(made, 0) == 3
    stream.end()
    made.close()


def test_identical_pictures_are_frozen_only_from_the_limit_on(stream: ScriptedStream) -> None:
    made = grabber(stream, frozen_after_frames=3, kept_frames=8)
    made.start()
    stream.show(1, 1, 2, 2)
    assert [grey(made, 0) for _ in range(4)] == [1, 1, 2, 2]
    stream.greys.put(2)
    with pytest.raises(CameraError, match="last 3 pictures are identical"):
        made.take(time.monotonic_ns(), 5.0)
    stream.end()
    made.close()


def test_one_changed_pixel_is_life(stream: ScriptedStream) -> None:
    made = grabber(stream, frozen_after_frames=2, kept_frames=8)
    made.start()
    stream.show(5, 1005, 5, 1005)
    assert [grey(made, 0) for _ in range(4)] == [5, 5, 5, 5]
    stream.end()
    made.close()


def test_the_pause_before_connecting_again_doubles_up_to_the_longest() -> None:
    attempts: list[int] = []
    enough = threading.Event()

    def refuse() -> ScriptedStream:
        attempts.append(time.monotonic_ns())
        if len(attempts) == 6:
            enough.set()
        raise CameraError("the door is shut")

    settings = {"type": "opencv", "url": "http://x/y", "width": 64, "height": 48, "channels": 1}
    parsed = OpenCvCameraSettings.model_validate({**settings, "retry_first_ms": 20, "retry_longest_ms": 80})
    made = Grabber("x", parsed, refuse)
    made.start()
    with pytest.raises(CameraError, match="the door is shut"):
        made.wait_until_connected()
    assert enough.wait(5.0)
    made.close()
    pauses = [(after - before) / 1e6 for before, after in pairwise(attempts)]
    assert all(pause >= least for pause, least in zip(pauses, (20, 40, 80, 80, 80), strict=True))
    assert max(pauses) < 500
