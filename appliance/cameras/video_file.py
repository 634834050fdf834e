"""A recorded video in place of a camera: a picture per trigger, or at its own pace like a live stream."""

import threading
import time

from appliance.cameras.grabber import Grabbed
from appliance.cameras.settings import OpenCvCameraSettings
from appliance.cameras.video_source import VideoSource, open_source
from appliance.errors import CameraError
from appliance.events import Pixels, utc_now

USUAL_RATE_HZ = 25.0
"""Taken where a video does not say how fast it is."""


class SteppedVideo:
    """The next picture of a video for each capture, so that a run with one view can be repeated exactly."""

    def __init__(self, settings: OpenCvCameraSettings, position: int = 0) -> None:
        """Prepare; position is the number of pictures shown before, so that a reopened video goes on."""
        self._settings = settings
        self._source: VideoSource | None = None
        self._checked: Grabbed | None = None
        self._taken = 0
        self.position = position

    def wait_until_connected(self) -> None:
        """Open the video and check its first picture; harmless when it is open.

        Raises:
            CameraError: It cannot be opened, or has another size or format.
        """
        if self._source is not None:
            return
        source = open_source(self._settings)
        try:
            if all(source.grab() for _ in range(self.position)) and source.grab():
                self._checked = self._grabbed(source.picture())
        except CameraError:
            source.close()
            raise
        self._source = source

    def take(self, received_ns: int, timeout_s: float) -> Grabbed:
        """Return the next picture; it counts as taken now, whenever the trigger was.

        Raises:
            CameraError: The video is over or cannot be read on.
        """
        if self._source is None:
            raise CameraError(f"{self._settings.file}: the video is not open; open the camera again")
        checked, self._checked = self._checked, None
        if checked is not None:
            grabbed = self._grabbed(checked.pixels)
        else:
            grabbed = self._grabbed((self._source if self._source.grab() else self._started_over()).picture())
        self.position += 1
        self._taken += 1
        return grabbed

    @property
    def last_frame_id(self) -> int:
        """Frame id of the picture shown last; 0 before the first."""
        return self._taken

    def close(self) -> None:
        """Let go of the file."""
        if self._source is not None:
            self._source.close()
        self._source = self._checked = None

    def _grabbed(self, pixels: Pixels | None) -> Grabbed:
        problem = "" if pixels is not None else f"picture {self.position + 1} of the video is broken or cut off"
        return Grabbed(self._taken + 1, time.monotonic_ns(), utc_now(), pixels, problem)

    def _started_over(self) -> VideoSource:
        if self._settings.at_end == "end":
            raise CameraError(
                f"{self._settings.file}: all {self.position} pictures have been shown; set at_end to loop"
            )
        self.close()
        self.position = 0
        self._source = source = open_source(self._settings)
        if not source.grab():
            raise CameraError(f"{self._settings.file}: no picture in this video; record it again")
        return source


class PacedVideo:
    """A video that runs by itself, over and over, at its own rate: a live stream without a camera."""

    def __init__(self, settings: OpenCvCameraSettings) -> None:
        """Open it.

        Raises:
            CameraError: It cannot be opened.
        """
        self._settings = settings
        self._source = open_source(settings)
        self._period_ns = int(1e9 / (self._source.rate_hz if self._source.rate_hz > 0 else USUAL_RATE_HZ))
        self._next_ns = time.monotonic_ns()
        self._pause = threading.Event()

    def grab(self) -> bool:
        """Wait until the next picture is due; False if the video has none."""
        self._pause.wait(max(0.0, (self._next_ns - time.monotonic_ns()) / 1e9))
        self._next_ns += self._period_ns
        if self._source.grab():
            return True
        self._source.close()
        self._source = open_source(self._settings)
        return self._source.grab()

    def picture(self) -> Pixels | None:
        """Decode the picture just grabbed; None if it is broken.

        Raises:
            CameraError: It has another size or format than the settings say.
        """
        return self._source.picture()

    def close(self) -> None:
        """Let go of the file."""
        self._source.close()
