"""A rollout's phases and every step between them, in one table; pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class Phase(str, Enum):
    """How a rollout stands."""

    RUNNING = "running"
    PAUSED = "paused"  # nobody new is told; a gate that breaks still ends it
    HALTED = "halted"  # nobody new, and who has not committed is called back
    RECALLED = "recalled"  # everybody is called back
    DONE = "done"  # the last ring has shown all


class Step(str, Enum):
    """What moves it on: gates by themselves, and people."""

    OPEN = "open"  # the gate of the newest ring passed, and there is another ring
    FINISH = "finish"  # the gate of the last ring passed
    BREAK = "break"  # a gate says HALT
    PAUSE = "pause"
    RESUME = "resume"
    HALT = "halt"
    RECALL = "recall"


TRANSITIONS: Mapping[Phase, Mapping[Step, Phase]] = {
    Phase.RUNNING: {
        Step.OPEN: Phase.RUNNING, Step.FINISH: Phase.DONE, Step.BREAK: Phase.HALTED, Step.PAUSE: Phase.PAUSED,
        Step.RESUME: Phase.RUNNING, Step.HALT: Phase.HALTED, Step.RECALL: Phase.RECALLED,
    },
    Phase.PAUSED: {
        Step.BREAK: Phase.HALTED, Step.RESUME: Phase.RUNNING, Step.HALT: Phase.HALTED, Step.RECALL: Phase.RECALLED,
    },
    Phase.HALTED: {Step.HALT: Phase.HALTED, Step.RECALL: Phase.RECALLED},
    Phase.RECALLED: {Step.RECALL: Phase.RECALLED},
    Phase.DONE: {Step.RECALL: Phase.RECALLED},
}  # fmt: skip
"""Phase -> step -> next phase; what is not here cannot happen. HALT and RECALL again name the way back later."""


def after(phase: Phase, step: Step) -> Phase | None:
    """Return the phase after a step, None if it cannot happen there."""
    return TRANSITIONS[phase].get(step)
