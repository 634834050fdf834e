"""What `trainer keys` does, and how its result is shown."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from tuf.api.metadata import Metadata

from appliance.errors import ConfigError
from appliance.events import utc_now
from trainer.files import make_folder
from trainer.progress import results as _out
from trainer.release.ceremony import Said, add_role, add_site, begin, renew, replace_key
from trainer.release.keys import (
    describe,
    fingerprint,
    holder_of,
    make_key,
    open_signer,
    part_of,
    printable,
    public_path,
    read_public,
    write_public,
)
from trainer.release.memory import remembered
from trainer.release.passphrases import Secrets
from trainer.release.record import record
from trainer.release.request import Request, collected, contents, read_request, signed_digest, write_request
from trainer.release.roles import assign_role, delegated_roles, keys_of
from trainer.release.shelf import Shelf
from trainer.release.standing import Standing
from trainer.release.token import TokenKey, make_token_key


def new(arguments: argparse.Namespace) -> int:
    """Make a key.

    Args:
        arguments: of `trainer keys new`.

    Returns:
        The exit code.
    """
    secrets = secrets_of(arguments)
    make_folder(arguments.out.parent)
    if arguments.token is None:
        public = make_key(arguments.out, arguments.holder, arguments.part, secrets)
        words = f"{arguments.out}: keep it where only {arguments.holder} gets at it"
    else:
        place = TokenKey(arguments.token, arguments.number)
        key, is_new = make_token_key(place, secrets.ask_pin)
        public = describe(key, arguments.holder, arguments.part, place.address())
        write_public(public_path(arguments.out), public)
        words = f"{place.address()}: {'made there' if is_new else 'was there already, and is taken as it is'}"
    _out.print(f"{words}\n{public_path(arguments.out)}: may be seen by everybody", soft_wrap=True)
    _out.print(f"key id {public.keyid}\nfingerprint {fingerprint(public.keyid)}", soft_wrap=True)
    return 0


def begin_repository(arguments: argparse.Namespace) -> int:
    """Make the first root and targets, to be signed.

    Args:
        arguments: of `trainer keys ceremony`.

    Returns:
        The exit code.
    """
    of_root = [read_public(path) for path in arguments.root]
    keys = {"root": of_root}
    for role in ("targets", "apps", "os"):
        named = getattr(arguments, role)
        keys[role] = [read_public(path) for path in named] if named else of_root
    keys["models"] = [read_public(path) for path in (*arguments.ci, *arguments.quality)]
    keys["recipes"] = [read_public(path) for path in arguments.recipes or ()] or keys["models"]
    keys["snapshot"] = keys["timestamp"] = [read_public(path) for path in arguments.online]
    for site, path in arguments.site:
        keys[assign_role(site)] = [read_public(path)]
    what = "A repository of USB sticks begins." if arguments.sticks else "A repository of signed updates begins."
    return _hand_out(arguments, begin(keys, _said(arguments, what), for_sticks=arguments.sticks))


def sign(arguments: argparse.Namespace) -> int:
    """Show what waits, and sign it.

    Args:
        arguments: of `trainer keys sign`.

    Returns:
        The exit code.
    """
    requests = [read_request(path) for path in arguments.files]
    for request in requests:
        _show(request)
    signer = open_signer(arguments.key, secrets_of(arguments))
    signed = [request.signed_by(signer) for request in requests]
    for path, request in zip(arguments.files, signed, strict=True):
        write_request(path, request)
        lacks = request.lacks()
        state = (
            f"still needed: {'; '.join(lacks)}" if lacks else "all signatures are there; next: trainer publish signed"
        )
        _out.print(f"{path}: signed with key {signer.public_key.keyid[:8]}; {state}", soft_wrap=True)
    return 0


def print_record(arguments: argparse.Namespace) -> int:
    """Write the page that people sign by hand.

    Args:
        arguments: of `trainer keys record`.

    Returns:
        The exit code.
    """
    arguments.out.write(record(collected(arguments.files), arguments.by))
    _out.print(f"{arguments.out.path}: print it, let everybody sign it, and keep it", soft_wrap=True)
    return 0


def list_keys(arguments: argparse.Namespace) -> int:
    """Tell whose keys sign what.

    Args:
        arguments: of `trainer keys list`.

    Returns:
        The exit code.
    """
    standing = _standing(arguments)
    root, targets = standing.root.signed, standing.targets.signed
    table = Table("role", "version", "valid until", "needed", "holder", "part", "key id")
    metadata: dict[str, Metadata[Any]] = {
        "root": standing.root, "targets": standing.targets, "snapshot": standing.snapshot,
        "timestamp": standing.timestamp, **standing.delegated,
    }  # fmt: skip
    for role, about in {**root.roles, **delegated_roles(targets)}.items():
        held = metadata.get(role)
        version, until = (str(held.signed.version), f"{held.signed.expires:%Y-%m-%d}") if held else ("none", "")
        for key in keys_of(root, targets, role):
            table.add_row(
                role, version, until, str(about.threshold), holder_of(key), part_of(key), fingerprint(key.keyid)[:19]
            )
    _out.print(table)
    return 0


def rotate(arguments: argparse.Namespace) -> int:
    """Ask for signatures that put another key in a key's place.

    Args:
        arguments: of `trainer keys rotate`.

    Returns:
        The exit code.
    """
    return _replace(arguments, "The key is exchanged.")


def revoke(arguments: argparse.Namespace) -> int:
    """Ask for signatures that take a key away.

    Args:
        arguments: of `trainer keys revoke`.

    Returns:
        The exit code.
    """
    return _replace(arguments, "The key is taken away: lost or stolen.")


def renew_roles(arguments: argparse.Namespace) -> int:
    """Ask for signatures that make roles valid for longer.

    Args:
        arguments: of `trainer keys renew`.

    Returns:
        The exit code.
    """
    said = _said(arguments, "What expires is signed anew.")
    return _hand_out(arguments, renew(Shelf(arguments.repository), _standing(arguments), arguments.roles, said))


def site(arguments: argparse.Namespace) -> int:
    """Ask for signatures that let a key choose for one more site.

    Args:
        arguments: of `trainer keys site`.

    Returns:
        The exit code.
    """
    name, path = arguments.site
    said = _said(arguments, f"The site {name} is added.")
    requests = add_site(Shelf(arguments.repository), _standing(arguments), name, read_public(path), said)
    return _hand_out(arguments, requests)


def delegate_role(arguments: argparse.Namespace) -> int:
    """Ask for signatures that let keys release a kind which the repository does not have yet.

    Args:
        arguments: of `trainer keys delegate`.

    Returns:
        The exit code.
    """
    said = _said(arguments, f"The role {arguments.role} is added.")
    keys = [read_public(path) for path in arguments.keys]
    requests = add_role(Shelf(arguments.repository), _standing(arguments), arguments.role, keys, said)
    return _hand_out(arguments, requests)


def secrets_of(arguments: argparse.Namespace) -> Secrets:
    """Return where passphrases and PIN come from."""
    return Secrets(tuple(arguments.passphrase_file), arguments.pin_file)


def _replace(arguments: argparse.Namespace, why: str) -> int:
    standing = _standing(arguments)
    comes = read_public(arguments.new) if arguments.new else None
    keyid = _keyid(arguments.old, standing)
    requests = replace_key(Shelf(arguments.repository), standing, keyid, comes, _said(arguments, why))
    return _hand_out(arguments, requests)


def _keyid(named: str, standing: Standing) -> str:
    if not re.fullmatch(r"[0-9a-f]{8,64}", named):
        return read_public(Path(named)).keyid
    targets = standing.targets.signed
    delegated = {keyid for role in delegated_roles(targets).values() for keyid in role.keyids}
    found = [keyid for keyid in {*standing.root.signed.keys, *delegated} if keyid.startswith(named)]
    if len(found) != 1:
        raise ConfigError(f"{named}: {len(found)} keys have such an id; `trainer keys list` tells them")
    return found[0]


def _standing(arguments: argparse.Namespace) -> Standing:
    return remembered(Shelf(arguments.repository), arguments.root)


def _said(arguments: argparse.Namespace, why: str) -> Said:
    return Said(arguments.by, arguments.why or why)


def _hand_out(arguments: argparse.Namespace, requests: Sequence[Request]) -> int:
    """Write requests and their record into a folder, in which nothing is written over."""
    make_folder(arguments.out)
    paths = [arguments.out / f"{request.title().replace(' ', '-')}.json" for request in requests]
    if there := [str(path) for path in paths if path.exists()]:
        raise ConfigError(f"{', '.join(there)}: already there, perhaps with signatures; name another folder")
    for path, request in zip(paths, requests, strict=True):
        write_request(path, request)
        _show(request)
        _out.print(f"{path}: needs {'; '.join(request.lacks())}", soft_wrap=True)
    page = arguments.out / f"record-{utc_now():%Y%m%d-%H%M%S}.html"
    page.write_text(record(requests, arguments.by), encoding="utf-8")
    _out.print(f"{page}: to print, once all have signed again by `trainer keys record`", soft_wrap=True)
    return 0


def _show(request: Request) -> None:
    """Show all of it: what is left out would be signed unseen."""
    title = f"{request.title()}: {request.why} ({request.made_by}, {request.made_at})"
    table = Table("what", "says", title=printable(title))
    for row in contents(request):
        table.add_row(*map(printable, row))
    _out.print(table)
    _out.print(f"SHA-256 of what is signed: {signed_digest(request)}", soft_wrap=True)
