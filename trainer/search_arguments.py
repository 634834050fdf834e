"""What `trainer tune` and `trainer crossval` can be asked for."""

from __future__ import annotations

import argparse
from pathlib import Path

from appliance.arguments import count, new_file, rate
from trainer.datasets import source
from trainer.train_arguments import add_dials, add_holdout, add_length, add_net

USUAL_TRIALS, USUAL_TRIAL_STEPS, USUAL_FOLDS = 20, 1000, 5


def add_search(commands: argparse._SubParsersAction[argparse.ArgumentParser], epilog: str) -> None:
    """Declare both commands.

    Args:
        commands: of the trainer.
        epilog: the exit codes.
    """
    _add_tune(commands, epilog)
    _add_crossval(commands, epilog)


def _add_tune(commands: argparse._SubParsersAction[argparse.ArgumentParser], epilog: str) -> None:
    words = (
        "search rate, crop, share of good parts and variation by short trainings; what is held out is never looked at"
    )
    tune = commands.add_parser("tune", help=words, description=words, epilog=epilog)
    source.add_arguments(tune)
    tune.add_argument(
        "--out", type=Path, required=True, metavar="SEARCH", help="folder; the same command goes on there"
    )
    tune.add_argument(
        "--trials", type=count, default=USUAL_TRIALS, help="in all, those of before included (default %(default)s)"
    )
    tune.add_argument("--minutes", type=rate, help="end after this long, even if trials are left")
    tune.add_argument("--epochs", type=count, help=f"of each trial (default: {USUAL_TRIAL_STEPS} steps)")
    add_holdout(tune, "groups kept for the final training to be judged on (default: a fifth, as for train)")
    add_net(tune)
    tune.add_argument("--json", type=new_file, metavar="FILE", help="also write all trials there")
    tune.set_defaults(module="trainer.search_commands", execute="tune")


def _add_crossval(commands: argparse._SubParsersAction[argparse.ArgumentParser], epilog: str) -> None:
    words = "train as often as there are folds, each time with other groups held out, so that every part is judged once"
    crossval = commands.add_parser("crossval", help=words, description=words, epilog=epilog)
    source.add_arguments(crossval)
    crossval.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="gets a run for each fold")
    crossval.add_argument(
        "--folds", type=count, default=USUAL_FOLDS, metavar="K", help="at least 2 (default %(default)s)"
    )
    add_length(crossval)
    add_dials(crossval)
    add_net(crossval)
    crossval.add_argument("--resume", action="store_true", help="go on after a kill; folds that are done stay")
    crossval.add_argument("--json", type=new_file, metavar="FILE", help="also write the figures there")
    crossval.set_defaults(module="trainer.search_commands", execute="crossval")
