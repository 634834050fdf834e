"""What `trainer data` can be asked for."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from appliance.arguments import group_names, names, new_file, ratio
from trainer.datasets import source
from trainer.datasets.address import place
from trainer.datasets.layouts.readers import NAMES

_VERSIONS = "trainer.version_commands"


def add_data(commands: argparse._SubParsersAction[argparse.ArgumentParser], epilog: str) -> None:
    """Declare `trainer data` and what follows it.

    Args:
        commands: of the trainer.
        epilog: the exit codes.
    """
    words = "make a data set from what you have, and find out what is wrong with it before training"
    data = commands.add_parser("data", help=words, description=words, epilog=epilog)
    actions = data.add_subparsers(dest="action", required=True, metavar="ACTION")
    _add_import(actions, epilog)
    _add_check(actions, epilog)
    _add_split(actions, epilog)
    _add_version(actions, epilog)
    _add_diff(actions, epilog)
    _add_pull(actions, epilog)
    _add_verify(actions, epilog)


def _add_import(actions: argparse._SubParsersAction[argparse.ArgumentParser], epilog: str) -> None:
    words = "write one COCO file about pictures in another layout; the pictures stay where they are"
    taken = actions.add_parser("import", help=words, description=words, epilog=epilog)
    taken.add_argument("source", type=Path, metavar="SOURCE", help="folder of the pictures and labels")
    taken.add_argument("--from", dest="layout", choices=NAMES, required=True, help="how the labels are written down")
    taken.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="gets annotations.json, and lists of what was left out",
    )
    listed = "of coco and deeppcb: annotation file or list, where SOURCE is the folder of the pictures"
    taken.add_argument("--list", dest="listing", type=Path, metavar="FILE", help=listed)
    taken.add_argument(
        "--classes",
        type=names,
        default=(),
        metavar="A,B",
        help="names in the order of their numbers (default: its own)",
    )
    grouped = taken.add_mutually_exclusive_group()
    grouped.add_argument(
        "--group-by", choices=("camera",), help="what took a picture is its group, to be held out as a whole"
    )
    grouped.add_argument(
        "--group-pattern",
        type=_pattern,
        metavar="REGEX",
        help="its one (...) is found in a file's name and is the group (default: the first folder, else the picture)",
    )
    taken.set_defaults(module="trainer.data_commands", execute="import_pictures")


def _add_check(actions: argparse._SubParsersAction[argparse.ArgumentParser], epilog: str) -> None:
    words = "find damaged pictures, wrong labels, differences from references, and duplicates that a split would divide"
    check = actions.add_parser("check", help=words, description=words, epilog=epilog)
    source.add_arguments(check)
    check.add_argument("--holdout", type=group_names, default=(), metavar="A,B", help="as for train (default: a fifth)")
    check.add_argument("--report", type=new_file, metavar="FILE.html", help="also write a page with pictures there")
    check.add_argument("--json", type=new_file, metavar="FILE", help="also write all findings and files there")
    check.set_defaults(module="trainer.data_commands", execute="check")


def _add_split(actions: argparse._SubParsersAction[argparse.ArgumentParser], epilog: str) -> None:
    words = "show which groups would be held out: every kind of defect on both sides, copies on one, groups whole"
    split = actions.add_parser("split", help=words, description=words, epilog=epilog)
    source.add_arguments(split)
    split.add_argument("--holdout", type=group_names, default=(), metavar="A,B", help="look at these (default: drawn)")
    split.add_argument("--share", type=ratio, default=0.2, help="of the pictures, to hold out (default %(default)s)")
    split.add_argument("--seed", type=int, default=0, help="of the draw (default %(default)s)")
    split.add_argument("--out", type=new_file, metavar="FILE", help="write the groups there, for --holdout @FILE")
    split.add_argument("--json", type=new_file, metavar="FILE", help="also write all groups and counts there")
    split.set_defaults(module="trainer.split_commands", execute="split")


def _add_version(actions: argparse._SubParsersAction[argparse.ArgumentParser], epilog: str) -> None:
    words = "write down once and for all what a data set holds now, why, and which version it came from"
    version = actions.add_parser("version", help=words, description=words, epilog=epilog)
    source.add_arguments(version)
    target = version.add_mutually_exclusive_group(required=True)
    target.add_argument(
        "--to", metavar="ADDRESS", help="store it there with all of its files: a folder, s3://..., each file once"
    )
    target.add_argument("--out", type=Path, metavar="FOLDER", help="write it there; the pictures stay where they are")
    version.add_argument("--why", type=_words, required=True, metavar="TEXT", help="what this version is for")
    version.add_argument("--who", type=_words, required=True, metavar="NAME", help="who answers for it")
    version.add_argument(
        "--parent", type=place, metavar="VERSION", help="the version that it came from: a file or ADDRESS@VERSION"
    )
    version.set_defaults(module=_VERSIONS, execute="write_down")


def _add_pull(actions: argparse._SubParsersAction[argparse.ArgumentParser], epilog: str) -> None:
    words = "bring a stored version into a folder, as COCO; train and evaluate take ADDRESS@VERSION without it"
    pull = actions.add_parser("pull", help=words, description=words, epilog=epilog)
    pull.add_argument("version", type=place, metavar="ADDRESS@VERSION", help="as `data version --to` told it")
    pull.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="gets annotations.json and the pictures"
    )
    source.add_cache(pull)
    pull.set_defaults(module=_VERSIONS, execute="pull")


def _add_verify(actions: argparse._SubParsersAction[argparse.ArgumentParser], epilog: str) -> None:
    words = "read every file of a stored version, and tell what is missing or damaged"
    verify = actions.add_parser("verify", help=words, description=words, epilog=epilog)
    verify.add_argument("version", type=place, metavar="ADDRESS@VERSION", help="as `data version --to` told it")
    verify.add_argument("--json", type=new_file, metavar="FILE", help="also write all names there")
    verify.set_defaults(module=_VERSIONS, execute="verify_stored")


def _add_diff(actions: argparse._SubParsersAction[argparse.ArgumentParser], epilog: str) -> None:
    words = "tell which pictures were added, removed, relabelled or put into another group between two versions"
    diff = actions.add_parser("diff", help=words, description=words, epilog=epilog)
    diff.add_argument("before", type=place, metavar="A", help="the first version: a file or ADDRESS@VERSION")
    diff.add_argument("after", type=place, metavar="B", help="the second")
    diff.add_argument("--json", type=new_file, metavar="FILE", help="also write all changes there")
    diff.set_defaults(module=_VERSIONS, execute="diff")


def _words(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("says nothing; write a few words")
    return text.strip()


def _pattern(text: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression ({error})") from None
    if pattern.groups != 1:
        raise argparse.ArgumentTypeError(f"{text!r} has {pattern.groups} groups; put one (...) around the group's name")
    return pattern
