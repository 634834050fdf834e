import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from appliance.cameras.opencv import OpenCvCamera
from appliance.cameras.settings import OpenCvCameraSettings
from appliance.cameras.video_source import check_source, device_link, source_name
from appliance.errors import CameraError, ConfigError
from tests.cameras import HEIGHT, QUICK, WIDTH, captured_again, lost_after, opencv_camera, trigger, write_video
from tests.mjpeg_server import MjpegServer, Mode
from tests.rtsp_server import RtspServer, write_transport_stream


@pytest.fixture
def server() -> Iterator[MjpegServer]:
    made = MjpegServer(WIDTH, HEIGHT)
    made.start()
    yield made
    made.stop()


def by_id(directory: Path, *names: str) -> Path:
    root = directory / "by-id"
    root.mkdir()
    for number, name in enumerate(names):
        device = directory / f"video{number}"
        device.write_bytes(b"not a camera")
        (root / name).symlink_to(device)
    return root


def shown(camera: OpenCvCamera, count: int) -> list[int]:
    camera.open()
    greys = [round(float(camera.capture(trigger(), 1.0).pixels.mean()) / 10) for _ in range(count)]
    camera.close()
    return greys


@pytest.mark.parametrize(
    ("mode", "channels", "says"),
    [
        ("black", 1, "black; check the lamp"),
        ("black", 3, "black; check the lamp"),
        ("frozen", 1, "very same as that of the part before"),
        ("small", 1, "sends 32 x 24 pixels, the settings say 64 x 48"),
        ("cut", 1, "broken or cut off"),
        ("cut", 3, "broken or cut off"),
        ("grey", 3, "grey pictures, the settings say channels 3"),
        ("silent", 1, "stream ended or was silent"),
    ],
)
def test_a_picture_that_is_no_picture_of_the_part_is_refused_until_it_is_one_again(
    server: MjpegServer, mode: Mode, channels: int, says: str
) -> None:
    camera = opencv_camera(url=server.url, channels=channels, frozen_after_frames=8)
    camera.open()
    assert camera.capture(trigger(), 1.0).pixels.shape == (HEIGHT, WIDTH, channels)
    server.mode = mode
    assert says in str(lost_after(camera))
    server.mode = "live"
    assert captured_again(camera).pixels.mean() > 100
    camera.close()


@pytest.mark.parametrize(("mode", "channels", "says"), [("small", 1, "32 x 24"), ("grey", 3, "sends grey pictures")])
def test_a_wrong_size_or_format_is_told_at_open(server: MjpegServer, mode: Mode, channels: int, says: str) -> None:
    server.mode = mode
    camera = opencv_camera(url=server.url, channels=channels)
    with pytest.raises(CameraError, match=says):
        camera.open()
    camera.close()


def test_no_two_parts_get_one_picture_long_before_the_stream_counts_as_frozen(server: MjpegServer) -> None:
    server.mode = "frozen"
    camera = opencv_camera(url=server.url, frozen_after_frames=100_000)
    camera.open()
    camera.capture(trigger(), 1.0)
    for _ in range(3):
        with pytest.raises(CameraError, match="very same as that of the part before"):
            camera.capture(trigger(), 1.0)
    server.mode = "live"
    assert captured_again(camera).pixels.mean() > 100
    camera.close()


def test_a_lamp_that_is_off_is_black_for_every_part_and_not_a_frozen_camera(server: MjpegServer) -> None:
    server.mode = "black"
    camera = opencv_camera(url=server.url, frozen_after_frames=100_000)
    camera.open()
    for _ in range(3):
        with pytest.raises(CameraError, match="black; check the lamp"):
            camera.capture(trigger(), 1.0)
    camera.close()


def test_a_frozen_camera_stays_refused_when_connecting_again_brings_the_same_picture(server: MjpegServer) -> None:
    server.mode = "frozen"
    camera = opencv_camera(url=server.url, frozen_after_frames=5)
    camera.open()
    lost_after(camera)
    connections = server.connections
    while server.connections < connections + 3:
        with pytest.raises(CameraError):
            camera.capture(trigger(), 0.05)
    camera.close()


def test_a_still_scene_is_no_fault_where_frozen_is_switched_off(server: MjpegServer) -> None:
    server.mode = "frozen"
    camera = opencv_camera(url=server.url, frozen_after_frames=None)
    camera.open()
    assert len({camera.capture(trigger(), 1.0).frame_id for _ in range(20)}) == 20
    camera.close()


