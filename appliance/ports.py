"""What the inspection needs from the outside: Protocols of one to four methods, each with its own contract test."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from appliance.events import (
    Action,
    Challenge,
    Changeover,
    Decision,
    Frame,
    Inspection,
    Pixels,
    Record,
    ReleaseChange,
    ShadowEnd,
    ShadowJudgement,
    Trigger,
    ViewResult,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Clock(Protocol):
    """The two clocks, one for durations and one for people, and what the latter is worth."""

    def monotonic_ns(self) -> int:
        """Return nanoseconds that never jump; the only base of deadlines."""
        ...

    def utc(self) -> datetime:
        """Return the wall clock, which may jump and decides nothing."""
        ...

    def is_synchronised(self) -> bool | None:
        """Return whether something keeps the wall clock right, None where nobody can tell; never waits."""
        ...


class Camera(Protocol):
    """One view of the part; used by one thread.

    A camera with a hardware trigger returns the frame that belongs to this trigger (by frame id);
    a free-running one the first frame exposed after the trigger was received.
    """

    def open(self) -> None:
        """Connect and check size and format.

        Raises:
            CameraError: not there, or not what the configuration says; it may be tried again.
        """
        ...

    def capture(self, trigger: Trigger, timeout_s: float) -> Frame:
        """Return the picture of this trigger's part.

        Raises:
            CameraError: no picture within timeout_s, or a frozen, black or wrong one. The caller opens again.
        """
        ...

    def close(self) -> None:
        """Let go of the device; harmless when it is not open."""
        ...


@dataclass(frozen=True, slots=True)
class RawDetections:
    """Outputs for N images: boxes float32 (N, K, 4) in input pixels, scores float32 (N, K), labels int64 (N, K)."""

    boxes: "NDArray[np.float32]"
    scores: "NDArray[np.float32]"
    labels: "NDArray[np.int64]"


class Runtime(Protocol):
    """Runs one model; used by one thread."""

    def infer(self, images: Pixels) -> RawDetections:
        """Run the model.

        Args:
            images: uint8, shape (N, height, width, channels) of the manifest's geometry.

        Raises:
            RuntimeFault: the engine failed, or answered with NaN or another shape.
        """
        ...

    def describe(self) -> str:
        """Return runtime, version, provider and threads in one line, for the record."""
        ...

    def close(self) -> None:
        """Free the device's memory."""
        ...


@dataclass(frozen=True, slots=True)
class EngineIdentity:
    """Which engine this is: the digest of what it was built of and for, and the SHA-256 of its file."""

    key_digest: str
    digest: str


@runtime_checkable
class HasEngine(Protocol):
    """A runtime that runs what this device built of the model, and not the model file itself."""

    @property
    def built(self) -> EngineIdentity:
        """Return which engine it runs."""
        ...


class Inspect(Protocol):
    """correct -> infer -> decide for one part; bound to a recipe and a proven bundle, used by one thread."""

    def __call__(
        self, frames: Mapping[str, Frame], stage_us: dict[str, int]
    ) -> tuple[Decision, tuple[ViewResult, ...]]:
        """Judge the pictures and note each stage's microseconds.

        Raises:
            RuntimeFault: the runtime failed; the part is a FAULT.
        """
        ...


class Ledger(Protocol):
    """The record of every trigger and verdict; `run` is its only writer."""

    def accept(self, trigger: Trigger) -> bool:
        """Write the trigger down, durably, before anybody learns that it was taken.

        Returns:
            False if a trigger with this id was accepted before (nothing is written then).

        Raises:
            StorageError: the disk refused; the trigger is not accepted and the station must stop.
        """
        ...

    def record(self, inspection: Inspection) -> Record:
        """Commit the verdict and its statistics in one transaction; with it the record is in the outbox.

        Raises:
            StorageError: nothing was written.
            RuntimeError: the trigger has a verdict already, or was never accepted (a bug).
        """
        ...

    def knows(self, trigger_id: str) -> bool:
        """Return whether a trigger with this id was accepted before, with or without a verdict by now."""
        ...

    def find(self, trigger_id: str) -> Record | None:
        """Return the record of a trigger, or None if it is unknown or still open."""
        ...

    def open_triggers(self) -> Sequence[Trigger]:
        """Return accepted triggers without a verdict, oldest first: after a crash these get FAULT(restart)."""
        ...


class ChangeoverLog(Protocol):
    """Which product is in force, on disk; `run` is its only writer while it runs."""

    def note_changeover(self, changeover: Changeover) -> int:
        """Write it down, durably, before any part is judged by the new product.

        Returns:
            The number of the newest record at that moment.

        Raises:
            StorageError: nothing was written; the former product stays in force.
        """
        ...

    def last_changeover(self) -> Changeover | None:
        """Return the newest one; None if there never was one."""
        ...


