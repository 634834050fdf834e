"""Opening what OpenCV can read, and taking checked pictures from it.

OpenCV scales and patches pictures silently: a stream that changes its size keeps the old one, and a JPEG that was cut
off comes out half made up. MJPEG is therefore taken undecoded and decoded here, where both show.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from appliance.cameras.settings import OpenCvCameraSettings
from appliance.errors import CameraError, ConfigError
from appliance.events import Pixels

BY_ID_ROOT = Path("/dev/v4l/by-id")
_GREY_FORMATS = {b"GREY", b"Y800", b"Y16 ", b"Y10 ", b"Y12 "}
_Picture: TypeAlias = NDArray[Any]
_STABLE_FOLDERS = {"by-id", "by-path"}


@dataclass(slots=True)
class VideoSource:
    """An open stream or video and the pictures that it must give."""

    name: str
    stream: cv2.VideoCapture
    settings: OpenCvCameraSettings
    is_undecoded_jpeg: bool
    rate_hz: float

    def grab(self) -> bool:
        """Wait for the next picture; False when there is none within the read timeout, or no more."""
        try:
            return bool(self.stream.grab())
        except cv2.error:
            return False

    def picture(self) -> Pixels | None:
        """Decode the picture just grabbed; None if it is broken or cut off.

        Returns:
            Pixels uint8, shape (height, width, channels) of the settings.

        Raises:
            CameraError: It has another size or format than the settings say; one of the two must change.
        """
        is_grey = self.settings.channels == 1
        try:
            is_there, retrieved = self.stream.retrieve()
            picture: _Picture | None = np.asarray(retrieved) if is_there else None
            if picture is not None and self.is_undecoded_jpeg:
                flags = cv2.IMREAD_GRAYSCALE if is_grey else cv2.IMREAD_UNCHANGED
                picture = cv2.imdecode(picture.reshape(-1), flags)
        except cv2.error:
            return None
        if picture is None or picture.size == 0:
            return None
        self._check(picture)
        if picture.ndim == 3 and picture.shape[2] == 3:
            picture = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY if is_grey else cv2.COLOR_BGR2RGB)
        return cast(Pixels, picture.reshape(*picture.shape[:2], self.settings.channels))

    def close(self) -> None:
        """Let go of the device or connection."""
        self.stream.release()

    def _check(self, picture: _Picture) -> None:
        wanted = self.settings
        height, width = picture.shape[:2]
        if (width, height) != (wanted.width, wanted.height):
            raise CameraError(
                f"{self.name}: sends {width} x {height} pixels, the settings say {wanted.width} x {wanted.height}; "
                "set the camera or the settings right"
            )
        channels = picture.shape[2] if picture.ndim == 3 else 1
        if picture.dtype != np.uint8 or channels not in (1, 3):
            raise CameraError(f"{self.name}: sends {channels} x {picture.dtype}; choose an 8-bit grey or colour format")
        if channels == 1 and wanted.channels == 3:
            raise CameraError(f"{self.name}: sends grey pictures, the settings say channels 3; set one of them right")


def check_source(settings: OpenCvCameraSettings, by_id_root: Path = BY_ID_ROOT) -> None:
    """Refuse what no waiting mends.

    Raises:
        ConfigError: The device is a bare number, the video cannot be read, or this OpenCV has no GStreamer.
    """
    if settings.device is not None:
        device_link(settings.device, by_id_root)
    if settings.file is not None:
        _check_video(settings.file)
    if settings.pipeline is not None and not re.search(r"GStreamer:\s+YES", cv2.getBuildInformation()):
        raise ConfigError(
            f"OpenCV {cv2.__version__} has no GStreamer (its PyPI wheels never have); install another build: "
            "JetPack's or Debian's python3-opencv, or OpenCV compiled with -D WITH_GSTREAMER=ON"
        )


def device_link(device: str, by_id_root: Path = BY_ID_ROOT) -> Path:
    """Return the stable link of a V4L2 device; /dev/videoN may be another camera after each restart.

    Raises:
        ConfigError: A number or /dev/videoN was given; the message lists the stable names found.
    """
    if "/" not in device and not device.isdecimal():
        return by_id_root / device
    path = Path(device)
    if path.parent == by_id_root or path.parent.name in _STABLE_FOLDERS:
        return path
    raise ConfigError(
        f"device {device!r} may be another camera after a restart; use one of {by_id_root}: {_found(by_id_root)}"
    )


def open_source(settings: OpenCvCameraSettings, by_id_root: Path = BY_ID_ROOT) -> VideoSource:
    """Connect once, for at most open_timeout_ms.

    Raises:
        CameraError: Not there, or it does not answer; it may be tried again.
    """
    name = source_name(settings)
    timeouts = [
        *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, settings.open_timeout_ms),
        *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, settings.read_timeout_ms),
    ]
    if settings.device is not None:
        link = device_link(settings.device, by_id_root)
        if not _is_there(link):
            raise CameraError(f"{link}: not plugged in; found: {_found(by_id_root)}")
        stream = _opened(name, str(link.resolve()), cv2.CAP_V4L2, [])
        _ask(stream, settings)
    elif settings.pipeline is not None:
        stream = _opened(name, settings.pipeline, cv2.CAP_GSTREAMER, timeouts)
    else:
        stream = _opened(name, str(settings.url or settings.file), cv2.CAP_FFMPEG, timeouts)
    is_jpeg = settings.device is None and settings.pipeline is None and _code(stream, cv2.CAP_PROP_FOURCC) == b"MJPG"
    if is_jpeg:
        is_jpeg = stream.set(cv2.CAP_PROP_FORMAT, -1)
    key = cv2.CAP_PROP_FOURCC if settings.device is not None else cv2.CAP_PROP_CODEC_PIXEL_FORMAT
    if settings.channels == 3 and _code(stream, key) in _GREY_FORMATS:
        stream.release()
        raise CameraError(f"{name}: sends grey pictures, the settings say channels 3; set one of them right")
    return VideoSource(name, stream, settings, is_jpeg, stream.get(cv2.CAP_PROP_FPS))


def source_name(settings: OpenCvCameraSettings) -> str:
    """Return what messages and records call this source; a password in a url is left out."""
    if settings.url is not None:
        return re.sub(r"://[^/@]*@", "://", settings.url)
    return str(settings.device or settings.file or settings.pipeline)


def _check_video(path: Path) -> None:
    try:
        if not path.is_file():
            raise ConfigError(f"{path}: no such video; correct `file`")
        path.open("rb").close()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); correct `file`, or its rights") from error


def _is_there(link: Path) -> bool:
    try:
        return link.exists()
    except OSError:  # a name that no file can have, or a folder that this user may not enter
        return False


def _opened(name: str, address: str, backend: int, parameters: list[int]) -> cv2.VideoCapture:
    try:
        stream = cv2.VideoCapture(address, backend, parameters)
    except cv2.error as error:
        raise CameraError(f"{name}: OpenCV cannot open it ({error.err}); check the address") from error
    if not stream.isOpened():
        raise CameraError(f"{name}: cannot be opened; check the power, the cable, the address and who else uses it")
    return stream


def _ask(stream: cv2.VideoCapture, settings: OpenCvCameraSettings) -> None:
    """Ask a device for its format; what it really sends is checked picture by picture."""
    if settings.pixel_format is not None:
        stream.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*settings.pixel_format))
    stream.set(cv2.CAP_PROP_FRAME_WIDTH, settings.width)
    stream.set(cv2.CAP_PROP_FRAME_HEIGHT, settings.height)
    if settings.rate_hz is not None:
        stream.set(cv2.CAP_PROP_FPS, settings.rate_hz)
    stream.set(cv2.CAP_PROP_BUFFERSIZE, 1)


def _code(stream: cv2.VideoCapture, key: int) -> bytes:
    return (int(stream.get(key)) & 0xFFFFFFFF).to_bytes(4, "little")


def _found(by_id_root: Path) -> str:
    names = sorted(path.name for path in by_id_root.iterdir()) if by_id_root.is_dir() else []
    return ", ".join(names) or "no camera"
