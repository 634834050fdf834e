"""What `trainer tune` and `trainer crossval` do, and how their result is shown."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import replace
from typing import Any

from optuna import Study
from optuna.trial import FrozenTrial, TrialState
from rich.table import Table

from trainer.commands import asked_plan, begun_with
from trainer.crossval import CrossValidation, FoldFigures, judge_fold, sum_up
from trainer.datasets.folds import folds_of
from trainer.datasets.reading import dataset_digest, read_dataset
from trainer.datasets.source import source_of, words_of
from trainer.datasets.split import split_by_group
from trainer.defaults import complete, lone_pictures
from trainer.files import make_folder, write_json
from trainer.names import listed
from trainer.progress import console as _err
from trainer.progress import results as _out
from trainer.search_arguments import USUAL_TRIAL_STEPS
from trainer.split_commands import divide
from trainer.train import check_folder
from trainer.train import train as run_training
from trainer.tune import Search, search
from trainer.usual_size import sized
from trainer.wording import between, decimal, within

_OPTIONS = {"rate": "--rate", "variation": "--variation", "good_share": "--good-share", "side_px": "--crop"}

_ONE_SEARCH = ("seed", "epochs", "batch", "crop", "size", "width", "channels", "reference")
"""Options that make another search of it: its trials could not be compared."""

_USUAL = {
    "seed": 0,
    "size": None,
    "width": None,
    "channels": 1,
    "device": "auto",
    "threads": 1,
    "workers": None,
    "reference": "auto",
    "crop": None,
    "weights": "auto",
}
"""Options that the training repeats where they are given."""


def tune(arguments: argparse.Namespace) -> int:
    """Search the dials, and say which training they ask for.

    Args:
        arguments: of `trainer tune`.

    Returns:
        The exit code; 1 if no trial came to its end.
    """
    asked = asked_plan(arguments)
    asked.check()
    dataset = read_dataset(source_of(arguments))
    asked, size, size_words = sized(asked, arguments, dataset)
    if arguments.holdout:  # nobody looks at these, not even for copies; the training that follows does
        outer = split_by_group(dataset, arguments.holdout)
    else:
        outer, _ = divide(dataset, (), arguments.seed, arguments.allow_leakage)
    inner, leak = divide(outer.train, (), arguments.seed, arguments.allow_leakage)
    _err.print(
        f"{len(outer.validation.groups())} groups are put aside; each trial learns from {len(inner.train.groups())} "
        f"groups and is judged on {len(inner.validation.groups())}; {size_words}",
        soft_wrap=True,
    )
    for words in filter(None, (leak, lone_pictures(dataset, arguments.reference))):
        _err.print(f"trainer: beware: {words}", soft_wrap=True)
    wanted = Search(inner, asked, USUAL_TRIAL_STEPS, arguments.crop, arguments.batch, arguments.reference, {})
    judged_on = inner.validation.groups() + outer.validation.groups()
    backbone = begun_with(arguments, wanted.plan(wanted.usual()), outer.whole(), judged_on)
    identity = {
        "data": dataset_digest(outer.whole()),
        "net": str(wanted.plan(wanted.usual()).shape(len(outer.train.classes))),
        "groups put aside": list(outer.validation.groups()),
        "groups that trials are judged on": list(inner.validation.groups()),
        "--weights": str(backbone) if backbone else "none",
        **{f"--{name}": getattr(arguments, name) for name in _ONE_SEARCH},
        "--size": size,
    }
    wanted = replace(wanted, identity=identity)
    study = search(wanted, backbone, arguments.out, arguments.trials, arguments.minutes)
    ended = sorted(study.get_trials(states=(TrialState.COMPLETE,)), key=lambda trial: -_value(trial))
    _show_trials(study, ended)
    if arguments.json:
        write_json(arguments.json.path, _as_dict(study, ended))
    if not ended:
        _err.print("trainer: no trial came to its end; give more --minutes, or fewer --epochs", soft_wrap=True)
        return 1
    _out.print(f"next: {shlex.join(_command(arguments, ended[0].params))}", soft_wrap=True)
    return 0


def crossval(arguments: argparse.Namespace) -> int:
    """Train and judge fold by fold.

    Args:
        arguments: of `trainer crossval`.

    Returns:
        The exit code.
    """
    asked = asked_plan(arguments)
    asked.check()
    runs = [arguments.out / f"fold{number}" for number in range(1, arguments.folds + 1)]
    for run in runs:
        check_folder(run, arguments.resume)
    place = source_of(arguments)
    dataset = read_dataset(place)
    asked, _, size_words = sized(asked, arguments, dataset)
    _err.print(size_words, soft_wrap=True)
    if lone := lone_pictures(dataset, arguments.reference):
        _err.print(f"trainer: beware: {lone}", soft_wrap=True)
    folds = folds_of(dataset, arguments.folds, arguments.seed)
    judged = []
    for number, (fold, run) in enumerate(zip(folds, runs, strict=True), 1):
        _err.print(f"fold {number} of {len(folds)}: held out {listed(fold.validation.groups())}", soft_wrap=True)
        plan = complete(asked, fold, side_px=arguments.crop, batch=arguments.batch, reference=arguments.reference)
        backbone = begun_with(arguments, plan, dataset, dataset.groups())
        make_folder(run)
        write_json(run / "source.json", place.as_dict())
        run_training(fold, plan, run, arguments.resume, backbone)
        judged.append(judge_fold(fold, run))
    figures = sum_up(judged)
    _show_folds(figures)
    if arguments.json:
        write_json(arguments.json.path, figures.as_dict())
    return 0


def _command(arguments: argparse.Namespace, dials: dict[str, Any]) -> list[str]:
    """Return the training that the best dials ask for, on the same data with the same groups held out."""
    words = ["trainer", "train", *words_of(arguments), "--out", str(arguments.out / "best")]
    for name in ("batch", "weights_digest"):
        if getattr(arguments, name) is not None:
            words += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
    if arguments.holdout:
        words += ["--holdout", ",".join(arguments.holdout)]
    if arguments.allow_leakage:
        words += ["--allow-leakage"]
    for name, usual in _USUAL.items():
        if getattr(arguments, name) != usual:
            words += [f"--{name}", str(getattr(arguments, name))]
    for name, value in dials.items():
        words += [_OPTIONS[name], f"{value:.4g}"]
    return words


def _value(trial: FrozenTrial) -> float:
    if trial.value is None:
        raise RuntimeError("a trial that came to its end has a value")
    return float(trial.value)


def _as_dict(study: Study, ended: list[FrozenTrial]) -> dict[str, Any]:
    trials = [
        {"number": trial.number, "state": trial.state.name, "ap_pooled": trial.value, "dials": trial.params}
        | {"judgements": list(trial.intermediate_values.values())}
        for trial in study.trials
        if trial.state is not TrialState.WAITING
    ]
    return {"best": ended[0].params if ended else None, "trials": trials}


def _show_trials(study: Study, ended: list[FrozenTrial]) -> None:
    given_up = len(study.get_trials(states=(TrialState.PRUNED,)))
    table = Table(title=f"{len(ended)} trials came to their end, {given_up} were given up; the best")
    names = list(ended[0].params) if ended else []
    for name in ("trial", "AP@0.33", *(_OPTIONS[name] for name in names)):
        table.add_column(name, justify="right")
    for trial in ended[:10]:
        table.add_row(str(trial.number), f"{_value(trial):.4f}", *(f"{trial.params[name]:.4g}" for name in names))
    _out.print(table)


def _show_folds(figures: CrossValidation) -> None:
    table = Table(title=f"{len(figures.folds)} folds; each part judged by a net that never saw its group")
    for name in ("fold", "groups", "pictures", "AP@0.33", "95 % bounds", "escapes", "overkill", "limit"):
        table.add_column(name, justify="right")
    for number, fold in enumerate(figures.folds, 1):
        table.add_row(str(number), *_row(fold), f"{fold.limit:.3f}")
    table.add_row("all", *_row(figures.pooled), "", style="bold")
    _out.print(table)
    bad, good = figures.pooled.escapes, figures.pooled.overkill
    _out.print(
        f"AP@0.33 over the folds {decimal(figures.ap_mean, 4)}, standard deviation "
        f"{decimal(figures.ap_deviation, 4)}; 95 % bounds of all parts: escapes {between(bad)}, overkill "
        f"{between(good)}",
        soft_wrap=True,
    )


def _row(fold: FoldFigures) -> list[str]:
    counts = [f"{one.count} of {one.of}" for one in (fold.escapes, fold.overkill)]
    ap = (decimal(fold.ap_pooled, 4), within(fold.ap_bounds, 4))
    return [str(len(fold.groups)), str(fold.pictures), *ap, *counts]
