"""A site's assignments on a stick: the bytes and numbers that the server has, vouched for by the sticks' own key.

So a device that hears the server and a stick has one floor.
"""

from __future__ import annotations

from collections.abc import Sequence

from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, Targets

from appliance.errors import ConfigError
from trainer.release.assignment import Assignment, read_assignment
from trainer.release.publication import signed_by
from trainer.release.roles import assign_role, expires, keys_of
from trainer.release.shelf import Shelf
from trainer.release.standing import Standing


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
