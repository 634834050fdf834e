"""A client at a publisher's desk: python-tuf's own, as on a device, from the pinned root; and what expires when.

Source: The Update Framework specification 1.0, section 5; docs/updates.md (what a device checks beside it).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote

from tuf.api.exceptions import DownloadHTTPError, RepositoryError
from tuf.api.metadata import Metadata, TargetFile
from tuf.ngclient import Updater
from tuf.ngclient.fetcher import FetcherInterface

from appliance.bundle.recipe_package import SUFFIX
from appliance.errors import BundleTrustError
from appliance.events import utc_now
from trainer.progress import tracked
from trainer.release.assignment import Assignment, assignments, differences
from trainer.release.evaluation import of_which_bundle
from trainer.release.publication import ISSUED_AT
from trainer.release.recipes import check_order, check_recipe
from trainer.release.releases import FIGURES
from trainer.release.roles import ASSIGN, KINDS, TOP, said_of, seq_of, terms_under
from trainer.release.shelf import Shelf
from trainer.release.standing import Standing


@dataclass(frozen=True, slots=True)
class Expiry:
    """Until when a role's metadata is valid; alarm: with less left somebody must act."""

    role: str
    version: int
    until: datetime
    left: timedelta
    alarm: timedelta

    @property
    def is_alarming(self) -> bool:
        """Whether somebody must act now."""
        return self.left < self.alarm

    def as_dict(self) -> dict[str, object]:
        """Return it as plain values."""
        days = round(self.left.total_seconds() / 86400, 2)
        until = self.until.strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "role": self.role, "version": self.version, "until": until, "days_left": days, "alarm": self.is_alarming,
        }  # fmt: skip


class _ShelfFetcher(FetcherInterface):
    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def _fetch(self, url: str) -> Iterator[bytes]:
        content = self._shelf.read(unquote(url))
        if content is None:
            raise DownloadHTTPError(f"{url}: not there", 404)
        yield content


def needed_roles(site_roles: Iterable[str], assigned: Iterable[Assignment]) -> set[str]:
    """Return whose metadata devices ask for; site_roles: those of their sites, assigned: what they are to run."""
    return {*TOP, *site_roles, *(KINDS[chosen.kind] for assignment in assigned for chosen in assignment.releases)}


def needed_on_stick(shelf: Shelf, standing: Standing) -> set[str]:
    """Return whose metadata the devices ask for that a stick is for; other sites' lists lie there without files.

    Raises:
        BundleTrustError: An assignment is damaged.
        StorageError: The stick does not answer.
    """
    site_roles = [
        role
        for role, metadata in standing.delegated.items()
        if role.startswith(ASSIGN)
        and any(shelf.target(name, target) is not None for name, target in metadata.signed.targets.items())
    ]
    return needed_roles(site_roles, assignments(shelf, standing))


def expiries(standing: Standing) -> list[Expiry]:
    """Return until when what stands in a repository is valid, the nearest first."""
    now, root = utc_now(), standing.root.signed
    roles: dict[str, Metadata[Any]] = {
        "root": standing.root, "targets": standing.targets, "snapshot": standing.snapshot,
        "timestamp": standing.timestamp, **standing.delegated,
    }  # fmt: skip
    found = [
        Expiry(
            role,
            metadata.signed.version,
            metadata.signed.expires,
            metadata.signed.expires - now,
            timedelta(days=terms_under(root, role).alarm_days),
        )
        for role, metadata in roles.items()
    ]
    return sorted(found, key=lambda expiry: expiry.until)


