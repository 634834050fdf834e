"""The agent at work: asks the repository now and then, looks at its updates often, tells the line and the fleet."""

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from appliance.errors import ApplianceError
from appliance.update.assignment import Assignment
from appliance.update.brought import Brought
from appliance.update.conductor import Conductor
from appliance.update.journal import Journal
from appliance.update.line import Line, LineRefusedError
from appliance.update.reports import Reports
from appliance.update.situation import DISTRUSTED, situation

log = logging.getLogger(__name__)

JITTER = 0.3
"""Share of the time between two questions by which it is earlier or later, so that a fleet does not ask at once."""

RESEND_S = 300.0
"""After how long a report is sent again that nobody took."""

GLANCE_S = 0.2
"""How often a person's wish is looked for."""


@dataclass(slots=True)
class Meanwhile:
    """What is done now and then while something takes long. every_s: seconds between two times."""

    every_s: float
    do: Callable[[], None] = lambda: None
    _after: float = 0.0

    def __call__(self) -> None:
        """Do it, if it is time."""
        if (now := time.monotonic()) >= self._after:
            self._after = now + self.every_s
            self.do()


@dataclass(frozen=True, slots=True)
class Left:
    """What an agent leaves to do: seconds to its next question and to anything else, and the situation it knows."""

    ask_in_s: float
    again_in_s: float
    situation: str


@dataclass(slots=True)
class Service:
    """Everything that the agent does by itself.

    read_assignment: asks the repository. read_brought: what a stick said, if nothing newer was read since. deliver:
    hands a report over; None where nobody wants one. poll_s, look_s: seconds between questions to the repository, and
    between looks at the line.
    """

    journal: Journal
    conductor: Conductor
    line: Line
    reports: Reports
    read_assignment: Callable[[], Assignment]
    deliver: Callable[[bytes], None] | None
    poll_s: float
    look_s: float
    read_brought: Callable[[], Brought | None] = lambda: None
    _assignment: Assignment | None = None
    _begun_at: str = ""
    _reported_step: int = -1
    _report_after: float = 0.0
    _report_again: float = 0.0
    _chance: random.Random = field(default_factory=random.SystemRandom)

    def ask(self) -> ApplianceError | None:
        """Ask what this device is to have, and begin it, or what a stick said last; returns why nobody answered."""
        found, problem = None, None
        try:
            found = self.read_assignment()
        except ApplianceError as error:
            log.warning("%s", error)
            problem = error
        try:
            brought = self.read_brought()  # afterwards, because what the server says may end it
        except ApplianceError as error:
            brought, problem = None, problem or error
        if brought is not None and (found is None or found.seq < brought.assignment.seq):
            found = brought.assignment
        distrusted = self.journal.noted(DISTRUSTED) or {}
        self._note("problem", distrusted.get("words") if problem is None else str(problem))
        if found is not None:
            self._take(found)
            self.conductor.begin(found)
        return problem

    def look(self) -> None:
        """Let every update go as far as it can now, and tell whoever wants to know, also of what is in the way.

        Raises:
            StorageError: the journal cannot be written, or the floor cannot be read.
        """
        problem = None
        try:
            self._go_on()
        except ApplianceError as error:
            problem = error
        self.tell()
        self.report()
        if problem is not None:
            raise problem

    def _go_on(self) -> None:
        self.conductor.advance()
        now = situation(self.journal)
        if now != self._begun_at and (newest := self._newest()) is not None:  # what was in its way may have ended
            self.conductor.begin(newest)
            self.conductor.advance()
            self._begun_at = now  # of before, so that what came of it is looked at once more

    def run(
        self, stopped: threading.Event, on_step: Callable[[], None] = lambda: None, ask_in_s: float = 0.0
    ) -> Left | None:
        """Ask and look until stopped or nothing is left; whatever is refused is in the log and tried again.

        Args:
            stopped: set from elsewhere.
            on_step: called often while it gets on, first when the journal was read.
            ask_in_s: seconds until the first question.

        Returns:
            When there is something to do again; None if stopped.
        """
        resumed, ask_at = False, time.monotonic() + ask_in_s
        while not stopped.is_set():
            try:
                if not resumed:
                    self.conductor.resume()
                    resumed = True
                on_step()
                if time.monotonic() >= ask_at:
                    ask_at = time.monotonic() + self.poll_s * self._chance.uniform(1 - JITTER, 1 + JITTER)
                    self.ask()
                    on_step()
                self.look()
                if self._is_done():
                    now = time.monotonic()
                    again_at = min(ask_at, self._report_after or ask_at)
                    return Left(max(0.0, ask_at - now), max(0.0, again_at - now), self._begun_at)
                self._rest(stopped, on_step)
            except ApplianceError as error:
                log.error("%s", error)
                self._wait(stopped, on_step)
        return None

    def _is_done(self) -> bool:
        """Whether nothing is under way, nobody waits, and nothing has changed since all that was looked at."""
        journal, now = self.journal, situation(self.journal)
        is_quiet = not (journal.open_updates() or journal.wishes() or journal.unsent())
        if self._assignment is None:
            self._begun_at = now
        return is_quiet and now == self._begun_at

    def tell(self) -> None:
        """Have the line write down what happened; what it does not answer is kept."""
        while unsent := self.journal.unsent():
            for number, _, event in unsent:
                try:
                    self.line.tell(event)
                except LineRefusedError as error:
                    log.warning("%s", error)  # that is an answer, too
                except ApplianceError as error:
                    log.info("the line is told later: %s", error)
                    return
                self.journal.sent(number)

    def report(self, *, at_once: bool = False) -> None:
        """Report what is new; a server that does not take it changes nothing here.

        Args:
            at_once: also where only numbers have changed, or the server refused a moment ago.
        """
        now, step = time.monotonic(), self.journal.newest_step()
        is_new = step != self._reported_step or now >= self._report_again
        if self.deliver is None or not (at_once or (is_new and now >= self._report_after)):
            return
        try:
            self.reports.send(self.deliver)
        except ApplianceError as error:
            log.warning("the report is sent again later: %s", error)
            self._report_after = now + RESEND_S
        else:
            self._reported_step, self._report_again, self._report_after = step, now + self.poll_s, 0.0

    def _newest(self) -> Assignment | None:
        """Return what is to be begun; a stick may have been imported since the server was asked."""
        brought, known = self.read_brought(), self._assignment
        if brought is not None and (known is None or brought.assignment.seq > known.seq):
            self._take(brought.assignment)
        return self._assignment

    def _take(self, found: Assignment) -> None:
        self._note("assignment", {"seq": found.seq, "rollout": found.rollout, "ring": found.ring})
        self._assignment = found

    def _note(self, key: str, value: object) -> None:
        if self.journal.noted(key) != value:
            self.journal.note(key, value)

    def _rest(self, stopped: threading.Event, on_step: Callable[[], None]) -> None:
        self._wait(stopped, on_step, lambda: bool(self.journal.wishes()))

    def _wait(
        self, stopped: threading.Event, on_step: Callable[[], None], is_wanted: Callable[[], bool] = lambda: False
    ) -> None:
        until = time.monotonic() + self.look_s
        while not stopped.is_set() and time.monotonic() < until:
            if is_wanted():
                return
            on_step()
            stopped.wait(min(GLANCE_S, max(0.0, until - time.monotonic())))
