"""What people ask of updates: through the command line, or through the station's broker while `agent run` works."""

import threading
import time
from concurrent.futures import Future
from contextlib import closing
from typing import Any

from appliance.clock import SystemClock
from appliance.errors import ConfigError
from appliance.events import iso
from appliance.ports import Answer
from appliance.requests import HoldRequest, ReleaseHoldRequest, RollbackRequest, read
from appliance.update.durable import in_words
from appliance.update.journal import Journal, Wish
from appliance.update.places import Places
from appliance.update.situation import GOES_BACK, HOLD, content_of
from appliance.update.slots import JudgingKindName, digest_of
from appliance.update.work_progress import read_progress, with_progress

ANSWER_S = 120.0


def only_name(places: Places, kind: JudgingKindName, name: str | None) -> str:
    """Return the name of a model or recipe that the agent has; the only one if none is said.

    Raises:
        ConfigError: there is none of this name, or several and none is said.
    """
    with in_words(places.slots_folder(kind)):
        there = places.names(kind)
    if name is None and len(there) == 1:
        return there[0]
    if name not in there:
        raise ConfigError(f"name {name or 'is missing'}: the agent has {', '.join(there) or f'no {kind} yet'}")
    return name


def hold(journal: Journal, by: str) -> str:
    """Let nothing new begin to judge; says so."""
    journal.note(HOLD, {"by": by, "at": iso(SystemClock().utc())})
    return "nothing new begins to judge until `appliance agent release-hold`"


def release_hold(journal: Journal) -> str:
    """Let updates go on; says who held them."""
    was = journal.noted(HOLD)
    journal.note(HOLD, None)
    return f"held by {was['by']} since {was['at']}, goes on now" if was else "nothing was held"


def is_over(journal: Journal, wish: Wish) -> bool:
    """Return whether no update of a wish's kind and name is under way."""
    releases = (update.release for update in journal.open_updates())
    return not any((each.kind, each.name) == (wish.kind, wish.name) for each in releases)


class AgentCommands:
    """Implements links.updates.Updates: the journal is told, and `agent run` does the rest."""

    def __init__(self, places: Places, answer_s: float = ANSWER_S) -> None:
        """Take where the agent's files lie; answer_s: a rollback that is not done by then is answered all the same."""
        self._places, self._answer_s = places, answer_s
        self._journal = Journal(places.journal, SystemClock())
        self._awaited: list[tuple[Wish, float, Future[dict[str, Any]]]] = []
        self._busy = threading.Lock()

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

    def content(self) -> dict[str, Any]:
        """Return how the updates are, and answer those who wait for a rollback that is done."""
        self._answer_the_awaited()
        return with_progress(content_of(self._journal), read_progress(self._places.work_progress))

    def carry_out(self, name: str, arguments: dict[str, Any]) -> Answer:
        """Carry out a command; a rollback is answered when it is done.

        Raises:
            ConfigError: refused, in words.
            StorageError: the journal cannot be written.
        """
        with closing(Journal(self._places.journal, SystemClock())) as journal:
            if name == "update-hold":
                return {"ok": True, "words": hold(journal, read(HoldRequest, arguments).by)}
            if name == "update-release-hold":
                read(ReleaseHoldRequest, arguments)
                return {"ok": True, "words": release_hold(journal)}
            asked = read(RollbackRequest, arguments)
            wish = journal.wish(asked.kind, only_name(self._places, asked.kind, asked.name), asked.by)
        future: Future[dict[str, Any]] = Future()
        with self._busy:
            self._awaited.append((wish, time.monotonic() + self._answer_s, future))
        return future

    def _answer_the_awaited(self) -> None:
        with self._busy:
            awaited, self._awaited = self._awaited, []
        for wish, until, future in awaited:
            words = self._journal.answer_to(wish)
            if words is not None and (GOES_BACK not in words or is_over(self._journal, wish)):
                future.set_result(self._answer(wish, words))
            elif time.monotonic() > until:
                late = (
                    f"not done within {self._answer_s:g} s: {words or 'nobody has taken it up'}; it goes on by itself"
                )
                future.set_result({"ok": False, "error": late})
            else:
                with self._busy:
                    self._awaited.append((wish, until, future))

    def _answer(self, wish: Wish, words: str) -> dict[str, Any]:
        if GOES_BACK not in words:
            return {"ok": False, "error": words}
        kind: JudgingKindName = "model" if wish.kind == "model" else "recipe"
        digest = digest_of(self._places.slots(kind, wish.name).current)
        return {"ok": True, "words": words, "name": wish.name, "digest": digest}
