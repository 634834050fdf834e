"""Where this device's orders and releases come from; each is believed as far as its own keys have signed it."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from appliance.errors import BundleTrustError, StorageError
from appliance.update.assignment import (
    MAX_BYTES,
    AssignedRelease,
    Assignment,
    as_release,
    assignment_name,
    check_chosen,
    read_assignment,
)
from appliance.update.download import TargetStore
from appliance.update.floor import Floor
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

    site, device_id: whose assignment is read. store: of verified files. papers: of assignments. floor: what is never
    gone back behind. allowed: kind and name of all that this device may be told to run, asked each time.
    """

    repository: FindsTargets
    store: TargetStore
    papers: TargetStore
    floor: Floor
    site: str
    device_id: str
    allowed: Callable[[], Collection[tuple[str, str]]]

    def read_assignment(self) -> Assignment:
        """Bring the metadata up to date and read what this device is to have.

        Raises:
            ReplayError: it is older than one that this device has read.
            BundleTrustError: nobody may say that, or it is no assignment of this device.
            DeliveryError, StorageError, ConfigError: see TrustedRepository.find and TargetStore.fetch.
        """
        name = assignment_name(self.site, self.device_id)
        target = self.repository.find(name)
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
        self.floor.rise_to_releases(as_release(found, target))
        return found

    def check(self, release: AssignedRelease) -> SignedFile:
        """Return the file that the kind's own role signed, if it is the one that was assigned.

        Raises:
            BundleTrustError: it is not; a stolen key of a site's role can only choose among what others signed.
            ReplayError: it is older than one that this device has taken.
            DeliveryError, StorageError, ConfigError: see TrustedRepository.find.
        """
        target = self.repository.find(release.path)
        check_chosen(release, target, origin=assignment_name(self.site, self.device_id))
        return SignedFile(path=target.path, digests=dict(target.digests), releases=dict(target.releases))

    def fetch(self, release: AssignedRelease, signed: SignedFile) -> Path:
        """Return the file, from the store or the server; going on where it was, without asking for metadata again.

        Raises:
            BundleTrustError, DeliveryError, StorageError: see TargetStore.fetch, Floor.rise_to_releases.
        """
        path = self.store.fetch(Target(release.path, signed.path, release.length, signed.digests, signed.releases))
        self.floor.rise_to_releases(signed.releases)
        return path