class ReleaseLog(Protocol):
    """Which releases judged here, on disk; `run` is its only writer."""

    def note_release(self, change: ReleaseChange) -> int:
        """Write it down, durably, before any part is judged by the new release.

        Returns:
            The number of the newest record at that moment; what the change says of it does not count.

        Raises:
            StorageError: nothing was written; the former release stays in force.
        """
        ...

    def has_run(self, digest: str) -> bool:
        """Return whether a bundle or recipe with this digest was ever in force here."""
        ...


class ShadowLog(Protocol):
    """What candidates would have said; `run` is its only writer, and no verdict waits for it."""

    def begin_shadow(self, at: datetime, who: str, product: str, digest: str, revision: int) -> int:
        """Note that a candidate judges beside the line from now on; return the number of this shadow.

        Raises:
            StorageError: nothing was written.
        """
        ...

    def note_shadow(self, judgements: Sequence[ShadowJudgement]) -> None:
        """Keep judgements; of a part whose record is gone, none.

        Raises:
            StorageError: nothing was written.
        """
        ...

    def end_shadow(self, number: int, at: datetime, end: ShadowEnd) -> None:
        """Note how a shadow ended.

        Raises:
            StorageError: nothing was written.
        """
        ...


class Outbox(Protocol):
    """What committed records are still owed to whom."""

    def pending(self, after_seq: int, limit: int) -> Sequence[Record]:
        """Return unacknowledged records with seq > after_seq in order of seq."""
        ...

    def acknowledge(self, consumer: str, upto_seq: int) -> None:
        """Note that a registered consumer has everything up to and including upto_seq.

        Raises:
            DeliveryError: nobody registered this name.
        """
        ...

    def replay(self, from_seq: int, to_seq: int, limit: int) -> Sequence[Record]:
        """Return committed records of a range, acknowledged or not."""
        ...

    def acknowledged(self) -> dict[str, int]:
        """Return each registered consumer with the number up to which it has everything."""
        ...

    def depth(self) -> int:
        """Return how many records are not yet acknowledged by all consumers."""
        ...


class ImageStore(Protocol):
    """Pictures on disk, by policy; off the verdict's path."""

    def plan(self, inspection_id: str, verdict: str, views: Sequence[str], moment: datetime) -> dict[str, str]:
        """Decide which views' pictures are kept: view -> file name; empty if none."""
        ...

    def keep(self, frames: Sequence[Frame], names: dict[str, str]) -> None:
        """Queue the pictures for writing; returns at once and counts what it had to drop."""
        ...


@dataclass(frozen=True, slots=True)
class TriggerRequest:
    """What the line says: is_repeat = this trigger was sent before, the part may have passed already.

    received_ns: monotonic time at which it came off the wire; None: now. challenge: whether the part is a known one.
    """

    trigger_id: str
    part_id: str
    is_repeat: bool = False
    received_ns: int | None = None
    challenge: Challenge | None = None


Answer: TypeAlias = "dict[str, Any] | Future[dict[str, Any]]"
"""Of a command: `ok` and, if not ok, `error` (words for a person); a Future if it takes longer than a moment."""


Command: TypeAlias = Callable[[dict[str, Any]], Answer]
"""Carries out one command with its arguments."""


class LineEvents(Protocol):
    """What a link may tell the station; every method may be called from the link's own thread."""

    def on_trigger(self, request: TriggerRequest) -> None:
        """Take a trigger; returns once it is durably accepted or known already.

        Raises:
            StorageError: not accepted; the link must not acknowledge it.
        """
        ...

    def on_acknowledge(self, consumer: str, upto_seq: int) -> None:
        """Take a consumer's acknowledgement."""
        ...

    def on_command(self, name: str, arguments: dict[str, Any]) -> Answer:
        """Carry out a command, or begin to."""
        ...

    def on_connected(self) -> None:
        """The link is up (again): start over from the first unacknowledged record."""
        ...


class Link(Protocol):
    """A way to the line and the plant."""

    def open(self, events: LineEvents) -> None:
        """Start connecting in the background; never blocks on the network."""
        ...

    def send_action(self, action: Action) -> bool:
        """Hand the action over if connected and not expired; False means it was not and never will be sent.

        Called by the thread that settled the part: a link whose network can make it wait has a thread of its own.
        """
        ...

    def send_record(self, record: Record, attempt: int) -> bool:
        """Hand a record over; False if disconnected or the window of unacknowledged messages is full.

        Args:
            record: what every consumer gets.
            attempt: 1 the first time, counted up each time that sending starts over; 0 for a replay out of turn.
        """
        ...

    def close(self) -> None:
        """Say goodbye and stop the link's threads."""
        ...


class Watchdog(Protocol):
    """Told by every stage that it lives."""

    def beat(self, stage: str) -> None:
        """Note that this stage made progress just now."""
        ...