def test_colour_is_rgb_from_undecoded_and_from_decoded_streams(tmp_path: Path) -> None:
    for name, code in (("a.avi", "MJPG"), ("b.avi", "mp4v")):
        writer = cv2.VideoWriter(str(tmp_path / name), cv2.VideoWriter.fourcc(*code), 25.0, (WIDTH, HEIGHT))
        for _ in range(5):
            writer.write(np.full((HEIGHT, WIDTH, 3), (20, 120, 220), np.uint8))  # B, G, R
        writer.release()
        camera = opencv_camera(file=tmp_path / name, channels=3)
        camera.open()
        assert np.abs(camera.capture(trigger(), 1.0).pixels.mean(axis=(0, 1)) - (220, 120, 20)).max() < 6
        camera.close()


def test_a_video_gives_each_picture_once_per_trigger_and_loops(tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.avi", 6)
    assert shown(opencv_camera(file=video), 8) == [1, 2, 3, 4, 5, 6, 1, 2]


def test_a_video_goes_on_where_it_was_when_it_is_opened_again(tmp_path: Path) -> None:
    camera = opencv_camera(file=write_video(tmp_path / "v.avi", 6), at_end="end")
    assert shown(camera, 2) + shown(camera, 4) == [1, 2, 3, 4, 5, 6]
    with pytest.raises(CameraError, match="all 6 pictures"):
        shown(camera, 1)
    camera.close()


def test_a_video_in_realtime_keeps_its_rate_and_what_nobody_saw_is_a_gap_in_the_frame_ids(tmp_path: Path) -> None:
    camera = opencv_camera(file=write_video(tmp_path / "v.avi", 10), pace="realtime", **QUICK)
    camera.open()
    first = camera.capture(trigger(), 1.0)
    threading.Event().wait(0.4)
    later = camera.capture(trigger(), 1.0)
    passed = round((later.captured_ns - first.captured_ns) / 20_000_000)  # 50 pictures per second
    assert abs(later.frame_id - first.frame_id - passed) <= 2
    camera.close()


def test_a_broken_or_foreign_file_is_a_camera_error_and_a_missing_one_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "text.avi").write_text("no video")
    camera = opencv_camera(file=tmp_path / "text.avi")
    with pytest.raises(CameraError, match=r"text\.avi"):
        camera.open()
    with pytest.raises(CameraError, match="open the camera again"):
        camera.capture(trigger(), 0.1)
    camera.close()
    for name in ("gone.avi", "long" * 100, "."):
        with pytest.raises(ConfigError, match=r"cameras\.top: .*correct `file`"):
            opencv_camera(file=tmp_path / name)


@pytest.mark.parametrize("device", ["0", "/dev/video0", "video0/x"])
def test_a_device_by_number_is_refused_with_the_stable_names(tmp_path: Path, device: str) -> None:
    root = by_id(tmp_path, "usb-ACME-index0", "usb-Other-index0")
    settings = {"type": "opencv", "device": device, "width": WIDTH, "height": HEIGHT, "channels": 1}
    with pytest.raises(ConfigError, match=r"cameras\.top: .*usb-ACME-index0, usb-Other-index0"):
        OpenCvCamera("top", OpenCvCameraSettings.model_validate(settings), root)


def test_a_stable_name_is_a_link_by_id_or_by_path(tmp_path: Path) -> None:
    root = by_id(tmp_path, "usb-ACME-index0")
    assert device_link("usb-ACME-index0", root).resolve() == tmp_path / "video0"
    assert device_link(str(root / "usb-ACME-index0"), root).resolve() == tmp_path / "video0"
    assert device_link("/dev/v4l/by-path/pci-1", root) == Path("/dev/v4l/by-path/pci-1")


def test_an_unplugged_device_is_a_camera_error_that_lists_what_is_there(tmp_path: Path) -> None:
    root = by_id(tmp_path, "usb-ACME-index0")
    settings = {"type": "opencv", "device": "usb-Gone-index0", "width": WIDTH, "height": HEIGHT, "channels": 1}
    camera = OpenCvCamera("top", OpenCvCameraSettings.model_validate(settings), root)
    with pytest.raises(CameraError, match=r"usb-Gone-index0: not plugged in; found: usb-ACME-index0"):
        camera.open()
    camera.close()


def test_a_device_name_that_no_system_can_have_is_not_plugged_in(tmp_path: Path) -> None:
    settings = {"type": "opencv", "device": "usb" * 100, "width": WIDTH, "height": HEIGHT, "channels": 1}
    camera = OpenCvCamera("top", OpenCvCameraSettings.model_validate(settings), by_id(tmp_path))
    with pytest.raises(CameraError, match="not plugged in"):
        camera.open()
    camera.close()


