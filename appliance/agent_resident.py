"""appliance agent run: waits beside the line, small; a worker does what there is to do, and leaves with its memory."""

import argparse
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from appliance.agent_commands import AgentCommands
from appliance.agent_rest import WorkerRest
from appliance.agent_worker import Worker
from appliance.clock import SystemClock
from appliance.errors import ApplianceError, StorageError
from appliance.events import iso, new_id
from appliance.health import AGENT_SILENCE_S, EXIT_HUNG, StageWatchdog
from appliance.inspection_flag import SeenFlag, flag_of
from appliance.links.settings import MqttSettings
from appliance.links.updates import UpdatesLink
from appliance.stop_wish import StopWish
from appliance.update.journal import Journal
from appliance.update.lifecycle import PREPARING, State
from appliance.update.lock import held_if_free
from appliance.update.places import Places, StateFolder
from appliance.update.situation import HUNG, situation

log = logging.getLogger(__name__)

GLANCE_S = 0.2
"""How often a person's wish is looked for."""

RETRY_S = 5.0
"""After a journal that could not be read."""

_HARD_WORK = (State.CHECK, State.DOWNLOAD, *PREPARING)
ASKING_S = 5.0
"""So long after its start a worker may be asking the server."""


@dataclass(slots=True)
class Resident:
    """What stays of an agent that has nothing to do: the journal, the broker's commands, when to ask again.

    A worker that ends otherwise than by itself ends the agent, so that systemd, or the launcher, counts it as ever; so
    does one that gets no further, which is killed before.

    agent_file: agent.yaml, for the worker. more: further words for it. flag: the station's. beat: called while all is
    well, from the first word of a worker on. silence_s: so long a worker may say nothing.
    """

    journal: Journal
    agent_file: Path
    more: list[str]
    flag: SeenFlag
    beat: Callable[[], None]
    silence_s: float
    _stopped: StopWish = field(default_factory=StopWish)
    _worker: Worker | None = None
    _is_ready: bool = False

    def stop(self) -> None:
        """End, and let the worker end what it does; may be called by a signal."""
        self._stopped.set()
        if self._worker is not None:
            self._worker.ask_to_end()

    def run(self) -> int:
        """Let a worker do what there is to do, and wait until there is something again, until stopped.

        Returns:
            The exit code: of a worker that could not go on, else 0.
        """
        ask_at = time.monotonic()
        while not self._stopped.is_set():
            code, left = self._work(max(0.0, ask_at - time.monotonic()))
            if code or left is None:
                return code if code >= 0 else 128 - code
            now = time.monotonic()
            ask_at = now + float(left["ask_in_s"])
            if self._rest(now + float(left["again_in_s"]), str(left["situation"])):
                ask_at = time.monotonic()
        return 0

    def _work(self, ask_in_s: float) -> tuple[int, dict[str, Any] | None]:
        """Run a worker to its end; returns its exit code, and what it leaves to do."""
        command = [
            sys.executable, "-m", "appliance", *self.more, "agent", "work", "--config", str(self.agent_file),
            "--ask-in", f"{ask_in_s:.3f}", "--parent", str(os.getpid()),
        ]  # fmt: skip
        left: dict[str, Any] | None = None
        worker = self._worker = Worker(command, self.silence_s)
        if self._stopped.is_set():  # just before it was known whom to tell
            worker.ask_to_end()
        rest = WorkerRest(worker.pid, self.flag, partial(self._is_hard_at_work, time.monotonic()))
        try:
            for word in worker.words(self._tick):
                left = word.get("left", left)
                self._is_ready = self._is_ready or bool(word.keys() & {"looks", "left"})
        finally:
            rest.close()
        code = worker.end()
        self._worker = None
        worker.close()
        if self._stopped.is_set():
            return 0, None
        if worker.is_hung:
            words = f"it got no further for {self.silence_s:g} s; look at the disk, the network and what else runs"
            log.critical("%s", words)
            self._note_hung({"at": iso(SystemClock().utc()), "words": words})
            return EXIT_HUNG, None
        if code:
            log.error("the worker ended with %d; the agent ends, too, and is started again", code)
        elif left is not None:
            self._note_hung(None)  # this one came to its end
        return EXIT_HUNG if code is None else code, left

    def _tick(self) -> None:
        """While a worker works: this process lives, whatever that one does."""
        if self._is_ready:
            self.beat()

    def _note_hung(self, what: dict[str, str] | None) -> None:
        """Tell who looks, and the next worker, that one hung; a disk that refuses that is no reason to end."""
        try:
            if what is not None or self.journal.noted(HUNG) is not None:
                self.journal.note(HUNG, what)
        except ApplianceError as error:
            log.error("%s", error)

    def _is_hard_at_work(self, began: float) -> bool:
        """Whether the worker may be: it starts and asks, or prepares a release; at the line it only looks."""
        if time.monotonic() < began + ASKING_S:
            return True
        try:
            return any(update.progress.state in _HARD_WORK for update in self.journal.open_updates())
        except ApplianceError:
            return True

    def _rest(self, until: float, known: str) -> bool:
        """Wait until a moment, a person's wish or another situation; returns whether it is the latter."""
        while time.monotonic() < until:
            try:
                if self.journal.wishes():
                    break
                if situation(self.journal) != known:
                    return True
            except ApplianceError as error:  # as a worker would: perhaps the disk is better soon
                log.error("%s", error)
                self._stopped.wait(RETRY_S)
            self.beat()
            if self._stopped.wait(min(GLANCE_S, max(0.0, until - time.monotonic()))):
                break
        return False


def run(arguments: argparse.Namespace) -> int:
    """Run the agent until it is told to stop.

    Args:
        arguments: of the command line that appliance.agent_station.become_resident writes.

    Returns:
        The exit code.

    Raises:
        ApplianceError: it cannot begin.
    """
    places, broker = StateFolder(arguments.state), MqttSettings.model_validate_json(arguments.broker)
    watchdog = StageWatchdog(SystemClock(), allowed_s=AGENT_SILENCE_S)
    more = [] if arguments.log_level is None else ["--log-level", arguments.log_level]
    with _alone(places), closing(Journal(places.journal, SystemClock())) as journal, _heard(places, broker):
        flag = SeenFlag(flag_of(arguments.ledger))
        resident = Resident(journal, arguments.config, more, flag, partial(_beat, watchdog), arguments.silence_s)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: resident.stop())
        code = resident.run()
    watchdog.stop()
    return code


def _beat(watchdog: StageWatchdog) -> None:
    """Tell systemd, or the launcher between, that this agent has read its journal, and from then on that it lives."""
    watchdog.beat("agent")
    if not watchdog.is_started:
        watchdog.start()


@contextmanager
def _alone(places: Places) -> Iterator[None]:
    with held_if_free(places.state / ".run.lock") as is_free:
        if not is_free:
            raise StorageError(f"another agent runs in {places.state}; stop it first")
        yield


@contextmanager
def _heard(places: Places, broker: MqttSettings) -> Iterator[None]:
    """Tell how the updates are at the station's broker, and take commands there."""
    with closing(AgentCommands(places)) as commands:
        link = UpdatesLink(broker, new_id(), commands)
        link.open()
        try:
            yield
        finally:
            link.close()
