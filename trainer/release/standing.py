"""What stands in a repository now, as far as it follows from the pinned root by signatures, lengths and digests.

Expiry is not judged here: a publisher must be able to mend what has expired. `client.py` judges as a device does.

Source: The Update Framework specification 1.0, section 5 (the client's workflow).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from appliance.errors import BundleTrustError, ConfigError
from trainer.release.roles import KINDS, Kind, is_for_sticks, withdrawals
from trainer.release.rules import check_rules
from trainer.release.shelf import Mark, Shelf

MOST_ROOTS = 1000


@dataclass(frozen=True, slots=True)
class Standing:
    """The repository.

    Args:
        root: the newest.
        under: the root under whose keys the rest holds: the newest, or the one before while a publication that was
            killed in the middle of a rotation waits to be repeated.
        timestamp, snapshot, targets: of these roles.
        delegated: role -> its metadata; a role that has published nothing yet is not in it.
        mark: timestamp.json as it was.
    """

    root: Metadata[Root]
    under: Metadata[Root]
    timestamp: Metadata[Timestamp]
    snapshot: Metadata[Snapshot]
    targets: Metadata[Targets]
    delegated: Mapping[str, Metadata[Targets]]
    mark: Mark

    @property
    def is_for_sticks(self) -> bool:
        """Whether it is the repository of USB sticks, or a stick."""
        return is_for_sticks(self.root.signed)

    def version(self, role: str) -> int:
        """Return a role's version, 0 if it has published nothing."""
        if role == "root":
            return self.root.signed.version
        found: Metadata[Any] | None = self.targets if role == "targets" else self.delegated.get(role)
        return found.signed.version if found else 0

    def releases(self, kind: Kind) -> Mapping[str, Any]:
        """Return name -> target of a kind."""
        found = self.delegated.get(KINDS[kind])
        return found.signed.targets if found else {}

    def withdrawn(self, kind: Kind) -> Mapping[str, Mapping[str, Any]]:
        """Return name -> what is still said of it, of what was withdrawn of a kind."""
        found = self.delegated.get(KINDS[kind])
        return withdrawals(found.signed) if found else {}


def stands(shelf: Shelf, pinned: bytes, *, after_a_kill: bool = False) -> Standing:
    """Read and check a repository.

    Args:
        shelf: where it lies.
        pinned: root.json of the devices' image.
        after_a_kill: also take one in which the newest root is already there and the rest not yet.

    Raises:
        BundleTrustError: It is not signed as it must be, or contradicts itself.
        ConfigError: The pinned root is none, or there is no repository.
        StorageError: The address does not answer or refuses.
    """
    mark = shelf.mark()
    if mark.content is None:
        raise ConfigError(
            f"{shelf.address}: no repository is there; begin with `trainer keys ceremony`, or check the address"
        )
    roots = _chain(shelf, pinned)
    candidates = roots[-2:] if after_a_kill else roots[-1:]
    try:
        return _below(shelf, roots[-1], candidates[-1], mark)
    except BundleTrustError as error:
        if len(candidates) == 1:
            hint = "; if new keys were just being published, repeat that `trainer publish signed`" * (len(roots) > 1)
            raise BundleTrustError(f"{error}{hint}") from error
        return _below(shelf, roots[-1], candidates[0], mark)


def check_is_no_copy(shelf: Shelf, standing: Standing, what: str) -> None:
    """Refuse what is to be done where releases and assignments come from, and would be another thing in a copy.

    Args:
        shelf: where the repository lies.
        standing: what stands there.
        what: somebody wants to do, as a command.

    Raises:
        ConfigError: It is the repository of sticks.
    """
    if standing.is_for_sticks:
        raise ConfigError(
            f"{shelf.address}: is the repository of sticks, to which `trainer publish stick` copies releases and "
            f"assignments; do {what} in the repository from which it copies, and write the sticks anew"
        )


def parse_root(content: bytes) -> Metadata[Root]:
    """Read a root that is trusted because it is pinned.

    Raises:
        ConfigError: It is none.
    """
    try:
        root = Metadata[Root].from_bytes(content)
        root.signed.verify_delegate("root", root.signed_bytes, root.signatures)
    except (RepositoryError, ValueError, AttributeError) as error:
        raise ConfigError(f"--root: no valid root.json ({error}); name the one of the devices' image") from error
    return root


def _chain(shelf: Shelf, pinned: bytes) -> list[Metadata[Root]]:
    roots = [parse_root(pinned)]
    with _in_words(shelf):
        while (content := shelf.metadata("root", roots[-1].signed.version + 1)) and len(roots) < MOST_ROOTS:
            newer = Metadata[Root].from_bytes(content)
            found = newer.signed.get_root_verification_result(roots[-1].signed, newer.signed_bytes, newer.signatures)
            if not found:
                raise BundleTrustError(
                    f"{shelf.address}: root {newer.signed.version} is not signed by enough of root "
                    f"{roots[-1].signed.version} and of its own; restore the one that was signed"
                )
            roots.append(newer)
    return roots


def _below(shelf: Shelf, newest: Metadata[Root], under: Metadata[Root], mark: Mark) -> Standing:
    assert mark.content is not None
    root = under.signed
    with _in_words(shelf):
        timestamp = Metadata[Timestamp].from_bytes(mark.content)
        root.verify_delegate("timestamp", timestamp.signed_bytes, timestamp.signatures)
        snapshot: Metadata[Snapshot] = _read(shelf, "snapshot", timestamp.signed.snapshot_meta, root)
        metas = dict(snapshot.signed.meta)
        targets: Metadata[Targets] = _read(shelf, "targets", metas.pop("targets.json"), root)
        delegated: dict[str, Metadata[Targets]] = {}
        for file, meta in sorted(metas.items()):
            role = file.removesuffix(".json")
            delegated[role] = _read(shelf, role, meta, targets.signed)
    check_rules(root, targets.signed)
    return Standing(newest, under, timestamp, snapshot, targets, delegated, mark)


def _read(shelf: Shelf, role: str, meta: MetaFile, delegator: Root | Targets) -> Metadata[Any]:
    content = shelf.metadata(role, meta.version)
    if content is None:
        raise BundleTrustError(f"{shelf.address}: {role} {meta.version} is missing; restore it from a copy")
    meta.verify_length_and_hashes(content)
    metadata: Metadata[Any] = Metadata.from_bytes(content)
    delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    if metadata.signed.version != meta.version:
        raise BundleTrustError(f"{shelf.address}: {role} {meta.version} says that it is {metadata.signed.version}")
    return metadata


@contextmanager
def _in_words(shelf: Shelf) -> Iterator[None]:
    try:
        yield
    except (RepositoryError, DeserializationError, ValueError, KeyError, AttributeError) as error:
        raise BundleTrustError(
            f"{shelf.address}: {error}; nothing was published. Look at who wrote there, and restore it from a copy"
        ) from error
