"""A change made visible in one step: files, then metadata, timestamp.json last; killed anywhere, it is repeated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from securesystemslib.signer import Key, Signer
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from appliance.errors import BundleTrustError, ConfigError
from appliance.events import utc_now
from trainer.release.keys import holder_of
from trainer.release.request import add_signature, as_bytes
from trainer.release.roles import (
    ASSIGN,
    delegated_roles,
    expires,
    is_online,
    keys_of,
    purpose_of,
    terms_under,
    tombstone,
    withdrawals,
)
from trainer.release.rules import check_rules
from trainer.release.shelf import Shelf, target_path
from trainer.release.standing import Standing

ISSUED_AT = "issued_at"
"""Key of timestamp.json's signed part: when it was signed (docs/updates.md, "Time")."""


@dataclass(frozen=True, slots=True)
class Change:
    """What shall hold from now on.

    Args:
        root: a newer one, signed.
        roles: targets and delegated roles, signed.
        files: target's name and content.
    """

    root: Metadata[Root] | None = None
    roles: Mapping[str, Metadata[Targets]] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Next:
    """All metadata as it shall be; olds: roots that a device may still hold for a moment."""

    root: Metadata[Root]
    olds: Sequence[Root]
    targets: Metadata[Targets]
    delegated: Mapping[str, Metadata[Targets]]


def publish(shelf: Shelf, standing: Standing | None, change: Change, signers: Sequence[Signer]) -> list[str]:
    """Make a change visible.

    Args:
        shelf: where the repository lies; the caller keeps others out with `alone`.
        standing: what is there; None if there is nothing yet.
        change: what shall hold; empty to sign anew what is due.
        signers: keys of the online roles.

    Returns:
        What to tell a person, beside that it was done.

    Raises:
        BundleTrustError: The result would not be accepted by devices.
        ConfigError: A key is missing, or somebody else has published meanwhile.
        StorageError: The address does not answer or refuses; repeat the command.
    """
    following = _next(shelf, standing, change, signers)
    online = [role for role in delegated_roles(following.targets.signed) if is_online(role)]
    check_parts(
        signers, _roots_of(following), following.targets.signed, ["snapshot", "timestamp", *online, *change.roles]
    )
    _check(following)
    if standing is not None:
        _check_follows(standing, change, following)
    for name, content in change.files.items():
        shelf.add_target(_place(following, name), content)
    for role, metadata in {"targets": following.targets, **following.delegated}.items():
        if standing is None or standing.version(role) != metadata.signed.version:
            shelf.add_metadata(role, metadata.signed.version, as_bytes(metadata))
    snapshot = _snapshot(shelf, standing, following, signers)
    timestamp = _timestamp(standing, snapshot, following, signers)
    is_root_last, words = _order(standing, change.root, following, (timestamp, snapshot))
    shelf.add_metadata("snapshot", snapshot.signed.version, as_bytes(snapshot))
    if change.root and not is_root_last:
        shelf.add_metadata("root", change.root.signed.version, as_bytes(change.root))
    shelf.swap(as_bytes(timestamp), standing.mark if standing else shelf.mark())
    if change.root and is_root_last:
        shelf.add_metadata("root", change.root.signed.version, as_bytes(change.root))
    return words


def check_parts(signers: Iterable[Signer], roots: Sequence[Root], targets: Targets, roles: Iterable[str]) -> None:
    """Refuse keys that have nothing to sign.

    Args:
        signers: keys at hand.
        roots: the newest root, and those before it while keys are exchanged.
        targets: the newest.
        roles: what is signed.

    Raises:
        ConfigError: A key has no part in any of these roles.
    """
    asked = sorted(set(roles))
    known = {key.keyid for root in roots for role in asked for key in _keys(root, targets, role)}
    if odd := [signer.public_key.keyid[:8] for signer in signers if signer.public_key.keyid not in known]:
        raise ConfigError(
            f"key {', '.join(odd)} has no part in {', '.join(asked)}; leave it out. Nothing was signed or published"
        )


