"""USB, network and CSI cameras and videos, by OpenCV."""

from pathlib import Path

from appliance.cameras.grabber import Grabber, PictureStream, is_same_picture
from appliance.cameras.settings import OpenCvCameraSettings
from appliance.cameras.video_file import PacedVideo, SteppedVideo
from appliance.cameras.video_source import BY_ID_ROOT, check_source, open_source, source_name
from appliance.errors import CameraError, ConfigError
from appliance.events import Frame, Pixels, Trigger


class OpenCvCamera:
    """A free-running camera as a `ports.Camera`: a thread keeps the newest pictures and connects again by itself.

    While the camera is lost, open() and capture() fail at once, so that a part gets its FAULT verdict in time.
    """

    def __init__(self, view: str, settings: OpenCvCameraSettings, by_id_root: Path = BY_ID_ROOT) -> None:
        """Check what a person wrote; nothing is connected before open().

        Done here and not in open(), so that a mistake is told before anything runs.

        Args:
            view: name of the view, as in the recipe.
            settings: what to open and what it must send.
            by_id_root: where the stable names of V4L2 devices are.

        Raises:
            ConfigError: The device has no stable name, the video cannot be read, or this OpenCV has no GStreamer.
        """
        try:
            check_source(settings, by_id_root)
        except ConfigError as error:
            raise ConfigError(f"cameras.{view}: {error}") from error
        self._view = view
        self._settings = settings
        self._by_id_root = by_id_root
        self._name = source_name(settings)
        self._feed: Grabber | SteppedVideo | None = None
        self._frames_before = 0
        self._video_position = 0
        self._last_pixels: Pixels | None = None

    def open(self) -> None:
        """Connect and check size and format, for at most 3 s; on a lost camera this only tells whether it is back.

        Raises:
            CameraError: Not there (also a video that has vanished since the start), not what the settings say, or not
                yet connected; attempts go on in the background, and capture() raises meanwhile.
        """
        if self._feed is None:
            if self._settings.file is not None and self._settings.pace == "trigger":
                self._feed = SteppedVideo(self._settings, self._video_position)
            else:
                self._feed = Grabber(self._name, self._settings, self._connect)
                self._feed.start()
        self._feed.wait_until_connected()

    def capture(self, trigger: Trigger, timeout_s: float) -> Frame:
        """Return the first picture exposed after the trigger was received.

        Args:
            trigger: the part's.
            timeout_s: seconds to wait for the picture.

        Raises:
            CameraError: Lost (at once), silent (after timeout_s), or the picture is broken, frozen or black.
            RuntimeError: The camera is not open.
        """
        if self._feed is None:
            raise RuntimeError(f"camera {self._view}: capture before open")
        grabbed = self._feed.take(trigger.received_ns, timeout_s)
        if grabbed.pixels is None:
            raise CameraError(f"camera {self._view}: {grabbed.problem}")
        is_as_before = self._is_as_before(grabbed.pixels)
        if self._is_black(grabbed.pixels):
            raise CameraError(f"camera {self._view}: the picture of {self._name} is black; check the lamp and the lens")
        if is_as_before:
            raise CameraError(
                f"camera {self._view}: the picture of {self._name} is the very same as that of the part before: "
                "the camera is frozen; restart it (or allow this with frozen_after_frames: null)"
            )
        frame_id = self._frames_before + grabbed.frame_id
        return Frame(self._view, frame_id, grabbed.pixels, grabbed.captured_at, grabbed.captured_ns, source=self._name)

    def close(self) -> None:
        """Let go of the device and end the thread, for at most 3 s; harmless when it is not open."""
        feed, self._feed = self._feed, None
        if feed is not None:
            feed.close()
            self._frames_before += feed.last_frame_id
            self._video_position = feed.position if isinstance(feed, SteppedVideo) else 0

    def _connect(self) -> PictureStream:
        if self._settings.file is not None:
            return PacedVideo(self._settings)
        return open_source(self._settings, self._by_id_root)

    def _is_as_before(self, pixels: Pixels) -> bool:
        """Tell whether a live camera gave two parts one picture: its noise alone makes each one different."""
        last, self._last_pixels = self._last_pixels, pixels
        is_live = self._settings.file is None and self._settings.frozen_after_frames is not None
        return is_live and last is not None and is_same_picture(last, pixels)

    def _is_black(self, pixels: Pixels) -> bool:
        # The maximum first: it is cheap, and settles it for every lit picture.
        return int(pixels.max()) < self._settings.black_max and float(pixels.mean()) < self._settings.black_mean
