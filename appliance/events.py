"""The values that flow from trigger to verdict; all of them frozen, on this one page."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Pixels: TypeAlias = NDArray[np.uint8]
else:
    Pixels = Any  # who only passes these values on, as the agent that waits for updates, has no memory for numpy
"""uint8, shape (height, width, channels), channels 1 (grey) or 3 (RGB), row 0 on top."""

Box: TypeAlias = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels of the view's frame; x2 and y2 lie outside the object."""


class Verdict(str, Enum):
    """The one final answer for a part; only ACCEPT lets the part through."""

    ACCEPT = "ACCEPT"
    REJECT = "REJECT"
    REVIEW = "REVIEW"
    FAULT = "FAULT"


class Reason(str, Enum):
    """Why the verdict is what it is: one for each way that a part can end."""

    COMPLETE = "complete"  # every view inspected, nothing found over a limit
    DEFECT = "defect"  # a detection at or over its class's reject limit
    GREY_BAND = "grey_band"  # a detection between the accept and the reject limit
    TOO_DARK = "too_dark"
    TOO_BRIGHT = "too_bright"
    BLURRED = "blurred"
    MISPLACED = "misplaced"
    WRONG_PICTURE = "wrong_picture"  # size or channels are not the recipe's
    CAMERA = "camera"  # lost, silent, frozen or black
    RUNTIME = "runtime"  # inference failed
    QUEUE_FULL = "queue_full"  # parts come faster than they can be inspected
    DEADLINE = "deadline"  # not decided in time
    MISSED_TRIGGER = "missed_trigger"  # announced again, but never seen the first time: the part has passed
    RESTART = "restart"  # the process ended between trigger and verdict


class Challenge(str, Enum):
    """A part that is known to be good or bad, run through the line to see what it says; judged as every other part."""

    GOOD = "good"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Trigger:
    """A part is at the camera.

    trigger_id is the line's own and makes a repeated message harmless; part_id names the part.
    received_ns and deadline_ns are on the monotonic clock; received_at is UTC. product was in force when the trigger
    was taken; empty where an older version took it. challenge: what people know of the part; None of nearly every one.
    """

    trigger_id: str
    part_id: str
    received_at: datetime
    received_ns: int
    deadline_ns: int
    product: str = ""
    challenge: Challenge | None = None


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of one view; captured_ns is on the monotonic clock, captured_at is UTC."""

    view: str
    frame_id: int
    pixels: Pixels
    captured_at: datetime
    captured_ns: int
    source: str = ""
    exposure_us: float | None = None
    gain_db: float | None = None


@dataclass(frozen=True, slots=True)
class ImageStatistics:
    """What one picture looks like; grey values 0..255, ratios 0..1.

    brightness_mean and brightness_spread (standard deviation) are grey values; contrast = spread / mean;
    sharpness = variance of the Laplacian (grey values squared); the colour ratios are None on a grey picture.
    """

    brightness_mean: float
    brightness_spread: float
    contrast: float
    sharpness: float
    clipped_low_ratio: float
    clipped_high_ratio: float
    red_green_ratio: float | None = None
    blue_green_ratio: float | None = None


@dataclass(frozen=True, slots=True)
class Detection:
    """One object that the model found; score 0..1 is the probability of being right."""

    label: str
    score: float
    box: Box


@dataclass(frozen=True, slots=True)
class PartAlignment:
    """How a part lies against the reference picture that matches it best; reference is its file in the recipe.

    shift_px: x, y that the part lies right of and below its place, at the middle of what the reference shows;
    rotation_deg: clockwise; stretch_percent: by which the part is longer along the picture's rows, and along its
    columns; match: likeness of the part and the reference in its place, -1..1; 0 if the part was not found: the place
    is then where the search ended.
    """

    reference: str
    shift_px: tuple[float, float]
    rotation_deg: float
    stretch_percent: tuple[float, float]
    match: float


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict with its reason; label, score and limit are those of the deciding detection, if one decided."""

    verdict: Verdict
    reason: Reason
    detail: str = ""
    label: str | None = None
    score: float | None = None
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class ViewResult:
    """What one view showed; statistics are None when the picture never came.

    alignment is None where the recipe has no reference, or the picture could not be compared with it.
    """

    view: str
    frame: Frame | None
    statistics: ImageStatistics | None
    detections: tuple[Detection, ...]
    offset_px: tuple[float, float] | None = None
    alignment: PartAlignment | None = None


