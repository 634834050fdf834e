"""A site's assignments on a stick: the bytes and numbers that the server has, vouched for by the sticks' own key.

So a device that hears the server and a stick has one floor.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, Targets

from appliance.errors import BundleTrustError, ConfigError
from trainer.release.assignment import Assignment, read_assignment
from trainer.release.client import Expiry, expiries
from trainer.release.publication import signed_by
from trainer.release.roles import STICK_DAYS, assign_role, expires, keys_of
from trainer.release.shelf import Shelf
from trainer.release.standing import Standing


def source_of(shelf: Shelf, online: Standing, site: str) -> tuple[str, str]:
    """Look at how new the assignments are that get 30 days more on a stick: an old state may have been put back.

    Args:
        shelf: where they were made.
        online: what stands there.
        site: whose.

    Returns:
        Until when they were valid there; and a warning, empty if they still are. A folder at the desk needs no timer.

    Raises:
        BundleTrustError: They have expired in a store, so that nobody tells whether they are the newest.
    """
    found = {expiry.role: expiry for expiry in expiries(online)}
    asked = [found[role] for role in ("timestamp", assign_role(site)) if role in found]
    told = f"copied from {shelf.address}: " + ", ".join(f"{_named(each)} until {_when(each)}" for each in asked)
    late = [f"{_named(each)} was valid until {_when(each)}" for each in asked if each.left <= timedelta()]
    if not late:
        return told, ""
    words = f"{shelf.address}: {', '.join(late)}, so nothing tells whether this is the newest that was assigned"
    if shelf.folder is None:
        raise BundleTrustError(
            f"{words}, and the stick would give it {STICK_DAYS} days more; nothing was written. Look at who writes "
            f"there, sign it anew (`trainer publish refresh` with the keys of timestamp and {assign_role(site)}), then "
            "write the stick"
        )
    return told, f"{words}; look whether it is. If a server gives the folder out, `trainer publish refresh` there first"


def _named(expiry: Expiry) -> str:
    return f"{expiry.role} {expiry.version}"


def _when(expiry: Expiry) -> str:
    return f"{expiry.until:%Y-%m-%d %H:%M} UTC"


def signed_assignments(
    shelf: Shelf, sticks: Standing, online: Standing, site: str, signers: Sequence[Signer]
) -> Metadata[Targets]:
    """Sign a site's assignments once more, for sticks.

    Args:
        shelf: where the sticks' repository lies.
        sticks: what stands there.
        online: where the assignments were made.
        site: whose.
        signers: keys at hand.

    Raises:
        ConfigError: The site is not known, nothing was assigned there, or its key is missing.
    """
    role = assign_role(site)
    keys_of(sticks.root.signed, sticks.targets.signed, role)
    held = online.delegated.get(role)
    if held is None or not held.signed.targets:
        raise ConfigError(f"nothing was assigned at {site} yet; `trainer publish assign` first, then write the stick")
    content = Targets(
        shelf.next_version(role, sticks.version(role)),
        expires=expires(role, sticks.root.signed),
        targets=dict(held.signed.targets),
    )
    signed: Metadata[Targets] = signed_by(signers, role, content, [(sticks.root.signed, sticks.targets.signed)])
    return signed


def chosen_assignments(shelf: Shelf, online: Standing, site: str, devices: Sequence[str]) -> list[Assignment]:
    """Read what devices of a site shall run.

    Args:
        shelf: where the assignments lie.
        online: what stands there.
        site: the devices' site.
        devices: their ids; none: all of the site.

    Raises:
        ConfigError: A device was never assigned anything.
        BundleTrustError: An assignment is missing or none.
    """
    held = online.delegated.get(assign_role(site))
    targets = held.signed.targets if held else {}
    names = [f"assign/{site}/{device}.json" for device in dict.fromkeys(devices)] or sorted(targets)
    if unknown := [name for name in names if name not in targets]:
        known = ", ".join(sorted(name.rpartition("/")[2].removesuffix(".json") for name in targets)[:5])
        raise ConfigError(
            f"{unknown[0]}: nothing was assigned to this device; `trainer publish assign` first. At {site} there are "
            f"{known or 'none'}"
        )
    return [read_assignment(shelf, name, targets[name]) for name in names]
