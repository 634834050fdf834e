"""Which releases a device shall run: chosen for it by its site's key among those that the kinds' own roles signed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Annotated, Literal

from pydantic import Field
from tuf.api.metadata import TargetFile, Targets

from appliance.bundle.section import Section
from appliance.bundle.strict_json import dump, parse
from appliance.errors import BundleFormatError, BundleTrustError, ConfigError
from appliance.events import utc_now
from trainer.progress import console
from trainer.release.gates import Gates
from trainer.release.releases import LARGEST_SEQ, is_release, nobody_signed
from trainer.release.roles import ASSIGN, CONTENT, KINDS, Kind, assign_role, expires, keys_of, kind_of, said_of, seq_of
from trainer.release.shelf import Shelf
from trainer.release.standing import Standing

SCHEMA = "vi.assignment/1"
MAX_BYTES = 64 * 1024
"""This and all other bounds are those of the device (docs/updates.md, "An assignment")."""
DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")

Ring = Literal["lab", "line", "quarter", "all"]
RINGS: tuple[Ring, ...] = ("lab", "line", "quarter", "all")
Seq = Annotated[int, Field(ge=0, le=LARGEST_SEQ)]
Rollout = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


class Chosen(Section):
    """One release, as its kind's role signed it."""

    kind: Kind
    name: str
    path: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    length: Annotated[int, Field(ge=0, le=10**12)]
    seq: Seq


class Assignment(Section):
    """assign/SITE/DEVICE.json; seq: grows with each assignment of this device."""

    schema_: Annotated[Literal["vi.assignment/1"], Field(alias="schema")] = "vi.assignment/1"
    device_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    seq: Annotated[int, Field(ge=1, le=LARGEST_SEQ)]
    rollout: Rollout
    ring: Ring
    releases: Annotated[tuple[Chosen, ...], Field(min_length=1, max_length=100, strict=False)]
    gates: Gates = Gates()


class Wish(Section):
    """What several devices of a site shall run."""

    rollout: Rollout
    ring: Ring
    paths: Annotated[tuple[str, ...], Field(max_length=100)]
    gates: Gates = Gates()


def assign(
    shelf: Shelf, standing: Standing, site: str, devices: Sequence[str], wish: Wish
) -> tuple[Targets | None, dict[str, bytes]]:
    """Make the assignments of some devices of a site.

    Args:
        shelf: where the repository lies.
        standing: what stands there.
        site: the devices' site.
        devices: their ids.
        wish: what they shall run.

    Returns:
        The site's metadata to be signed, None if nothing changes; and name -> content of new files.

    Raises:
        ConfigError: Site, device or release is not known, or older than what a device was given.
    """
    role = assign_role(site)
    keys_of(standing.root.signed, standing.targets.signed, role)
    chosen = choose(standing, wish.paths)
    held = standing.delegated.get(role)
    content = deepcopy(held.signed) if held else Targets()
    version = shelf.next_version(role, standing.version(role))
    files: dict[str, bytes] = {}
    for device in dict.fromkeys(devices):
        if not DEVICE.fullmatch(device):
            raise ConfigError(f"{device!r}: no device id; write letters, digits, -, _ and ., at most 64 characters")
        name = f"assign/{site}/{device}.json"
        before = _before(shelf, name, content.targets.get(name))
        wanted = Assignment(
            device_id=device, seq=_seq(before, version), rollout=wish.rollout, ring=wish.ring,
            releases=chosen, gates=wish.gates,
        )  # fmt: skip
        if before and before.model_copy(update={"seq": wanted.seq}) == wanted:
            continue
        if before:
            _check_is_no_way_back(before, wanted)
        files[name] = dump(wanted)
        content.targets[name] = TargetFile.from_data(name, files[name], ["sha256"])
    if not files:
        return None, {}
    known = re.compile(rf"assign/{re.escape(site)}/{DEVICE.pattern}\.json")
    for name in [name for name in content.targets if not known.fullmatch(name)]:
        del content.targets[name]  # what a thief of the key wrote there beside assignments
    content.version, content.expires = version, expires(role, standing.root.signed)
    return content, files