def look(shelf: Shelf, standing: Standing, pinned: bytes, *, is_stick: bool = False) -> tuple[int, int]:
    """Do what a device does, for everything that is there.

    In the repository of sticks, and on a stick, lie only those files that a device there needs; on a stick all of them.

    Args:
        shelf: where the repository lies.
        standing: what stands there.
        pinned: root.json of the devices' image.
        is_stick: whether it is a stick, which a person says and no file there.

    Returns:
        How many files and how many assignments were checked.

    Raises:
        BundleTrustError: A device would refuse something; says what.
        StorageError: The address does not answer or refuses.
    """
    with tempfile.TemporaryDirectory(prefix="trainer-client-") as folder:
        client = Updater(folder, "metadata/", fetcher=_ShelfFetcher(shelf), bootstrap=pinned)
        try:
            client.refresh()
            _check_issued_at(shelf, standing)
            checked = _check_targets(shelf, standing, client)
        except RepositoryError as error:
            raise BundleTrustError(
                f"{shelf.address}: devices refuse it: {error}; renew what has expired, restore what is damaged"
            ) from error
    found = assignments(shelf, standing)
    if wrong := [words for assignment in found for words in differences(assignment, standing)]:
        raise BundleTrustError(f"{shelf.address}: devices refuse assignments: {'; '.join(wrong[:5])}")
    lacks = [chosen.path for each in found for chosen in each.releases if chosen.path not in checked]
    if lacks or (is_stick and not found):
        raise BundleTrustError(
            f"{shelf.address}: {', '.join(sorted(set(lacks))) or 'every assignment'} is missing, so no device can take "
            "what it is to have; write the stick anew"
        )
    return len(checked), len(found)


def _check_targets(shelf: Shelf, standing: Standing, client: Updater) -> set[str]:
    """Read every file that must be there; returns the names of those that are."""
    names = [
        (role, name, target)
        for role, metadata in standing.delegated.items()
        for name, target in metadata.signed.targets.items()
    ]
    checked = set()
    for role, name, target in tracked(names, "reading releases"):
        content = shelf.target(name, target)
        if content is None and standing.is_for_sticks:
            continue  # nor is it asked for on a stick, where its list may have expired long ago
        found = client.get_targetinfo(name)
        if found is None or found.hashes != target.hashes:
            raise BundleTrustError(
                f"{shelf.address}: {name} is signed by {role}, and another role's word is asked for it"
            )
        _check_number(shelf, role, name, target)
        content = shelf.as_signed(name, found, content)
        checked.add(name)
        if role == KINDS["model"] and name.endswith(FIGURES):
            _check_figures(shelf, name, standing.releases("model"), content)
        if role == KINDS["recipe"] and name.endswith(SUFFIX):
            check_recipe(name, standing.releases("recipe"), content)
    if recipes := standing.delegated.get(KINDS["recipe"]):
        check_order(recipes.signed)
    return checked


def _check_figures(shelf: Shelf, name: str, models: Mapping[str, TargetFile], content: bytes) -> None:
    bundle = models.get(f"{name.removesuffix(FIGURES)}.bundle")
    if bundle is None or of_which_bundle(content) != bundle.hashes.get("sha256"):
        raise BundleTrustError(
            f"{shelf.address}: {name} is no evaluation of the bundle beside which it lies; withdraw that, and release "
            "it with its own"
        )


def _check_number(shelf: Shelf, role: str, name: str, target: TargetFile) -> None:
    said = said_of(target)
    kinds = {folder: kind for kind, folder in KINDS.items()}
    if role in kinds and (seq_of(target) < 0 or said.get("kind", kinds[role]) != kinds[role]):
        raise BundleTrustError(f"{shelf.address}: {name} is no numbered {kinds[role]} release; publish it again")
    if role.startswith(ASSIGN) and {"kind", "seq"} & said.keys():
        raise BundleTrustError(f"{shelf.address}: {name} is numbered like a release; publish the assignment again")


def _check_issued_at(shelf: Shelf, standing: Standing) -> None:
    timestamp = standing.timestamp.signed
    said: Any = timestamp.unrecognized_fields.get(ISSUED_AT)
    try:
        datetime.strptime(said, "%Y-%m-%dT%H:%M:%SZ")  # noqa: DTZ007 - only its form
    except (TypeError, ValueError) as error:
        raise BundleTrustError(
            f"{shelf.address}: timestamp.json does not say when it was signed ({said!r}); `trainer publish refresh`"
        ) from error
