"""What moves a rollout: it hears, judges, writes down what shall be, and then lets the assignments say so.

Written down first, assigned second: killed anywhere in between, the next `advance` assigns what was written.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from appliance.errors import ConfigError, StorageError
from trainer.release.assignment import RINGS, Ring, Wish, content_of
from trainer.release.memory import remembered
from trainer.release.orders import Order, Signers, assignment_of, check_keys, publish_orders
from trainer.release.shelf import Shelf
from trainer.release.standing import Standing
from trainer.rollout.beginning import begin, check_way_back, choose_all
from trainer.rollout.book import Book, Leaf
from trainer.rollout.fleet import Fleet
from trainer.rollout.phases import Phase, Step, after
from trainer.rollout.record import Record, moment
from trainer.rollout.reports import fetch, hear
from trainer.rollout.views import RingView, is_protected, sized, views

MACHINE = "advance"
"""Who did it, in the log, where no person did."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person wants changed: why, the releases to call back to, and devices to judge no more."""

    by: str
    why: str = ""
    back: Sequence[str] = ()
    excuse: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Steering:
    """One repository's rollouts.

    Args:
        address: of the repository.
        root: root.json of the devices' image; what was seen last is noted beside it.
        fleet: its devices.
        signers: keys of the sites and of the online roles; none are needed to look.
        clock: what time it is, UTC.
    """

    address: str
    root: Path
    fleet: Fleet
    signers: Signers
    clock: Callable[[], datetime]

    def start(self, name: str, paths: Sequence[str], wanted: Wanted) -> Record:
        """Begin a rollout: choose who is in which ring, and tell the lab.

        Args:
            name: of the rollout.
            paths: of the releases.
            wanted: who begins it, why, and the way back.

        Raises:
            ConfigError: It cannot begin so; says why. Nothing was changed.
            BundleTrustError, StorageError: see `remembered`, `publish_orders`.
        """
        with self._alone() as (shelf, standing):
            book = Book(self.address, self.root)
            if name in book.names():
                raise ConfigError(
                    f"{name}: there has been such a rollout; take another name, so that reports are not mixed up"
                )
            record = begin(name, shelf, standing, self.fleet, book.going(standing), paths, wanted.back)
            check_keys(standing, {member.site for member in record.members.values()}, self.signers)
            words = (
                f"started{_because(wanted.why)}{_naming(wanted)}; ring lab told ({sized(len(record.of_ring('lab')))})"
            )
            now = self.clock()
            record = record.model_copy(
                update={"opened": {"lab": moment(now)}, "log": record.noted(now, wanted.by, words)}
            )
            return self._settled(book.write(record, None, standing, self.signers), book, shelf, standing).record

    def look(self, name: str) -> tuple[Record, list[RingView]]:
        """Read reports and tell how a rollout stands; nothing is changed.

        Raises:
            ConfigError, BundleTrustError, StorageError: see `Book.read`, `fetch`.
        """
        standing = remembered(Shelf(self.address), self.root)
        record = self._heard(Book(self.address, self.root).read(name, standing).record)
        return record, views(record, self.fleet.rings, self.clock())

    def advance(self, name: str) -> tuple[Record, list[RingView]]:
        """Read reports, judge the gates, and tell the next ring or end it.

        Raises:
            ConfigError, BundleTrustError, StorageError: see `Book`, `fetch`, `publish_orders`.
        """
        with self._alone() as (shelf, standing):
            book = Book(self.address, self.root)
            leaf = book.read(name, standing)
            check_keys(standing, {member.site for member in leaf.record.members.values()}, self.signers)
            record = self._heard(leaf.record)
            record = self._judged(record, views(record, self.fleet.rings, self.clock()))
            if record != leaf.record:
                leaf = book.write(_counted(record), leaf, standing, self.signers)
            if not leaf.record.is_settled and leaf.record.phase is not Phase.PAUSED:
                leaf = self._settled(leaf, book, shelf, standing)
            return leaf.record, views(leaf.record, self.fleet.rings, self.clock())

    def change(self, name: str, step: Step, wanted: Wanted) -> Record:
        """Do what a person wants.

        Args:
            name: of the rollout.
            step: PAUSE, RESUME, HALT or RECALL.
            wanted: who wants it, and why.

        Raises:
            ConfigError: That cannot be done now, or not so.
            BundleTrustError, StorageError: see `Book`, `fetch`, `publish_orders`.
        """
        with self._alone() as (shelf, standing):
            book = Book(self.address, self.root)
            leaf = book.read(name, standing)
            if step is not Step.PAUSE:
                check_keys(standing, {member.site for member in leaf.record.members.values()}, self.signers)
            record = leaf.record if step is Step.PAUSE else self._heard(leaf.record)  # the brake asks nobody
            phase = after(record.phase, step)
            if phase is None:
                raise ConfigError(f"{name} is {record.phase.value}, so there is nothing to {step.value}{_next(record)}")
            changes: dict[str, Any] = {"phase": phase, "excused": self._excused(record, wanted)}
            if wanted.back:
                changes["back"] = choose_all(standing, wanted.back)
                check_way_back(standing, record.releases, changes["back"], record.members)
            if step in (Step.HALT, Step.RECALL):
                changes |= {"called": _called(record, step), "is_settled": False}
            words = f"{step.value}{_because(wanted.why)}{_naming(wanted)}"
            record = record.model_copy(update={**changes, "log": record.noted(self.clock(), wanted.by, words)})
            leaf = book.write(_counted(record), leaf, standing, self.signers)
            is_done = record.is_settled or phase is Phase.PAUSED
            return (leaf if is_done else self._settled(leaf, book, shelf, standing)).record

    @contextmanager
    def _alone(self) -> Iterator[tuple[Shelf, Standing]]:
        shelf = Shelf(self.address)
        with shelf.alone():
            yield shelf, remembered(shelf, self.root)

    def _heard(self, record: Record) -> Record:
        files = fetch(self.fleet.reports, record.told())
        if record.heard and not files:
            raise StorageError(
                f"{self.fleet.reports}: of {len(record.told())} devices not one report is there any more, and there "
                f"were some; check the address in {self.fleet.path}. Nothing was judged"
            )
        return hear(record, self.fleet, files, self.clock())

    def _judged(self, record: Record, found: Sequence[RingView]) -> Record:
        """Take the one step that the gates allow."""
        told = [view for view in found if view.judgement]
        for view in told:
            if view.judgement and view.judgement.says == "HALT" and (phase := after(record.phase, Step.BREAK)):
                words = f"halted: ring {view.ring}: {view.judgement.words[0]}"
                changes = {"phase": phase, "called": _called(record, Step.HALT), "is_settled": False}
                return record.model_copy(update={**changes, "log": record.noted(self.clock(), MACHINE, words)})
        if record.phase is Phase.HALTED and (late := _given_up(record)):
            return record.model_copy(update={"called": {**late, **record.called}, "is_settled": False})
        newest = told[-1].judgement
        if newest is None or newest.says != "PASS" or any(map(is_protected, told)):
            return record
        left = [ring for ring in RINGS if ring not in record.opened and record.of_ring(ring)]
        phase = after(record.phase, Step.OPEN if left else Step.FINISH)
        if phase is None:
            return record
        now, passed = self.clock(), f"ring {told[-1].ring} passed: {newest.words[0]}"
        if not left:
            return record.model_copy(update={"phase": phase, "log": record.noted(now, MACHINE, f"{passed}; done")})
        ring = left[0]
        words = f"{passed}; ring {ring} told ({sized(len(record.of_ring(ring)))})"
        changes = {"opened": {**record.opened, ring: moment(now)}, "is_settled": False}
        return record.model_copy(update={**changes, "log": record.noted(now, MACHINE, words)})

    def _settled(self, leaf: Leaf, book: Book, shelf: Shelf, standing: Standing) -> Leaf:
        """Let the assignments say what is written down."""
        record = leaf.record
        if publish_orders(shelf, standing, _orders(record, self.fleet, standing), self.signers):
            standing = remembered(shelf, self.root)
        called = {device: self._asked(record, device, shelf, standing) for device in record.called}
        record = record.model_copy(update={"is_settled": True, "called": called})
        return book.write(_counted(record), leaf, standing, self.signers)

    def _asked(self, record: Record, device: str, shelf: Shelf, standing: Standing) -> int:
        if not record.back or record.called[device]:
            return record.called[device]
        found = assignment_of(shelf, standing, record.members[device].site, device)
        return found.seq if found else 0

    def _excused(self, record: Record, wanted: Wanted) -> dict[str, str]:
        told = set(record.told())
        if unknown := sorted(set(wanted.excuse) - told):
            raise ConfigError(f"--excuse {', '.join(unknown)}: not told by {record.name}; check the ids")
        return record.excused | dict.fromkeys(wanted.excuse, wanted.why or f"by {wanted.by}")


