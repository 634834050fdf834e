"""Several wishes for devices of several sites, published in one step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, Targets

from appliance.errors import ConfigError
from trainer.release.assignment import Assignment, Wish, assign, read_assignment
from trainer.release.keys import holder_of
from trainer.release.publication import Change, publish, signed_by
from trainer.release.roles import assign_role, keys_of
from trainer.release.shelf import Shelf
from trainer.release.standing import Standing, check_is_no_copy

Signers: TypeAlias = "Sequence[Signer]"
"""Keys at hand."""


@dataclass(frozen=True, slots=True)
class Order:
    """What some devices of a site shall run."""

    site: str
    devices: Sequence[str]
    wish: Wish


def publish_orders(shelf: Shelf, standing: Standing, orders: Sequence[Order], signers: Signers) -> list[str]:
    """Assign, and make all of it visible at once.

    Args:
        shelf: where the repository lies; the caller keeps others out with `alone`.
        standing: what stands there.
        orders: whom and what; a device that has its assignment already keeps it.
        signers: the sites' keys, and that of the online roles.

    Returns:
        Names of the assignments that are new.

    Raises:
        ConfigError: Site, device, release or key is not known, a release is older than what a device was given, or
            the repository is a copy.
        BundleTrustError: What is there is no assignment, or devices would refuse the result.
        StorageError: The address does not answer or refuses.
    """
    check_is_no_copy(shelf, standing, "`trainer publish assign`")
    contents: dict[str, Targets] = {}
    files: dict[str, bytes] = {}
    meanwhile = standing
    for order in orders:
        content, made = assign(shelf, meanwhile, order.site, order.devices, order.wish)
        if content is None:
            continue
        role = assign_role(order.site)
        contents[role] = content
        files |= made
        delegated: Mapping[str, Metadata[Any]] = {**meanwhile.delegated, role: Metadata(content)}
        meanwhile = replace(meanwhile, delegated=delegated)
    if not files:
        return []
    lists = [(standing.root.signed, standing.targets.signed)]
    roles = {role: signed_by(signers, role, content, lists) for role, content in contents.items()}
    publish(shelf, standing, Change(roles=roles, files=files), signers)
    return sorted(files)


def check_keys(standing: Standing, sites: Iterable[str], signers: Signers) -> None:
    """See that the keys at hand suffice to assign, before anything is begun.

    Args:
        standing: what stands in the repository.
        sites: whose devices are assigned.
        signers: keys at hand.

    Raises:
        ConfigError: A site is not known, or a key is missing; says whose.
    """
    held = {signer.public_key.keyid for signer in signers}
    for role in ("timestamp", "snapshot", *(assign_role(site) for site in sorted(set(sites)))):
        keys = keys_of(standing.root.signed, standing.targets.signed, role)
        if not held & {key.keyid for key in keys}:
            names = ", ".join(f"{holder_of(key)} ({key.keyid[:8]})" for key in keys)
            raise ConfigError(f"{role} is signed with the key of {names}; name it with --key. Nothing was changed")


def assignment_of(shelf: Shelf, standing: Standing, site: str, device: str) -> Assignment | None:
    """Return what a device was given last, None if it never was.

    Raises:
        BundleTrustError: The file is missing or another one, or none.
        ConfigError: The site's name is none.
    """
    held, name = standing.delegated.get(assign_role(site)), f"assign/{site}/{device}.json"
    target = held.signed.targets.get(name) if held else None
    return read_assignment(shelf, name, target) if target else None
