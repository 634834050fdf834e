"""What every camera promises the station, whatever its technology."""

import threading
import time
from collections.abc import Iterator
from datetime import timezone
from pathlib import Path

import numpy as np
import pytest

from appliance.errors import CameraError
from tests.cameras import (
    LOSABLE_RIGS,
    PATIENCE_S,
    RIGS,
    Rig,
    assert_ended_in_time,
    camera_rig,
    captured_again,
    lost_after,
    opened,
    opened_and_captured,
    trigger,
)


@pytest.fixture(params=sorted(RIGS))
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    with camera_rig(request.param, tmp_path) as made:
        yield made


@pytest.fixture(params=sorted(LOSABLE_RIGS))
def losable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    with camera_rig(request.param, tmp_path) as made:
        yield made


def test_a_capture_gives_the_agreed_picture_taken_after_the_trigger(rig: Rig) -> None:
    opened(rig.camera)
    for _ in range(3):
        asked = trigger()
        frame = rig.camera.capture(asked, PATIENCE_S)
        assert frame.view == "top"
        assert frame.pixels.shape == (rig.height, rig.width, 1)
        assert frame.pixels.dtype == np.uint8
        assert asked.received_ns <= frame.captured_ns <= time.monotonic_ns()
        assert frame.captured_at.tzinfo == timezone.utc
        assert frame.source


def test_frame_ids_grow_also_over_closing_and_opening_again(rig: Rig) -> None:
    ids = []
    for _ in range(2):
        opened(rig.camera)
        ids += [rig.camera.capture(trigger(), PATIENCE_S).frame_id for _ in range(3)]
        rig.camera.close()
    assert ids == sorted(set(ids))


def test_no_picture_is_given_to_two_parts(rig: Rig) -> None:
    opened(rig.camera)
    same = trigger()
    ids = [rig.camera.capture(same, PATIENCE_S).frame_id for _ in range(3)]
    assert len(set(ids)) == 3


def test_capture_before_open_and_after_close_is_a_bug(rig: Rig) -> None:
    with pytest.raises(RuntimeError, match="before open"):
        rig.camera.capture(trigger(), 0.1)
    opened(rig.camera)
    rig.camera.close()
    with pytest.raises(RuntimeError, match="before open"):
        rig.camera.capture(trigger(), 0.1)


def test_closing_twice_or_unopened_is_harmless_and_leaves_no_thread(rig: Rig) -> None:
    rig.camera.close()
    opened(rig.camera)
    rig.camera.capture(trigger(), PATIENCE_S)
    rig.camera.close()
    rig.camera.close()
    threads = [thread for thread in threading.enumerate() if thread.name.startswith(("grabber", "camera"))]
    for thread in threads:
        thread.join(PATIENCE_S)
    assert not [thread.name for thread in threads if thread.is_alive()]


def test_opening_an_open_camera_is_harmless(rig: Rig) -> None:
    opened(rig.camera)
    first = rig.camera.capture(trigger(), PATIENCE_S)
    opened(rig.camera)
    assert rig.camera.capture(trigger(), PATIENCE_S).frame_id > first.frame_id


def test_a_lost_camera_is_a_camera_error_and_comes_back(losable: Rig) -> None:
    opened(losable.camera)
    first = losable.camera.capture(trigger(), PATIENCE_S)
    losable.lose()
    assert len(str(lost_after(losable.camera))) > 20
    losable.restore()
    assert captured_again(losable.camera).frame_id > first.frame_id


def test_a_source_that_vanished_while_the_camera_was_closed_is_a_camera_error_and_comes_back(losable: Rig) -> None:
    opened(losable.camera)
    first = losable.camera.capture(trigger(), PATIENCE_S)
    losable.camera.close()
    losable.lose()
    with pytest.raises(CameraError):
        opened_and_captured(losable.camera)
    losable.restore()
    assert captured_again(losable.camera).frame_id > first.frame_id


def test_a_capture_ends_within_its_timeout_while_the_camera_is_lost(losable: Rig) -> None:
    opened(losable.camera)
    losable.lose()
    lost_after(losable.camera)
    for timeout_s in (0.0, 0.05, 0.3):
        lasted_ns = []
        for _ in range(3):
            started_ns = time.monotonic_ns()
            with pytest.raises(CameraError):
                losable.camera.capture(trigger(), timeout_s)
            lasted_ns.append(time.monotonic_ns() - started_ns)
        assert_ended_in_time(lasted_ns, timeout_s)
    losable.restore()
