"""Arguments of `trainer keys`, and those that `trainer publish` has, too."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TypeAlias

from appliance.arguments import count, names, new_file

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_keys(commands: Commands, epilog: str) -> None:
    """Declare `trainer keys`."""
    words = "make, use, change and take away the keys of a repository of signed updates"
    keys = commands.add_parser("keys", help=words, description=words, epilog=epilog)
    tasks = keys.add_subparsers(dest="task", required=True, metavar="TASK")
    new = add_task(tasks, "new", "make a key: an encrypted file, or on a token", epilog, "keys_commands", "new")
    new.add_argument("--holder", required=True, metavar="WHO", help="who answers for it")
    new.add_argument(
        "--part",
        required=True,
        choices=("person", "quality", "ci", "online"),
        help="what it may do (docs/publishing.md)",
    )
    new.add_argument("--out", type=Path, required=True, metavar="FILE", help="the key's file; FILE.pub.json may travel")
    new.add_argument("--token", metavar="LABEL", help="make it on this PKCS#11 token; only FILE.pub.json is written")
    new.add_argument("--number", type=count, default=2, help="of the key on the token (default %(default)s)")
    add_secrets(new)
    _add_ceremony(tasks, epilog)
    sign = add_task(tasks, "sign", "sign what waits for it, after showing it", epilog, "keys_commands", "sign")
    sign.add_argument("files", type=Path, nargs="+", metavar="FILE", help="signing requests; the signature is added")
    sign.add_argument("--key", required=True, help="a key's file, or a token's address such as hsm:2?label=A")
    add_secrets(sign)
    record = add_task(
        tasks, "record", "print who signed what, with lines for hands", epilog, "keys_commands", "print_record"
    )
    record.add_argument("files", type=Path, nargs="+", metavar="FILE", help="signing requests")
    record.add_argument("--by", required=True, metavar="WHO", help="who prints it")
    record.add_argument("--out", type=new_file, required=True, metavar="FILE", help="the HTML page")
    listed = add_task(tasks, "list", "tell whose keys sign what, and until when", epilog, "keys_commands", "list_keys")
    add_repository(listed)
    _add_changes(tasks, epilog)


def _add_ceremony(tasks: Commands, epilog: str) -> None:
    ceremony = add_task(
        tasks, "ceremony", "begin a repository: its first root and targets", epilog, "keys_commands", "begin_repository"
    )
    who = "public keys, with commas between them"
    ceremony.add_argument(
        "--sticks", action="store_true", help="of USB sticks: what machines sign for it is valid for 30 days"
    )
    ceremony.add_argument("--root", type=_paths, required=True, metavar="A,B,C", help=f"{who}; two of them must sign")
    for role in ("targets", "apps", "os"):
        ceremony.add_argument(f"--{role}", type=_paths, metavar="A,B,C", help="the same (default: those of root)")
    ceremony.add_argument(
        "--ci", type=_paths, required=True, metavar="C", help="the trainer's key, for models and recipes"
    )
    ceremony.add_argument("--quality", type=_paths, required=True, metavar="A,B", help="of who may release these")
    ceremony.add_argument("--recipes", type=_paths, metavar="C,A,B", help="for recipes (default: --ci and --quality)")
    ceremony.add_argument("--online", type=_paths, required=True, metavar="K", help="for snapshot and timestamp")
    ceremony.add_argument(
        "--site", type=_site, action="append", default=[], metavar="SITE=KEY", help="who chooses for a site; repeat it"
    )
    _add_said(ceremony)


def _add_changes(tasks: Commands, epilog: str) -> None:
    rotate = add_task(tasks, "rotate", "put another key in a key's place", epilog, "keys_commands", "rotate")
    rotate.add_argument(
        "--old", required=True, metavar="KEY", help="the key that goes: its .pub.json, or 8 digits of its id"
    )
    rotate.add_argument("--new", type=Path, required=True, metavar="KEY", help="the .pub.json of the key that comes")
    revoke = add_task(tasks, "revoke", "take away a key that is stolen or lost", epilog, "keys_commands", "revoke")
    revoke.add_argument("--old", required=True, metavar="KEY", help="its .pub.json, or 8 digits of its id")
    revoke.add_argument("--new", type=Path, metavar="KEY", help="the .pub.json of a key for its place")
    renew = add_task(
        tasks, "renew", "have people's roles signed anew before they expire", epilog, "keys_commands", "renew_roles"
    )
    renew.add_argument("roles", type=names, metavar="ROLE,...", help="root, targets, models, recipes, apps, os")
    site = add_task(tasks, "site", "let a key choose for one more site", epilog, "keys_commands", "site")
    site.add_argument("site", type=_site, metavar="SITE=KEY", help="its name, and the .pub.json of its key")
    words = "let keys release a kind that the repository does not have yet"
    role = add_task(tasks, "delegate", words, epilog, "keys_commands", "delegate_role")
    role.add_argument("role", choices=("recipes", "apps", "os"), help="the kind's role")
    role.add_argument(
        "--keys", type=_paths, default=(), metavar="A,B,C", help="public keys, with commas between (default: of models)"
    )
    for task in (rotate, revoke, renew, site, role):
        add_repository(task)
        _add_said(task)


def add_task(tasks: Commands, name: str, words: str, epilog: str, module: str, execute: str) -> argparse.ArgumentParser:
    """Declare one task of a command."""
    task = tasks.add_parser(name, help=words, description=words, epilog=epilog)
    task.set_defaults(module=f"trainer.release.{module}", execute=execute)
    return task


def add_repository(task: argparse.ArgumentParser) -> None:
    """Declare which repository, and where trust in it begins."""
    task.add_argument(
        "--repository", required=True, metavar="ADDRESS", help="a folder, or a URL such as s3://bucket/updates"
    )
    task.add_argument("--root", type=Path, required=True, metavar="FILE", help="root.json of the devices' image")


def add_secrets(task: argparse.ArgumentParser) -> None:
    """Declare where passphrases and PIN come from."""
    task.add_argument(
        "--passphrase-file", type=Path, action="append", default=[], metavar="FILE",
        help="whose first line opens a key's file; repeat it for more keys (default: ask)",
    )  # fmt: skip
    task.add_argument(
        "--pin-file", type=Path, metavar="FILE", help="whose first line is the token's PIN (default: ask)"
    )


def add_signers(task: argparse.ArgumentParser) -> None:
    """Declare the keys that sign."""
    task.add_argument(
        "--key", action="append", default=[], help="a key's file, or a token's address such as hsm:2?label=A; repeat it"
    )
    add_secrets(task)


def _add_said(task: argparse.ArgumentParser) -> None:
    task.add_argument("--by", required=True, metavar="WHO", help="who asks for it")
    task.add_argument("--why", default="", metavar="WORDS", help="a sentence for those who sign, and for the record")
    task.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="for the signing requests and the record"
    )


def _paths(text: str) -> tuple[Path, ...]:
    return tuple(Path(name) for name in names(text))


def _site(text: str) -> tuple[str, Path]:
    name, separator, path = text.partition("=")
    if not separator or not name or not path:
        raise argparse.ArgumentTypeError(f"{text!r} is not SITE=KEY, such as ulm=ulm.key.pub.json")
    return name, Path(path)
