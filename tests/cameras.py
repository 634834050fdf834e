"""Every camera of the product in front of something that can be lost and come back, for the tests."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from appliance.cameras.folder import FolderCamera
from appliance.cameras.opencv import OpenCvCamera
from appliance.cameras.settings import FolderCameraSettings, OpenCvCameraSettings
from appliance.clock import SystemClock
from appliance.errors import CameraError
from appliance.events import Frame, Trigger, utc_now
from appliance.ports import Camera
from appliance.simulator.camera import SimulatedCamera, SimulatedCameraSettings
from tests.mjpeg_server import MjpegServer
from tests.rtsp_server import RtspServer, write_transport_stream

WIDTH, HEIGHT = 64, 48
PATIENCE_S = 20.0
"""How long a test waits for what must come, on a machine that is busy with something else."""
QUICK = {"settle_ms": 60, "open_timeout_ms": 3000, "read_timeout_ms": 400, "retry_first_ms": 20, "retry_longest_ms": 80}


@dataclass(frozen=True, slots=True)
class Rig:
    """A camera and the means to take it away and to bring it back; the size of its pictures in pixels."""

    camera: Camera
    lose: Callable[[], object]
    restore: Callable[[], object]
    width: int = WIDTH
    height: int = HEIGHT


def trigger() -> Trigger:
    now_ns = time.monotonic_ns()
    return Trigger("t1", "p1", utc_now(), now_ns, now_ns + 1_000_000_000)


def opencv_camera(**settings: object) -> OpenCvCamera:
    """Make a camera that is quick to give up and to try again."""
    parsed = {"type": "opencv", "width": WIDTH, "height": HEIGHT, "channels": 1, **settings}
    if "file" not in settings:
        parsed = {**QUICK, **parsed}
    return OpenCvCamera("top", OpenCvCameraSettings.model_validate(parsed))


def write_video(path: Path, pictures: int = 20, step: int = 10) -> Path:
    """Write a video whose picture n is evenly n * step grey."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 50.0, (WIDTH, HEIGHT))
    for number in range(1, pictures + 1):
        writer.write(np.full((HEIGHT, WIDTH, 3), number * step, np.uint8))
    writer.release()
    return path


def opened(camera: Camera) -> Camera:
    """Open as the station does, again and again, for as long as a busy machine needs."""
    until_ns = time.monotonic_ns() + int(PATIENCE_S * 1e9)
    while True:
        try:
            camera.open()
            return camera
        except CameraError:
            if time.monotonic_ns() > until_ns:
                raise


def opened_and_captured(camera: Camera) -> Frame:
    """Do what the station does for a part that finds the camera closed."""
    camera.open()
    return camera.capture(trigger(), 1.0)


def captured_again(camera: Camera, within_s: float = PATIENCE_S) -> Frame:
    """Do what the station does with a lost camera, until it is back; fails the test when it does not come back."""
    until_ns = time.monotonic_ns() + int(within_s * 1e9)
    pause = threading.Event()
    while True:
        try:
            return opened_and_captured(camera)
        except CameraError:
            if time.monotonic_ns() > until_ns:
                raise
            pause.wait(0.02)


def lost_after(camera: Camera, within_s: float = PATIENCE_S) -> CameraError:
    """Capture until it fails; returns how."""
    until_ns = time.monotonic_ns() + int(within_s * 1e9)
    while time.monotonic_ns() < until_ns:
        try:
            camera.capture(trigger(), 1.0)
        except CameraError as error:
            return error
    raise AssertionError("the camera was never lost")


def assert_ended_in_time(lasted_ns: list[int], timeout_s: float) -> None:
    """Hold captures to their timeout: the quickest shows the camera's own doing, a busy machine may delay any other."""
    assert min(lasted_ns) < (timeout_s + 0.2) * 1e9
    assert max(lasted_ns) < (timeout_s + 2.5) * 1e9


def _folder_rig(directory: Path) -> Iterator[Rig]:
    pictures, away = directory / "pictures", directory / "away"
    pictures.mkdir()
    for number in range(1, 6):
        cv2.imwrite(str(pictures / f"{number}.png"), np.full((HEIGHT, WIDTH), 40 * number, np.uint8))
    settings = FolderCameraSettings(type="folder", directory=pictures)
    yield Rig(FolderCamera("top", settings), lambda: shutil.move(pictures, away), lambda: shutil.move(away, pictures))


def _video_rig(directory: Path) -> Iterator[Rig]:
    video, away = write_video(directory / "video.avi", 5), directory / "away.avi"
    camera = opencv_camera(file=video)
    yield Rig(camera, lambda: shutil.move(video, away), lambda: shutil.move(away, video))


def _realtime_rig(directory: Path) -> Iterator[Rig]:
    video, away = write_video(directory / "video.avi", 10), directory / "away.avi"
    camera = opencv_camera(file=video, pace="realtime", **QUICK)
    yield Rig(camera, lambda: shutil.move(video, away), lambda: shutil.move(away, video))


def _http_rig(directory: Path) -> Iterator[Rig]:
    server = MjpegServer(WIDTH, HEIGHT)
    server.start()
    yield Rig(opencv_camera(url=server.url), server.stop, server.start)
    server.stop()


def _rtsp_rig(directory: Path) -> Iterator[Rig]:
    video = directory / "stream.ts"
    write_transport_stream(video, WIDTH, HEIGHT)
    server = RtspServer(video)
    server.start()
    yield Rig(opencv_camera(url=server.url), server.stop, server.start)
    server.stop()


def _simulated_rig(directory: Path) -> Iterator[Rig]:
    settings = SimulatedCameraSettings(type="simulated", width=192, height=160)
    camera = SimulatedCamera("top", settings, SystemClock())
    yield Rig(camera, lose=lambda: None, restore=lambda: None, width=192, height=160)


LOSABLE_RIGS = {
    "folder": _folder_rig,
    "video": _video_rig,
    "realtime": _realtime_rig,
    "http": _http_rig,
    "rtsp": _rtsp_rig,
}
RIGS = {**LOSABLE_RIGS, "simulated": _simulated_rig}
"""All cameras that need no hardware; the simulated one is part of the process and cannot be lost."""


@contextmanager
def camera_rig(name: str, directory: Path) -> Iterator[Rig]:
    """Set one of RIGS up and take it down; the camera is closed in the end."""
    for rig in RIGS[name](directory):
        try:
            yield rig
        finally:
            rig.camera.close()
