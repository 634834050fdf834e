"""What every camera promises the station, whatever its technology."""

import threading
import time
from collections.abc import Iterator
from datetime import timezone
from pathlib import Path

import numpy as np
import pytest

from appliance.errors import CameraError
from tests.cameras import HEIGHT, RIGS, WIDTH, Rig, camera_rig, captured_again, lost_after, opened_and_captured, trigger


@pytest.fixture(params=sorted(RIGS))
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    with camera_rig(request.param, tmp_path) as made:
        yield made


def test_a_capture_gives_the_agreed_picture_taken_after_the_trigger(rig: Rig) -> None:
    rig.camera.open()
    for _ in range(3):
        asked = trigger()
        frame = rig.camera.capture(asked, 2.0)
        assert frame.view == "top"
        assert frame.pixels.shape == (HEIGHT, WIDTH, 1)
        assert frame.pixels.dtype == np.uint8
        assert asked.received_ns <= frame.captured_ns <= time.monotonic_ns()
        assert frame.captured_at.tzinfo == timezone.utc
        assert frame.source


def test_frame_ids_grow_also_over_closing_and_opening_again(rig: Rig) -> None:
    ids = []
    for _ in range(2):
        rig.camera.open()
        ids += [rig.camera.capture(trigger(), 2.0).frame_id for _ in range(3)]
        rig.camera.close()
    assert ids == sorted(set(ids))


def test_no_picture_is_given_to_two_parts(rig: Rig) -> None:
    rig.camera.open()
    same = trigger()
    ids = [rig.camera.capture(same, 2.0).frame_id for _ in range(3)]
    assert len(set(ids)) == 3


def test_capture_before_open_and_after_close_is_a_bug(rig: Rig) -> None:
    with pytest.raises(RuntimeError, match="before open"):
        rig.camera.capture(trigger(), 0.1)
    rig.camera.open()
    rig.camera.close()
    with pytest.raises(RuntimeError, match="before open"):
        rig.camera.capture(trigger(), 0.1)


def test_closing_twice_or_unopened_is_harmless_and_leaves_no_thread(rig: Rig) -> None:
    rig.camera.close()
    rig.camera.open()
    rig.camera.capture(trigger(), 2.0)
    rig.camera.close()
    rig.camera.close()
    threads = [thread for thread in threading.enumerate() if thread.name.startswith(("grabber", "camera"))]
    for thread in threads:
        thread.join(2.0)
    assert not [thread.name for thread in threads if thread.is_alive()]


def test_opening_an_open_camera_is_harmless(rig: Rig) -> None:
    rig.camera.open()
    first = rig.camera.capture(trigger(), 2.0)
    rig.camera.open()
    assert rig.camera.capture(trigger(), 2.0).frame_id > first.frame_id


def test_a_lost_camera_is_a_camera_error_and_comes_back(rig: Rig) -> None:
    rig.camera.open()
    first = rig.camera.capture(trigger(), 2.0)
    rig.lose()
    assert len(str(lost_after(rig.camera))) > 20
    rig.restore()
    assert captured_again(rig.camera).frame_id > first.frame_id


def test_a_source_that_vanished_while_the_camera_was_closed_is_a_camera_error_and_comes_back(rig: Rig) -> None:
    rig.camera.open()
    first = rig.camera.capture(trigger(), 2.0)
    rig.camera.close()
    rig.lose()
    with pytest.raises(CameraError):
        opened_and_captured(rig.camera)
    rig.restore()
    assert captured_again(rig.camera).frame_id > first.frame_id


def test_a_capture_ends_within_its_timeout_while_the_camera_is_lost(rig: Rig) -> None:
    rig.camera.open()
    rig.lose()
    lost_after(rig.camera)
    for timeout_s in (0.0, 0.05, 0.3):
        started_ns = time.monotonic_ns()
        with pytest.raises(CameraError):
            rig.camera.capture(trigger(), timeout_s)
        assert time.monotonic_ns() - started_ns < (timeout_s + 0.3) * 1e9
    rig.restore()
