"""Who signs what, for how long, and the rules that hold for the lists of keys (docs/decisions/0025)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from securesystemslib.signer import Key
from tuf.api.metadata import DelegatedRole, Delegations, Role, Root, TargetFile, Targets

from appliance.errors import ConfigError
from appliance.events import utc_now
from trainer.release.keys import PublicKey

TOP = ("root", "targets", "snapshot", "timestamp")
PEOPLE = ("person", "quality")
Kind = Literal["model", "recipe", "app", "os"]
KINDS: Mapping[Kind, str] = {"model": "models", "recipe": "recipes", "app": "apps", "os": "os"}
"""Kind of a release -> the role that signs it, which is the first folder of its name, too."""

BY_QUALITY: tuple[Kind, ...] = ("model", "recipe")
"""Kinds that decide which part is accepted: nothing of them is released without a key of the quality role."""

VERSION, CONTENT = "version", "content"
"""Of a recipe, signed beside its number: the version in it, and a digest of all else that it says."""

NO_REPORT = "no_report"
"""Of a model without figures of an evaluation, signed beside its number: why there are none."""

WITHDRAWN = "x-withdrawn"
"""Field of a list of releases, for what it names no more."""

PURPOSE, STICKS = "x-for", "sticks"
"""Field of root's metadata, and its value in the repository of USB sticks; a repository for a server has none."""

SITE = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
ASSIGN = "assign-"


@dataclass(frozen=True, slots=True)
class Terms:
    """Of a role.

    Args:
        threshold: how many must sign.
        keys: how many there must be at least, so that one may be lost.
        days: how long what they sign is valid.
        alarm_days: with fewer days left somebody must act.
        parts: whose keys it takes.
    """

    threshold: int
    keys: int
    days: float
    alarm_days: float
    parts: Sequence[str]


TERMS = {
    "root": Terms(2, 3, 365, 90, PEOPLE),
    "targets": Terms(2, 3, 180, 90, PEOPLE),
    "models": Terms(2, 2, 90, 14, ("quality", "person", "ci")),
    "recipes": Terms(2, 2, 90, 14, ("quality", "person", "ci")),
    "apps": Terms(2, 3, 180, 30, PEOPLE),
    "os": Terms(2, 3, 180, 30, PEOPLE),
    "snapshot": Terms(1, 1, 7, 2, ("online",)),
    "timestamp": Terms(1, 1, 1, 0.25, ("online",)),
}
_ASSIGN_TERMS = Terms(1, 1, 7, 2, ("online",))
STICK_DAYS, _STICK_ALARM_DAYS = 30, 7
"""Of what machines sign for sticks: nobody signs a stick anew that is on its way."""


def terms_of(role: str) -> Terms:
    """Return a role's terms in a repository for a server; how long it is valid, `terms_under` tells for any."""
    return _ASSIGN_TERMS if role.startswith(ASSIGN) else TERMS[role]


def terms_under(root: Root, role: str) -> Terms:
    """Return a role's terms in a repository, as its root says for what that is."""
    terms = terms_of(role)
    if is_for_sticks(root) and is_online(role):
        return replace(terms, days=STICK_DAYS, alarm_days=_STICK_ALARM_DAYS)
    return terms


def is_for_sticks(root: Root) -> bool:
    """Tell whether a repository is the one of USB sticks."""
    return purpose_of(root) == STICKS


def purpose_of(root: Root) -> object:
    """Return what a root says of what its repository is for; None for a server."""
    return root.unrecognized_fields.get(PURPOSE)


def is_online(role: str) -> bool:
    """Tell whether a role is signed by machines, without people."""
    return terms_of(role).parts == ("online",)


def expires(role: str, root: Root) -> datetime:
    """Return until when what a role signs now is valid, in the repository of a root."""
    return _in_days(terms_under(root, role).days)


def _in_days(days: float) -> datetime:
    return utc_now().replace(microsecond=0) + timedelta(days=days)


