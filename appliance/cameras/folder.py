"""A camera that shows recorded pictures: for replay, teaching and tests."""

import random
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path

from appliance.bundle.picture import decode
from appliance.cameras.settings import FolderCameraSettings
from appliance.cameras.truth import list_recorded
from appliance.errors import CameraError, ConfigError
from appliance.events import Frame, Pixels, Trigger, utc_now


class FolderCamera:
    """Recorded pictures as a `ports.Camera`; one picture per capture, the next one decoded while the part is inspected.

    For stations with one view: a part that is not captured takes no picture, so that the pictures of two views
    would be of different parts from then on.

    Opened again, it goes on with the picture after the last one, so that a broken picture costs one part and not all.
    """

    def __init__(self, view: str, settings: FolderCameraSettings) -> None:
        """List the pictures; later changes of the folder's list are not seen.

        Done here and not in open(), so that a person's mistake is told before anything runs.

        Args:
            view: name of the view, as in the recipe.
            settings: which pictures, in which order.

        Raises:
            ConfigError: The folder is missing, not readable or empty, or its annotations are broken.
        """
        self._view = view
        self._settings = settings
        self._recorded = self._listed()
        self._reader: ThreadPoolExecutor | None = None
        self._ahead: tuple[int, Future[Pixels]] | None = None
        self._closing = threading.Event()
        self._position = 0
        self._frame_id = 0
        self._next_slot_ns = 0

    def open(self) -> None:
        """Start the thread that reads; never fails, because capture() tells of a folder that has vanished since."""
        self.close()
        self._closing.clear()
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"camera-{self._view}")

    def capture(self, trigger: Trigger, timeout_s: float) -> Frame:
        """Return the next recorded picture as if it had been taken now.

        Args:
            trigger: the part's; a recorded picture belongs to whichever part comes.
            timeout_s: seconds to wait for the rate limit and for the disk.

        Raises:
            CameraError: The picture is broken, gone or not there in time, or all have been shown.
            RuntimeError: The camera is not open.
        """
        if self._reader is None:
            raise RuntimeError(f"camera {self._view}: capture before open")
        until_ns = time.monotonic_ns() + int(timeout_s * 1e9)
        if self._settings.at_end == "end" and self._position >= len(self._recorded):
            raise CameraError(
                f"camera {self._view}: all {len(self._recorded)} pictures of {self._settings.directory} "
                "have been shown; set at_end to loop or add pictures"
            )
        self._wait_for_slot(until_ns)
        index, reading = self._ahead or self._read(self._reader, self._position)
        self._ahead = (index, reading)
        path = self._recorded[index]
        try:
            pixels = reading.result(timeout=max(0.0, (until_ns - time.monotonic_ns()) / 1e9))
        except FutureTimeout as error:
            raise CameraError(
                f"camera {self._view}: {path} was not read within {timeout_s} s; check the disk or the network drive"
            ) from error
        except CameraError:
            self._go_on()
            raise
        self._go_on()
        self._frame_id += 1
        return Frame(self._view, self._frame_id, pixels, utc_now(), time.monotonic_ns(), source=str(path))

    def close(self) -> None:
        """Let go of the folder; harmless when it is not open."""
        self._closing.set()
        if self._reader is not None:
            self._reader.shutdown(wait=False, cancel_futures=True)
        self._reader = None
        self._ahead = None

    def _listed(self) -> list[Path]:
        try:
            recorded = [image.path for image in list_recorded(self._settings.directory, self._settings.groups)]
        except ConfigError as error:
            raise ConfigError(f"cameras.{self._view}: {error}") from error
        if self._settings.order == "shuffled":
            random.Random(self._settings.seed).shuffle(recorded)
        return recorded

    def _read(self, reader: ThreadPoolExecutor, position: int) -> tuple[int, Future[Pixels]]:
        index = position % len(self._recorded)
        return index, reader.submit(read_picture, self._recorded[index], self._settings.channels)

    def _go_on(self) -> None:
        self._position += 1
        is_over = self._settings.at_end == "end" and self._position >= len(self._recorded)
        self._ahead = None if is_over or self._reader is None else self._read(self._reader, self._position)

    def _wait_for_slot(self, until_ns: int) -> None:
        if self._settings.rate_hz is None:
            return
        now_ns = time.monotonic_ns()
        if self._next_slot_ns > until_ns:
            self._closing.wait(max(0.0, (until_ns - now_ns) / 1e9))
            raise CameraError(
                f"camera {self._view}: no picture in time at rate_hz {self._settings.rate_hz}; "
                "trigger less often or raise rate_hz"
            )
        self._closing.wait(max(0.0, (self._next_slot_ns - now_ns) / 1e9))
        self._next_slot_ns = max(now_ns, self._next_slot_ns) + int(1e9 / self._settings.rate_hz)


def read_picture(path: Path, channels: int) -> Pixels:
    """Read one picture file.

    Args:
        path: png, jpg, bmp or tif; 16-bit pictures are reduced to 8 bit.
        channels: 1 grey or 3 RGB.

    Returns:
        Pixels uint8, shape (height, width, channels).

    Raises:
        CameraError: The file is missing, cut off or not a picture; whoever recorded it must replace it.
    """
    try:
        pixels = decode(path.read_bytes(), channels)
    except OSError as error:
        raise CameraError(f"{path}: cannot be read ({error.strerror}); restore or remove the picture") from error
    if pixels is None:
        raise CameraError(f"{path}: empty, broken or no picture, cannot be decoded; restore or remove it")
    return pixels
