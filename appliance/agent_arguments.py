"""The command line of `appliance agent` for releases; needs nothing that is not installed everywhere."""

import argparse
from pathlib import Path
from typing import TypeAlias

Tasks: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_task_arguments(tasks: Tasks) -> list[argparse.ArgumentParser]:
    """Declare the tasks that need no more than the configuration, and those of people."""
    run = tasks.add_parser("run", help="ask the repository now and then, and take every update through its life")
    rest = tasks.add_parser("rest")  # not for people: what becomes of `run`, see agent_resident
    for name in ("--state", "--ledger"):
        rest.add_argument(name, type=Path, required=True)
    rest.add_argument("--broker", required=True)
    rest.add_argument("--silence-s", type=float, required=True)
    work = tasks.add_parser("work")  # not for people either: what `run` has others do
    work.add_argument("--ask-in", type=float, required=True)
    work.add_argument("--parent", type=int, required=True)
    update = tasks.add_parser("update", help="ask once, and go on until something must be waited for")
    status = tasks.add_parser("status", help="what is in force, what is under way, and why it waits or failed")
    status.add_argument("--json", action="store_true", help="as JSON")
    report = tasks.add_parser("report", help="write this device's signed report into a folder, to be carried away")
    report.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where DEVICE_ID.json is written")
    rollback = tasks.add_parser("rollback", help="go back to the release before, or give up the one under way")
    rollback.add_argument("--kind", choices=("model", "recipe", "app"), default="model", help="(default: model)")
    rollback.add_argument("--name", metavar="NAME", help="of the model or recipe, where there are several")
    hold = tasks.add_parser("hold", help="let nothing new begin to judge until it is released")
    release = tasks.add_parser("release-hold", help="let updates go on")
    adopt = tasks.add_parser("adopt", help="put the bundle or recipe that the station runs into slots, once")
    adopt.add_argument("release", type=Path, metavar="FILE", help="a bundle, or a packed recipe (.recipe)")
    adopt.add_argument("--name", required=True, metavar="NAME", help="under which its updates are assigned")
    forgive = tasks.add_parser("release-quarantine", help="let a release be tried again that failed here")
    forgive.add_argument("sha256", metavar="SHA256", help="of the release, as `status` tells it")
    for task in (rollback, hold, release, adopt, forgive):
        task.add_argument("--by", required=True, metavar="WHO", help="who wants it; written down")
    return [run, rest, work, update, status, report, rollback, hold, release, adopt, forgive]
