"""What a device says of its updates: built from the journal, signed, sent until it is taken; changes nothing here."""

import json
import logging
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field

from appliance.bundle import strict_json
from appliance.bundle.manifest import Digest
from appliance.bundle.section import Section
from appliance.errors import BundleFormatError, BundleTrustError
from appliance.events import iso
from appliance.ports import Clock
from appliance.update.assignment import Seq, Word
from appliance.update.device_key import DeviceKey, is_signed_by
from appliance.update.journal import Journal
from appliance.update.kinds import KindName
from appliance.update.situation import content_of
from appliance.wire import Utc

log = logging.getLogger(__name__)

SCHEMA = "vi.update-report/1"
MAX_BYTES = 256 * 1024
REPORTED, NUMBER, TAKEN = "reported", "report_seq", "report_taken"
"""Notes in the journal: what was reported last, the report's number, when one was taken last."""

StateName = Literal["IDLE", "CHECK", "DOWNLOAD", "VERIFY", "STAGE", "BUILD", "PROVE", "SHADOW", "CANARY", "COMMIT",
                    "WATCH", "REPORT", "CLEANUP", "ROLLBACK", "VERIFY_ROLLBACK", "FAILURE"]  # fmt: skip


class ReleaseReport(Section):
    """One kind and name: the newest update, how far it is, and what was seen of it.

    by: who asked for it, if a person did. waits_for: in words; empty if it does not wait. p99_ms: of one part.
    """

    kind: KindName
    name: Word
    seq: Seq
    sha256: Digest
    assignment_seq: Seq
    rollout: str
    state: StateName
    outcome: Literal["running", "success", "failed", "rolled_back", "quarantined"]
    reason: str
    by: str
    waits_for: str
    parts: Annotated[int, Field(ge=0)]
    p99_ms: float | None


class Report(Section):
    """The whole file; it replaces the one before. seq: the device's own number of it, which grows.

    assignment_seq, rollout: of the newest assignment that was read. problem: why none is newer, in words.
    """

    schema_: Annotated[Literal["vi.update-report/1"], Field(alias="schema")] = "vi.update-report/1"
    device_id: Word
    site: Word
    boot_id: str
    seq: Seq
    at: Utc
    assignment_seq: Seq
    rollout: str
    problem: str
    held_by: str
    releases: tuple[ReleaseReport, ...]
    public_key: Digest
    signature: str


def read_report(data: bytes, origin: str, public_key: str) -> Report:
    """Read a report as a device signed it.

    Args:
        data: the file.
        origin: names it in messages.
        public_key: of the device that it should be from, hexadecimal.

    Raises:
        BundleTrustError: it is no report, or that device did not sign it so.
    """
    try:
        report = strict_json.parse(
            data, Report, schema=SCHEMA, origin=origin, max_bytes=MAX_BYTES, remedy="let the device report again"
        )
    except BundleFormatError as error:
        raise BundleTrustError(str(error)) from error
    if not is_signed_by(public_key, _signed_part(json.loads(data)), report.signature):
        raise BundleTrustError(f"{origin} is not signed by the device; find out who writes there")
    return report


def _signed_part(document: dict[str, Any]) -> bytes:
    content = {name: value for name, value in document.items() if name != "signature"}
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True).encode(
        "ascii"
    )


class Reports:
    """Builds the report and hands it over; what nobody takes is built anew and tried again."""

    def __init__(
        self, journal: Journal, key: DeviceKey, clock: Clock, *, site: str, device_id: str, boot_id: str
    ) -> None:
        """Say who reports."""
        self._journal, self._key, self._clock = journal, key, clock
        self._who = {"device_id": device_id, "site": site, "boot_id": boot_id, "public_key": key.public}

    def is_due(self) -> bool:
        """Return whether there is something to say that nobody has taken yet."""
        return bool(self._journal.noted(REPORTED) != self._content())

    def build(self) -> Report:
        """Return the next report."""
        number = int(self._journal.noted(NUMBER) or 0) + 1
        self._journal.note(NUMBER, number)
        values = {"schema": SCHEMA, "seq": number, "at": iso(self._clock.utc()), **self._who, **self._content()}
        draft = Report.model_validate_json(json.dumps(values | {"signature": ""}))
        signature = self._key.sign(_signed_part(json.loads(strict_json.dump(draft))))
        return draft.model_copy(update={"signature": signature})

    def send(self, deliver: Callable[[bytes], None]) -> None:
        """Hand the report over if there is something to say.

        Args:
            deliver: raises an ApplianceError if nobody takes it; then it is due again.

        Raises:
            DeliveryError, ConfigError: nobody took it.
            StorageError: the journal cannot be written.
        """
        if not self.is_due():
            return
        content = self._content()
        deliver(strict_json.dump(self.build()))
        self._journal.note(REPORTED, content)
        self._journal.note(TAKEN, iso(self._clock.utc()))

    def _content(self) -> dict[str, Any]:
        return content_of(self._journal)
