"""The agent's hands: writes the row, does the state's action, writes the next row; nothing else drives an update."""

import logging
from collections.abc import Callable, Mapping, Sequence

from appliance.errors import ApplianceError, BundleError, BundleSlowError, DeviceError
from appliance.ports import Clock
from appliance.update.assignment import AssignedRelease, Assignment
from appliance.update.doors import Window, why_closed
from appliance.update.journal import Journal, Wish
from appliance.update.kinds import Kind, Outcome, Update, done, waits
from appliance.update.lifecycle import (
    AT_THE_LINE,
    ENDING,
    MOST_CRASHES,
    MOST_TRIES,
    PREPARING,
    TRANSITIONS,
    WAY_BACK,
    Event,
    Progress,
    State,
    after,
)
from appliance.update.situation import GOES_BACK, HOLD, HUNG, HUNG_TAKEN

log = logging.getLogger(__name__)

NOTHING_BEFORE = "nothing to roll back"
PUT_IN_FORCE = "assign the one that is wanted"

_ACTIONS: Mapping[State, Callable[[Kind, Update], Outcome]] = {
    State.CHECK: lambda kind, update: kind.check(update),
    State.DOWNLOAD: lambda kind, update: kind.download(update),
    State.VERIFY: lambda kind, update: kind.verify(update),
    State.STAGE: lambda kind, update: kind.stage(update),
    State.BUILD: lambda kind, update: kind.build(update),
    State.PROVE: lambda kind, update: kind.prove(update),
    State.SHADOW: lambda kind, update: kind.shadow(update),
    State.CANARY: lambda kind, update: kind.canary(update),
    State.COMMIT: lambda kind, update: kind.commit(update),
    State.WATCH: lambda kind, update: kind.watch(update),
    State.CLEANUP: lambda kind, update: kind.cleanup(update),
    State.ROLLBACK: lambda kind, update: kind.rollback(update),
    State.VERIFY_ROLLBACK: lambda kind, update: kind.verify_rollback(update),
    State.REPORT: lambda kind, update: done(),  # every row is reported, whoever takes it and whenever
}
"""State -> what it does; FAILURE is the conductor's own."""

_BEFORE_PROVE = (State.CHECK, State.DOWNLOAD, State.VERIFY, State.STAGE, State.BUILD)

_SHORT = (*WAY_BACK, *ENDING, *AT_THE_LINE)
"""States that take no longer than the line does to answer, the most urgent first."""


def are_model_and_recipe(first: AssignedRelease, second: AssignedRelease) -> bool:
    """Return whether two releases are of a model and of a recipe."""
    return {first.kind, second.kind} == {"model", "recipe"}


