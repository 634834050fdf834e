"""What a person writes about a camera; strict, so that a misspelt key is an error and not a default."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from appliance.documents import LocatedPath, Section


class FolderCameraSettings(Section):
    """Recorded pictures instead of a camera.

    directory: read with its sub-folders; or a COCO file (.json) or a list file of DeepPCB's (.txt).
    groups: only these groups of its annotations; all if empty. channels: 1 grey, 3 RGB.
    order: "natural" (part2 before part10) or "shuffled" by seed, the same in every round.
    at_end: "loop" starts over, "end" refuses further captures.
    rate_hz: at most so many pictures a second; None: as they are asked for.
    """

    type: Literal["folder"]
    directory: Annotated[LocatedPath, Field(strict=False)]
    groups: tuple[str, ...] = ()
    channels: Literal[1, 3] = 1
    order: Literal["natural", "shuffled"] = "natural"
    seed: Annotated[int, Field(ge=0)] = 0
    at_end: Literal["loop", "end"] = "loop"
    rate_hz: Annotated[float, Field(gt=0.0, le=10_000.0)] | None = None


class OpenCvCameraSettings(Section):
    """A camera that OpenCV can read: exactly one of device, url, file, pipeline.

    device: name under /dev/v4l/by-id, or a path in by-id or by-path. url: rtsp, rtsps, http or https.
    file: a video. pipeline: GStreamer, ending in appsink.
    width, height: pixels; channels: 1 grey, 3 RGB. Another size from the camera is a fault.
    pixel_format (four characters) and rate_hz are asked of a device.
    pace: a file gives the next picture per "trigger", or runs in "realtime" like a camera; at_end: "loop" or "end".
    latency_ms: from the exposure until the picture is in this computer; taken off the time of arrival.
    settle_ms: pictures that arrive so soon after connecting are thrown away (decoders give what they had buffered).
    kept_frames: so many pictures wait for a capture that comes late.
    open_timeout_ms, read_timeout_ms: silence after which a url or a pipeline is lost.
    retry_first_ms, retry_longest_ms: pause before the next attempt to connect, doubled each time.
    frozen_after_frames: so many identical pictures in a row are a fault, and two parts with one picture; None: never.
    black_mean, black_max: a picture whose mean and whose brightest grey value (0..255) are both below is black.
    """

    type: Literal["opencv"]
    device: Annotated[str, Field(min_length=1)] | None = None
    url: Annotated[str, Field(pattern=r"^(rtsps?|https?)://\S+$")] | None = None
    file: Annotated[LocatedPath, Field(strict=False)] | None = None
    pipeline: Annotated[str, Field(pattern=r"!\s*appsink\b")] | None = None
    width: Annotated[int, Field(ge=16, le=16_384)]
    height: Annotated[int, Field(ge=16, le=16_384)]
    channels: Literal[1, 3]
    pixel_format: Annotated[str, Field(min_length=4, max_length=4)] | None = None
    rate_hz: Annotated[float, Field(gt=0.0, le=10_000.0)] | None = None
    pace: Literal["trigger", "realtime"] = "trigger"
    at_end: Literal["loop", "end"] = "loop"
    latency_ms: Annotated[float, Field(ge=0.0, le=10_000.0)] = 0.0
    settle_ms: Annotated[int, Field(ge=0, le=60_000)] = 300
    kept_frames: Annotated[int, Field(ge=1, le=256)] = 4
    open_timeout_ms: Annotated[int, Field(ge=100, le=60_000)] = 5_000
    read_timeout_ms: Annotated[int, Field(ge=100, le=60_000)] = 2_000
    retry_first_ms: Annotated[int, Field(ge=10, le=60_000)] = 500
    retry_longest_ms: Annotated[int, Field(ge=10, le=600_000)] = 10_000
    frozen_after_frames: Annotated[int, Field(ge=2)] | None = 100
    black_mean: Annotated[float, Field(ge=0.0, le=255.0)] = 2.0
    black_max: Annotated[int, Field(ge=0, le=255)] = 16

    @model_validator(mode="after")
    def _has_one_source_and_only_its_settings(self) -> "OpenCvCameraSettings":
        named = [key for key in ("device", "url", "file", "pipeline") if getattr(self, key) is not None]
        if len(named) != 1:
            raise ValueError(f"give exactly one of device, url, file, pipeline; found {', '.join(named) or 'none'}")
        belongs = {"pixel_format": "device", "rate_hz": "device", "pace": "file", "at_end": "file"}
        for key, source in belongs.items():
            if key in self.model_fields_set and named != [source]:
                raise ValueError(f"{key} has no effect on a {named[0]}; remove it")
        if self.pace == "realtime" and self.at_end == "end":
            raise ValueError("a file in realtime always loops; remove at_end")
        return self


CameraSettings = Annotated[FolderCameraSettings | OpenCvCameraSettings, Field(discriminator="type")]
"""Any camera's settings, told apart by `type`."""
