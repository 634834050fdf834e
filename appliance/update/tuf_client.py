"""python-tuf's client: it reads where we let it, judges expiry at our time, and says what it verified."""

import logging
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from tuf.api.exceptions import DownloadHTTPError, ExpiredMetadataError
from tuf.api.metadata import Role as TufRole
from tuf.api.metadata import Root, TargetFile, Targets, Timestamp
from tuf.ngclient import Updater
from tuf.ngclient.fetcher import FetcherInterface

from appliance.errors import BundleTrustError
from appliance.update.floor import Role, Versions, Voucher
from appliance.update.source import NotThereError, Source

log = logging.getLogger(__name__)

LARGEST_METADATA_BYTES = 5_000_000
MOST_ROLES = 5_000
"""Read by a device that wants to know all that is offered."""

NOT_FOUND = 404
"""What python-tuf takes for the end of a chain of roots."""


class Fetcher(FetcherInterface):
    """Metadata from our source; all of one refresh until one moment."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._ends_at = time.monotonic() + source.limits.refresh_s

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """Return a whole file of the source; a longer one is refused."""
        try:
            return self._source.read(url.rpartition("/")[2], most_bytes=max_length, ends_at=self._ends_at)
        except NotThereError as error:
            raise DownloadHTTPError(str(error), NOT_FOUND) from error

    def _fetch(self, url: str) -> Iterator[bytes]:
        yield self.download_bytes(url, LARGEST_METADATA_BYTES)


class Client(Updater):
    """python-tuf's client, which judges expiry at our time and says what it verified."""

    def judge_at(self, moment: datetime) -> None:
        """Take this as the time at which everything must still be valid."""
        self._trusted_set.reference_time = moment

    def verified(self) -> Versions:
        """Return what was verified by signature so far."""
        trusted = self._trusted_set
        timestamp = trusted.timestamp if Timestamp.type in trusted else None
        return Versions(
            root=trusted.root.version,
            timestamp=timestamp.version if timestamp else 0,
            snapshot=timestamp.snapshot_meta.version if timestamp else 0,
            timestamp_role=_role(trusted.root.roles["timestamp"]),
            snapshot_role=_role(trusted.root.roles["snapshot"]),
        )

    def said_beyond_tuf(self) -> Mapping[str, Any]:
        """What the signed part of the timestamp has besides."""
        said: Mapping[str, Any] = self._trusted_set.timestamp.unrecognized_fields
        return said

    def expires(self) -> datetime:
        """The first moment at which something that was verified expires."""
        trusted = self._trusted_set
        return min(role.expires for role in (trusted.root, trusted.timestamp, trusted.snapshot, trusted.targets))

    def voucher(self, repository: str, name: str) -> Voucher:
        """The keys to which targets.json gives this name; what they delegate further is theirs."""
        trusted = self._trusted_set
        delegations = trusted.targets.delegations
        roles: list[TufRole] = []
        if delegations is not None and delegations.roles is not None:
            roles = [delegations.roles[role] for role, _ in delegations.get_roles_for_target(name)]
        elif delegations is not None and delegations.succinct_roles is not None:
            roles = [delegations.succinct_roles]
        keyids = {keyid for role in roles for keyid in role.keyids}
        return Voucher(
            repository=repository,
            root=trusted.root.version,
            targets=trusted.targets.version,
            targets_role=_role(trusted.root.roles["targets"]),
            delegated=Role(keyids=tuple(sorted(keyids)), threshold=min(role.threshold for role in roles))
            if roles
            else None,
        )

    def is_listed(self, name: str) -> bool:
        """Whether somebody lists a name; a role that has published nothing, or nothing that still holds, does not."""
        said = self._trusted_set.targets
        roles = [] if said.delegations is None else [role for role, _ in said.delegations.get_roles_for_target(name)]
        if name not in said.targets and roles and not any(map(self._has_published, roles)):
            return False
        try:
            return self.get_targetinfo(name) is not None
        except ExpiredMetadataError as error:
            log.warning("nothing is said of %s: %s", name, error)
            return False

    def _has_published(self, role: str) -> bool:
        return f"{role}.json" in self._trusted_set.snapshot.meta

    def offered(self, may_expire: str) -> list[str]:
        """Every name that some role lists; who vouches for it shows when it is looked up.

        may_expire: a list of names that all begin so may have expired, and is left out then.
        """
        waiting, seen, names = [(Targets.type, Root.type)], set[str](), dict[str, None]()
        while waiting:
            role, delegator = waiting.pop()
            if role in seen or (role != Targets.type and not self._has_published(role)):
                continue  # a role that has published nothing yet offers nothing
            seen.add(role)
            if len(seen) > MOST_ROLES:
                raise BundleTrustError(f"more than {MOST_ROLES} roles vouch for targets; name those that you need")
            try:
                signed = self._load_targets(role, delegator)
            except ExpiredMetadataError as error:
                if not self._is_only_for(role, may_expire):
                    raise
                log.info("%s is left out: %s", role, error)
                continue
            names |= dict.fromkeys(signed.targets)
            delegated = signed.delegations
            if delegated is not None and delegated.succinct_roles is not None:
                waiting += [(each, role) for each in delegated.succinct_roles.get_roles()]
            elif delegated is not None:
                waiting += [(each, role) for each in delegated.roles or ()]
        return list(names)

    def _is_only_for(self, role: str, beginning: str) -> bool:
        """Whether targets.json gives a role no other names than those that begin so."""
        delegated = self._trusted_set.targets.delegations
        named = None if delegated is None else (delegated.roles or {}).get(role)
        paths = None if named is None else named.paths
        return bool(beginning and paths) and all(path.startswith(beginning) for path in paths or ())

    def where(self, target: TargetFile) -> str:
        """The path under the targets' address: with the first digest in front where the root says so."""
        if not self._trusted_set.root.consistent_snapshot:
            return target.path
        folder, slash, name = target.path.rpartition("/")
        return f"{folder}{slash}{next(iter(target.hashes.values()))}.{name}"


def _role(role: TufRole) -> Role:
    return Role(keyids=tuple(sorted(role.keyids)), threshold=role.threshold)
