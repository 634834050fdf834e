"""Lines and candidates that are made up: what the model in force and a candidate say of the same parts."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from appliance.events import Reason, Verdict
from appliance.update.challenger import Failure, Judgement, Pair
from appliance.update.watch import LinePart

CLASSES = {"open": 0.40, "short": 0.30, "mousebite": 0.20, "spur": 0.08, "pinhole": 0.02}
"""Class -> its share of the rejected parts."""

BUDGET_MS = 50.0
FAST_MS, SLOW_MS = 20.0, 80.0
CHUNK = 500


@dataclass(frozen=True, slots=True)
class Candidate:
    """How a candidate differs from the model in force; shares 0..1.

    escapes: of the rejected parts, accepted. overkill: of the accepted parts, rejected. blind: a class that it accepts.
    shift, spread: mean and standard deviation of the difference of the scores. The others are shares of all parts.
    """

    escapes: float = 0.02
    overkill: float = 0.005
    late: float = 0.001
    faults: float = 0.0
    crashes: float = 0.0
    not_a_number: float = 0.0
    skipped: float = 0.1
    shift: float = 0.0
    spread: float = 0.05
    blind: str = ""


def pairs(
    candidate: Candidate, rng: np.random.Generator, *, rejected: float = 0.05, dark: float = 0.0
) -> Iterator[Pair]:
    """Yield pairs without end.

    Args:
        candidate: what is judged.
        rng: where chance comes from.
        rejected: share of the parts that the model in force rejects.
        dark: share of the parts whose picture is too dark for either.
    """
    names, shares = list(CLASSES), list(CLASSES.values())
    while True:
        chance = rng.random((CHUNK, 7))
        labels = rng.choice(len(names), CHUNK, p=shares)
        base = rng.normal(0, 0.05, CHUNK)
        moved = rng.normal(candidate.shift, candidate.spread, CHUNK)
        for one, number, noise, shift in zip(chance.tolist(), labels, base.tolist(), moved.tolist(), strict=True):
            if one[0] < dark:
                verdict = Judgement(Verdict.FAULT, Reason.TOO_DARK)
                yield Pair(verdict, verdict)
                continue
            is_rejected = one[1] < rejected
            label = names[number] if is_rejected else None
            score = min(max((0.85 if is_rejected else 0.12) + noise, 0.0), 1.0)
            reference = _judgement(is_rejected, label, score, FAST_MS)
            differs = one[2] < (candidate.escapes if is_rejected else candidate.overkill)
            is_found = (is_rejected != differs) and not (is_rejected and label == candidate.blind)
            latency_ms = SLOW_MS if one[3] < candidate.late else FAST_MS
            judged = _judgement(is_found, label, min(max(score + shift, 0.0), 1.0), latency_ms)
            yield Pair(reference, _failure(candidate, one[4], one[5], one[6]) or judged)


def line_parts(
    rng: np.random.Generator,
    *,
    diverted: float,
    late: float = 0.0,
    missed: float = 0.0,
    faults: float = 0.0,
    per_h: float,
) -> Iterator[LinePart]:
    """Yield what a line does with its parts, without end.

    Args:
        rng: where chance comes from.
        diverted: share of the parts that are rejected.
        late: share over the latency budget.
        missed: share over the deadline.
        faults: share without an answer.
        per_h: parts an hour.
    """
    number = 0
    while True:
        for one in rng.random((CHUNK, 3)).tolist():
            number += 1
            at_s = number * 3600 / per_h
            if one[0] < faults:
                yield LinePart(Verdict.FAULT, Reason.RUNTIME, at_s)
            elif one[0] < faults + missed:
                yield LinePart(Verdict.FAULT, Reason.DEADLINE, at_s, SLOW_MS)
            else:
                verdict, reason = _said(one[1] < diverted)
                yield LinePart(verdict, reason, at_s, SLOW_MS if one[2] < late else FAST_MS)


def _said(is_found: bool) -> tuple[Verdict, Reason]:
    return (Verdict.REJECT, Reason.DEFECT) if is_found else (Verdict.ACCEPT, Reason.COMPLETE)


def _judgement(is_found: bool, label: str | None, score: float, latency_ms: float) -> Judgement:
    return Judgement(*_said(is_found), label if is_found else None, score, latency_ms)


def _failure(candidate: Candidate, skip: float, fault: float, crash: float) -> Failure | Judgement | None:
    if skip < candidate.skipped:
        return Failure.SKIPPED
    if crash < candidate.crashes:
        return Failure.CRASH
    if crash < candidate.crashes + candidate.not_a_number:
        return Failure.NOT_A_NUMBER
    return Judgement(Verdict.FAULT, Reason.RUNTIME) if fault < candidate.faults else None
