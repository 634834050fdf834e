"""What `trainer publish` does, and how its result is shown."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.table import Table
from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata

from appliance.bundle.strict_json import in_words
from appliance.bundle.whole_file import write_whole
from appliance.errors import EXIT_REFUSED, ConfigError
from appliance.events import utc_now
from trainer.files import write_json
from trainer.progress import console as _err
from trainer.progress import results as _out
from trainer.release.assignment import Wish
from trainer.release.brought import brought
from trainer.release.ceremony import Said
from trainer.release.client import Expiry, expiries, look, needed_on_stick
from trainer.release.evaluation import Told, check_evaluated, without_report
from trainer.release.gates import read_gates
from trainer.release.keys import open_signer, printable
from trainer.release.keys_commands import secrets_of
from trainer.release.memory import remembered
from trainer.release.orders import Order, publish_orders
from trainer.release.passphrases import read_small
from trainer.release.publication import Change, check_parts, publish
from trainer.release.recipes import check_brought, check_version
from trainer.release.releases import bring, check_may_release, is_newest, next_seq, other_beside
from trainer.release.request import Request, as_bytes, collected, write_request
from trainer.release.roles import KINDS, is_for_sticks, seq_of
from trainer.release.shelf import MARK_OF_A_STICK, Shelf
from trainer.release.standing import Standing, check_is_no_copy, parse_root, stands
from trainer.release.stick_list import is_to_be_copied
from trainer.release.withdrawal import newly_withdrawn
from trainer.rollout.uses import check_unused


def release(arguments: argparse.Namespace) -> int:
    """Add a release, or write down what is to be signed for it.

    Args:
        arguments: of `trainer publish release`.

    Returns:
        The exit code.
    """
    told = Told(arguments.report, arguments.no_report)
    wanted = brought(arguments.file, arguments.kind, arguments.name, told)
    wanted.check()
    if arguments.track is not None and wanted.kind != "model":
        raise ConfigError(
            f"--track: MLflow's registry holds models, and this is a release of kind {wanted.kind}; leave it out"
        )
    signers = signers_of(arguments)
    shelf = Shelf(arguments.repository)
    with shelf.alone():
        standing = remembered(shelf, arguments.root)
        check_may_release(shelf, standing, wanted.kind)
        if (there := is_newest(standing, wanted)) and arguments.seq in (
            None,
            seq_of(standing.releases(wanted.kind)[there]),
        ):
            if other := other_beside(standing, wanted, there):
                raise ConfigError(
                    f"{there}: is released already, and not with this {', '.join(other)}; with a higher --seq it is "
                    "released once more, with it"
                )
            _out.print(f"{there}: is released already, as it is here", soft_wrap=True)
            return _note(arguments, standing, there, arguments.file)
        if wanted.kind == "recipe":
            check_version(standing, wanted)
        seq = next_seq(standing, wanted.kind, wanted.name, arguments.seq)
        check_request(arguments, standing, signers, KINDS[wanted.kind])
        request = bring(shelf, standing, wanted, seq, Said(arguments.by, arguments.why))
        if not publish_or_ask(arguments, shelf, standing, request, signers, "released"):
            return 0
        standing = remembered(shelf, arguments.root)
    _out.print(f"{wanted.path(seq)}: released, sha256 {wanted.digest}", soft_wrap=True)
    return _note(arguments, standing, wanted.path(seq), arguments.file)


def signed(arguments: argparse.Namespace) -> int:
    """Publish what people have signed.

    Args:
        arguments: of `trainer publish signed`.

    Returns:
        The exit code.
    """
    requests = collected(arguments.files)
    if lacks := [f"{request.title()}: {words}" for request in requests for words in request.lacks()]:
        raise ConfigError(f"signatures are lacking: {'; '.join(lacks)}; let them sign (`trainer keys sign`)")
    signers, shelf = signers_of(arguments), Shelf(arguments.repository)
    with shelf.alone():
        is_first = shelf.mark().content is None
        standing = None if is_first else remembered(shelf, arguments.root, after_a_kill=True)
        change = _change(standing, requests, shelf)
        gone = [
            name for role, metadata in change.roles.items() for name in newly_withdrawn(standing, metadata.signed, role)
        ]
        if standing and gone:
            check_unused(shelf, arguments.root, standing, gone)
        if standing is None or not standing.is_for_sticks:  # there lie lists alone, looked at where they come from
            _check_files(shelf, standing, change)
        if is_first:
            write_whole(arguments.root, _first_root(arguments.root, requests, shelf))
            _out.print(f"{arguments.root}: belongs into the image of each device", soft_wrap=True)
        for words in publish(shelf, standing, change, signers):
            _err.print(f"trainer: beware: {words}", soft_wrap=True)
        standing = remembered(shelf, arguments.root)
    for request in requests:
        _out.print(f"{request.title()}: published", soft_wrap=True)
    codes = [_note(arguments, standing, request.brings, arguments.files[0]) for request in requests]
    return max(codes)


def assign_devices(arguments: argparse.Namespace) -> int:
    """Choose what devices of a site run.

    Args:
        arguments: of `trainer publish assign`.

    Returns:
        The exit code.
    """
    said = {key: getattr(arguments, key) for key in ("shadow_parts", "canary_parts", "watch_parts", "watch_h")}
    gates = read_gates(arguments.gate, said)
    signers, shelf = signers_of(arguments), Shelf(arguments.repository)
    try:
        wish = Wish(rollout=arguments.rollout, ring=arguments.ring, paths=tuple(arguments.release), gates=gates)
    except ValidationError as error:
        raise ConfigError(f"no assignment: {in_words(error)}; correct the arguments") from error
    with shelf.alone():
        standing = remembered(shelf, arguments.root)
        names = publish_orders(shelf, standing, [Order(arguments.site, arguments.device, wish)], signers)
        remembered(shelf, arguments.root)
    if not names:
        _out.print("every device has this assignment already", soft_wrap=True)
    for name in names:
        _out.print(f"{name}: assigned, rollout {arguments.rollout}, ring {arguments.ring}", soft_wrap=True)
    return 0


def refresh(arguments: argparse.Namespace) -> int:
    """Sign anew what machines sign.

    Args:
        arguments: of `trainer publish refresh`.

    Returns:
        The exit code.
    """
    signers, shelf = signers_of(arguments), Shelf(arguments.repository)
    with shelf.alone():
        standing = remembered(shelf, arguments.root)
        check_is_no_copy(shelf, standing, "`trainer publish refresh`")
        publish(shelf, standing, Change(), signers)
        standing = remembered(shelf, arguments.root)
    timestamp = standing.timestamp.signed
    _out.print(f"timestamp {timestamp.version}: valid until {timestamp.expires:%Y-%m-%d %H:%M} UTC", soft_wrap=True)
    return 0


def verify(arguments: argparse.Namespace) -> int:
    """Look at a repository as a device does.

    Args:
        arguments: of `trainer publish verify`.

    Returns:
        The exit code; 1 if something expires soon.
    """
    shelf, pinned = Shelf(arguments.repository), read_small(arguments.root)
    # of sticks older ones are still under way when the newest is written: a device tells which it has not seen yet
    if arguments.stick:
        standing = stands(shelf, pinned)
        _check_is_for_sticks(arguments, standing)
        needed = needed_on_stick(shelf, standing)
        found = [expiry for expiry in expiries(standing) if expiry.role in needed]
    else:
        if is_for_sticks(parse_root(pinned).signed) and shelf.read(MARK_OF_A_STICK) is not None:
            words = f"{MARK_OF_A_STICK} lies there, which nobody signed: if this is a USB stick, add --stick"
            _err.print(f"trainer: {shelf.address}: {words}", soft_wrap=True)
        standing = remembered(shelf, arguments.root)
        found = expiries(standing)
    table = Table("role", "version", "valid until (UTC)", "days left", title="what expires when")
    for expiry in found:
        words = f"{expiry.left.total_seconds() / 86400:.1f}{'  ACT NOW' if expiry.is_alarming else ''}"
        table.add_row(expiry.role, str(expiry.version), f"{expiry.until:%Y-%m-%d %H:%M}", words)
    _out.print(table)
    targets, assigned = look(shelf, standing, pinned, is_stick=arguments.stick)
    _out.print(f"{targets} files are what was signed, {assigned} assignments choose among them")
    lacking = without_report(standing)
    for name, why in lacking.items():
        _out.print(f"{name}: has no report of an evaluation ({printable(why)})", soft_wrap=True)
    if arguments.json:
        figures = {"targets": targets, "assignments": assigned, "expiries": [expiry.as_dict() for expiry in found]}
        figures |= {"without_report": lacking}
        write_json(arguments.json.path, figures)
    if late := [expiry for expiry in found if expiry.is_alarming]:
        alarms = [_alarm(expiry, standing.is_for_sticks) for expiry in late]
        _err.print(f"trainer: {'; '.join(alarms)}", soft_wrap=True)
        return EXIT_REFUSED
    return 0


def _check_is_for_sticks(arguments: argparse.Namespace, standing: Standing) -> None:
    if not standing.is_for_sticks:
        raise ConfigError(
            f"--stick: the root of {arguments.root} is for a server; name the one of sticks, or leave --stick out"
        )


def _alarm(expiry: Expiry, is_for_sticks: bool) -> str:
    by_people = expiry.role in ("root", "targets", *KINDS.values())
    by_machines = "write the stick anew" if is_for_sticks else "`trainer publish refresh` with its key"
    remedy = f"`trainer keys renew {expiry.role}`" if by_people else by_machines
    return f"{expiry.role} expires in {expiry.left.total_seconds() / 86400:.1f} days, then devices refuse it: {remedy}"


def signers_of(arguments: argparse.Namespace) -> list[Signer]:
    """Open the keys that a command names.

    Raises:
        ConfigError: None is named, or one cannot be opened.
    """
    if not arguments.key:
        raise ConfigError("no key is named; name at least that of snapshot and timestamp with --key")
    secrets = secrets_of(arguments)
    return [open_signer(named, secrets) for named in arguments.key]


def check_request(arguments: argparse.Namespace, standing: Standing, signers: Sequence[Signer], role: str) -> None:
    """See that a request can be made, before anything is written.

    Raises:
        ConfigError: Its file is there, or a key at hand has no part in what is signed.
    """
    if arguments.request is not None and arguments.request.exists():
        raise ConfigError(f"{arguments.request}: is there, perhaps with signatures; name another file")
    roles = (role, "snapshot", "timestamp")
    check_parts(signers, [standing.root.signed], standing.targets.signed, roles)


def publish_or_ask(
    arguments: argparse.Namespace,
    shelf: Shelf,
    standing: Standing,
    request: Request,
    signers: Sequence[Signer],
    what: str,
) -> bool:
    """Publish a request if the keys at hand suffice, else write it down for those who must sign, too.

    Args:
        arguments: with the request's file, if one is named.
        shelf: where the repository lies.
        standing: what stands there.
        request: what is to be signed.
        signers: keys at hand.
        what: is done by it, in one word.

    Returns:
        Whether it is published.

    Raises:
        ConfigError: Signatures are lacking, and no file is named for it.
        BundleTrustError, StorageError: see `publish`.
    """
    for signer in signers:
        if signer.public_key.keyid in request.keys:
            request = request.signed_by(signer)
    lacks = request.lacks()
    if not lacks:
        publish(shelf, standing, Change(roles={request.role: request.as_metadata()}), signers)
        return True
    if arguments.request is None:
        raise ConfigError(
            f"not {what}: {request.title()} needs {'; '.join(lacks)}. Name their keys with --key, or name a file for "
            "what is to be signed with --request"
        )
    write_request(arguments.request, request)
    _out.print(
        f"{arguments.request}: not {what} yet, needs {'; '.join(lacks)}\nnext: trainer keys sign {arguments.request} "
        f"--key KEY, then trainer publish signed {arguments.request}",
        soft_wrap=True,
    )
    return False


def _first_root(path: Path, requests: Sequence[Request], shelf: Shelf) -> bytes:
    request = next((request for request in requests if request.role == "root"), None)
    if request is None:
        raise ConfigError(f"{shelf.address}: no repository is there, and it begins with a signed root; name that, too")
    content = as_bytes(request.as_metadata())
    parse_root(content)
    if path.exists() and read_small(path) != content:
        raise ConfigError(f"{path}: is there, and is another root; name the file where the first root shall be written")
    return content


def _change(standing: Standing | None, requests: Sequence[Request], shelf: Shelf) -> Change:
    """Take what is not published yet; what was made for another state than the one that stands is refused."""
    found: dict[str, Metadata[Any]] = {}
    for request in requests:
        metadata, version = request.as_metadata(), standing.version(request.role) if standing else 0
        if version == metadata.signed.version and _is_there(standing, request):
            continue
        if standing is None and request.base:
            raise ConfigError(
                f"{shelf.address}: no repository is there, and {request.title()} changes one; check the address. If "
                "somebody has deleted its timestamp.json, restore it from a copy"
            )
        if standing and standing.is_for_sticks and request.role in KINDS.values():
            held = standing.delegated.get(request.role)  # of the server's base only the releases between are not here
            if held and not is_to_be_copied(request.role, held.signed, metadata.signed):
                continue
        elif version != request.base:
            raise ConfigError(
                f"{request.title()} was made when {request.role} {request.base} stood, and now {version} stands; make "
                "it anew, so that nothing that was published since is lost"
            )
        if metadata.signed.is_expired(utc_now()):
            raise ConfigError(
                f"{request.title()} has expired on {metadata.signed.expires:%Y-%m-%d}, before it was published; make "
                "it anew"
            )
        found[request.role] = metadata
    root = found.pop("root", None)
    return Change(root=root, roles=found)


def _check_files(shelf: Shelf, standing: Standing | None, change: Change) -> None:
    """Hold what lists bring against the files that lie there."""
    if recipes := change.roles.get(KINDS["recipe"]):
        check_brought(shelf, standing, recipes.signed)
    if models := change.roles.get(KINDS["model"]):
        check_evaluated(shelf, standing, models.signed)


def _is_there(standing: Standing | None, request: Request) -> bool:
    assert standing is not None
    known: dict[str, Metadata[Any]] = {"root": standing.root, "targets": standing.targets, **standing.delegated}
    return known[request.role].signed_bytes == request.as_metadata().signed_bytes


def _note(arguments: argparse.Namespace, standing: Standing, path: str, near: Path) -> int:
    """Tell MLflow's registry where a model was released, if that is asked for."""
    if arguments.track is None or not path.endswith(".bundle") or path not in standing.releases("model"):
        return 0
    from trainer.release.registry import note_release

    target, name = standing.releases("model")[path], path.split("/")[1]
    digest = target.hashes["sha256"]
    tags = {
        "release_repository": arguments.repository, "release_path": path, "release_seq": str(seq_of(target)),
        "release_sha256": digest,
    }  # fmt: skip
    version = note_release(arguments.track, near, name, digest, tags)
    _out.print(f"{path}: noted as version {version} of {name} in the registry", soft_wrap=True)
    return 0
