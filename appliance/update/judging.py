"""The kinds `model` and `recipe`: what judges, on its way into a slot, past the line's judgement."""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from appliance.bundle.archive import read_bundle
from appliance.bundle.recipe_package import read_recipe_package
from appliance.errors import BundleFormatError, BundleTrustError, ConfigError, StorageError, of_the_device
from appliance.ports import Clock
from appliance.update.durable import remove
from appliance.update.journal import hours_since
from appliance.update.kinds import Outcome, Update, done, failed, waits
from appliance.update.lifecycle import Event
from appliance.update.line import Candidate, Gate, Grounds, Judge, Line, MakeJudge
from appliance.update.orders import Orders
from appliance.update.slots import NAMES, SUFFIXES, JudgingKindName, Slots, digest_of

log = logging.getLogger(__name__)

LONGEST_MS = 3_600_000.0
REFERENCE_PARTS = 5000
"""So many parts before CANARY, and before WATCH, say what the release before diverted."""

ASSIGN_AGAIN = "then assign it again"
SEE_LOG = "look at the station's log"


@dataclass(frozen=True, slots=True)
class Content:
    """What a kind's files are, how people call their number, and how a file tells its name and number."""

    kind: JudgingKindName
    number_is: str
    identify: Callable[[Path], tuple[str, int]]


def _bundle(path: Path) -> tuple[str, int]:
    manifest = read_bundle(path).manifest
    return manifest.name, manifest.revision


def _recipe(path: Path) -> tuple[str, int]:
    manifest = read_recipe_package(path).manifest
    return manifest.name, manifest.version


MODEL = Content("model", "revision", _bundle)
RECIPE = Content("recipe", "version", _recipe)


@dataclass(frozen=True, slots=True)
class Proved:
    """What a proof found: words, the 99th percentile of one picture, what one part may take; of the worst product."""

    words: str
    p99_ms: float
    budget_ms: float


class Workshop(Protocol):
    """Builds and proves away from the line, bounded in time and memory; see appliance.agent_workshop."""

    def build(self, name: str, release: Path) -> str:
        """Make this device's engine of a bundle; says what it did.

        Raises:
            BundleError: it cannot be run here.
            RuntimeFault: the child process ended before it was done.
            InterruptedWorkError: somebody needs the agent.
        """
        ...

    def prove(self, name: str, release: Path) -> Proved:
        """Prove a release for every product that uses its name.

        Raises:
            BundleError: it may not judge here.
            RuntimeFault: the child process ended before it was done.
            InterruptedWorkError: somebody needs the agent.
        """
        ...


@dataclass(slots=True)
class _Looked:
    judge: Judge
    upto: int
    grounds: Grounds
    skipped: int = 0

    def kept(self) -> dict[str, Any]:
        """Return what goes into the update's row."""
        grounds = asdict(self.grounds)
        return {"upto": self.upto, "grounds": grounds, "judge": self.judge.dump(), "skipped": self.skipped}

    def note_skipped(self, skipped: int) -> None:
        """Take the count of what judges beside, which begins anew with it."""
        self.judge.skip(skipped - self.skipped if skipped >= self.skipped else skipped)
        self.skipped = skipped


