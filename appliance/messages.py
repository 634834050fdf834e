"""What the line and the device tell each other as JSON: one model per topic; its schemas are under docs/schemas/."""

import json
from typing import Annotated, Any, Literal

from pydantic import Field

from appliance.events import Inspection, PartAlignment, ViewResult, iso
from appliance.wire import Hash, Identifier, Message, Utc

UtcMicroseconds = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(\d{3})?Z$")]
VerdictName = Literal["ACCEPT", "REJECT", "REVIEW", "FAULT"]
ChallengeName = Literal["good", "bad"]

FIRST_PREVIOUS_HASH = "0" * 64
"""prev_hash of the device's first record."""


class TriggerMessage(Message):
    """trigger (in): a part is at the camera. repeat = sent before, so the part may have passed already.

    challenge: the part is known to be good or bad, and is run on purpose; it is judged as every other part.
    """

    schema_: Literal["vi.trigger/1"] = Field(alias="schema")
    trigger_id: Identifier
    part_id: Identifier | None = None
    repeat: bool = False
    challenge: ChallengeName | None = None


class ActionMessage(Message):
    """action (out): what the line must do; only "pass" lets the part through, and only until valid_until."""

    schema_: Literal["vi.action/1"] = Field(default="vi.action/1", alias="schema")
    device_id: Identifier
    boot_id: Identifier
    seq: int
    inspection_id: Identifier
    trigger_id: Identifier
    part_id: Identifier
    action: Literal["pass", "divert"]
    verdict: VerdictName
    reason: str
    sent_at: Utc
    valid_until: Utc
    valid_for_ms: int


class AcknowledgeMessage(Message):
    """ack/<consumer> (in): this consumer has every record of device_id up to and including upto."""

    schema_: Literal["vi.ack/1"] = Field(default="vi.ack/1", alias="schema")
    device_id: Identifier
    upto: Annotated[int, Field(ge=0)]


class StatusMessage(Message):
    """status (out, retained; also the last will): offline, online or stopped, with the reason."""

    schema_: Literal["vi.status/1"] = Field(default="vi.status/1", alias="schema")
    device_id: Identifier
    boot_id: Identifier
    state: Literal["online", "stopped", "offline"]
    reason: str
    at: Utc


class HeartbeatMessage(Message):
    """heartbeat (out, 1 Hz): the station lives; last_seq and outbox_depth tell a consumer what it is missing.

    clock_synchronised is null where the device cannot tell.
    """

    schema_: Literal["vi.heartbeat/1"] = Field(default="vi.heartbeat/1", alias="schema")
    device_id: Identifier
    boot_id: Identifier
    at: Utc
    last_seq: int
    outbox_depth: int
    state: Literal["online", "stopped"]
    clock_synchronised: bool | None


class ProvedDevice(Message):
    """The device that a certificate is of, as appliance.device_state tells it; null where it has no such thing."""

    board: str | None
    processor: str | None
    cores: int | None
    processor_clock: str | None
    memory_mb: int | None
    kernel: str | None
    l4t: str | None
    gpu: str | None
    gpu_driver: str | None
    gpu_clock: str | None
    gpu_power: str | None
    power_mode: str | None


class CertificateInBrief(Message):
    """What was proved here, with what and where; all of it is in the certificate, which lies on the device.

    instances: copies of the model at work at once; null in certificates of before.
    golden_lacks: what its golden images do not tell, in words, empty if they tell enough; null in those of before.
    engine_key: of the engine that this device built, null where the runtime needs none.
    """

    id: Hash
    proved_at: Utc
    precision: str
    instances: int | None
    model_digest: Hash
    engine_key: Hash | None
    device: ProvedDevice
    images: int
    golden_lacks: str | None = None
    worst_iou: float
    worst_score_difference: float
    agreement_ap: float
    p99_ms: float
    budget_ms: float
    refused: list[str]


class MetaMessage(Message):
    """meta (out, retained): what judges here, with the certificate in brief; published anew after each changeover."""

    schema_: Literal["vi.meta/1"] = Field(default="vi.meta/1", alias="schema")
    device_id: Identifier
    boot_id: Identifier
    software: str
    product: str
    bundle: dict[str, Any]
    recipe: dict[str, Any]
    runtime: str
    certificate: CertificateInBrief | None = None
    consumers: list[str]
    protocol: Literal["mqtt5", "mqtt311"]
    at: Utc


class AlarmMessage(Message):
    """alarm (out): something that a person should look at; count = how often since the last message about it.

    at: when the newest of them was raised. It may be sent later, and twice, if the link was down.
    """

    schema_: Literal["vi.alarm/1"] = Field(default="vi.alarm/1", alias="schema")
    device_id: Identifier
    boot_id: Identifier
    name: Identifier
    text: str
    count: Annotated[int, Field(ge=1)] = 1
    at: Utc


class DetectionEntry(Message):
    """One detection in a record; box is x1 y1 x2 y2 in pixels of the view's frame."""

    label: str
    score: float
    box_px: tuple[float, float, float, float]


