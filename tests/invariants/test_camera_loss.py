"""A camera that is gone never holds the line up and never passes an old picture off as this part's."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.errors import CameraError
from tests.cameras import (
    LOSABLE_RIGS,
    Rig,
    assert_ended_in_time,
    camera_rig,
    captured_again,
    lost_after,
    opened,
    trigger,
)

ROUNDS = 3


@pytest.fixture(params=sorted(LOSABLE_RIGS))
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    with camera_rig(request.param, tmp_path) as made:
        yield made


def test_a_lost_camera_raises_within_the_timeout_and_is_back_after_the_loss_each_time(rig: Rig) -> None:
    opened(rig.camera)
    last_id = 0
    for _ in range(ROUNDS):
        rig.lose()
        lost_after(rig.camera)
        lasted_ns = []
        for _ in range(5):
            asked = trigger()
            with pytest.raises(CameraError):
                rig.camera.capture(asked, 0.2)
            lasted_ns.append(time.monotonic_ns() - asked.received_ns)
        assert_ended_in_time(lasted_ns, 0.2)
        rig.restore()
        asked = trigger()
        frame = captured_again(rig.camera)
        assert frame.captured_ns >= asked.received_ns
        assert frame.frame_id > last_id
        last_id = frame.frame_id


def test_every_capture_ends_in_a_picture_of_its_moment_or_in_a_camera_error_while_the_cable_is_loose(rig: Rig) -> None:
    opened(rig.camera)
    lasted_ns = []
    for number in range(40):
        if number % 20 == 5:
            rig.lose()
        if number % 20 == 15:
            rig.restore()
        asked = trigger()
        try:
            frame = rig.camera.capture(asked, 0.1)
            assert frame.captured_ns >= asked.received_ns
        except CameraError as error:
            assert str(error)
        lasted_ns.append(time.monotonic_ns() - asked.received_ns)
    assert_ended_in_time(lasted_ns, 0.1)
    assert captured_again(rig.camera).captured_ns >= asked.received_ns