def signed_by(
    signers: Iterable[Signer], role: str, content: Any, delegators: Sequence[tuple[Root, Targets | None]]
) -> Metadata[Any]:
    """Sign metadata of an online role with the keys that have a part in it.

    Args:
        signers: keys at hand.
        role: whose metadata.
        content: what it says.
        delegators: root and targets that name the role's keys; the last must be satisfied.

    Raises:
        ConfigError: The keys at hand do not suffice.
    """
    metadata: Metadata[Any] = Metadata(content)
    known = {key.keyid for root, targets in delegators for key in _keys(root, targets, role)}
    for signer in signers:
        if signer.public_key.keyid in known:
            add_signature(metadata, signer)
    root, targets = delegators[-1]
    delegator = root if targets is None else targets
    if not delegator.get_verification_result(role, metadata.signed_bytes, metadata.signatures):
        names = ", ".join(f"{holder_of(key)} ({key.keyid[:8]})" for key in _keys(root, targets, role))
        raise ConfigError(f"{role} is signed with the key of {names}; name it with --key. Nothing was published")
    return metadata


def _keys(root: Root, targets: Targets | None, role: str) -> list[Key]:
    lists = targets or Targets()
    return keys_of(root, lists, role) if role in root.roles or role in delegated_roles(lists) else []


def _next(shelf: Shelf, standing: Standing | None, change: Change, signers: Sequence[Signer]) -> _Next:
    root = change.root or (standing.root if standing else None)
    targets = change.roles.get("targets") or (standing.targets if standing else None)
    if root is None or targets is None:
        raise ConfigError(f"{shelf.address}: a new repository begins with a signed root and signed targets; name both")
    delegated = dict(standing.delegated) if standing else {}
    delegated |= {role: metadata for role, metadata in change.roles.items() if role != "targets"}
    for role in [role for role in delegated if role not in delegated_roles(targets.signed)]:
        del delegated[role]
    held = {signer.public_key.keyid for signer in signers}
    for role, metadata in list(delegated.items()):
        keyids = delegated_roles(targets.signed)[role].keyids
        is_due = _is_old(metadata.signed.expires, role, root.signed) and held & set(keyids)
        if role.startswith(ASSIGN) and (is_due or not _holds(targets.signed, role, metadata)):
            anew = Targets(
                shelf.next_version(role, metadata.signed.version),
                expires=expires(role, root.signed),
                targets=metadata.signed.targets,
            )
            delegated[role] = signed_by(signers, role, anew, [(root.signed, targets.signed)])
    olds = [standing.under.signed, standing.root.signed] if standing else []
    return _Next(root, olds, targets, delegated)


def _check(following: _Next) -> None:
    """Refuse what devices would refuse, before anything is written."""
    check_rules(following.root.signed, following.targets.signed)
    now = utc_now()
    for role, metadata in (("root", following.root), ("targets", following.targets)):
        if not _holds(following.root.signed, role, metadata):
            raise _unsigned(role, metadata)
        if metadata.signed.is_expired(now):
            raise BundleTrustError(
                f"{role} {metadata.signed.version} has expired on {metadata.signed.expires:%Y-%m-%d}, so devices take "
                f"nothing: have it signed anew (`trainer keys renew {role}`) and publish that first"
            )
    for role, metadata in following.delegated.items():
        if not _holds(following.targets.signed, role, metadata):
            raise _unsigned(role, metadata)


def _check_follows(standing: Standing, change: Change, following: _Next) -> None:
    """Refuse what contradicts what stands; a request itself says nothing of that which could be believed."""
    old, newer = standing.root.signed, change.root
    if newer and newer.signed.version != old.version + 1:
        raise BundleTrustError(f"root {newer.signed.version} does not follow root {old.version}; make the change anew")
    if newer and purpose_of(newer.signed) != purpose_of(old):
        raise BundleTrustError(
            f"root {newer.signed.version} makes it a repository for {purpose_of(newer.signed) or 'a server'}, and it "
            f"is one for {purpose_of(old) or 'a server'}; begin another one (`trainer keys ceremony`)"
        )
    if newer and not newer.signed.get_root_verification_result(old, newer.signed_bytes, newer.signatures):
        raise BundleTrustError(
            f"root {newer.signed.version} is not signed by enough of root {old.version}, whatever the request says, so "
            "no device would follow it; let them sign (`trainer keys sign`)"
        )
    for role, metadata in change.roles.items():
        title = f"{role} {metadata.signed.version}"
        if role != "targets" and role not in following.delegated:
            raise BundleTrustError(f"{title}: nobody gave such a role anything to say; publish the list of keys first")
        if metadata.signed.version <= standing.version(role):
            raise BundleTrustError(
                f"{title} is older than {role} {standing.version(role)}, which stands; devices refuse it: make it anew"
            )
        held = standing.delegated.get(role)
        if held and not role.startswith(ASSIGN):
            _check_keeps(title, held.signed, metadata.signed)


