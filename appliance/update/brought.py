"""What a stick said that this device is to have, kept when the stick is gone: checked once, as a journal's row is."""

import json
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from appliance.bundle.section import Section
from appliance.errors import ApplianceError, BundleTrustError, DeliveryError, ReplayError
from appliance.events import moment_of
from appliance.update.assignment import AssignedRelease, Assignment, check_is_for, counted_as
from appliance.update.floor import MOST_AHEAD, Floor, Release
from appliance.update.journal import Journal
from appliance.update.kinds import SignedFile
from appliance.update.situation import BROUGHT, DISTRUSTED
from appliance.wire import Utc

log = logging.getLogger(__name__)

REPOSITORY = "stick"
"""Under which the floor keeps the versions of what sticks bring, and their assignments."""


class NothingBroughtError(DeliveryError):
    """No stick says what this device is to have; the words say why."""


class Brought(Section):
    """The orders of the stick that was imported last.

    imported_at: after which the stick may expire without harm. known_at: the latest time that was known to have been
    then, the stick's own included. counted: the assignment, as the floor counts it.
    signed: path of each of its releases -> the file that the kind's own role signed.
    """

    imported_at: Utc
    known_at: Utc
    assignment: Assignment
    counted: dict[str, Release]
    signed: dict[str, SignedFile]

    def file_of(self, release: AssignedRelease) -> SignedFile | None:
        """Return the file of a release, None if the stick said nothing of this very release."""
        return self.signed.get(release.path) if release in self.assignment.releases else None

    def cannot_be_of(self, issued_at: datetime) -> bool:
        """Return whether a server's metadata of this time must have known the order of an honest stick.

        An honest stick's assignment was the server's before the stick was written.
        """
        return issued_at > moment_of(self.known_at) + MOST_AHEAD


def note_brought(journal: Journal, brought: Brought, floor: Floor, taken: Mapping[str, Release]) -> None:
    """Keep what a stick brought, in place of what the one before did, and let nothing older in after it.

    At every moment one of both orders holds: the floor, below which the one before does not, rises after the new one is
    noted. Killed in between, LastStick.read lets it rise.

    Args:
        journal: the agent's.
        brought: whose files are all here.
        floor: rises to it.
        taken: what the floor is to count of it.

    Raises:
        ReplayError: something newer was taken meanwhile; what was there before stays.
        StorageError: the journal or the floor cannot be written; the same.
    """
    before = journal.noted(BROUGHT)
    journal.note(BROUGHT, json.loads(brought.model_dump_json(by_alias=True)))
    try:
        floor.rise_to_releases(taken)
    except ApplianceError:
        journal.note(BROUGHT, before)
        raise
    journal.note(DISTRUSTED, None)


@dataclass(frozen=True, slots=True)
class LastStick:
    """What the last stick brought, as far as it holds for this device as it is set up now.

    site, device_id, allowed: whose assignment is read, and all that it may be told to run. has_server: whether there is
    one that may say something newer.
    """

    journal: Journal
    floor: Floor
    site: str
    device_id: str
    allowed: Callable[[], Collection[tuple[str, str]]]
    has_server: bool

    def read(self) -> Brought:
        """Return what it brought.

        Raises:
            NothingBroughtError: none did, or it does not hold any more.
            StorageError: the journal or the floor cannot be read or written.
        """
        brought = _parsed(self.journal.noted(BROUGHT))
        try:
            self._check(brought)
            self.floor.rise_to_releases(brought.counted)  # an import that was killed may have come no further than here
        except (BundleTrustError, ReplayError) as error:
            raise NothingBroughtError(f"what the last stick brought does not hold: {error}") from error
        return brought

    def find(self) -> Brought | None:
        """Return what it brought; None, with words in the log, if that does not hold.

        Raises:
            StorageError: the journal or the floor cannot be read or written.
        """
        if self.journal.noted(BROUGHT) is None:
            return None
        try:
            return self.read()
        except NothingBroughtError as error:
            log.warning("%s", error)
            return None

    def hear(self, assignment: Assignment, issued_at: datetime | None) -> None:
        """Compare it with what the server has just said; a higher number ends it, and so does a theft.

        Args:
            assignment: the server's.
            issued_at: when the server's metadata was signed; None: it does not say, and no theft is found.

        Raises:
            StorageError: the journal or the floor cannot be read or written.
        """
        told = self.journal.noted(DISTRUSTED)
        if told is not None and assignment.seq > told["seq"]:
            self.journal.note(DISTRUSTED, None)
        try:
            noted = self.journal.noted(BROUGHT)  # another stick may be imported meanwhile, and its order stays
            brought = _parsed(noted)
            if brought.assignment.seq < assignment.seq:
                self.journal.drop(BROUGHT, noted)  # for good, also where the server's numbers begin anew
            if brought.assignment.seq <= assignment.seq:
                return
            self._check(brought)
        except (NothingBroughtError, BundleTrustError, ReplayError):
            return
        if issued_at is not None and brought.cannot_be_of(issued_at):
            words = (
                f"the last stick, imported at {brought.imported_at}, brought assignment {brought.assignment.seq} "
                f"(rollout {brought.assignment.rollout}), and the server, long after, knows {assignment.seq} only: "
                "it was never the server's, and is dropped. The keys of sticks may be STOLEN: find out who wrote that "
                "stick, and revoke them (`trainer keys revoke`)"
            )
            log.error("%s", words)
            self.journal.drop(BROUGHT, noted, {DISTRUSTED: {"words": words, "seq": assignment.seq}})

    def _check(self, brought: Brought) -> None:
        origin, own = f"assignment {brought.assignment.seq}", counted_as(self.site, REPOSITORY)
        if own not in brought.counted:
            raise BundleTrustError(f"{origin} is for another site, and this is {self.site}; bring this device's stick")
        check_is_for(brought.assignment, origin=origin, device_id=self.device_id, allowed=self.allowed())
        self.floor.check_releases(brought.counted)
        if self.has_server:
            check_against_server(brought.assignment, self.floor, self.site)


def _parsed(noted: Any) -> Brought:
    if noted is None:
        raise NothingBroughtError("no stick has brought an assignment yet")
    try:
        return Brought.model_validate_json(json.dumps(noted))
    except ValidationError as error:  # of another version of the agent
        raise NothingBroughtError(
            "what the last stick brought cannot be read by this version; import it once more"
        ) from error


def check_against_server(assignment: Assignment, floor: Floor, site: str) -> None:
    """Refuse a stick's assignment with a lower number than the server's.

    The two are compared, and not counted as one: so nobody who has the keys of one can bar the other for good.

    Raises:
        ReplayError: it is older than what the server has said.
        StorageError: the floor cannot be read.
    """
    said = floor.read().releases.get(counted_as(site))
    if said is not None and assignment.seq < said.seq:
        raise ReplayError(
            f"assignment {assignment.seq} of the stick is older than {said.seq}, which the server has given this "
            "device; write the stick anew"
        )
