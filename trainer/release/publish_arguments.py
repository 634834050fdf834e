"""Arguments of `trainer publish`."""

from __future__ import annotations

import argparse
from pathlib import Path

from appliance.arguments import new_file, whole
from trainer.release.arguments import Commands, add_repository, add_signers, add_task
from trainer.release.stick_arguments import add_stick

RINGS = ("lab", "line", "quarter", "all")


def add_publish(commands: Commands, epilog: str) -> None:
    """Declare `trainer publish`."""
    words = "bring releases and assignments into a repository of signed updates, and keep it alive"
    publish = commands.add_parser("publish", help=words, description=words, epilog=epilog)
    tasks = publish.add_subparsers(dest="task", required=True, metavar="TASK")
    _add_release(tasks, epilog)
    signed = add_task(tasks, "signed", "publish what people have signed", epilog, "publish_commands", "signed")
    signed.add_argument("files", type=Path, nargs="+", metavar="FILE", help="signing requests, and copies of them")
    _add_withdraw(tasks, epilog)
    _add_assign(tasks, epilog)
    add_stick(tasks, epilog)
    refresh = add_task(
        tasks, "refresh", "sign anew what machines sign; often, by a timer", epilog, "publish_commands", "refresh"
    )
    for task in (signed, refresh):
        add_repository(task)
        add_signers(task)
    _add_track(signed)
    verify = add_task(tasks, "verify", "look at it as a device does", epilog, "publish_commands", "verify")
    add_repository(verify)
    verify.add_argument(
        "--stick", action="store_true", help="it is a USB stick: an older one than the newest may be right, too"
    )
    verify.add_argument("--json", type=new_file, metavar="FILE", help="also write the figures there")


def _add_release(tasks: Commands, epilog: str) -> None:
    release = add_task(tasks, "release", "add a release", epilog, "publish_commands", "release")
    release.add_argument(
        "file", type=Path, metavar="FILE", help="a bundle, a packed recipe, or the file of an app or system"
    )
    release.add_argument(
        "--kind", choices=("model", "recipe", "app", "os"), help="default: recipe if FILE ends in .recipe, else model"
    )
    release.add_argument("--name", help="of an app or system; a model and a recipe have their own")
    release.add_argument("--seq", type=whole, metavar="N", help="its number (default: one more than the highest)")
    release.add_argument(
        "--report", type=Path, action="append", default=[], metavar="FILE",
        help="what `trainer evaluate --json` wrote of this bundle, without which no model is released; repeat it for "
        "the page of `trainer evaluate --report`",
    )  # fmt: skip
    release.add_argument("--no-report", metavar="WHY", help="why a model has none; signed with it")
    release.add_argument("--by", required=True, metavar="WHO", help="who releases it")
    release.add_argument("--why", default="A new release.", metavar="WORDS", help="a sentence for those who sign")
    _add_request(release)
    _add_track(release)


def _add_withdraw(tasks: Commands, epilog: str) -> None:
    words = "take a release out of the list, so that no device takes it any more"
    withdraw = add_task(tasks, "withdraw", words, epilog, "withdraw_command", "withdraw_release")
    withdraw.add_argument("release", metavar="PATH", help="such as models/boards/boards-12.bundle")
    withdraw.add_argument("--by", required=True, metavar="WHO", help="who withdraws it")
    withdraw.add_argument("--why", required=True, metavar="WORDS", help="a sentence for those who sign, and for later")
    _add_request(withdraw)


def _add_request(task: argparse.ArgumentParser) -> None:
    task.add_argument(
        "--request", type=Path, metavar="FILE", help="where signatures are lacking: write what is to be signed there"
    )
    add_repository(task)
    add_signers(task)


def _add_assign(tasks: Commands, epilog: str) -> None:
    assign = add_task(
        tasks, "assign", "choose what devices of a site run", epilog, "publish_commands", "assign_devices"
    )
    assign.add_argument("--site", required=True, help="the devices' site")
    assign.add_argument("--device", required=True, action="append", metavar="ID", help="a device; repeat it for more")
    assign.add_argument(
        "--release", required=True, action="append", metavar="PATH",
        help="such as models/boards/boards-12.bundle; repeat it for all that the device shall run",
    )  # fmt: skip
    assign.add_argument(
        "--rollout", required=True, metavar="NAME", help="under which devices report, as 2026-11-27-boards-12"
    )
    assign.add_argument("--ring", choices=RINGS, required=True, help="how far the rollout has come")
    for name, default, what in (
        ("shadow-parts", 500, "parts judged beside"),
        ("canary-parts", 200, "parts judged on trial"),
        ("watch-parts", 2000, "parts watched afterwards"),
        ("watch-h", 24, "hours watched afterwards"),
    ):
        assign.add_argument(f"--{name}", type=whole, metavar="N", help=f"{what} (default {default})")
    assign.add_argument(
        "--gate", action="append", default=[], metavar="KEY=VALUE",
        help="what else a release must show on the device, such as challenge_parts=3; repeat it (docs/challenger.md)",
    )  # fmt: skip
    add_repository(assign)
    add_signers(assign)


def _add_track(task: argparse.ArgumentParser) -> None:
    task.add_argument(
        "--track",
        nargs="?",
        const="",
        metavar="ADDRESS",
        help="note in MLflow's registry where each model was released: a server's address, or a folder (default: "
        "MLFLOW_TRACKING_URI, else beside the file)",
    )
