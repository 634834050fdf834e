"""Arguments of `trainer rollout`."""

from __future__ import annotations

import argparse
from pathlib import Path

from appliance.arguments import new_file
from trainer.release.arguments import Commands, add_repository, add_signers

_CHANGES = {
    "pause": "tell nobody new until `resume`; a gate that breaks still ends it",
    "resume": "go on after `pause`, or excuse devices",
    "halt": "end it: nobody new is told, and who has not committed is called back",
    "recall": "end it: call every device back to what it had",
}


def add_rollout(commands: Commands, epilog: str) -> None:
    """Declare `trainer rollout`."""
    words = "bring a release to a fleet in rings, each opened by the reports of the one before"
    rollout = commands.add_parser("rollout", help=words, description=words, epilog=epilog)
    tasks = rollout.add_subparsers(dest="task", required=True, metavar="TASK")
    start = _task(tasks, "start", "begin: share the fleet out in rings and tell the lab", epilog)
    start.add_argument(
        "--release", required=True, action="append", metavar="PATH",
        help="such as models/boards/boards-12.bundle; repeat it for releases that belong together",
    )  # fmt: skip
    status = _task(tasks, "status", "read reports and tell how it stands; changes nothing", epilog)
    status.add_argument("--html", type=new_file, metavar="FILE", help="also write it as one page that opens offline")
    advance = _task(tasks, "advance", "read reports, judge, and tell the next ring or end it; by a timer", epilog)
    for task in (status, advance):
        task.add_argument("--json", type=new_file, metavar="FILE", help="also write it for another program")
    changes = {name: _task(tasks, name, what, epilog, "change") for name, what in _CHANGES.items()}
    changes["resume"].add_argument(
        "--excuse", action="append", default=[], metavar="DEVICE", help="judge it no more; say with --why; repeat it"
    )
    for task in (start, changes["halt"], changes["recall"]):
        task.add_argument(
            "--back", action="append", default=[], metavar="PATH",
            help="what devices had, released again under a higher number; repeat it if they had several",
        )  # fmt: skip
    for task in (start, *changes.values()):
        task.add_argument("--by", required=True, metavar="WHO", help="who wants it")
        task.add_argument("--why", default="", metavar="WORDS", help="a sentence for the record")
    for task in (start, advance, *changes.values()):
        add_signers(task)


def _task(tasks: Commands, name: str, words: str, epilog: str, execute: str = "") -> argparse.ArgumentParser:
    task = tasks.add_parser(name, help=words, description=words, epilog=epilog)
    task.add_argument("rollout", metavar="NAME", help="such as 2026-11-27-boards-12")
    task.add_argument("--fleet", type=Path, required=True, metavar="FILE", help="sites, lines and devices (YAML)")
    add_repository(task)
    task.set_defaults(module="trainer.rollout.commands", execute=execute or name)
    return task
