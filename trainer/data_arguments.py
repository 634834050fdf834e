"""What `trainer data` can be asked for."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from appliance.arguments import names, new_file
from trainer.datasets import source
from trainer.datasets.layouts.readers import NAMES


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
    _add_version(actions, epilog)
    _add_diff(actions, epilog)


def _add_import(actions: argparse._SubParsersAction[argparse.ArgumentParser], epilog: str) -> None:
    words = "write one COCO file about pictures in another layout; the pictures stay where they are"
    taken = actions.add_parser("import", help=words, description=words, epilog=epilog)
    taken.add_argument("source", type=Path, metavar="SOURCE", help="folder of the pictures and labels")
    taken.add_argument("--from", dest="layout", choices=NAMES, required=True, help="how the labels are written down")
    taken.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="gets annotations.json")
    taken.add_argument(
        "--classes",
        type=names,
        default=(),
        metavar="A,B",
        help="names in the order of their numbers (default: its own)",
    )
    taken.add_argument(
        "--group-pattern",
        type=_pattern,
        metavar="REGEX",
        help="its one (...) is found in a file's name and is the group (default: the first folder, else the picture)",
    )
    taken.set_defaults(module="trainer.data_commands", execute="import_pictures")


def _add_check(actions: argparse._SubParsersAction[argparse.ArgumentParser], epilog: str) -> None:
    words = "find damaged pictures, contradicting labels, and duplicates that a split would divide"
    check = actions.add_parser("check", help=words, description=words, epilog=epilog)
    source.add_arguments(check)
    check.add_argument("--holdout", type=names, default=(), metavar="A,B", help="as for train (default: a fifth)")
    check.add_argument("--report", type=new_file, metavar="FILE.html", help="also write a page with pictures there")
    check.add_argument("--json", type=new_file, metavar="FILE", help="also write all findings and files there")
    check.set_defaults(module="trainer.data_commands", execute="check")


def _add_version(actions: argparse._SubParsersAction[argparse.ArgumentParser], epilog: str) -> None:
    words = "write down once and for all what a data set holds now, why, and which version it came from"
    version = actions.add_parser("version", help=words, description=words, epilog=epilog)
    source.add_arguments(version)
    version.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="of the versions")
    version.add_argument("--why", type=_words, required=True, metavar="TEXT", help="what this version is for")
    version.add_argument("--who", type=_words, required=True, metavar="NAME", help="who answers for it")
    version.add_argument("--parent", type=Path, metavar="FILE.json", help="the version that it came from")
    version.set_defaults(module="trainer.data_commands", execute="write_down")


def _add_diff(actions: argparse._SubParsersAction[argparse.ArgumentParser], epilog: str) -> None:
    words = "tell which pictures were added, removed, relabelled or put into another group between two versions"
    diff = actions.add_parser("diff", help=words, description=words, epilog=epilog)
    diff.add_argument("before", type=Path, metavar="A.json", help="the first version")
    diff.add_argument("after", type=Path, metavar="B.json", help="the second")
    diff.add_argument("--json", type=new_file, metavar="FILE", help="also write all changes there")
    diff.set_defaults(module="trainer.data_commands", execute="diff")


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
