"""What changes the lists of keys, as requests that people sign: the first root, keys that come and go, a new role."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass

from tuf.api.metadata import Root, Targets

from appliance.errors import BundleTrustError, ConfigError
from trainer.release.keys import PublicKey
from trainer.release.request import Request, request_of
from trainer.release.roles import (
    ASSIGN,
    KINDS,
    TOP,
    assign_role,
    delegate,
    delegated_roles,
    expires,
    is_online,
    keys_of,
    make_root,
    make_targets,
)
from trainer.release.rules import check_rules
from trainer.release.shelf import Shelf
from trainer.release.standing import Standing, check_is_no_copy


@dataclass(frozen=True, slots=True)
class Said:
    """By whom a change is asked for, and why."""

    by: str
    why: str

    def __post_init__(self) -> None:
        """Refuse a name that is none.

        Raises:
            ConfigError: by is empty, has more than 100 characters, or more than one line.
        """
        if not re.fullmatch(r"[^\x00-\x1f\x7f]{1,100}", self.by):
            raise ConfigError(f"--by {self.by!r}: no name; write up to 100 characters on one line")


def begin(keys: Mapping[str, Sequence[PublicKey]], said: Said, *, for_sticks: bool = False) -> list[Request]:
    """Make the first root and targets.

    Args:
        keys: role -> who signs it, of all roles.
        said: who asks for it.
        for_sticks: whether it is the repository of USB sticks.

    Raises:
        BundleTrustError: The keys break a rule.
    """
    root = make_root({role: keys[role] for role in TOP}, for_sticks=for_sticks)
    targets = make_targets({role: holders for role, holders in keys.items() if role not in TOP})
    check_rules(root, targets)
    by = [("root 1", root)]
    return [
        request_of("root", root, by, base=0, by=said.by, why=said.why),
        request_of("targets", targets, by, base=0, by=said.by, why=said.why),
    ]


def replace_key(shelf: Shelf, standing: Standing, keyid: str, new: PublicKey | None, said: Said) -> list[Request]:
    """Take a key out of all its roles, and put another in its place.

    Args:
        shelf: where the repository lies.
        standing: what stands there.
        keyid: of the key that goes.
        new: the key that comes; None leaves its roles with one less.
        said: who asks for it.

    Raises:
        ConfigError: The key has no part in anything.
        BundleTrustError: The keys that remain break a rule.
    """
    root, targets = deepcopy(standing.root.signed), deepcopy(standing.targets.signed)
    of_root = [role for role, about in root.roles.items() if keyid in about.keyids]
    of_targets = [role for role, about in delegated_roles(targets).items() if keyid in about.keyids]
    if not of_root and not of_targets:
        raise ConfigError(f"key {keyid[:8]} has no part in any role of {shelf.address}; nothing is to be done")
    delegators: tuple[tuple[Root | Targets, list[str]], ...] = ((root, of_root), (targets, of_targets))
    for delegator, roles in delegators:
        for role in roles:
            delegator.revoke_key(keyid, role)
            if new is not None:
                delegator.add_key(new.as_tuf(), role)
    try:
        return _requests(shelf, standing, root if of_root else None, targets if of_targets else None, said)
    except BundleTrustError as error:
        raise BundleTrustError(f"without key {keyid[:8]}: {error}; or put another in its place with --new") from error


def renew(shelf: Shelf, standing: Standing, roles: Iterable[str], said: Said) -> list[Request]:
    """Let people's roles be signed anew before they expire.

    Raises:
        ConfigError: A role is none of people's, or has published nothing.
    """
    asked = set(roles)
    if copied := sorted(asked & set(KINDS.values())):
        check_is_no_copy(shelf, standing, f"`trainer keys renew {','.join(copied)}`")
    for role in sorted(asked):
        known = role in TOP or role in delegated_roles(standing.targets.signed)
        if not known or is_online(role):
            raise ConfigError(f"{role}: is not signed by people; `trainer publish refresh` does what machines sign")
        if not standing.version(role):
            raise ConfigError(f"{role}: has published nothing yet, so nothing expires")
    root = deepcopy(standing.root.signed) if "root" in asked else None
    targets = deepcopy(standing.targets.signed) if "targets" in asked else None
    return _requests(shelf, standing, root, targets, said, asked - {"root", "targets"})


def add_site(shelf: Shelf, standing: Standing, site: str, key: PublicKey, said: Said) -> list[Request]:
    """Let a key choose for a site.

    Raises:
        ConfigError: The site is known, or its name is none.
        BundleTrustError: The key is of another part.
    """
    role = assign_role(site)
    if role in delegated_roles(standing.targets.signed):
        raise ConfigError(f"the site {site} is there; `trainer keys rotate` changes its key")
    targets = deepcopy(standing.targets.signed)
    delegate(targets, role, [key.as_tuf()])
    return _requests(shelf, standing, None, targets, said)


def add_role(shelf: Shelf, standing: Standing, role: str, keys: Sequence[PublicKey], said: Said) -> list[Request]:
    """Let keys release a kind that the repository does not have yet.

    Args:
        shelf: where the repository lies.
        standing: what stands there.
        role: of the kind, such as recipes.
        keys: who signs it; none for those of models.
        said: who asks for it.

    Raises:
        ConfigError: The role is there.
        BundleTrustError: The keys break a rule.
    """
    targets = deepcopy(standing.targets.signed)
    if role in delegated_roles(targets):
        raise ConfigError(f"the role {role} is there; `trainer keys rotate` changes its keys")
    found = [key.as_tuf() for key in keys] or keys_of(standing.root.signed, targets, KINDS["model"])
    delegate(targets, role, found)
    return _requests(shelf, standing, None, targets, said)


def _requests(
    shelf: Shelf,
    standing: Standing,
    root: Root | None,
    targets: Targets | None,
    said: Said,
    renewed: Iterable[str] = (),
) -> list[Request]:
    """Ask for signatures of all that changes, and of all that the new lists of keys leave without enough of them."""
    under, held = root or standing.root.signed, standing.targets
    if not under.get_verification_result("targets", held.signed_bytes, held.signatures):
        targets = targets or deepcopy(held.signed)
    check_rules(under, targets or held.signed)
    found = []
    if root is not None:
        root.version, root.expires = root.version + 1, expires("root", under)
        by = [(f"root {standing.version('root')}", standing.root.signed), (f"root {root.version}", root)]
        found.append(request_of("root", root, by, base=standing.version("root"), by=said.by, why=said.why))
    if targets is not None:
        targets.version, targets.expires = shelf.next_version("targets", targets.version), expires("targets", under)
        base = standing.version("targets")
        found.append(
            request_of("targets", targets, [(f"root {under.version}", under)], base=base, by=said.by, why=said.why)
        )
    lists = targets or held.signed
    for role, metadata in standing.delegated.items():
        if role.startswith(ASSIGN) or role not in delegated_roles(lists):
            continue
        if role not in renewed and lists.get_verification_result(role, metadata.signed_bytes, metadata.signatures):
            continue
        content = deepcopy(metadata.signed)
        content.version, content.expires = shelf.next_version(role, content.version), expires(role, under)
        by_lists = [(f"targets {lists.version}", lists)]
        found.append(request_of(role, content, by_lists, base=standing.version(role), by=said.by, why=said.why))
    return found