def assign_role(site: str) -> str:
    """Return the role that chooses for a site.

    Raises:
        ConfigError: The site's name is none.
    """
    if not SITE.fullmatch(site):
        raise ConfigError(f"{site!r}: no name of a site; write a-z, 0-9 and -, at most 31 characters")
    return f"{ASSIGN}{site}"


def paths_of(role: str) -> list[str]:
    """Return what a delegated role may vouch for."""
    return [f"assign/{role.removeprefix(ASSIGN)}/*" if role.startswith(ASSIGN) else f"{role}/*/*"]


def kind_of(path: str) -> Kind | None:
    """Return of which kind a release is by its name, None if of none."""
    return next((kind for kind, folder in KINDS.items() if path.startswith(f"{folder}/")), None)


def said_of(target: TargetFile) -> Mapping[str, Any]:
    """Return what is signed of a target beside its length and digests."""
    return target.custom if isinstance(target.custom, dict) else {}


def seq_of(target: TargetFile) -> int:
    """Return a target's number, -1 if it has none."""
    seq = said_of(target).get("seq")
    return seq if type(seq) is int else -1


def version_of(target: TargetFile) -> int:
    """Return the version that people gave a recipe, -1 if it has none."""
    version = said_of(target).get(VERSION)
    return version if type(version) is int else -1


def withdrawals(targets: Targets) -> Mapping[str, Mapping[str, Any]]:
    """Return what a list once named and names no more: name -> its number, SHA-256, version if it had one, and why."""
    said = targets.unrecognized_fields.get(WITHDRAWN)
    found = said.items() if isinstance(said, dict) else ()
    return {name: about for name, about in found if isinstance(about, dict) and type(about.get("seq")) is int}


def tombstone(target: TargetFile) -> dict[str, Any]:
    """Return what stays of a target that is withdrawn, so that its number and version are never given again."""
    version = {VERSION: version_of(target)} if version_of(target) >= 0 else {}
    return {"seq": seq_of(target), "sha256": target.hashes.get("sha256", ""), **version}


def make_root(keys: Mapping[str, Sequence[PublicKey]], *, for_sticks: bool = False) -> Root:
    """Make the first root; keys: role -> who signs it."""
    roles = {role: Role([], terms_of(role).threshold) for role in TOP}
    purpose = {PURPOSE: STICKS} if for_sticks else {}
    root = Root(expires=_in_days(terms_of("root").days), roles=roles, unrecognized_fields=purpose)
    for role in roles:
        for public in keys[role]:
            root.add_key(public.as_tuf(), role)
    return root


def make_targets(keys: Mapping[str, Sequence[PublicKey]]) -> Targets:
    """Make the first targets, which only delegates; keys: delegated role -> who signs it."""
    targets = Targets(expires=_in_days(terms_of("targets").days), delegations=Delegations({}, {}))
    for role, holders in keys.items():
        delegate(targets, role, [public.as_tuf() for public in holders])
    return targets


def delegate(targets: Targets, role: str, keys: Iterable[Key]) -> None:
    """Let a role vouch for its own paths, and nobody after it for the same."""
    assert targets.delegations is not None
    assert targets.delegations.roles is not None
    targets.delegations.roles[role] = DelegatedRole(role, [], terms_of(role).threshold, True, paths_of(role))
    for key in keys:
        targets.add_key(key, role)


def delegated_roles(targets: Targets) -> dict[str, DelegatedRole]:
    """Return the roles that targets gives paths to."""
    return dict((targets.delegations and targets.delegations.roles) or {})


def keys_of(root: Root, targets: Targets, role: str) -> list[Key]:
    """Return the keys that may sign for a role.

    Raises:
        ConfigError: There is no such role.
    """
    if role in root.roles:
        return [root.keys[keyid] for keyid in root.roles[role].keyids]
    found = delegated_roles(targets).get(role)
    if found is None:
        known = ", ".join(sorted([*root.roles, *delegated_roles(targets)]))
        words = f"there is no role {role}"
        if role.startswith(ASSIGN):
            words = f"the site {role.removeprefix(ASSIGN)!r} is not known; `trainer keys site` adds one"
        raise ConfigError(f"{words}; there are {known}")
    return [targets.get_key(keyid) for keyid in found.keyids]
