"""Which releases a device should run: what the key of its site says, and what others must have signed for it to count.

Pure: nothing here reads a file or the network. A stolen key of a site can choose only among what those who sign models,
recipes, apps and the system have signed, never an older number, and never for another device or under another name.
"""

import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from appliance.bundle import strict_json
from appliance.bundle.gate_settings import Gates
from appliance.bundle.section import Section
from appliance.errors import BundleFormatError, BundleTrustError, ConfigError
from appliance.update.floor import LARGEST_SEQ, Release

if TYPE_CHECKING:
    from appliance.update.repository import Target

SCHEMA = "vi.assignment/1"
MAX_BYTES = 64 * 1024
FOLDERS = {"model": "models", "recipe": "recipes", "app": "apps", "os": "os"}
"""Kind -> first folder of the names of its releases."""

WORD = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
Word = Annotated[str, Field(pattern=WORD)]
"""One part of a TUF name."""

Seq = Annotated[int, Field(ge=0, le=LARGEST_SEQ)]


class AssignedRelease(Section):
    """A release that the device should run, in full: sha256 hex, length in bytes."""

    kind: Literal["model", "recipe", "app", "os"]
    name: Word
    path: Annotated[str, Field(min_length=1, max_length=300)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    length: Annotated[int, Field(ge=0, le=10**12)]
    seq: Seq

    @property
    def counted(self) -> str:
        """Return under which name the floor counts it."""
        return f"{self.kind}/{self.name}"


class Assignment(Section):
    """assign/SITE/DEVICE.json; seq grows with each one for this device."""

    schema_: Annotated[Literal["vi.assignment/1"], Field(alias="schema")] = "vi.assignment/1"
    device_id: Word
    seq: Seq
    rollout: Word
    ring: Literal["lab", "line", "quarter", "all"]
    releases: Annotated[tuple[AssignedRelease, ...], Field(max_length=100)]
    gates: Gates

    @model_validator(mode="after")
    def _names_each_once(self) -> "Assignment":
        counted = [release.counted for release in self.releases]
        if len(set(counted)) != len(counted):
            raise ValueError("a kind and name come twice; name one release of each")
        return self


def assignment_name(site: str, device_id: str) -> str:
    """Return the TUF name of a device's assignment.

    Raises:
        ConfigError: one of them is no word that can stand there.
    """
    for word in (site, device_id):
        if not re.fullmatch(WORD.strip("^$"), word):
            raise ConfigError(f"{word!r}: no site or device; write 1 to 64 letters, digits, dots, - or _")
    return f"assign/{site}/{device_id}.json"


def read_assignment(data: bytes, *, origin: str, device_id: str, allowed: Collection[tuple[str, str]]) -> Assignment:
    """Read an assignment that the key of the site has signed.

    Args:
        data: the file.
        origin: names it in messages.
        device_id: who this device is.
        allowed: kind and name of all that this device may be told to run.

    Raises:
        BundleTrustError: it is none, for another device, or names what is not for this device.
    """
    try:
        assignment = strict_json.parse(data, Assignment, schema=SCHEMA, origin=origin, max_bytes=MAX_BYTES)
    except BundleFormatError as error:
        problem = str(error).rpartition("; ")[0]
        raise BundleTrustError(f"{origin}: no assignment ({problem}); publish it again") from error
    check_is_for(assignment, origin=origin, device_id=device_id, allowed=allowed)
    return assignment


def check_is_for(assignment: Assignment, *, origin: str, device_id: str, allowed: Collection[tuple[str, str]]) -> None:
    """Refuse what is not for this device.

    Args:
        assignment: as read.
        origin: names it in messages.
        device_id: who this device is.
        allowed: kind and name of all that this device may be told to run.

    Raises:
        BundleTrustError: it is for another device, or names what is not for this device.
    """
    if assignment.device_id != device_id:
        raise BundleTrustError(
            f"{origin}: is for device {assignment.device_id}, and this is {device_id}; look at who signs for the site"
        )
    for release in assignment.releases:
        if (release.kind, release.name) not in allowed:
            raise BundleTrustError(
                f"{origin}: {release.counted} is nothing that this device runs; look at who signs for the site"
            )
        if not release.path.startswith(f"{FOLDERS[release.kind]}/{release.name}/"):
            raise BundleTrustError(
                f"{origin}: {release.path} is no name of {release.counted}; look at who signs for the site"
            )


def counted_as(site: str, repository: str = "online") -> str:
    """Return under which name the floor counts a site's assignments: those of the server and of sticks apart."""
    return f"assignment/{site}" if repository == "online" else f"{repository}-assignment/{site}"


def as_release(assignment: Assignment, target: "Target") -> dict[str, Release]:
    """Return what the floor counts, so that no older assignment is taken any more.

    Args:
        assignment: as read.
        target: as which it was found.
    """
    if target.voucher is None:
        raise RuntimeError("an assignment is judged under the keys that could sign it")
    site = target.name.split("/")[1]
    return {counted_as(site, target.voucher.repository): target.voucher.numbered(assignment.seq)}


def check_chosen(release: AssignedRelease, target: "Target", *, origin: str) -> None:
    """Compare a chosen release with what its own kind's keys have signed under this name.

    Args:
        release: what the site's key says.
        target: what the repository vouches for under release.path.
        origin: names the assignment in messages.

    Raises:
        BundleTrustError: they are not the same.
    """
    signed = target.releases.get(release.counted)
    found = (target.name, target.digests.get("sha256"), target.length, signed.seq if signed else None)
    if found != (release.path, release.sha256, release.length, release.seq):
        raise BundleTrustError(
            f"{origin}: {release.path} is chosen as release {release.seq} of {release.length} bytes, sha256 "
            f"{release.sha256[:12]}..., and signed as {found[3]} of {found[2]} bytes, {str(found[1])[:12]}...; nothing "
            "of it is taken. Look at who signs for the site"
        )