class Conductor:
    """Drives the updates of all kinds, one process at a time; each call does what can be done now."""

    def __init__(
        self, journal: Journal, kinds: Mapping[str, Kind], clock: Clock, window: Window,
        judge_together: Callable[[AssignedRelease, AssignedRelease], bool] = are_model_and_recipe,
        on_action: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        """Take over the journal.

        Args:
            journal: of this device.
            kinds: name -> what each state does.
            clock: for the window.
            window: when something else may begin to judge.
            judge_together: whether two releases are of a model and a recipe that judge the same parts; each of both is
                proved with the other one in force, so they come one after the other, and go back the other way round.
            on_action: called before each state's action.
        """
        self._journal, self._kinds, self._clock, self._window = journal, kinds, clock, window
        self._judge_together, self._on_action = judge_together, on_action
        self._at_work = set[int]()

    def resume(self) -> None:
        """Begin after a start: what an earlier process broke off counts as that."""
        hung = self._take_hung()
        for update in self._journal.open_updates():
            if not (update.is_waiting or update.is_due):
                progress = after(update.progress, Event.RESTARTED)
                why = f": {hung['words']}" if hung.get("at", "") >= update.since else ""
                if progress != update.progress:
                    words = f"the agent ended within {update.progress.state.value}{why}"
                    self._journal.move(update, progress, _with_count(words, update.progress, progress))

    def _take_hung(self) -> dict[str, str]:
        """Return how the agent before ended, if it hung; once, as the note stays for people to see."""
        hung: dict[str, str] = self._journal.noted(HUNG) or {}
        if not hung or hung["at"] == self._journal.noted(HUNG_TAKEN):
            return {}
        self._journal.note(HUNG_TAKEN, hung["at"])
        return hung

    def begin(self, assignment: Assignment) -> None:
        """Begin what an assignment asks for and this device does not have; give up what it no longer asks for."""
        open_updates = {_key(update.release): update for update in self._journal.open_updates()}
        for release in assignment.releases:
            update = open_updates.get(_key(release))
            if update is None:
                self._begin(release, assignment)
            elif update.release.sha256 != release.sha256:
                self._abort(
                    update, f"assignment {assignment.seq} asks for release {release.seq} instead; this one is given up"
                )

    def advance(self) -> None:
        """Take up people's wishes, then let every open update go as far as it can now, the most urgent one first."""
        while True:
            for wish in self._journal.wishes():
                self._take_up(wish)
            for update in sorted(self._journal.open_updates(), key=_urgency):
                self._advance_by_number(update.number)
            if not self._journal.wishes():
                return

    def go_back(self) -> None:
        """Take up people's wishes, and let what is on its way back, or ends, go as far as it can; nothing else."""
        for wish in self._journal.wishes():
            self._take_up(wish)
        self._advance_those_in((*WAY_BACK, *ENDING))

    def look_at_the_line(self) -> None:
        """Let what judges at the line, or is on its way back, go on while another update's long action is at work."""
        self._advance_those_in(_SHORT)

    def _advance_those_in(self, states: Sequence[State]) -> None:
        for update in sorted(self._journal.open_updates(), key=_urgency):
            if update.progress.state in states:
                self._advance_by_number(update.number)

    def _advance_by_number(self, number: int) -> None:
        """Read the row anew: it may have gone on since; and never from within its own action."""
        update = next((each for each in self._journal.open_updates() if each.number == number), None)
        if update is None or number in self._at_work:
            return
        self._at_work.add(number)
        try:
            self._advance(update)
        finally:
            self._at_work.remove(number)

    def _begin(self, release: AssignedRelease, assignment: Assignment) -> None:
        kind = self._kinds.get(release.kind)
        if kind is None:
            log.warning("%s %s: %s", release.kind, release.name, _no_kind(release.kind))
            return
        in_force = kind.in_force(release.name)
        if in_force == release.sha256 or self._why_not(release, assignment):
            return
        self._journal.begin(
            release, assignment.gates, after(Progress(), Event.DONE), assignment_seq=assignment.seq,
            rollout=assignment.rollout, ring=assignment.ring, previous=in_force,
        )  # fmt: skip

    def _why_not(self, release: AssignedRelease, assignment: Assignment) -> str:
        if why := self._journal.quarantined().get(release.sha256):
            return why
        if self._journal.noted(HOLD) is not None:
            return "updates are held"
        earlier = [
            update for update in self._journal.of_digest(release.sha256) if _key(update.release) == _key(release)
        ]
        if earlier and earlier[-1].progress.verdict == "failed" and earlier[-1].assignment_seq == assignment.seq:
            return "this very assignment failed; a newer one is tried"
        return ""

    def _take_up(self, wish: Wish) -> None:
        """Roll a name back: what is under way to the release in force, what is in force to the one before."""
        reason = f"rolled back by {wish.by}"
        newest = next((each for each in self._journal.latest() if _names(each, wish)), None)
        if newest is not None and newest.progress.can_be_aborted:
            self._journal.quarantine(newest.release.sha256, reason, wish.by)
            self._move(newest, Event.ABORTED, reason)
            answer = f"release {newest.release.seq} of {wish.name} {GOES_BACK}"
        elif newest is not None and _is_going_back(newest):
            answer = f"release {newest.release.seq} of {wish.name} {GOES_BACK}, as it would have been anyway"
        else:
            answer = self._roll_back(wish, reason)
        self._journal.answer(wish, answer)

    def _roll_back(self, wish: Wish, reason: str) -> str:
        kind = self._kinds[wish.kind]
        installed = self._installed(wish.kind, wish.name)
        if installed is None:
            return f"{NOTHING_BEFORE}: what is in force of {wish.name} did not come by the agent; {PUT_IN_FORCE}"
        if not kind.keeps(wish.name, installed.previous):
            return f"{NOTHING_BEFORE}: the release before is no longer here; {PUT_IN_FORCE}"
        if later := self._came_later(installed):
            return f"{NOTHING_BEFORE}: {_in_words(later)} came later, and was proved with it; roll that back first"
        for each in self._tried_together(installed):
            self._abort(each, f"{_in_words(installed.release)}, with which it is tried, is {reason}")
        self._journal.quarantine(installed.release.sha256, reason, wish.by)
        progress = Progress(State.ROLLBACK, stores=1, verdict="rolled_back", is_at_the_line=True, has_judged=True)
        self._journal.begin(
            installed.release, installed.gates, progress, assignment_seq=installed.assignment_seq,
            rollout=installed.rollout, ring=installed.ring, previous=installed.previous, by=wish.by, reason=reason,
        )  # fmt: skip
        return f"release {installed.release.seq} of {wish.name} {GOES_BACK}"

    def _installed(self, kind: str, name: str) -> Update | None:
        """Return the update that brought what is in force of a name; None if none did."""
        now = self._journal.of_digest(self._kinds[kind].in_force(name))
        theirs = [each for each in now if _key(each.release) == (kind, name)]
        return next((each for each in reversed(theirs) if each.progress.verdict == "success"), None)

    def _came_later(self, installed: Update) -> AssignedRelease | None:
        """Return what is in force, came after a release, and was proved with it: with the one before it never was."""
        others = {_key(each.release) for each in self._journal.latest() if each.release.kind in self._kinds}
        for update in (self._installed(*key) for key in sorted(others)):
            is_later = update is not None and update.number > installed.number
            if update is not None and is_later and self._judge_together(update.release, installed.release):
                return update.release
        return None

    def _tried_together(self, update: Update) -> list[Update]:
        """Return the open updates that are proved, or tried, together with what this one changes."""
        return [
            each
            for each in self._journal.open_updates()
            if self._judge_together(each.release, update.release) and each.progress.state not in _BEFORE_PROVE
        ]

    def _abort(self, update: Update, reason: str) -> None:
        if update.progress.can_be_aborted:
            self._move(update, Event.ABORTED, reason)

    def _advance(self, update: Update) -> None:
        while update.progress.state is not State.IDLE:
            if update.progress.can_be_aborted and any(_names(update, wish) for wish in self._journal.wishes()):
                return
            closed = self._why_closed(update)
            is_prepared_again = update.is_waiting and update.progress.state in PREPARING
            if not closed and (is_prepared_again or update.is_due):
                update = self._journal.wake(update)  # broken off in there, it counts
            outcome = waits(closed) if closed else self._act(update)
            if outcome.event is None:
                self._journal.rest(update, outcome.reason, **outcome.changes)
                return
            is_due = outcome.event in (Event.RETRY, Event.LOST)
            update = self._move(update, outcome.event, outcome.reason, **outcome.changes, is_due=is_due)
            if is_due:
                return  # at the next look, so that three times are not one moment

    def _move(self, update: Update, event: Event, reason: str, **changes: object) -> Update:
        progress = after(update.progress, event)
        if event in (Event.RETRY, Event.LOST):
            reason = _with_count(reason, update.progress, progress)
        if reason and event is not Event.DONE:
            log.warning("%s %s: %s", update.release.name, update.progress.state.value, reason)
        if progress == update.progress:
            return update
        return self._journal.move(update, progress, _told(update, event, reason), **changes)

    def _act(self, update: Update) -> Outcome:
        self._on_action()
        state, kind = update.progress.state, self._kinds.get(update.release.kind)
        if kind is None:
            return waits(_no_kind(update.release.kind))
        if state is State.FAILURE:
            return self._fail(update)
        return _possible(state, _tried(_ACTIONS[state], kind, update))

    def _why_closed(self, update: Update) -> str:
        """The doors are before PROVE, each beginning of CANARY, and ROLLBACK where something else must go back first.

        COMMIT has none: what waited there would judge, and nobody would watch it.
        """
        state = update.progress.state
        if state in (State.PROVE, State.ROLLBACK):
            return self._who_is_before(update)
        if state is not State.CANARY or update.since_seq is not None:
            return ""
        closed = why_closed(self._journal.noted(HOLD), self._window, self._clock.utc())
        return closed or self._who_is_at_the_line(update)

    def _who_is_before(self, update: Update) -> str:
        """Of a model and a recipe that judge together one changes at a time, in the order in which they began.

        What began later and is on its way back does not wait: it was tried with what is in force.
        """
        ahead = self._journal.open_updates() if update.progress.state is State.PROVE else self._tried_together(update)
        for each in ahead:
            if each.number < update.number and self._judge_together(each.release, update.release):
                return f"{_in_words(each.release)} is under way; this one goes on by itself when that has ended"
        return ""

    def _who_is_at_the_line(self, update: Update) -> str:
        """One at a time: a program that is restarted would break a model's trial off, and be blamed for its faults."""
        for each in self._journal.open_updates():
            state, is_other = each.progress.state, each.number != update.number
            if is_other and (state is State.COMMIT or (state is State.CANARY and each.since_seq is not None)):
                return f"{_in_words(each.release)} is on trial at the line; this one goes on by itself after that"
        return ""

    def _fail(self, update: Update) -> Outcome:
        if update.progress.verdict == "quarantined":
            self._journal.quarantine(update.release.sha256, update.reason, update.by or "agent")
        return done()


def _tried(action: Callable[[Kind, Update], Outcome], kind: Kind, update: Update) -> Outcome:
    try:
        return action(kind, update)
    except (BundleSlowError, DeviceError) as error:
        return Outcome(Event.RETRY, str(error))
    except BundleError as error:
        return Outcome(Event.FAILED, str(error))
    except ApplianceError as error:  # of the network, the disk, a file that a person must correct
        return waits(str(error))


def _possible(state: State, outcome: Outcome) -> Outcome:
    """What cannot happen in a state is waited out: moods of the network, and everything on the way back."""
    if outcome.event is None or outcome.event in TRANSITIONS[state]:
        return outcome
    return waits(outcome.reason, **outcome.changes)


def _with_count(reason: str, before: Progress, now: Progress) -> str:
    """Say which try it was, where tries are counted, and whether there is another one."""
    if now.verdict == "quarantined" and not before.verdict:
        return f"{reason} (tried too often: it goes back and is quarantined)"
    for count, failed, most in ((before.tries, now.tries, MOST_TRIES), (before.crashes, now.crashes, MOST_CRASHES)):
        if failed > count:
            return f"{reason} (try {failed} of {most} failed; the next comes by itself)"
    return reason


def _no_kind(kind: str) -> str:
    """Say why nothing of a kind is done here: agent.yaml is without it, or an older agent than the one that began."""
    if kind == "app":
        return "agent.yaml has no section `apps`, so no application is installed; put it there and restart the agent"
    return f"this version of the agent cannot install a release of kind {kind}; install a newer version of it"


def _told(update: Update, event: Event, reason: str) -> str:
    """Why an update goes back stays its reason until it has ended."""
    if update.progress.state not in (*WAY_BACK, *ENDING):
        return reason
    return update.reason if event is Event.DONE or reason in update.reason else f"{update.reason}; {reason}"


def _urgency(update: Update) -> tuple[int, int]:
    """What goes back comes first, then what judges; what may take long comes last."""
    state = update.progress.state
    return (_SHORT.index(state) if state in _SHORT else len(_SHORT)), update.number


def _is_going_back(update: Update) -> bool:
    is_ending = update.progress.state in (State.REPORT, State.CLEANUP) and update.progress.verdict != "success"
    return is_ending or update.progress.state in WAY_BACK


def _in_words(release: AssignedRelease) -> str:
    return f"release {release.seq} of {release.kind} {release.name}"


def _key(release: AssignedRelease) -> tuple[str, str]:
    return release.kind, release.name


def _names(update: Update, wish: Wish) -> bool:
    return _key(update.release) == (wish.kind, wish.name)
