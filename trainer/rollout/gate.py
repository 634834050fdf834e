"""A ring's gate: what its devices' reports add up to; pure.

Source: Eclipse hawkBit, "Rollout Management" (success and error thresholds of a group).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from trainer.rollout.fleet import RingTerms


class Seen(str, Enum):
    """What is known of a device that was told."""

    TOLD = "told"  # nothing was heard of the release yet
    RUNNING = "running"
    SUCCESS = "success"  # after its own watch, and not before
    FAILED = "failed"
    ROLLED_BACK = "rolled back"  # it judged parts, and the device went back by itself
    QUARANTINED = "quarantined"  # the device will not try it again
    SILENT = "silent"  # not heard of for longer than the ring allows
    EXCUSED = "excused"  # by a person


FAILURES = (Seen.FAILED, Seen.ROLLED_BACK, Seen.QUARANTINED, Seen.SILENT)
SAFETY = (Seen.ROLLED_BACK, Seen.QUARANTINED)
"""A device protected its line: not one is passed over, however many the ring has."""


@dataclass(frozen=True, slots=True)
class Tally:
    """A ring at a moment.

    Args:
        counts: how many devices are in which state; what is not in it is none.
        hours: since it was told.
        parts: judged by the release on all its devices, as they say.
    """

    counts: Mapping[Seen, int]
    hours: float
    parts: int

    @property
    def size(self) -> int:
        """How many devices are judged."""
        return sum(self.counts.values()) - self.counts.get(Seen.EXCUSED, 0)

    @property
    def failures(self) -> int:
        """How many failed, went back or are silent."""
        return sum(self.counts.get(seen, 0) for seen in FAILURES)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a gate says, and why: what it waits for, what broke it, or what it was shown; a clause each."""

    says: Literal["WAIT", "PASS", "HALT"]
    words: tuple[str, ...]


def judge(terms: RingTerms, tally: Tally) -> Judgement:
    """Judge one ring.

    Args:
        terms: what it must show.
        tally: what it has shown.

    Returns:
        HALT as soon as too many failed; PASS when all is shown; else WAIT.
    """
    if not sum(tally.counts.values()):
        return Judgement("WAIT", ("nobody is in it",))
    if broken := _broken(terms, tally):
        return Judgement("HALT", (broken,))
    if lacking := _lacking(terms, tally):
        return Judgement("WAIT", lacking)
    succeeded = tally.counts.get(Seen.SUCCESS, 0)
    return Judgement("PASS", (f"{succeeded} of {tally.size} devices reached success, {tally.parts} parts",))


def _broken(terms: RingTerms, tally: Tally) -> str:
    failures, size = tally.failures, tally.size
    told = ", ".join(f"{tally.counts[seen]} {seen.value}" for seen in FAILURES if tally.counts.get(seen))
    if failures >= terms.halt_devices:
        return f"{failures} of {size} devices did not make it ({told}); {terms.halt_devices} end the rollout"
    if failures * 100 > terms.halt_percent * size:
        return (
            f"{failures} of {size} devices did not make it ({told}); more than {terms.halt_percent:g} % end the rollout"
        )
    return ""


def _lacking(terms: RingTerms, tally: Tally) -> tuple[str, ...]:
    size, counts = tally.size, tally.counts
    words = []
    if not size:
        return ("all its devices are excused, so nobody is left to show anything: halt it",)
    if safety := sum(counts.get(seen, 0) for seen in SAFETY):
        words.append(
            f"{safety} of its devices protected their lines against it: find out why, then excuse them or halt it"
        )
    succeeded = counts.get(Seen.SUCCESS, 0)
    if succeeded * 100 < terms.success_percent * size:
        wanted = -int(-(terms.success_percent * size) // 100)
        words.append(f"{succeeded} of {size} devices reached success, {wanted} must")
    if tally.hours < terms.least_h:
        words.append(f"{tally.hours:.1f} of {terms.least_h:g} h have passed")
    if tally.parts < terms.least_parts:
        words.append(f"{tally.parts} of {terms.least_parts} parts were judged")
    return tuple(words)
