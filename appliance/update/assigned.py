"""What this device is told to run: its assignment and the releases in it, each vouched for by its own keys."""

from collections.abc import Collection
from dataclasses import dataclass

from appliance.errors import BundleTrustError
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
from appliance.update.repository import Target, TrustedRepository


@dataclass(frozen=True, slots=True)
class Assigned:
    """An assignment, and for each of its releases what the repository vouches for."""

    assignment: Assignment
    targets: tuple[tuple[AssignedRelease, Target], ...]


def find_assigned(
    repository: TrustedRepository,
    store: TargetStore,
    floor: Floor,
    *,
    site: str,
    device_id: str,
    allowed: Collection[tuple[str, str]],
) -> Assigned:
    """Look up what this device should run; no release is fetched, and none is noted as taken.

    Args:
        repository: of the server or of a stick.
        store: beside it, for the assignment itself.
        floor: which notes the assignment's number when all in it was found right.
        site: where this device stands.
        device_id: who it is.
        allowed: kind and name of all that this device may be told to run.

    Raises:
        ReplayError: the assignment, or a release in it, is older than one that this device has taken.
        BundleTrustError: nobody vouches for it, or it chooses what others have not signed.
        DeliveryError, StorageError, ConfigError: see `TrustedRepository.find` and `TargetStore.fetch`.
    """
    name = assignment_name(site, device_id)
    found = repository.find(name)
    if found.length > MAX_BYTES:
        raise BundleTrustError(f"{name}: {found.length} bytes are no assignment, {MAX_BYTES} at most; publish it again")
    content = store.fetch(found).read_bytes()
    assignment = read_assignment(content, origin=name, device_id=device_id, allowed=allowed)
    chosen = []
    for release in assignment.releases:
        target = repository.find(release.path)
        check_chosen(release, target, origin=name)
        chosen.append((release, target))
    floor.rise_to_releases(as_release(assignment, found))
    return Assigned(assignment, tuple(chosen))
