"""The inspecting process as the agent sees it, and who judges what it shows; ports only."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from appliance.bundle.gate_settings import Gates
from appliance.errors import DeviceError
from appliance.events import Challenge

Gate = Literal["shadow", "canary", "watch"]


class LineRefusedError(DeviceError):
    """The line answered that it does not do what it was asked."""


@dataclass(frozen=True, slots=True)
class SeenPart:
    """One part that a release judged.

    seq: the ledger's number. verdict, reason, label, score: what acted. challenger_*: of the release in shadow, None
    where it judges by itself. latency_us: in the model that is looked at; None where it was not asked. at: when it was
    decided, UTC. challenge: "good" or "bad" where people knew the part before.
    """

    seq: int
    verdict: str
    reason: str
    score: float | None
    latency_us: int | None
    is_late: bool = False
    label: str | None = None
    at: str = ""
    challenger_verdict: str | None = None
    challenger_reason: str | None = None
    challenger_label: str | None = None
    challenger_score: float | None = None
    challenge: str | None = None

    @property
    def known_as(self) -> Challenge | None:
        """What people knew of it before."""
        return Challenge(self.challenge) if self.challenge else None


@dataclass(frozen=True, slots=True)
class Beside:
    """What judges beside the line, or ended with a problem; SHA-256 and problem are empty if nothing does or did.

    skipped: parts that it was too busy for, since it began. is_unsound: its model answered what no model may.
    """

    sha256: str = ""
    problem: str = ""
    skipped: int = 0
    is_unsound: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """A release as the line is told of it: the model's name, its file and its content."""

    name: str
    path: Path
    sha256: str


class Line(Protocol):
    """The line; each call is short, may be repeated, and raises a DeliveryError where the line does not answer.

    What the line refuses is a LineRefusedError.
    """

    def shadow(self, candidate: Candidate) -> None:
        """Let a release judge beside; harmless where it does."""
        ...

    def end_shadow(self, name: str) -> None:
        """End that; harmless where nothing does."""
        ...

    def shadow_of(self, name: str) -> Beside:
        """Return what judges beside, or ended with a problem."""
        ...

    def decide_with(self, candidate: Candidate, *, is_rollback: bool = False, is_trial: bool = False) -> None:
        """Let a release judge from the next part on, until the line restarts.

        Args:
            candidate: the release; harmless where it judges already.
            is_rollback: its revision may be lower than the present one's.
            is_trial: the release before must be at hand; told again without that, it is final.
        """
        ...

    def in_force(self, name: str) -> str:
        """Return the SHA-256 of what judges."""
        ...

    def last_seq(self) -> int:
        """Return the number of the ledger's newest record."""
        ...

    def observations(self, gate: Gate, sha256: str, since_seq: int) -> Iterator[SeenPart]:
        """Return the parts after since_seq that a release judged, or judged beside, in order."""
        ...

    def tell(self, event: Mapping[str, Any]) -> None:
        """Have a step of an update written into the ledger."""
        ...


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a gate says so far. parts: how many it judged by. p99_ms: of the release, None before the first part.

    LACKING: what people must bring never came, so nothing more can be said, and the release is not to blame.
    """

    says: Literal["CONTINUE", "PASS", "FAIL", "LACKING"]
    reason: str
    parts: int
    p99_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Grounds:
    """What is known besides the parts: the release's time for one, and how many of how many the one before diverted."""

    budget_ms: float
    diverted_before: int = 0
    parts_before: int = 0


class Judge(Protocol):
    """Judges one gate of one update; looking after each part costs no error."""

    def take(self, part: SeenPart) -> None:
        """Take one more part."""
        ...

    def skip(self, parts: int) -> None:
        """Take so many parts more that the release was too busy for."""
        ...

    def dump(self) -> str:
        """Return all that it knows, for make_judge."""
        ...

    def judge(self, hours: float, now_s: float) -> Judgement:
        """Judge by all parts so far, the hours that the state has lasted, and the time (UTC, seconds since 1970)."""
        ...


class MakeJudge(Protocol):
    """Makes the judge of a gate."""

    def __call__(self, gate: Gate, gates: Gates, grounds: Grounds, dumped: str = "") -> Judge:
        """Return a judge that has seen nothing, or what it has dumped.

        Raises:
            StorageError: what was dumped is of another version.
        """
        ...
