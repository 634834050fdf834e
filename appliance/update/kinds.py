"""What an update is made of, and what each kind of it does in each state; the values and the port, nothing else."""

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from appliance.bundle.gate_settings import Gates
from appliance.bundle.section import Section
from appliance.errors import ApplianceError
from appliance.update.assignment import AssignedRelease
from appliance.update.floor import Release
from appliance.update.lifecycle import Event, Progress

KindName = Literal["model", "recipe", "app", "os"]


class InterruptedWorkError(ApplianceError):
    """Somebody needs the agent for something else, or ends it: the work is done again later, and nobody is to blame."""


class SignedFile(Section):
    """The file that the kind's own role vouches for, kept so that nothing has to be asked again after CHECK.

    path, digests, releases: as in appliance.update.repository.Target.
    """

    path: str
    digests: dict[str, str]
    releases: dict[str, Release]


@dataclass(frozen=True, slots=True)
class Update:
    """One update as its row says; number counts the device's updates.

    assignment_seq, rollout, ring: of the assignment that asked for it; 0 and empty for what a person asked for.
    previous: SHA-256 of what was in force when it began. signed: None before CHECK. by: who asked, if a person did.
    is_waiting: its state's action was begun and waits for what waits_for says; a restart here breaks nothing off.
    is_due: it failed, or was lost, and is tried again at the next look; a restart before that breaks nothing off.
    budget_ms: what a part may take in the model, as in its proof; None before that.
    looked: what its gate has seen so far, so that no part is taken twice or forgotten after a restart.
    since: when it came into its state, UTC. since_seq: the ledger's last record then; None if nobody looked yet.
    """

    number: int
    release: AssignedRelease
    gates: Gates
    progress: Progress
    began_at: str
    since: str
    assignment_seq: int = 0
    rollout: str = ""
    ring: str = ""
    previous: str = ""
    by: str = ""
    reason: str = ""
    is_waiting: bool = False
    is_due: bool = False
    since_seq: int | None = None
    waits_for: str = ""
    signed: SignedFile | None = None
    parts: int = 0
    p99_ms: float | None = None
    budget_ms: float | None = None
    looked: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a state's action; event None: it waits, and is looked at again.

    changes: fields of the update's row that the action found out: signed, parts, p99_ms.
    """

    event: Event | None
    reason: str = ""
    changes: dict[str, Any] = field(default_factory=dict)


def done(reason: str = "", **changes: Any) -> Outcome:
    """Return that the action did what it should."""
    return Outcome(Event.DONE, reason, changes)


def waits(reason: str, **changes: Any) -> Outcome:
    """Return that it goes on later."""
    return Outcome(None, reason, changes)


def failed(reason: str, **changes: Any) -> Outcome:
    """Return that it failed for good."""
    return Outcome(Event.FAILED, reason, changes)


class Kind(Protocol):
    """One kind of release: what each state does. Every action may be repeated, and raises an ApplianceError in words.

    A DeliveryError, StorageError or ConfigError is waited out; another BundleError than a slow one is for good; a
    RuntimeFault may be better next time.
    """

    def in_force(self, name: str) -> str:
        """Return the SHA-256 of what would be started now; empty if there is none."""
        ...

    def keeps(self, name: str, sha256: str) -> bool:
        """Return whether a release could be started without fetching it."""
        ...

    def check(self, update: Update) -> Outcome:
        """Compare what was assigned with what the kind's role signed."""
        ...

    def download(self, update: Update) -> Outcome:
        """Fetch the file; goes on where it was."""
        ...

    def verify(self, update: Update) -> Outcome:
        """Judge the file on disk, without the network."""
        ...

    def stage(self, update: Update) -> Outcome:
        """Put it beside what is in force."""
        ...

    def build(self, update: Update) -> Outcome:
        """Make what this device needs to run it."""
        ...

    def prove(self, update: Update) -> Outcome:
        """Prove it on this device."""
        ...

    def shadow(self, update: Update) -> Outcome:
        """Let it judge without consequences."""
        ...

    def canary(self, update: Update) -> Outcome:
        """Let it judge until the next restart."""
        ...

    def commit(self, update: Update) -> Outcome:
        """Let it be what is started."""
        ...

    def watch(self, update: Update) -> Outcome:
        """Watch it in force."""
        ...

    def cleanup(self, update: Update) -> Outcome:
        """Remove what nobody needs."""
        ...

    def rollback(self, update: Update) -> Outcome:
        """Put what was in force before back."""
        ...

    def verify_rollback(self, update: Update) -> Outcome:
        """Look whether it is."""
        ...
