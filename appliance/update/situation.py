"""How the updates of a device are: what is told of them, and whether there is something to do; from the journal."""

import json
from typing import Any

from appliance.update.journal import Journal
from appliance.update.kinds import Update

HOLD = "hold"
"""The journal's note of who holds updates."""

HUNG = "hung"
"""The journal's note of an agent that got no further and was ended; gone when a later one came to its end."""

HUNG_TAKEN = "hung taken"
"""The journal's note of when an agent hung after which another one began: what ends that one is something else."""

BROUGHT = "stick"
"""The journal's note of what a stick brought; see appliance.update.brought."""

DISTRUSTED = "distrusted stick"
"""The journal's note of a stick's order that was dropped: words, and the server's number then."""

GOES_BACK = "is rolled back"
"""What the answer to a wish says where it is fulfilled."""


def situation(journal: Journal) -> str:
    """Return one line that stays the same as long as nothing happened to an update and nobody decided anything.

    Raises:
        StorageError: the journal cannot be read.
    """
    brought = (journal.noted(BROUGHT) or {}).get("imported_at")
    return json.dumps([journal.newest_step(), journal.noted(HOLD), sorted(journal.quarantined()), brought])


def content_of(journal: Journal) -> dict[str, Any]:
    """Return how the updates are: keys of UpdateStatusMessage and of Report.

    Raises:
        StorageError: the journal cannot be read.
    """
    seen, hold = journal.noted("assignment") or {}, journal.noted(HOLD) or {}
    return {
        "assignment_seq": seen.get("seq", 0),
        "rollout": seen.get("rollout", ""),
        "problem": journal.noted("problem") or "",
        "held_by": hold.get("by", ""),
        "releases": [_reported(update) for update in journal.latest()],
    }


def _reported(update: Update) -> dict[str, Any]:
    release, progress = update.release, update.progress
    return {
        "kind": release.kind, "name": release.name, "seq": release.seq, "sha256": release.sha256,
        "assignment_seq": update.assignment_seq, "rollout": update.rollout, "state": progress.state.value,
        "outcome": progress.outcome, "reason": update.reason, "by": update.by, "waits_for": update.waits_for,
        "parts": update.parts, "p99_ms": update.p99_ms,
    }  # fmt: skip
