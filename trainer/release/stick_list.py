"""What a USB stick says of releases: the lists that people signed for the server, as they are: nobody signs twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tuf.api.metadata import Metadata, Targets

from appliance.errors import BundleTrustError, ConfigError
from appliance.events import utc_now
from trainer.release.assignment import Assignment, differences
from trainer.release.roles import KINDS, delegated_roles, withdrawals
from trainer.release.standing import Standing


def copied_lists(online: Standing, sticks: Standing) -> dict[str, Metadata[Targets]]:
    """Return the lists of releases that the sticks' repository does not have yet, with people's signatures on them.

    Args:
        online: where releases are published.
        sticks: the sticks' repository.

    Raises:
        ConfigError: The sticks' repository has a list that the other one never had.
        BundleTrustError: A list is not signed by those whom the sticks' targets name.
    """
    lists = sticks.targets.signed
    found: dict[str, Metadata[Targets]] = {}
    for role in KINDS.values():
        theirs, ours = online.delegated.get(role), sticks.delegated.get(role)
        if theirs is None or role not in delegated_roles(lists):
            continue
        if ours and not is_to_be_copied(role, ours.signed, theirs.signed):
            continue
        if not lists.get_verification_result(role, theirs.signed_bytes, theirs.signatures):
            raise BundleTrustError(
                f"{role} {theirs.signed.version}: is not signed by enough of those whom the sticks' targets name; "
                "change its keys there as they were changed here (`trainer keys rotate`, `revoke`)"
            )
        found[role] = theirs
    return found


def is_to_be_copied(role: str, ours: Targets, theirs: Targets) -> bool:
    """Tell whether a list is newer than the sticks' own; how many were signed between them says nothing.

    Args:
        role: whose lists.
        ours: the sticks'.
        theirs: the other one.

    Returns:
        False if both say the same, and ours is as new.

    Raises:
        ConfigError: The other one is not newer, and says something else.
    """
    if ours.version < theirs.version:
        return True
    is_same = (ours.targets, withdrawals(ours)) == (theirs.targets, withdrawals(theirs))
    if not is_same:
        raise ConfigError(
            f"{role} {ours.version} of the sticks is another list than {role} {theirs.version}, which is to be copied; "
            f"let people sign that one anew until its version is higher (`trainer keys renew {role}`)"
        )
    return False


def check_can_be_taken(sticks: Standing, roles: Mapping[str, Metadata[Any]], assigned: Sequence[Assignment]) -> None:
    """Refuse what devices would refuse, before anything is published or written.

    Args:
        sticks: what stands in the sticks' repository.
        roles: what is about to be published there.
        assigned: what is about to lie on the stick.

    Raises:
        BundleTrustError: A release is not vouched for by the lists that the stick will have, or they have expired.
    """
    following = replace(sticks, delegated={**sticks.delegated, **roles})
    if wrong := [words for assignment in assigned for words in differences(assignment, following)]:
        raise BundleTrustError(f"devices would refuse the stick: {'; '.join(wrong[:5])}; assign what is signed")
    now = utc_now()
    for role in sorted({KINDS[chosen.kind] for assignment in assigned for chosen in assignment.releases}):
        signed = following.delegated[role].signed
        if signed.is_expired(now):
            raise BundleTrustError(
                f"{role} {signed.version} has expired on {signed.expires:%Y-%m-%d}, so devices would refuse the stick: "
                f"`trainer keys renew {role}` first, in the repository where releases are published"
            )