class AlignmentEntry(Message):
    """How the part lies against the best matching reference picture, which is named as in the recipe.

    Records of versions that did not measure the stretch have none.
    """

    reference: str
    shift_px: tuple[float, float]
    rotation_deg: float
    stretch_percent: tuple[float, float] | None = None
    match: float


class ViewEntry(Message):
    """One view in a record; statistics are null when no picture came, alignment where nothing was compared.

    Records of versions before the reference picture have no alignment.
    """

    view: str
    frame_id: int | None
    captured_at: UtcMicroseconds | None
    source: str
    exposure_us: float | None
    gain_db: float | None
    statistics: dict[str, float | None] | None
    offset_px: tuple[float, float] | None
    alignment: AlignmentEntry | None = None
    detections: list[DetectionEntry]
    image: str | None


class RecordMessage(Message):
    """record (out): the lossless copy of one inspection; idempotency key is device_id + seq.

    It never actuates anything.

    prev_hash is the SHA-256 of the payload with seq - 1, byte for byte as sent, so a missing or altered record shows.
    clock_synchronised says what triggered_at and decided_at are worth; null where the device cannot tell.
    challenge: what the trigger said of a known part, null of all others; records of versions before have none.
    """

    schema_: Literal["vi.record/1"] = Field(default="vi.record/1", alias="schema")
    device_id: Identifier
    boot_id: Identifier
    seq: int
    inspection_id: Identifier
    trigger_id: Identifier
    part_id: Identifier
    challenge: ChallengeName | None = None
    verdict: VerdictName
    reason: str
    detail: str
    label: str | None
    score: float | None
    limit: float | None
    late: bool
    triggered_at: Utc
    decided_at: Utc
    clock_synchronised: bool | None
    latency_ms: float
    stage_ms: dict[str, float]
    views: list[ViewEntry]
    versions: dict[str, str | int]
    prev_hash: Hash


def _view_entry(result: ViewResult, images: dict[str, str]) -> dict[str, Any]:
    frame = result.frame
    statistics = result.statistics
    return {
        "view": result.view,
        "frame_id": frame.frame_id if frame else None,
        "captured_at": iso(frame.captured_at, "microseconds") if frame else None,
        "source": frame.source if frame else "",
        "exposure_us": frame.exposure_us if frame else None,
        "gain_db": frame.gain_db if frame else None,
        "statistics": (
            {name: _rounded(getattr(statistics, name)) for name in statistics.__slots__} if statistics else None
        ),
        "offset_px": result.offset_px,
        "alignment": _alignment_entry(result.alignment),
        "detections": [
            {
                "label": item.label,
                "score": round(item.score, 4),
                "box_px": [round(edge, 1) for edge in item.box],
            }
            for item in result.detections
        ],
        "image": images.get(result.view),
    }


def _alignment_entry(alignment: PartAlignment | None) -> dict[str, Any] | None:
    if alignment is None:
        return None
    return {
        "reference": alignment.reference,
        "shift_px": [round(way, 2) for way in alignment.shift_px],
        "rotation_deg": round(alignment.rotation_deg, 3),
        "stretch_percent": [round(way, 3) for way in alignment.stretch_percent],
        "match": round(alignment.match, 4),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)


def record_payload(inspection: Inspection, *, device_id: str, boot_id: str, seq: int, prev_hash: str) -> str:
    """Write an inspection as the JSON text that is stored, hashed and sent.

    Args:
        inspection: the finished inspection.
        device_id: this device's name.
        boot_id: of the process that decides.
        seq: the record's number on this device, without gaps.
        prev_hash: SHA-256 (hex) of the payload before, FIRST_PREVIOUS_HASH for the first.

    Returns:
        JSON of a RecordMessage on one line, no NaN in it.

    Raises:
        ValueError: a number is NaN or infinite (a bug: such a picture or detection must not come this far).
    """
    decision, trigger, versions = inspection.decision, inspection.trigger, inspection.versions
    document = {
        "schema": "vi.record/1",
        "device_id": device_id,
        "boot_id": boot_id,
        "seq": seq,
        "inspection_id": inspection.inspection_id,
        "trigger_id": trigger.trigger_id,
        "part_id": trigger.part_id,
        "challenge": trigger.challenge.value if trigger.challenge else None,
        "verdict": decision.verdict.value,
        "reason": decision.reason.value,
        "detail": decision.detail,
        "label": decision.label,
        "score": _rounded(decision.score),
        "limit": decision.limit,
        "late": inspection.is_late,
        "triggered_at": iso(trigger.received_at),
        "decided_at": iso(inspection.decided_at),
        "clock_synchronised": inspection.clock_synchronised,
        "latency_ms": inspection.latency_us / 1000,
        "stage_ms": {stage: spent_us / 1000 for stage, spent_us in inspection.stage_us.items()},
        "views": [_view_entry(result, inspection.images) for result in inspection.views],
        "versions": {name: getattr(versions, name) for name in versions.__slots__},
        "prev_hash": prev_hash,
    }
    return json.dumps(document, allow_nan=False, separators=(",", ":"), ensure_ascii=True)
