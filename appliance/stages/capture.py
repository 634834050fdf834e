"""capture: the picture that belongs to this trigger, or the reason why there is none."""

import logging

from appliance.errors import CameraError
from appliance.events import Frame, Trigger
from appliance.ports import Camera

log = logging.getLogger(__name__)


class Capture:
    """Takes one view's pictures; opens the camera again after every loss. Used by that view's thread alone."""

    def __init__(self, view: str, camera: Camera, max_delay_ms: int) -> None:
        """Prepare, without touching the camera yet.

        Args:
            view: the recipe's name for what this camera sees.
            camera: closed.
            max_delay_ms: a picture taken longer than this after the trigger may show the next part and is refused.
        """
        self._view = view
        self._camera = camera
        self._max_delay_ns = max_delay_ms * 1_000_000
        self._is_open = False
        self._last_frame_id = -1

    def open(self) -> None:
        """Open the camera, so that the first part does not have to wait for it.

        Raises:
            CameraError: it is not there; take() will try again.
        """
        self._camera.open()
        self._is_open = True
        self._last_frame_id = -1

    def take(self, trigger: Trigger, timeout_s: float) -> Frame:
        """Return this trigger's picture.

        Args:
            trigger: the part that is at the camera.
            timeout_s: seconds until an answer would come too late.

        Raises:
            CameraError: no picture, an old one, or one that may show another part. The camera is opened again
                before the next part.
        """
        if not self._is_open:
            self.open()
        try:
            frame = self._camera.capture(trigger, timeout_s)
        except CameraError:
            self._is_open = False  # opened again, not closed: the camera may be on its way back already
            raise
        self._check(frame, trigger)
        self._last_frame_id = frame.frame_id
        return frame

    def _check(self, frame: Frame, trigger: Trigger) -> None:
        if frame.frame_id <= self._last_frame_id:
            raise CameraError(
                f"view {self._view}: picture {frame.frame_id} was used for an earlier part; "
                "the camera is slower than the line: raise its frame rate or use its hardware trigger"
            )
        delay_ns = frame.captured_ns - trigger.received_ns
        if abs(delay_ns) > self._max_delay_ns:
            when = "after" if delay_ns > 0 else "before"
            raise CameraError(
                f"view {self._view}: the picture was taken {abs(delay_ns) / 1e6:.0f} ms {when} the trigger, more than "
                f"the {self._max_delay_ns / 1e6:.0f} ms in which the part is surely there (max_capture_delay_ms)"
            )

    def close(self) -> None:
        """Let go of the camera."""
        self._is_open = False
        self._camera.close()