def _called(record: Record, step: Step) -> dict[str, int]:
    """A recall is for everybody who was told; a halt for those in whom it is not in force."""
    heard = record.heard
    return {
        device: record.called.get(device, 0)
        for device in record.told()
        if step is Step.RECALL or device in record.called or device not in heard or not heard[device].is_committed
    }


def _given_up(record: Record) -> dict[str, int]:
    """Devices that gave it up after it was in force there, and after the halt."""
    lost = ("failed", "rolled_back", "quarantined")
    told = (device for device in record.told() if device not in record.called and device in record.heard)
    return {device: 0 for device in told if record.heard[device].outcome in lost}


def _orders(record: Record, fleet: Fleet, standing: Standing) -> list[Order]:
    """What every device that was told shall run, in as few assignments at a time as can be."""
    news, called = [chosen.path for chosen in record.releases], set(record.called)
    ways = {content_of(standing, chosen): chosen.path for chosen in record.back}
    groups: dict[tuple[str, Ring, tuple[str, ...]], list[str]] = defaultdict(list)
    for device in record.told():
        member = record.members[device]
        if device in called and not record.back:
            continue
        paths = [ways[digest] for digest in member.had.values()] if device in called else news
        groups[member.site, member.ring, (*member.keeps, *paths)].append(device)
    return [
        Order(site, devices, Wish(rollout=record.name, ring=ring, paths=paths, gates=fleet.rings.of(ring).gates))
        for (site, ring, paths), devices in sorted(groups.items())
    ]


def _counted(record: Record) -> Record:
    return record.model_copy(update={"number": record.number + 1})


def _because(why: str) -> str:
    return f": {why}" if why else ""


def _naming(wanted: Wanted) -> str:
    back = f"; back to {', '.join(wanted.back)}" if wanted.back else ""
    return back + (f"; excused {', '.join(wanted.excuse)}" if wanted.excuse else "")


def _next(record: Record) -> str:
    remedies = {
        Phase.HALTED: "; that is final, another rollout can begin", Phase.RECALLED: "; that is final, too",
        Phase.DONE: "; `trainer rollout recall` calls everybody back", Phase.RUNNING: "", Phase.PAUSED: "",
    }  # fmt: skip
    return remedies[record.phase]