@dataclass(frozen=True, slots=True)
class JudgingKind:
    """Models or recipes of this device; implements kinds.Kind.

    folder: of the slots, one folder a name. why_not: why a name cannot be installed here, empty if it can.
    """

    source: Orders
    folder: Path
    line: Line
    make_judge: MakeJudge
    workshop: Workshop
    clock: Clock
    why_not: Callable[[str], str] = lambda name: ""
    content: Content = MODEL
    _looked: dict[tuple[int, Gate], _Looked] = field(default_factory=dict)

    def slots(self, name: str) -> Slots:
        """Return the slots of a name."""
        return Slots(self.folder / name, SUFFIXES[self.content.kind])

    def in_force(self, name: str) -> str:
        """Return the SHA-256 of what would be started now; empty if there is none."""
        return digest_of(self.slots(name).current)

    def keeps(self, name: str, sha256: str) -> bool:
        """Return whether a slot has a release."""
        slots = self.slots(name)
        return sha256 in map(digest_of, map(slots.path, NAMES))

    def check(self, update: Update) -> Outcome:
        """Compare what was assigned with what the kind's role signed."""
        name = update.release.name
        if not update.previous:
            return failed(
                f"nothing is in force as {name}; adopt what the station runs (`appliance agent adopt`), {ASSIGN_AGAIN}"
            )
        if why := self.why_not(name):
            return failed(f"{why}, {ASSIGN_AGAIN}")
        try:
            self.make_judge("watch", update.gates, Grounds(LONGEST_MS))
        except ConfigError as error:  # only another assignment helps
            return failed(f"assignment {update.assignment_seq}: {error}, {ASSIGN_AGAIN}")
        return done(signed=self.source.check(update.release))

    def download(self, update: Update) -> Outcome:
        """Fetch the file; goes on where it was."""
        if update.signed is None:
            raise BundleTrustError(f"{update.release.path} was never compared with its signature; assign it again")
        return done(f"in {self.source.fetch(update.release, update.signed).parent}")

    def verify(self, update: Update) -> Outcome:
        """Judge the file on disk, without the network."""
        path = self._file(update)
        if digest_of(path) != update.release.sha256:
            return Outcome(Event.RETRY, f"{path} is damaged on disk; check the disk")
        name, number = self.content.identify(path)
        current = self.slots(update.release.name).current
        with of_the_device():
            now, _ = self.content.identify(current)
        if name != now:
            kind = self.content.kind
            return failed(f"the file is {kind} {name}, and {kind} {now} is in force here: assign a release of {now}")
        return done(f"{name} {self.content.number_is} {number}")

    def stage(self, update: Update) -> Outcome:
        """Put it beside what is in force."""
        slots = self.slots(update.release.name)
        slots.stage(self._file(update))
        if digest_of(slots.candidate) != update.release.sha256:
            return Outcome(Event.RETRY, f"{slots.candidate} is damaged on disk; check the disk")
        return done()

    def build(self, update: Update) -> Outcome:
        """Make this device's engine, in a child process; a recipe has none of its own."""
        if self.content is RECIPE:
            return done("the engine of the model in force judges by it")
        return done(self.workshop.build(update.release.name, self.slots(update.release.name).candidate))

    def prove(self, update: Update) -> Outcome:
        """Prove it on this device, in a child process; the certificate stays with the station's."""
        proved = self.workshop.prove(update.release.name, self.slots(update.release.name).candidate)
        return done(proved.words, p99_ms=proved.p99_ms, budget_ms=proved.budget_ms)

    def shadow(self, update: Update) -> Outcome:
        """Let it judge every part after the action has left."""
        candidate = self._candidate(update)
        beside = self.line.shadow_of(candidate.name)
        is_there = beside.sha256 == candidate.sha256
        if is_there and beside.problem and update.is_waiting:
            words = f"beside the line it came to an end: {beside.problem}"
            return failed(words) if beside.is_unsound else Outcome(Event.LOST, words)
        if beside.sha256 and not is_there and not beside.problem:
            other = f"another release, {beside.sha256[:12]}, judges beside the line"
            return waits(f"{other}; wait for its end, or end it with the station's command `shadow` (`stop`: true)")
        since = self.line.last_seq() if update.since_seq is None else update.since_seq
        if not is_there or beside.problem:  # also after the line was restarted, which is nobody's fault
            if damage := self._damage(candidate):
                return damage
            self.line.shadow(candidate)
        looked = self._look(update, "shadow", since, beside.skipped if is_there else 0)
        if looked.event is Event.DONE:
            self.line.end_shadow(candidate.name)
        return looked

    def canary(self, update: Update) -> Outcome:
        """Let it judge until the line restarts."""
        candidate = self._candidate(update)
        if update.since_seq is None or not update.is_waiting:
            if damage := self._damage(candidate):
                return damage
            since = self.line.last_seq() if update.since_seq is None else update.since_seq
            self.line.decide_with(candidate, is_rollback=self._is_lower(update), is_trial=True)
            return self._look(update, "canary", since)
        if self.line.in_force(candidate.name) != candidate.sha256:
            words = "the line restarted or was told otherwise, and judges with another release"
            return Outcome(Event.LOST, words, {"since_seq": None})  # it begins again, through the doors
        return self._look(update, "canary", update.since_seq)

    def commit(self, update: Update) -> Outcome:
        """Let it be what is started, and tell the line; it is final there when it was watched."""
        slots, release = self.slots(update.release.name), update.release
        if not self.keeps(release.name, release.sha256) and (damage := self._damage(self._candidate(update))):
            return damage
        slots.commit(release.sha256)
        now = Candidate(release.name, slots.current, release.sha256)
        self.line.decide_with(now, is_rollback=self._is_lower(update), is_trial=True)
        if self.line.in_force(release.name) != release.sha256:
            return Outcome(Event.LOST, f"the line judges with another release than it was told; {SEE_LOG}")
        return done(f"{slots.current} is {slots.slot()}{slots.suffix}")

    def watch(self, update: Update) -> Outcome:
        """Watch it in force."""
        if self.line.in_force(update.release.name) != update.release.sha256:
            return Outcome(Event.LOST, f"the line judges with another release than this one; {SEE_LOG}")
        since = self.line.last_seq() if update.since_seq is None else update.since_seq
        return self._look(update, "watch", since)

    def cleanup(self, update: Update) -> Outcome:
        """Remove what nobody needs: what was refused, what waits; what is in force has its bytes in its slot."""
        release, slots = update.release, self.slots(update.release.name)
        if update.progress.is_at_the_line:
            self.line.end_shadow(release.name)
        if update.progress.verdict != "success":
            if update.progress.has_judged or update.progress.verdict != "failed":  # else it may be the one before
                slots.forget(release.sha256)
        elif self.in_force(release.name) == release.sha256:  # else a person took it back meanwhile
            self.line.decide_with(Candidate(release.name, slots.current, release.sha256))
        slots.forget_candidate()
        if self._file(update).exists():
            remove(self._file(update))
        for key in [key for key in self._looked if key[0] == update.number]:
            del self._looked[key]
        return done()

    def rollback(self, update: Update) -> Outcome:
        """Put what was in force before back; nothing of it needs the network."""
        release, slots = update.release, self.slots(update.release.name)
        is_back = not update.previous or slots.back_to(update.previous)
        if update.progress.has_judged and is_back:
            before = Candidate(release.name, slots.current, update.previous)
            self.line.decide_with(before, is_rollback=True)
        return done()

    def verify_rollback(self, update: Update) -> Outcome:
        """Look whether what was in force before is."""
        name, previous = update.release.name, update.previous
        if self.in_force(name) != previous:
            return Outcome(
                Event.RETRY, f"{self.slots(name).current} is not the release before; it is tried again by itself"
            )
        if update.progress.has_judged and self.line.in_force(name) != previous:
            return Outcome(
                Event.RETRY, "the line does not judge with the release before yet; restart the station if that stays"
            )
        return done(f"{name} is as it was before" if previous else "nothing was in force before")

    def _look(self, update: Update, gate: Gate, since: int, skipped: int = 0) -> Outcome:
        key = (update.number, gate)
        if key not in self._looked:
            self._looked[key] = self._begun(update, gate, since)
        looked, newest = self._looked[key], self.line.last_seq()
        for part in self.line.observations(gate, update.release.sha256, looked.upto):
            looked.judge.take(part)
            looked.upto = part.seq
        if gate == "shadow":
            looked.note_skipped(skipped)
        else:  # what others judged is not read again; what is said beside comes after the record
            looked.upto = max(looked.upto, newest)
        found = looked.judge.judge(hours_since(update, self.clock), self.clock.utc().timestamp())
        changes: dict[str, Any] = {"parts": found.parts, "since_seq": since, "looked": looked.kept()}
        if found.p99_ms is not None:
            changes |= {"p99_ms": found.p99_ms}
        if found.says == "CONTINUE":
            return waits(found.reason, **changes)
        if found.says == "LACKING":
            return Outcome(Event.LACKING, found.reason, changes)
        return done(found.reason, **changes) if found.says == "PASS" else failed(found.reason, **changes)

    def _begun(self, update: Update, gate: Gate, since: int) -> _Looked:
        if (kept := update.looked) is not None:
            grounds = Grounds(**kept["grounds"])
            try:
                judge = self.make_judge(gate, update.gates, grounds, kept["judge"])
                return _Looked(judge, kept["upto"], grounds, kept.get("skipped", 0))
            except StorageError as error:  # of another version of this software
                log.warning("%s: %s looks at all parts again: %s", update.release.name, gate, error)
        grounds = self._grounds(update, gate, since)
        return _Looked(self.make_judge(gate, update.gates, grounds), since, grounds)

    def _grounds(self, update: Update, gate: Gate, since: int) -> Grounds:
        """What the release before did of late, which says what is usual at this line."""
        budget_ms = update.budget_ms or LONGEST_MS
        if gate == "shadow":
            return Grounds(budget_ms)
        parts = self.line.observations("watch", update.previous, max(0, since - REFERENCE_PARTS))
        verdicts = Counter(part.verdict for part in parts if part.seq <= since and part.challenge is None)
        judged = verdicts.total() - verdicts["FAULT"]
        return Grounds(budget_ms, judged - verdicts["ACCEPT"], judged)

    def _candidate(self, update: Update) -> Candidate:
        slots = self.slots(update.release.name)
        return Candidate(update.release.name, slots.candidate, update.release.sha256)

    def _damage(self, candidate: Candidate) -> Outcome | None:
        """Give up what the disk has damaged since it was proved: that is the device's fault, and not the release's."""
        if digest_of(candidate.path) == candidate.sha256:
            return None
        return Outcome(
            Event.ABORTED, f"{candidate.path} was damaged on disk since it was proved; check the disk, {ASSIGN_AGAIN}"
        )

    def _file(self, update: Update) -> Path:
        return self.source.store.folder / update.release.sha256

    def _is_lower(self, update: Update) -> bool:
        """Whether its number is lower than that of the release before: older content under a newer sequence."""
        slots = self.slots(update.release.name)
        paths = (slots.candidate, *map(slots.path, NAMES))
        found = {digest_of(path): path for path in paths}
        new, old = (found.get(digest) for digest in (update.release.sha256, update.previous))
        if new is None or old is None:
            raise BundleFormatError(f"{slots.folder} lacks a release that the agent put there; find out who changed it")
        return self.content.identify(new)[1] < self.content.identify(old)[1]
