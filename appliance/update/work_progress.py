"""How far the building or proving of an update is: a small file of the agent's, replaced, never synced.

It is no part of the journal: what it says is worth nothing after a restart, and not worth a synced write every second.
"""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from appliance.time_left import TimeLeft

log = logging.getLogger(__name__)

WRITE_EVERY_S = 2.0
"""At least between two writes of something new."""

REFRESH_S = 10.0
"""At most between two writes as long as the work goes on."""

STALE_S = 30.0
"""What is older than this was left behind by an agent that died."""


@dataclass(frozen=True, slots=True)
class WorkSeen:
    """What the file says: of which update, in which state, how far, how many seconds are left.

    at_s: of the clock that counts from the device's start.
    """

    kind: str
    name: str
    state: str
    percent: int
    left_s: int | None
    at_s: float


@dataclass(slots=True)
class WorkProgress:
    """Writes the file while one piece of work after the other goes on."""

    path: Path
    now: Callable[[], float] = time.monotonic
    _left: TimeLeft = field(default_factory=TimeLeft)
    _written: WorkSeen | None = None
    _is_refused: bool = False

    def begin(self) -> None:
        """Begin a piece of work, of which nothing is known yet."""
        self._left, self._written = TimeLeft(), None

    def take(self, kind: str, name: str, state: str, share: float) -> None:
        """Take how far it is, as often as one likes.

        Args:
            kind: of the update.
            name: of the update.
            state: in which it is.
            share: that is done, 0..1.
        """
        now = self.now()
        self._left.take(share, now)
        if self._left.percent is None:
            return
        left_s = None if self._left.left_s is None else round(self._left.left_s)
        seen, before = WorkSeen(kind, name, state, self._left.percent, left_s, now), self._written
        is_new = before is None or (before.percent, before.left_s is None) != (seen.percent, left_s is None)
        if before is None or now - before.at_s >= (WRITE_EVERY_S if is_new else REFRESH_S):
            self._written = seen
            self._write(seen)

    def _write(self, seen: WorkSeen) -> None:
        draft = self.path.with_name(f".{self.path.name}.part")
        try:
            draft.write_text(json.dumps(asdict(seen)), encoding="ascii")
            draft.replace(self.path)
        except OSError as error:  # nobody sees how far it is, which is no reason to break it off
            if not self._is_refused:
                log.warning("%s cannot be written: %s; how far the update is, is not told", self.path, error.strerror)
            self._is_refused = True

    def end(self) -> None:
        """End it: nothing is said any more."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s cannot be removed: %s; it means nothing in %g s", self.path, error.strerror, STALE_S)


def read_progress(path: Path, now_s: float | None = None) -> WorkSeen | None:
    """Return what is being done now; None if nobody says so.

    Args:
        path: of the file.
        now_s: of the clock that counts from the device's start; None asks it.
    """
    try:
        seen = WorkSeen(**json.loads(path.read_text(encoding="ascii")))
        age_s = (time.monotonic() if now_s is None else now_s) - seen.at_s
        return seen if 0 <= age_s <= STALE_S else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:  # torn by a power cut, or of another version
        log.debug("%s says nothing: %s", path, error)
        return None


def progress_of(seen: WorkSeen | None, kind: str, name: str, state: str) -> dict[str, Any]:
    """Return how far an update's present work is: keys of ReleaseUpdate, None where nobody knows.

    Args:
        seen: from read_progress.
        kind: of the update.
        name: of the update.
        state: in which it is.
    """
    if seen is None or (kind, name, state) != (seen.kind, seen.name, seen.state):
        return {"progress_percent": None, "left_s": None}
    return {"progress_percent": seen.percent, "left_s": seen.left_s}


def with_progress(content: dict[str, Any], seen: WorkSeen | None) -> dict[str, Any]:
    """Return how the updates are, with how far the work on them is.

    Args:
        content: from situation.content_of.
        seen: from read_progress.
    """
    releases = [each | progress_of(seen, each["kind"], each["name"], each["state"]) for each in content["releases"]]
    return content | {"releases": releases}
