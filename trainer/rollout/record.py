"""What is written down of a rollout: who is in it, how far it is, what was heard, and who did what."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Annotated, Literal

from pydantic import Field

from appliance.bundle.section import Section
from trainer.release.assignment import RINGS, Chosen, Ring, Seq
from trainer.release.report import Outcome
from trainer.release.seal import Seal
from trainer.rollout.gate import Seen
from trainer.rollout.phases import Phase

SCHEMA = "vi.rollout/1"
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"
Moment = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
Count = Annotated[int, Field(ge=0)]


class Member(Section):
    """A device of the rollout.

    had: "kind/name" -> what it was given before, of the names that this rollout changes: a digest of its content.
    keeps: paths of what it was given of other names, which stays.
    """

    site: str
    line: str
    ring: Ring
    had: dict[str, str]
    keeps: Annotated[tuple[str, ...], Field(strict=False)]


class Heard(Section):
    """The newest report of a device that was taken.

    key: the public key under which it was. number: the device's own. digest: SHA-256 of the file. at: when it was first
    read here. about: when something of the release was first read in this state or with these parts; empty if never.
    outcome, state, parts, reason: of the release; outcome is empty if the report says nothing of it.
    is_back: whether the device says that it runs what it had before.
    """

    key: str
    number: Seq
    digest: str
    at: Moment
    about: Moment | Literal[""]
    outcome: Outcome | Literal[""]
    state: str
    parts: Count
    reason: str
    is_committed: bool
    is_back: bool


class Refused(Section):
    """The file that lies at a device's place now, and why it is not taken; since: when it was first read here."""

    why: str
    words: str
    digest: str
    since: Moment


class Entry(Section):
    """Something that was done: when, by whom, what and why."""

    at: Moment
    by: str
    what: str


class Record(Section):
    """The whole rollout.

    number: counts what was written. opened: ring -> when it was told. is_settled: whether devices' assignments are as
    this says. called: who is called back -> number of the assignment that does, 0 until
    there is one. excused: device -> why. refused: device -> what is refused now.
    refusals: why -> how many files were refused in all.
    """

    schema_: Annotated[Literal["vi.rollout/1"], Field(alias="schema")] = "vi.rollout/1"
    name: Annotated[str, Field(pattern=NAME)]
    number: Annotated[int, Field(ge=1)]
    releases: Annotated[tuple[Chosen, ...], Field(min_length=1, strict=False)]
    back: Annotated[tuple[Chosen, ...], Field(strict=False)]
    phase: Annotated[Phase, Field(strict=False)]
    opened: dict[Ring, Moment]
    is_settled: bool
    members: dict[str, Member]
    heard: dict[str, Heard]
    refused: dict[str, Refused]
    refusals: dict[str, Count]
    excused: dict[str, str]
    called: dict[str, Count]
    log: Annotated[tuple[Entry, ...], Field(strict=False)]

    @property
    def newest_ring(self) -> Ring:
        """The ring that was told last."""
        return [ring for ring in RINGS if ring in self.opened][-1]

    def told(self) -> list[str]:
        """Return the devices that were told, in order."""
        return sorted(device for device, member in self.members.items() if member.ring in self.opened)

    def of_ring(self, ring: Ring) -> list[str]:
        """Return a ring's devices, in order."""
        return sorted(device for device, member in self.members.items() if member.ring == ring)

    def noted(self, now: datetime, by: str, *what: str) -> tuple[Entry, ...]:
        """Return the log with more lines."""
        return (*self.log, *(Entry(at=moment(now), by=by, what=words) for words in what))


class SealedRecord(Section):
    """The file: a record and the online key's seals of its bytes."""

    schema_: Annotated[Literal["vi.sealed-rollout/1"], Field(alias="schema")] = "vi.sealed-rollout/1"
    record: Record
    seals: Annotated[tuple[Seal, ...], Field(strict=False)]


def seen_of(record: Record, device: str, silent_h: float, now: datetime) -> Seen:
    """Tell what is known of a device that was told.

    Args:
        record: the rollout.
        device: its id.
        silent_h: hours without anything new of the release after which it failed.
        now: UTC.
    """
    if device in record.excused:
        return Seen.EXCUSED
    heard = record.heard.get(device)
    if heard and heard.outcome not in ("", "running"):
        return _SEEN[heard.outcome]
    since = (heard.about if heard else "") or record.opened[record.members[device].ring]
    if hours_between(since, now) > silent_h:
        return Seen.SILENT
    return Seen.RUNNING if heard and heard.outcome else Seen.TOLD


_SEEN = {
    "success": Seen.SUCCESS, "failed": Seen.FAILED, "rolled_back": Seen.ROLLED_BACK, "quarantined": Seen.QUARANTINED,
}  # fmt: skip


def moment(now: datetime) -> str:
    """Write a UTC moment in whole seconds."""
    return now.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def hours_between(since: str, now: datetime) -> float:
    """Return the hours from a written moment until now."""
    begun = datetime.strptime(since, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    return (now - begun).total_seconds() / 3600


def names_of(releases: Iterable[Chosen]) -> dict[str, Chosen]:
    """Return "kind/name" -> release; of several of a name, the last."""
    return {f"{chosen.kind}/{chosen.name}": chosen for chosen in releases}
