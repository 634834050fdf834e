"""Where this device's orders and releases come from; each is believed as far as its own keys have signed it."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from appliance.errors import BundleTrustError, DeliveryError, StorageError
from appliance.update.assignment import (
    MAX_BYTES,
    AssignedRelease,
    Assignment,
    as_release,
    assignment_name,
    check_chosen,
    read_assignment,
)
from appliance.update.brought import Brought, LastStick, NothingBroughtError
from appliance.update.download import TargetStore
from appliance.update.floor import Floor, Release
from appliance.update.kinds import SignedFile
from appliance.update.repository import Target


class FindsTargets(Protocol):
    """What an agent needs of a trusted repository."""

    def find(self, name: str) -> Target:
        """Look a target up; see appliance.update.repository.TrustedRepository.find."""
        ...


@dataclass(frozen=True, slots=True)
class Orders:
    """What this device is to have, one release at a time: a wrong one must not keep the others, or an end, from coming.

    repository: None where there is no server. site, device_id: whose assignment is read. store: of verified files.
    papers: of assignments. floor: what is never gone back behind. allowed: kind and name of all that this device may be
    told to run, asked each time. last_stick: what the last stick said; None where none is believed.
    """

    repository: FindsTargets | None
    store: TargetStore
    papers: TargetStore
    floor: Floor
    site: str
    device_id: str
    allowed: Callable[[], Collection[tuple[str, str]]]
    last_stick: LastStick | None = None

    def read_assignment(self) -> Assignment:
        """Read what this device is to have: from the server, after its metadata; without one, what a stick brought.

        Raises:
            ReplayError: it is older than one that this device has read.
            BundleTrustError: nobody may say that, or it is no assignment of this device.
            DeliveryError: no stick has brought one; or, as StorageError and ConfigError, see TrustedRepository.find and
                TargetStore.fetch.
        """
        if self.repository is None:
            if self.last_stick is None:
                raise DeliveryError("agent.yaml names no server, and no stick is believed; name one of both")
            try:
                return self.last_stick.read().assignment
            except NothingBroughtError as error:
                raise DeliveryError(f"agent.yaml names no server, and {error}; `appliance agent import`") from error
        found, counted, issued_at = self.look_up()
        self.floor.rise_to_releases(counted)
        if self.last_stick is not None:
            self.last_stick.hear(found, issued_at)
        return found

    def brought(self) -> Brought | None:
        """Return what the last stick brought, if it holds.

        Raises:
            StorageError: the journal or the floor cannot be read.
        """
        return None if self.last_stick is None else self.last_stick.find()

    def look_up(self) -> tuple[Assignment, dict[str, Release], datetime | None]:
        """Read an assignment that is not noted in the floor yet.

        Returns:
            It, what is to be noted of it, and when the repository's metadata was signed, if that is said.

        Raises:
            BundleTrustError: nobody may say that, or it is no assignment of this device.
            DeliveryError, StorageError, ConfigError: see TrustedRepository.find and TargetStore.fetch.
        """
        name = assignment_name(self.site, self.device_id)
        target = self._find(name)
        if target.length > MAX_BYTES:
            raise BundleTrustError(f"{name}: {target.length} bytes are no assignment; publish it again")
        path = self.papers.fetch(target)
        try:
            data = path.read_bytes()
            for older in path.parent.glob("[!.]*"):
                if older != path:
                    older.unlink()
        except OSError as error:
            raise StorageError(f"{error.filename or path}: {error.strerror}; check the disk and the rights") from error
        found = read_assignment(data, origin=name, device_id=self.device_id, allowed=self.allowed())
        return found, as_release(found, target), target.issued_at

    def check(self, release: AssignedRelease) -> SignedFile:
        """Return the file that the kind's own role signed, if it is the one that was assigned.

        What a stick brought was checked then, and is not asked for again: not even whether the stick has expired since.

        Raises:
            BundleTrustError: it is not; a stolen key of a site's role can only choose among what others signed.
            ReplayError: it is older than one that this device has taken.
            DeliveryError, StorageError, ConfigError: see TrustedRepository.find.
        """
        brought = self.brought()
        if brought is not None and (signed := brought.file_of(release)) is not None:
            self.floor.check_releases(signed.releases)
            return signed
        target = self._find(release.path)
        check_chosen(release, target, origin=assignment_name(self.site, self.device_id))
        return SignedFile(path=target.path, digests=dict(target.digests), releases=dict(target.releases))

    def fetch(self, release: AssignedRelease, signed: SignedFile) -> Path:
        """Return the file, from the store or the server; going on where it was, without asking for metadata again.

        Raises:
            BundleTrustError, DeliveryError, StorageError: see fetch_uncounted, Floor.rise_to_releases.
        """
        path = self.fetch_uncounted(release, signed)
        self.floor.rise_to_releases(signed.releases)
        return path

    def fetch_uncounted(self, release: AssignedRelease, signed: SignedFile) -> Path:
        """Return the file as fetch does; older releases may still be taken afterwards.

        Raises:
            BundleTrustError, DeliveryError, StorageError: see TargetStore.fetch.
        """
        return self.store.fetch(Target(release.path, signed.path, release.length, signed.digests, signed.releases))

    def _find(self, name: str) -> Target:
        if self.repository is None:
            raise BundleTrustError(
                f"{name}: the last stick says nothing of it, and no server is named; assign it and write a stick"
            )
        return self.repository.find(name)