def choose(standing: Standing, paths: Sequence[str]) -> tuple[Chosen, ...]:
    """Look releases up among what their kinds' roles signed.

    Raises:
        ConfigError: Nobody signed such a release, it has expired, or two are of one name.
    """
    found: dict[tuple[str, str], Chosen] = {}
    for path in paths:
        kind = kind_of(path)
        if kind and (gone := standing.withdrawn(kind).get(path)):
            raise ConfigError(f"{path}: was withdrawn ({gone.get('why', 'nobody said why')}); choose another release")
        targets: Mapping[str, TargetFile] = standing.releases(kind) if kind else {}
        target = targets.get(path)
        if kind is None or target is None or seq_of(target) < 0 or not is_release(kind, path):
            raise nobody_signed(standing, path)
        metadata = standing.delegated[KINDS[kind]].signed
        if metadata.is_expired(utc_now()):
            raise ConfigError(
                f"{path}: what vouches for it has expired on {metadata.expires:%Y-%m-%d}, so devices would not take "
                f"it: `trainer keys renew {KINDS[kind]}` first"
            )
        name = path.split("/")[1]
        if (kind, name) in found:
            raise ConfigError(f"{path} and {found[kind, name].path}: both are {name}; a device takes one of them")
        found[kind, name] = Chosen(
            kind=kind, name=name, path=path, sha256=target.hashes["sha256"], length=target.length, seq=seq_of(target)
        )
    return tuple(sorted(found.values(), key=lambda chosen: (chosen.kind, chosen.name)))


def content_of(standing: Standing, chosen: Chosen) -> str:
    """Return by what a release is known to say the same as another one, hexadecimal.

    Its SHA-256; of a recipe, whose file also has a version that grows, the digest of what it says beside that.
    """
    target = standing.releases(chosen.kind).get(chosen.path)
    said = said_of(target).get(CONTENT) if target and chosen.kind == "recipe" else None
    return said if isinstance(said, str) else chosen.sha256


def read_assignment(shelf: Shelf, name: str, target: TargetFile) -> Assignment:
    """Read an assignment as it was signed.

    Raises:
        BundleTrustError: The file is missing or another one, or none.
    """
    content = shelf.signed_target(name, target)
    try:
        assignment = parse(content, Assignment, schema=SCHEMA, origin=name, max_bytes=MAX_BYTES)
    except (BundleFormatError, ValueError) as error:
        raise BundleTrustError(f"{shelf.address}: {name}: {error}") from error
    if name.rpartition("/")[2] != f"{assignment.device_id}.json":
        raise BundleTrustError(f"{shelf.address}: {name} is for the device {assignment.device_id}; publish it anew")
    return assignment


def differences(assignment: Assignment, standing: Standing) -> list[str]:
    """Tell which releases of an assignment are not what their kinds' roles signed; a device refuses these."""
    words = []
    for chosen in assignment.releases:
        target = standing.releases(chosen.kind).get(chosen.path)
        signed = target and (target.hashes.get("sha256"), target.length, seq_of(target))
        if signed != (chosen.sha256, chosen.length, chosen.seq):
            words.append(f"{assignment.device_id}: {chosen.path} is not what {KINDS[chosen.kind]} signed")
        elif not chosen.path.startswith(f"{KINDS[chosen.kind]}/{chosen.name}/"):
            words.append(f"{assignment.device_id}: {chosen.path} is no {chosen.kind} of the name {chosen.name}")
    return words


def assignments(shelf: Shelf, standing: Standing) -> list[Assignment]:
    """Read all assignments; of those that a repository of sticks vouches for, the ones that lie there.

    Raises:
        BundleTrustError: One is missing or none.
    """
    return [
        read_assignment(shelf, name, target)
        for role, metadata in standing.delegated.items()
        if role.startswith(ASSIGN)
        for name, target in sorted(metadata.signed.targets.items())
        if not (standing.is_for_sticks and shelf.target(name, target) is None)
    ]


def _before(shelf: Shelf, name: str, target: TargetFile | None) -> Assignment | None:
    """What a device was given last; None also if that is none, which a new assignment mends."""
    if target is None:
        return None
    try:
        return read_assignment(shelf, name, target)
    except BundleTrustError as error:
        console.print(f"trainer: beware: {error}; it is replaced", soft_wrap=True)
        return None


def _seq(before: Assignment | None, version: int) -> int:
    """Above all that the device was given, also where that cannot be read: each has cost the role a version."""
    last = before.seq if before else 0
    return version if last >= LARGEST_SEQ else max(version, last + 1)


def _check_is_no_way_back(before: Assignment, wanted: Assignment) -> None:
    seqs = {(chosen.kind, chosen.name): chosen.seq for chosen in before.releases}
    for chosen in wanted.releases:
        if chosen.seq < seqs.get((chosen.kind, chosen.name), 0):
            raise ConfigError(
                f"{wanted.device_id} was given {chosen.name} {seqs[chosen.kind, chosen.name]}, and {chosen.seq} is "
                "older, which devices refuse; release the old content under a new number"
            )
