"""The rules that hold for the lists of keys, which no threshold says (docs/decisions/0025)."""

from __future__ import annotations

from collections.abc import Iterable

from securesystemslib.signer import Key
from tuf.api.metadata import DelegatedRole, Root, Targets

from appliance.errors import BundleTrustError
from trainer.release.keys import part_of
from trainer.release.roles import (
    ASSIGN,
    BY_QUALITY,
    KINDS,
    PURPOSE,
    SITE,
    STICKS,
    TERMS,
    Kind,
    delegated_roles,
    keys_of,
    paths_of,
    purpose_of,
    terms_of,
)


def check_rules(root: Root, targets: Targets) -> None:
    """Hold the lists of keys against the rules that no threshold says.

    Raises:
        BundleTrustError: A list breaks one.
    """
    if purpose_of(root) not in (None, STICKS):
        raise BundleTrustError(
            f"root {root.version}: the repository is for {purpose_of(root)!r} ({PURPOSE}), which this version does not "
            "know; update the trainer"
        )
    for name, role in {**root.roles, **delegated_roles(targets)}.items():
        known = name in TERMS or (name.startswith(ASSIGN) and SITE.fullmatch(name.removeprefix(ASSIGN)))
        if not known:
            raise BundleTrustError(f"{name}: no role of such a repository; take it out of targets.json")
        terms, keys = terms_of(name), keys_of(root, targets, name)
        if isinstance(role, DelegatedRole) and not (role.terminating and role.paths == paths_of(name)):
            raise BundleTrustError(f"{name}: must be terminating and have {paths_of(name)}; it has {role.paths}")
        if role.threshold < terms.threshold or len(keys) < max(terms.keys, role.threshold):
            raise BundleTrustError(
                f"{name}: {role.threshold} of {len(keys)} keys must sign, and at least {terms.threshold} of "
                f"{terms.keys} are asked for; name more keys"
            )
        if len({_content(key) for key in keys}) < len(keys):
            raise BundleTrustError(f"{name}: the same key is in it twice, under two names; name different keys")
        for key in keys:
            if part_of(key) not in terms.parts:
                raise BundleTrustError(
                    f"{name}: key {key.keyid[:8]} is of part {part_of(key)}, and {name} takes {', '.join(terms.parts)}"
                )
    for kind in BY_QUALITY:
        if found := delegated_roles(targets).get(KINDS[kind]):
            _check_quality(kind, keys_of(root, targets, found.name), found.threshold)


def _check_quality(kind: Kind, keys: Iterable[Key], threshold: int) -> None:
    others = [key.keyid[:8] for key in keys if part_of(key) != "quality"]
    if len(others) >= threshold:
        raise BundleTrustError(
            f"{KINDS[kind]}: the keys {', '.join(others)} are none of the quality role and could release a {kind} "
            f"without it; name {threshold - 1} of them at most"
        )


def _content(key: Key) -> str:
    return str(key.keyval["public"]).strip()
