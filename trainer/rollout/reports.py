"""What devices say, read from where they put it, and judged: taken, or refused and counted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Literal

from appliance.errors import StorageError
from trainer.release.assignment import Chosen
from trainer.release.report import COMMITTED, MAX_BYTES, Outcome, RefusedReportError, ReleaseTold, Report, read_report
from trainer.rollout.fleet import Fleet, Placed
from trainer.rollout.record import Heard, Record, Refused, moment
from trainer.stored_files import StoredFiles

READERS = 16
"""Files that are asked for at once, where an address answers over a network."""

MOST_WORDS = 300
"""Of a device's reason, that are kept."""

_LATEST = ("quarantined", "rolled_back", "failed", "running", "success")
"""Of several releases of one rollout, the first of these that a device has says how it stands."""


def fetch(address: str, devices: Sequence[str]) -> dict[str, bytes]:
    """Read the reports that are there; of a file that is too big only so much that it shows.

    Args:
        address: as in the fleet file; ADDRESS/DEVICE.json is replaced by the device.
        devices: whose.

    Returns:
        Device's id -> file; a device that has none is not in it.

    Raises:
        ConfigError: Nothing here can reach such an address.
        StorageError: The address does not answer or refuses, so that nothing is known and nobody is silent.
    """
    files = StoredFiles(address)
    if files.local_folder is not None and not files.local_folder.is_dir():
        raise StorageError(f"{address}: no such folder; check the address of the reports in the fleet file")
    with ThreadPoolExecutor(READERS if files.local_folder is None else 1) as readers:
        contents = readers.map(lambda device: files.read_begin(f"{device}.json", MAX_BYTES + 1), devices)
        return {device: content for device, content in zip(devices, contents, strict=True) if content is not None}


def hear(record: Record, fleet: Fleet, files: Mapping[str, bytes], now: datetime) -> Record:
    """Take up what was read.

    Args:
        record: the rollout before.
        fleet: whose keys are believed.
        files: device's id -> report.
        now: UTC.

    Returns:
        The rollout with what is known now.
    """
    heard, refused, refusals = dict(record.heard), dict(record.refused), dict(record.refusals)
    for placed, data in _known(record, fleet, files):
        digest, device = hashlib.sha256(data).hexdigest(), placed.device_id
        before = _believed(heard.get(device), placed)
        if before and before.digest == digest:
            refused.pop(device, None)
            continue
        try:
            report = read_report(data, device_id=device, site=placed.site, key=placed.key)
            _check_is_newer(before, report)
        except RefusedReportError as error:
            known = refused.get(device)
            if known is None or known.digest != digest:
                refused[device] = Refused(why=error.why, words=str(error), digest=digest, since=moment(now))
                refusals[error.why] = refusals.get(error.why, 0) + 1
            continue
        refused.pop(device, None)
        heard[device] = _heard(record, report, placed, digest, now)
    return record.model_copy(update={"heard": heard, "refused": refused, "refusals": refusals})


def _known(record: Record, fleet: Fleet, files: Mapping[str, bytes]) -> Iterator[tuple[Placed, bytes]]:
    for device in record.told():
        placed = fleet.devices.get(device)
        if placed is not None and device in files:
            yield placed, files[device]


def _believed(heard: Heard | None, placed: Placed) -> Heard | None:
    """A device that was set up anew has a new key, and counts from 1 again."""
    return heard if heard and heard.key == placed.key else None


def _check_is_newer(before: Heard | None, report: Report) -> None:
    if before and report.seq <= before.number:
        raise RefusedReportError(
            "replayed",
            f"{report.device_id}: report {report.seq} comes after report {before.number}, so it is an old one",
        )


def _heard(record: Record, report: Report, placed: Placed, digest: str, now: datetime) -> Heard:
    told = _told(report, record.releases)
    worst = min(told, key=lambda each: _LATEST.index(each.outcome), default=None)
    is_whole = {each.sha256 for each in told} == {chosen.sha256 for chosen in record.releases}
    outcome: Outcome | Literal[""] = worst.outcome if worst else ""
    return Heard(
        key=placed.key,
        number=report.seq,
        digest=digest,
        at=moment(now),
        about=moment(now) if worst else "",
        outcome="running" if outcome == "success" and not is_whole else outcome,  # one of several is not all
        state=worst.state if worst else "",
        parts=sum(each.parts for each in told),
        reason=worst.reason[:MOST_WORDS] if worst else "",
        is_committed=any(each.state in COMMITTED and each.outcome in ("running", "success") for each in told),
        is_back=_is_back(record, report),
    )


def _told(report: Report, releases: Sequence[Chosen]) -> list[ReleaseTold]:
    """What is said of these very contents under these very numbers, and of nothing else."""
    wanted = {(chosen.kind, chosen.name, chosen.seq, chosen.sha256) for chosen in releases}
    return [each for each in report.releases if (each.kind, each.name, each.seq, each.sha256) in wanted]


def _is_back(record: Record, report: Report) -> bool:
    """A called device is back when it has read that, and the newest that it tells of each name is not this release."""
    called = record.called.get(report.device_id, 0)
    return 0 < called <= report.assignment_seq and all(
        _is_back_in(report, chosen, {way.sha256 for way in record.back}) for chosen in record.releases
    )


def _is_back_in(report: Report, chosen: Chosen, ways: set[str]) -> bool:
    for each in report.releases:
        if (each.kind, each.name) != (chosen.kind, chosen.name):
            continue
        if each.sha256 == chosen.sha256:
            return each.outcome in ("failed", "rolled_back", "quarantined")
        if each.sha256 in ways and each.seq > chosen.seq:
            return each.outcome == "success"
    return True
