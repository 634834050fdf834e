"""The life of an update: every transition in one table, and what is counted on the way; pure.

The same table for models, recipes, apps and operating systems: appliance.update.kinds says what each state does.
"""

from dataclasses import dataclass, replace
from enum import Enum
from typing import Literal, TypeAlias

MOST_STORES = 30
"""Rows that one update may write: more means that it goes round in a circle."""

WAY_BACK_STORES = 6
"""Of these, kept for ROLLBACK, VERIFY_ROLLBACK, FAILURE, REPORT, CLEANUP and IDLE."""

MOST_TRIES = 3
"""Of preparing a release; then it is quarantined."""

MOST_CRASHES = 3
"""Of a state in which the line knows the release; then it is rolled back and quarantined."""


class State(str, Enum):
    """Where an update is; its row says so before anything is done there."""

    IDLE = "IDLE"
    CHECK = "CHECK"  # what was assigned is what the kind's own role signed, and not older than the floor
    DOWNLOAD = "DOWNLOAD"
    VERIFY = "VERIFY"  # the file on disk, by itself
    STAGE = "STAGE"  # beside what is in force
    BUILD = "BUILD"  # the engine of this device, in a child process
    PROVE = "PROVE"  # the certificate of this device, in a child process
    SHADOW = "SHADOW"  # judges every part after the action has left; nobody acts on it
    CANARY = "CANARY"  # judges at the line until that restarts; current still names the release before
    COMMIT = "COMMIT"  # current names it
    WATCH = "WATCH"
    REPORT = "REPORT"
    CLEANUP = "CLEANUP"
    ROLLBACK = "ROLLBACK"  # current and the line have the release before
    VERIFY_ROLLBACK = "VERIFY_ROLLBACK"
    FAILURE = "FAILURE"


class Event(str, Enum):
    """What came of a state's action; waiting for something is no event."""

    DONE = "done"
    RETRY = "retry"  # it failed, and may succeed next time
    FAILED = "failed"  # it failed, and would again
    LOST = "lost"  # the line no longer has the release that it was given
    LACKING = "lacking"  # what it takes to judge it never came: what people must bring, or a start of it
    ABORTED = "aborted"  # a person, or a newer assignment, wants it undone; or the device has lost it
    RESTARTED = "restarted"  # the agent's process ended within the action


Verdict: TypeAlias = Literal["", "success", "failed", "rolled_back", "quarantined"]
"""How an update ends; empty while nobody knows."""

_D, _R, _F, _L, _A, _X = Event.DONE, Event.RETRY, Event.FAILED, Event.LOST, Event.ABORTED, Event.RESTARTED
_N = Event.LACKING
_S = State

TRANSITIONS: dict[State, dict[Event, State]] = {
    _S.IDLE: {_D: _S.CHECK},
    _S.CHECK: {_D: _S.DOWNLOAD, _F: _S.ROLLBACK, _A: _S.ROLLBACK, _X: _S.CHECK},
    _S.DOWNLOAD: {_D: _S.VERIFY, _F: _S.ROLLBACK, _A: _S.ROLLBACK, _X: _S.DOWNLOAD},
    _S.VERIFY: {_D: _S.STAGE, _R: _S.DOWNLOAD, _F: _S.ROLLBACK, _A: _S.ROLLBACK, _X: _S.VERIFY},
    _S.STAGE: {_D: _S.BUILD, _R: _S.VERIFY, _F: _S.ROLLBACK, _A: _S.ROLLBACK, _X: _S.VERIFY},
    _S.BUILD: {_D: _S.PROVE, _R: _S.VERIFY, _F: _S.ROLLBACK, _A: _S.ROLLBACK, _X: _S.VERIFY},
    _S.PROVE: {_D: _S.SHADOW, _R: _S.VERIFY, _F: _S.ROLLBACK, _A: _S.ROLLBACK, _X: _S.VERIFY},
    _S.SHADOW: {_D: _S.CANARY, _R: _S.SHADOW, _F: _S.ROLLBACK, _L: _S.SHADOW, _A: _S.ROLLBACK, _X: _S.SHADOW},
    _S.CANARY: {
        _D: _S.COMMIT,
        _R: _S.CANARY,
        _F: _S.ROLLBACK,
        _N: _S.ROLLBACK,
        _L: _S.CANARY,
        _A: _S.ROLLBACK,
        _X: _S.CANARY,
    },
    _S.COMMIT: {_D: _S.WATCH, _R: _S.COMMIT, _F: _S.ROLLBACK, _L: _S.ROLLBACK, _A: _S.ROLLBACK, _X: _S.COMMIT},
    _S.WATCH: {_D: _S.REPORT, _F: _S.ROLLBACK, _N: _S.ROLLBACK, _L: _S.ROLLBACK, _A: _S.ROLLBACK, _X: _S.WATCH},
    _S.REPORT: {_D: _S.CLEANUP, _X: _S.REPORT},
    _S.CLEANUP: {_D: _S.IDLE, _X: _S.CLEANUP},
    _S.ROLLBACK: {_D: _S.VERIFY_ROLLBACK, _X: _S.ROLLBACK},
    _S.VERIFY_ROLLBACK: {_D: _S.FAILURE, _R: _S.ROLLBACK, _F: _S.FAILURE, _X: _S.VERIFY_ROLLBACK},
    _S.FAILURE: {_D: _S.REPORT, _X: _S.FAILURE},
}
"""State -> event -> next state. What is not here cannot happen there."""