def test_a_link_to_something_that_is_no_camera_is_a_camera_error(tmp_path: Path) -> None:
    root = by_id(tmp_path, "usb-ACME-index0")
    settings = {"type": "opencv", "device": "usb-ACME-index0", "width": WIDTH, "height": HEIGHT, "channels": 1}
    camera = OpenCvCamera("top", OpenCvCameraSettings.model_validate({**settings, "rate_hz": 30.0}), root)
    with pytest.raises(CameraError, match="cannot be opened"):
        camera.open()
    camera.close()


@pytest.mark.skipif("GStreamer:                   YES" in cv2.getBuildInformation(), reason="this OpenCV has GStreamer")
def test_a_pipeline_without_gstreamer_is_a_config_error_that_says_what_to_install() -> None:
    with pytest.raises(ConfigError, match="WITH_GSTREAMER=ON"):
        opencv_camera(pipeline="videotestsrc ! video/x-raw,format=GRAY8 ! appsink")


def test_a_mute_server_costs_no_more_than_the_open_timeout_and_close_ends_the_thread() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}/x"
        camera = opencv_camera(url=url, open_timeout_ms=300)
        started_ns = time.monotonic_ns()
        with pytest.raises(CameraError, match="cannot be opened"):
            camera.open()
        assert time.monotonic_ns() - started_ns < 2_000_000_000
        camera.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("grabber")]


def test_a_mute_server_with_a_long_open_timeout_keeps_neither_open_nor_capture_nor_close_waiting(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}/x"
        camera = opencv_camera(url=url, open_timeout_ms=12_000)
        started_ns = time.monotonic_ns()
        with pytest.raises(CameraError, match=r"no picture within 3\.0 s of connecting"):
            camera.open()
        assert 2.9e9 < time.monotonic_ns() - started_ns < 3.5e9
        started_ns = time.monotonic_ns()
        for ask in (camera.open, lambda: camera.capture(trigger(), 2.0)):
            with pytest.raises(CameraError, match="still trying"):
                ask()
        assert time.monotonic_ns() - started_ns < 500_000_000
        started_ns = time.monotonic_ns()
        camera.close()
        assert time.monotonic_ns() - started_ns < 3.5e9
        assert "left to end by itself" in caplog.text
    left = [thread for thread in threading.enumerate() if thread.name.startswith("grabber")]
    assert all(thread.daemon for thread in left)
    for thread in left:
        thread.join(15.0)
        assert not thread.is_alive()


def test_a_camera_slower_to_connect_than_open_waits_comes_by_itself(server: MjpegServer) -> None:
    camera = opencv_camera(url=server.url, settle_ms=3_300)
    with pytest.raises(CameraError, match="still trying"):
        camera.open()
    assert captured_again(camera).pixels.shape == (HEIGHT, WIDTH, 1)
    camera.close()


def test_rtsp_runs_over_tcp_and_a_password_is_never_in_messages_or_frames(tmp_path: Path) -> None:
    write_transport_stream(tmp_path / "s.ts", WIDTH, HEIGHT)
    server = RtspServer(tmp_path / "s.ts")
    server.start()
    camera = opencv_camera(url=server.url)
    camera.open()
    source = camera.capture(trigger(), 1.0).source
    assert all("TCP" in transport for transport in server.transports)
    server.is_silent = True
    message = str(lost_after(camera))
    assert source.startswith("rtsp://127.0.0.1")
    assert "secret" not in source + message
    camera.close()
    server.stop()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({}, "exactly one of device, url, file, pipeline; found none"),
        ({"url": "http://a/b", "file": "x.avi"}, "found url, file"),
        ({"url": "http://a/b", "rate_hz": 5.0}, "rate_hz has no effect on a url"),
        ({"device": "usb", "pace": "trigger"}, "pace has no effect on a device"),
        ({"file": "x.avi", "pace": "realtime", "at_end": "end"}, "always loops"),
        ({"url": "ftp://a/b"}, "String should match"),
        ({"pipeline": "videotestsrc ! fakesink"}, "String should match"),
        ({"url": "http://a/b", "channels": 4}, "Input should be 1 or 3"),
        ({"url": "http://a/b", "exposure": 4}, "Extra inputs"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        OpenCvCameraSettings.model_validate({"type": "opencv", "width": 64, "height": 48, "channels": 1, **wrong})


def test_a_source_is_named_without_its_credentials() -> None:
    made = {"type": "opencv", "width": 64, "height": 48, "channels": 1, "url": "rtsp://me:p%40ss@cam.local:554/1"}
    settings = OpenCvCameraSettings.model_validate(made)
    assert source_name(settings) == "rtsp://cam.local:554/1"
    check_source(settings)
