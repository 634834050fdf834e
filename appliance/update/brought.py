"""What a stick said that this device is to have, kept when the stick is gone: checked once, as a journal's row is."""

import json
import logging

from pydantic import ValidationError

from appliance.bundle.section import Section
from appliance.errors import ReplayError
from appliance.update.assignment import AssignedRelease, Assignment
from appliance.update.floor import Floor, Release
from appliance.update.journal import Journal
from appliance.update.kinds import SignedFile
from appliance.update.situation import BROUGHT
from appliance.wire import Utc

log = logging.getLogger(__name__)


class Brought(Section):
    """The orders of the stick that was imported last.

    imported_at: after which the stick may expire without harm. counted: the assignment, as the floor counts it.
    signed: path of each of its releases -> the file that the kind's own role signed.
    """

    imported_at: Utc
    assignment: Assignment
    counted: dict[str, Release]
    signed: dict[str, SignedFile]

    def file_of(self, release: AssignedRelease) -> SignedFile | None:
        """Return the file of a release, None if the stick said nothing of this very release."""
        return self.signed.get(release.path) if release in self.assignment.releases else None


def note_brought(journal: Journal, brought: Brought) -> None:
    """Keep what a stick brought, in place of what the one before did.

    Raises:
        StorageError: the journal cannot be written.
    """
    journal.note(BROUGHT, json.loads(brought.model_dump_json(by_alias=True)))


def read_brought(journal: Journal, floor: Floor) -> Brought | None:
    """Return what a stick brought, None if none did, or if this device has read a newer assignment since.

    Raises:
        StorageError: the journal or the floor cannot be read.
    """
    noted = journal.noted(BROUGHT)
    if noted is None:
        return None
    try:
        brought = Brought.model_validate_json(json.dumps(noted))
        floor.check_releases(brought.counted)
    except ValidationError:  # of another version of the agent
        log.warning("what the last stick brought cannot be read by this version; import it once more")
        return None
    except ReplayError:
        log.info("what the last stick brought is older than what this device has read since")
        return None
    return brought