def _check_keeps(title: str, held: Targets, newer: Targets) -> None:
    """A name that was released keeps its content for ever: the one place where people would not notice a change.

    What is withdrawn leaves its number behind, and does not come back.
    """
    gone = withdrawals(newer)
    lost = [
        name
        for name, target in held.targets.items()
        if newer.targets.get(name) != target and (name in newer.targets or not _is_withdrawn(target, gone.get(name)))
    ]
    lost += [name for name, about in withdrawals(held).items() if gone.get(name) != about or name in newer.targets]
    if lost:
        raise BundleTrustError(
            f"{title} leaves out or alters what was released before: {', '.join(sorted(lost)[:3])}; make the request "
            "anew, and look at who made this one"
        )


def _is_withdrawn(target: TargetFile, about: Mapping[str, Any] | None) -> bool:
    return about is not None and tombstone(target).items() <= about.items()


def _unsigned(role: str, metadata: Metadata[Any]) -> BundleTrustError:
    return BundleTrustError(
        f"{role} {metadata.signed.version} is not signed by enough of those who must; collect the signatures first "
        f"(`trainer keys sign`)"
    )


def _snapshot(
    shelf: Shelf, standing: Standing | None, following: _Next, signers: Sequence[Signer]
) -> Metadata[Snapshot]:
    held, root = standing.snapshot if standing else None, following.root.signed
    meta = {}
    for role, metadata in {"targets": following.targets, **following.delegated}.items():
        known = held.signed.meta.get(f"{role}.json") if held else None
        is_known = known is not None and known.version == metadata.signed.version
        meta[f"{role}.json"] = known if known and is_known else _meta(metadata)
    is_same = held is not None and held.signed.meta == meta and not _is_old(held.signed.expires, "snapshot", root)
    if held and is_same and all(_holds(each, "snapshot", held) for each in _roots_of(following)):
        return held
    version = shelf.next_version("snapshot", held.signed.version if held else 0)
    return signed_by(
        signers, "snapshot", Snapshot(version, expires=expires("snapshot", root), meta=meta), _roots(following)
    )


def _timestamp(
    standing: Standing | None, snapshot: Metadata[Snapshot], following: _Next, signers: Sequence[Signer]
) -> Metadata[Timestamp]:
    version = standing.timestamp.signed.version + 1 if standing else 1
    fields = {ISSUED_AT: utc_now().strftime("%Y-%m-%dT%H:%M:%SZ")}
    content = Timestamp(
        version,
        expires=expires("timestamp", following.root.signed),
        snapshot_meta=_meta(snapshot),
        unrecognized_fields=fields,
    )
    return signed_by(signers, "timestamp", content, _roots(following))


def _roots(following: _Next) -> list[tuple[Root, Targets | None]]:
    return [(root, None) for root in _roots_of(following)]


def _roots_of(following: _Next) -> list[Root]:
    return [*following.olds, following.root.signed]


def _order(
    standing: Standing | None,
    newer: Metadata[Root] | None,
    following: _Next,
    online: tuple[Metadata[Timestamp], Metadata[Snapshot]],
) -> tuple[bool, list[str]]:
    """Choose the order in which devices that come at any moment find everything signed; tell if there is none."""
    if standing is None or newer is None:
        return False, []
    before: dict[str, Metadata[Any]] = {
        "timestamp": standing.timestamp,
        "snapshot": standing.snapshot,
        "targets": standing.targets,
    }
    after: dict[str, Metadata[Any]] = {"timestamp": online[0], "snapshot": online[1], "targets": following.targets}
    if all(_holds(newer.signed, role, metadata) for role, metadata in before.items()):
        return False, []
    if all(_holds(standing.under.signed, role, metadata) for role, metadata in after.items()):
        return True, []
    return False, [
        "a device that asked in the moment between the new root and the new timestamp was refused, and will not be at "
        "its next try; with the old key named by --key as well there is no such moment"
    ]


def _holds(delegator: Root | Targets, role: str, metadata: Metadata[Any]) -> bool:
    return bool(delegator.get_verification_result(role, metadata.signed_bytes, metadata.signatures))


def _is_old(until: Any, role: str, root: Root) -> bool:
    return bool(until - utc_now() < timedelta(days=terms_under(root, role).days / 2))


def _meta(metadata: Metadata[Any]) -> MetaFile:
    return MetaFile.from_data(metadata.signed.version, as_bytes(metadata), ["sha256"])


def _place(following: _Next, name: str) -> str:
    found = next(held.signed.targets[name] for held in following.delegated.values() if name in held.signed.targets)
    return target_path(name, found.hashes["sha256"])
