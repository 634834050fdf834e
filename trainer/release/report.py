"""A device's own word about its updates (vi.update-report/1), as far as its key, its number and its form bear it.

Keys that this version does not know are passed over: devices of several versions are in one fleet.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import BaseModel, ConfigDict, Field

from appliance.bundle import strict_json
from appliance.errors import ApplianceError, BundleFormatError
from trainer.release.assignment import Seq

SCHEMA = "vi.update-report/1"
MAX_BYTES = 256 * 1024

Why = Literal["oversized", "broken", "foreign", "forged", "replayed"]
Outcome = Literal["running", "success", "failed", "rolled_back", "quarantined"]
Words = Annotated[str, Field(max_length=4096)]

COMMITTED = ("COMMIT", "WATCH", "REPORT", "CLEANUP", "IDLE")
"""States in which a release that is not given up is in force on the device."""


class RefusedReportError(ApplianceError):
    """A file that is not this device's word; why: in one word, to be counted."""

    def __init__(self, why: Why, words: str) -> None:
        super().__init__(words)
        self.why: Why = why


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", allow_inf_nan=False)


class ReleaseTold(_Told):
    """What became of one release on the device; parts: judged by it."""

    kind: str
    name: str
    seq: Seq
    sha256: str
    state: Annotated[str, Field(max_length=32)]
    outcome: Outcome
    reason: Words = ""
    parts: Annotated[int, Field(ge=0, le=2**53 - 1)] = 0


class Report(_Told):
    """The file; seq: the device's own number of it, which grows. assignment_seq: of the newest that it has read."""

    schema_: Annotated[Literal["vi.update-report/1"], Field(alias="schema")]
    device_id: str
    site: str
    seq: Seq
    at: str
    assignment_seq: Seq
    releases: Annotated[tuple[ReleaseTold, ...], Field(strict=False, max_length=256)]
    signature: str


def read_report(data: bytes, *, device_id: str, site: str, key: str) -> Report:
    """Read a report as one device of the fleet signed it.

    Args:
        data: the file.
        device_id: whose it should be.
        site: where that device stands.
        key: its public key, hexadecimal, from the fleet file.

    Raises:
        RefusedReportError: It is too big, no report, another device's, or not signed by this one.
    """
    if len(data) > MAX_BYTES:
        raise RefusedReportError("oversized", f"{device_id}: the report has more than {MAX_BYTES} bytes")
    try:
        report = strict_json.parse(data, Report, schema=SCHEMA, origin=device_id, max_bytes=MAX_BYTES)
    except BundleFormatError as error:
        raise RefusedReportError("broken", str(error).rpartition(";")[0]) from error
    try:
        content = signed_part(json.loads(data))
    except ValueError as error:
        raise RefusedReportError("broken", f"{device_id}: a number without end ({error})") from error
    if not _is_signed_by(key, content, report.signature):
        raise RefusedReportError("forged", f"{device_id}: the report is not signed with the key in the fleet file")
    if (report.device_id, report.site) != (device_id, site):
        raise RefusedReportError(
            "foreign", f"{device_id} of {site}: the report is of {report.device_id[:80]!r} of {report.site[:80]!r}"
        )
    return report


def signed_part(document: dict[str, Any]) -> bytes:
    """Return what a device signs: the document without its signature, keys sorted, no blanks, ASCII."""
    content = {name: value for name, value in document.items() if name != "signature"}
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True).encode()


def _is_signed_by(key: str, content: bytes, signature: str) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(bytes.fromhex(signature), content)
    except (ValueError, InvalidSignature):
        return False
    return True