PREPARING = (_S.VERIFY, _S.STAGE, _S.BUILD, _S.PROVE)
AT_THE_LINE = (_S.CANARY, _S.COMMIT, _S.WATCH)
"""States in which parts may be judged by the new release."""
ENDING = (_S.REPORT, _S.CLEANUP, _S.IDLE)
WAY_BACK = (_S.ROLLBACK, _S.VERIFY_ROLLBACK, _S.FAILURE)
_COUNTS_CRASHES = (_S.SHADOW, _S.CANARY, _S.COMMIT)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an update is.

    tries: of preparing it that failed. crashes: of this state. stores: rows written for it. verdict: how it ends.
    is_at_the_line: whether the line was told of it. has_judged: whether parts may have been judged by it.
    """

    state: State = State.IDLE
    tries: int = 0
    crashes: int = 0
    stores: int = 0
    verdict: Verdict = ""
    is_at_the_line: bool = False
    has_judged: bool = False

    @property
    def outcome(self) -> str:
        """What a report says: `running` until the update, or its way back, has ended."""
        is_over = self.state in (*ENDING, State.FAILURE)
        return (self.verdict or "running") if is_over else "running"

    @property
    def can_be_aborted(self) -> bool:
        """Whether the way back can begin here."""
        return Event.ABORTED in TRANSITIONS[self.state]


def after(progress: Progress, event: Event) -> Progress:
    """Return how far an update is after an event.

    Args:
        progress: before it.
        event: what came of the state's action.

    Returns:
        The same progress if nothing has to be written down, else the next with one store more.

    Raises:
        RuntimeError: the event cannot happen in this state.
    """
    target = TRANSITIONS[progress.state].get(event)
    if target is None:
        raise RuntimeError(f"{event.value} cannot happen in {progress.state.value}")
    counted = _counted(progress, event)
    if target is counted.state and counted == progress:
        return progress
    is_used_up = counted != progress and (counted.tries >= MOST_TRIES or counted.crashes >= MOST_CRASHES)
    if is_used_up or _is_circle(progress, target):
        return _sent_back(replace(counted, verdict="quarantined"))
    if target is State.ROLLBACK:
        return _sent_back(replace(counted, verdict=counted.verdict or _verdict_on_the_way_back(progress, event)))
    return replace(
        counted,
        state=target,
        stores=counted.stores + 1,
        crashes=counted.crashes if target is progress.state else 0,
        verdict=_verdict(counted, progress.state, event, target),
        is_at_the_line=counted.is_at_the_line or target is State.SHADOW,
        has_judged=counted.has_judged or target in AT_THE_LINE,
    )


def _counted(progress: Progress, event: Event) -> Progress:
    if event in (Event.RETRY, Event.RESTARTED) and progress.state in PREPARING:
        return replace(progress, tries=progress.tries + 1)
    if event in (Event.RETRY, Event.RESTARTED, Event.LOST) and progress.state in _COUNTS_CRASHES:
        return replace(progress, crashes=progress.crashes + 1)
    return progress


def _is_circle(progress: Progress, target: State) -> bool:
    if target in ENDING or (target in WAY_BACK and progress.state is not State.VERIFY_ROLLBACK):
        return False
    return target is not State.FAILURE and progress.stores + 1 > MOST_STORES - WAY_BACK_STORES


def _sent_back(progress: Progress) -> Progress:
    """Go to ROLLBACK; from VERIFY_ROLLBACK, which would go round, to FAILURE."""
    is_there = progress.state is State.VERIFY_ROLLBACK and progress.stores + 1 > MOST_STORES - WAY_BACK_STORES
    target = State.FAILURE if is_there else State.ROLLBACK
    return replace(progress, state=target, stores=progress.stores + 1, crashes=0)


def _verdict(counted: Progress, state: State, event: Event, target: State) -> Verdict:
    if (state, event) == (State.WATCH, Event.DONE):
        return "success"
    return "failed" if target is State.FAILURE and not counted.verdict else counted.verdict


def _verdict_on_the_way_back(progress: Progress, event: Event) -> Verdict:
    if event is Event.FAILED and progress.state not in (State.CHECK, State.DOWNLOAD):
        return "quarantined"  # it was judged, and trying it again is no cure
    if event is Event.LACKING:
        return "failed"  # not to blame, and tried again only when somebody assigns it anew
    return "rolled_back" if progress.has_judged else "failed"


def resumed_state(stored: str) -> State:
    """Return the state of a stored word; of one that this version does not know, the way back."""
    try:
        return State(stored)
    except ValueError:
        return State.ROLLBACK
