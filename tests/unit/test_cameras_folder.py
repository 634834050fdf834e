import os
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from appliance.cameras.folder import FolderCamera, read_picture
from appliance.cameras.settings import FolderCameraSettings
from appliance.errors import CameraError, ConfigError
from appliance.events import Frame, Trigger, utc_now

COLOUR = (10, 120, 230)  # R, G, B


def trigger() -> Trigger:
    now_ns = time.monotonic_ns()
    return Trigger("t1", "p1", utc_now(), now_ns, now_ns + 1_000_000_000)


def fill(directory: Path, count: int = 5) -> None:
    for number in range(1, count + 1):
        cv2.imwrite(str(directory / f"part{number}.png"), np.full((6, 8, 3), number, np.uint8))


def camera(directory: Path, **settings: object) -> FolderCamera:
    parsed = FolderCameraSettings.model_validate({"type": "folder", "directory": str(directory), **settings})
    return FolderCamera("top", parsed)


def names(shown: FolderCamera, count: int) -> list[str]:
    shown.open()
    taken = [Path(shown.capture(trigger(), 2.0).source).stem for _ in range(count)]
    shown.close()
    return taken


def test_pictures_loop_in_natural_order(tmp_path: Path) -> None:
    fill(tmp_path, 11)
    assert names(camera(tmp_path), 13) == [f"part{n}" for n in (*range(1, 12), 1, 2)]


def test_a_seed_gives_the_same_shuffled_order_each_time_and_every_picture_once(tmp_path: Path) -> None:
    fill(tmp_path, 9)
    first, again = (names(camera(tmp_path, order="shuffled", seed=5), 9) for _ in range(2))
    assert first == again
    assert sorted(first) == sorted(f"part{n}" for n in range(1, 10))
    assert first != names(camera(tmp_path, order="shuffled", seed=6), 9)


def test_the_end_is_a_camera_error_that_says_so(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    shown = camera(tmp_path, at_end="end")
    assert names(shown, 2) == ["part1", "part2"]
    shown.open()
    with pytest.raises(CameraError, match="all 2 pictures"):
        shown.capture(trigger(), 1.0)


def test_a_frame_is_new_for_every_trigger_and_names_its_picture(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    shown = camera(tmp_path)
    shown.open()
    frames: list[tuple[Trigger, Frame]] = []
    for _ in range(4):
        asked = trigger()
        frames.append((asked, shown.capture(asked, 1.0)))
    shown.close()
    assert [frame.frame_id for _, frame in frames] == [1, 2, 3, 4]
    assert all(frame.captured_ns >= asked.received_ns for asked, frame in frames)
    assert frames[0][1].source == str(tmp_path / "part1.png")


def test_a_part_that_is_not_captured_takes_no_picture(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    shown = camera(tmp_path)
    shown.open()
    first, _skipped, third = trigger(), trigger(), trigger()
    assert [Path(shown.capture(asked, 1.0).source).stem for asked in (first, third)] == ["part1", "part2"]
    shown.close()


@pytest.mark.parametrize("broken", [b"", b"not a picture", None])
def test_a_broken_picture_costs_one_capture_and_is_named(tmp_path: Path, broken: bytes | None) -> None:
    fill(tmp_path, 3)
    victim = tmp_path / "part2.png"
    victim.write_bytes(victim.read_bytes()[:40] if broken is None else broken)
    shown = camera(tmp_path)
    shown.open()
    assert shown.capture(trigger(), 1.0).source.endswith("part1.png")
    with pytest.raises(CameraError, match=r"part2\.png"):
        shown.capture(trigger(), 1.0)
    shown.open()
    after = shown.capture(trigger(), 1.0)
    shown.close()
    assert (after.source, after.frame_id) == (str(tmp_path / "part3.png"), 2)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif"])
def test_a_cut_off_picture_is_never_shown_as_half_a_part(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"part{suffix}"
    cv2.imwrite(str(path), np.random.default_rng(1).integers(0, 255, (64, 64), np.uint8))
    whole = path.read_bytes()
    assert read_picture(path, 1).shape == (64, 64, 1)
    for length in (len(whole) // 3, len(whole) * 2 // 3, len(whole) - 30):
        path.write_bytes(whole[:length])
        with pytest.raises(CameraError, match=path.name):
            read_picture(path, 1)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_colour_is_rgb_and_grey_has_one_channel(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"part{suffix}"
    cv2.imwrite(str(path), np.full((4, 5, 3), COLOUR[::-1], np.uint8))
    colour, grey = read_picture(path, 3), read_picture(path, 1)
    assert (colour.shape, grey.shape) == ((4, 5, 3), (4, 5, 1))
    assert tuple(int(value) for value in colour[2, 2]) == COLOUR
    assert abs(int(grey[2, 2, 0]) - (0.299 * 10 + 0.587 * 120 + 0.114 * 230)) < 2
    assert colour.dtype == grey.dtype == np.uint8


def test_a_sixteen_bit_picture_is_reduced_to_eight(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "deep.png"), np.full((4, 4), 0x8000, np.uint16))
    assert read_picture(tmp_path / "deep.png", 1)[0, 0, 0] == 128


def test_a_picture_deleted_after_open_is_a_camera_error(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    shown = camera(tmp_path)
    shown.open()
    (tmp_path / "part1.png").unlink()
    with pytest.raises(CameraError, match=r"part1\.png: cannot be read"):
        shown.capture(trigger(), 1.0)
    shown.close()


def test_a_silent_drive_is_a_camera_error_within_the_timeout(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    pipe = tmp_path / "part0.png"  # a pipe without a writer answers like a network drive that is gone
    os.mkfifo(pipe)
    shown = camera(tmp_path)
    shown.open()
    started_ns = time.monotonic_ns()
    with pytest.raises(CameraError, match="not read within"):
        shown.capture(trigger(), 0.1)
    assert time.monotonic_ns() - started_ns < 1_000_000_000
    pipe.write_bytes((tmp_path / "part1.png").read_bytes())  # the drive is back
    assert shown.capture(trigger(), 2.0).source == str(pipe)
    shown.close()


def test_the_rate_is_kept_and_a_capture_too_early_for_it_is_refused_in_time(tmp_path: Path) -> None:
    fill(tmp_path)
    shown = camera(tmp_path, rate_hz=50.0)
    shown.open()
    started_ns = time.monotonic_ns()
    for _ in range(6):
        shown.capture(trigger(), 1.0)
    assert time.monotonic_ns() - started_ns >= 5 * 20_000_000
    shown.close()
    slow = camera(tmp_path, rate_hz=0.1)
    slow.open()
    slow.capture(trigger(), 0.2)
    with pytest.raises(CameraError, match="rate_hz"):
        slow.capture(trigger(), 0.05)
    slow.close()


def test_an_empty_missing_or_impossible_folder_is_refused_before_anything_runs(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "gone", tmp_path / ("long" * 100)):
        with pytest.raises(ConfigError, match=r"cameras\.top: .*; name a folder"):
            camera(directory)


def test_broken_annotations_are_refused_before_anything_runs(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    (tmp_path / "annotations.json").write_text("{")
    with pytest.raises(ConfigError, match=r"annotations\.json:1: not JSON"):
        camera(tmp_path)


@pytest.mark.parametrize("wrong", [{"rate": 5}, {"rate_hz": 0}, {"channels": 2}, {"order": "random"}, {"seed": "1"}])
def test_a_misspelt_or_impossible_setting_is_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        camera(tmp_path, **wrong)
