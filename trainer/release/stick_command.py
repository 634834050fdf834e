"""What `trainer publish stick` does, and how its result is shown."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from appliance.errors import ConfigError
from trainer.progress import console as _err
from trainer.progress import results as _out
from trainer.release.assignment import Assignment
from trainer.release.client import Expiry, expiries, look, needed_roles
from trainer.release.memory import remembered
from trainer.release.orders import check_keys
from trainer.release.passphrases import read_small
from trainer.release.publication import Change, publish
from trainer.release.publish_commands import signers_of
from trainer.release.roles import assign_role
from trainer.release.shelf import Shelf
from trainer.release.standing import Standing, stands
from trainer.release.stick_assignments import chosen_assignments, signed_assignments, source_of
from trainer.release.stick_folder import write_pieces
from trainer.release.stick_list import check_can_be_taken, copied_lists
from trainer.release.stick_pieces import file_pieces, metadata_pieces
from trainer.release.stick_place import check_is_stick_or_free


def write_stick(arguments: argparse.Namespace) -> int:
    """Write a stick for devices of a site.

    Args:
        arguments: of `trainer publish stick`.

    Returns:
        The exit code.
    """
    signers, shelf, own = signers_of(arguments), Shelf(arguments.repository), Shelf(arguments.sticks)
    site, out = arguments.site, arguments.out
    _check_place(out, shelf, own)
    with own.alone():
        online, sticks = remembered(shelf, arguments.root), remembered(own, arguments.stick_root)
        _check_purposes(shelf, online, own, sticks)
        check_keys(sticks, [site], signers)
        source, doubt = source_of(shelf, online, site)
        if doubt:
            _err.print(f"trainer: beware: {doubt}", soft_wrap=True)
        lists = copied_lists(online, sticks)
        roles = {**lists, assign_role(site): signed_assignments(own, sticks, online, site, signers)}
        assigned = chosen_assignments(shelf, online, site, arguments.device)
        check_can_be_taken(sticks, roles, assigned)
        publish(own, sticks, Change(roles=roles), signers)
        sticks = remembered(own, arguments.stick_root)
        pieces = {**metadata_pieces(own, sticks), **file_pieces(shelf, sticks, site, assigned)}
        first = _first_expiry(sticks, site, assigned)
        write_pieces(out, pieces, _about(site, assigned, first))
    written, pinned = Shelf(str(out)), read_small(arguments.stick_root)
    files, count = look(written, stands(written, pinned), pinned, is_stick=True)
    _out.print(source, soft_wrap=True)
    for assignment in assigned:
        _out.print(f"{assignment.device_id}: assignment {assignment.seq}, rollout {assignment.rollout}", soft_wrap=True)
    _out.print(
        f"{out}: {files} files, {count} assignments, {sum(piece.length for piece in pieces.values())} bytes, as a "
        f"device reads them; valid until {first.until:%Y-%m-%d %H:%M} UTC ({first.role})",
        soft_wrap=True,
    )
    return 0


def _check_place(out: Path, *shelves: Shelf) -> None:
    for shelf in shelves:
        if shelf.folder and out.resolve() == shelf.folder.resolve():
            raise ConfigError(f"--out {out}: is the repository itself; name the stick")
    check_is_stick_or_free(out)


def _check_purposes(shelf: Shelf, online: Standing, own: Shelf, sticks: Standing) -> None:
    if online.is_for_sticks:
        raise ConfigError(
            f"--repository {shelf.address}: is the one of sticks; name the one where releases are published"
        )
    if not sticks.is_for_sticks:
        raise ConfigError(
            f"--sticks {own.address}: is for a server; `trainer keys ceremony --sticks` begins one of sticks"
        )


def _first_expiry(sticks: Standing, site: str, assigned: Sequence[Assignment]) -> Expiry:
    needed = needed_roles([assign_role(site)], assigned)
    return next(expiry for expiry in expiries(sticks) if expiry.role in needed)


def _about(site: str, assigned: Sequence[Assignment], first: Expiry) -> str:
    devices = ", ".join(assignment.device_id for assignment in assigned)
    return (
        f"USB stick with signed updates for the visual inspection.\n\nSite: {site}\nDevices: {devices}\n"
        f"To be imported before: {first.until:%Y-%m-%d %H:%M} UTC\n\n"
        "At each device: appliance agent import FOLDER --config agent.yaml, with the folder in which this file lies.\n"
        "Nothing here is secret, and a device believes nothing here that is not signed, this file least of all.\n"
    )