@dataclass(frozen=True, slots=True)
class Versions:
    """What judged: names for people, SHA-256 digests (hex) for the record; certificate: id of this device's proof."""

    software: str
    bundle: str
    bundle_revision: int
    bundle_digest: str
    recipe: str
    recipe_version: int
    recipe_digest: str
    config_digest: str
    runtime: str
    product: str
    certificate: str = ""

    def released(self, kind: "ReleaseKind") -> tuple[str, int, str]:
        """Return name, number (revision or version) and digest of what may be released by itself."""
        if kind == "bundle":
            return self.bundle, self.bundle_revision, self.bundle_digest
        return self.recipe, self.recipe_version, self.recipe_digest


ReleaseKind: TypeAlias = Literal["bundle", "recipe"]
"""What of a product may change while the line goes on."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """Everything known about one part when its verdict is final; the ledger adds seq and the hash chain.

    stage_us: stage name -> microseconds spent. latency_us: trigger received -> decided.
    images: view -> planned file name in the image store, for the views whose picture is kept.
    clock_synchronised: whether the wall clock was kept right at the decision; None where nobody can tell.
    """

    inspection_id: str
    trigger: Trigger
    decision: Decision
    views: tuple[ViewResult, ...]
    decided_at: datetime
    decided_ns: int
    stage_us: dict[str, int]
    versions: Versions
    images: dict[str, str]
    clock_synchronised: bool | None = None

    @property
    def latency_us(self) -> int:
        """Microseconds from the trigger's reception to the decision."""
        return (self.decided_ns - self.trigger.received_ns) // 1000

    @property
    def is_late(self) -> bool:
        """Whether the decision came after the trigger's deadline, so that no action may follow."""
        return self.decided_ns > self.trigger.deadline_ns


@dataclass(frozen=True, slots=True)
class Record:
    """One committed row of the ledger: payload is the exact JSON text that every consumer gets."""

    seq: int
    trigger_id: str
    payload: str
    record_hash: str


@dataclass(frozen=True, slots=True)
class Action:
    """What the line must do with the part, valid until deadline_ns (monotonic) and never after."""

    trigger_id: str
    part_id: str
    inspection_id: str
    seq: int
    verdict: Verdict
    reason: Reason
    deadline_ns: int


@dataclass(frozen=True, slots=True)
class Changeover:
    """Another product is in force from then on; at is UTC, who is a person, or what stands for one.

    from_product is empty where none was in force, to_product where the configuration no longer names several.
    """

    at: datetime
    who: str
    from_product: str
    to_product: str


@dataclass(frozen=True, slots=True)
class ReleaseChange:
    """Another release of a product's bundle or recipe judges from then on; at is UTC, who is a person or a program.

    name: of the bundle or recipe; revisions of a recipe are its versions. last_seq: number of the newest record then.
    from_digest is empty and from_revision 0 where nothing was before.
    """

    at: datetime
    who: str
    product: str
    kind: ReleaseKind
    name: str
    from_digest: str
    from_revision: int
    to_digest: str
    to_revision: int
    is_rollback: bool
    last_seq: int = 0


@dataclass(frozen=True, slots=True)
class ShadowJudgement:
    """What a candidate would have said of the part with this record; label and score of what it was surest of.

    latency_us: in the candidate's own process, which goes last on this device.
    """

    seq: int
    candidate_digest: str
    verdict: Verdict
    reason: Reason
    label: str | None
    score: float | None
    latency_us: int
    at: datetime


@dataclass(frozen=True, slots=True)
class ShadowEnd:
    """How a shadow ended: why, what was wrong (empty if nothing was), and its counts of parts and pictures."""

    because: str
    problem: str
    judged: int
    skipped: int
    differing: int
    pictures_lost: int


@dataclass(frozen=True, slots=True)
class UpdateEvent:
    """One step of an update, as the agent tells it; release_seq is the release's number within its kind."""

    at: datetime
    who: str
    kind: str
    name: str
    release_seq: int
    sha256: str
    state: str
    reason: str


def utc_now() -> datetime:
    """Return the wall clock in UTC; only for what leaves the device, never for a duration."""
    return datetime.now(timezone.utc)


def iso(moment: datetime, timespec: str = "milliseconds") -> str:
    """Format a UTC moment as ISO 8601 with milliseconds (or another timespec of datetime.isoformat) and Z."""
    return moment.astimezone(timezone.utc).isoformat(timespec=timespec).replace("+00:00", "Z")


def moment_of(text: str) -> datetime:
    """Read a moment with its zone, Z or an offset.

    Raises:
        ValueError: the text is none.
    """
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def new_id(moment: datetime | None = None) -> str:
    """Make a UUIDv7: sortable by time, unique without a counter.

    Args:
        moment: UTC time to put in; now if None.

    Returns:
        36 characters, lower case.

    Source:
        RFC 9562, section 5.7.
    """
    unix_ms = int((moment or utc_now()).timestamp() * 1000)
    value = (unix_ms << 80) | secrets.randbits(80)
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
