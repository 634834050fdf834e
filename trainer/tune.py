"""A search for better dials: short trainings, judged on groups of the training half, given up where others were better.

What the final training holds out is put aside before the search begins: neither a trial nor its judgement sees it.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from appliance.errors import ConfigError
from trainer.backbone import Backbone
from trainer.datasets.split import Split
from trainer.defaults import LARGEST_SIDE_PX, complete, largest_side_px, usual_side_px
from trainer.files import make_folder
from trainer.observer import Observer
from trainer.pictures import steps_per_pass
from trainer.plan import Plan
from trainer.train import train

JUDGEMENTS = 8
"""In each trial: after each of them it may be given up."""

STARTUP_TRIALS = 4
"""Trials that are never given up: there is nothing yet to compare them with."""


@dataclass(frozen=True, slots=True)
class Search:
    """What is searched on what.

    Args:
        split: inside of the training half: what trials learn from, and what they are judged on.
        asked: dials that are not searched; its epochs are a trial's, None for `steps`.
        steps: of a trial without epochs.
        side_px: side of the crops, None to search it.
        batch: crops per step, None to derive it.
        reference: as for `complete`.
        identity: what must be the same to go on with a search.
    """

    split: Split
    asked: Plan
    steps: int
    side_px: int | None
    batch: int | None
    reference: str
    identity: Mapping[str, Any]

    def space(self) -> dict[str, BaseDistribution]:
        """Return what each dial can be."""
        space: dict[str, BaseDistribution] = {
            "rate": FloatDistribution(5e-4, 2e-2, log=True),
            "variation": FloatDistribution(0.0, 2.0),
        }
        if self._has_good():
            space["good_share"] = FloatDistribution(0.0, 0.5)
        if self.side_px is None:
            train = self.split.train
            space["side_px"] = CategoricalDistribution(_sides(usual_side_px(train), largest_side_px(train)))
        return space

    def usual(self) -> dict[str, Any]:
        """Return the dials of a training whose dials nobody has searched: the first trial."""
        dials: dict[str, Any] = {"rate": self.asked.rate, "variation": self.asked.variation}
        if self._has_good():
            dials["good_share"] = self.asked.good_share
        if self.side_px is None:
            dials["side_px"] = usual_side_px(self.split.train)
        return dials

    def _has_good(self) -> bool:
        return any(sample.is_good for sample in self.split.train.samples)

    def plan(self, dials: Mapping[str, Any]) -> Plan:
        """Return the plan of a trial.

        Args:
            dials: as `space` names them.

        Raises:
            ConfigError: They do not go together.
        """
        others = {name: value for name, value in dials.items() if name != "side_px"}
        side_px = self.side_px or dials["side_px"]
        asked = replace(self.asked, **others, epochs=self.asked.epochs or 1)
        plan = complete(asked, self.split, side_px=side_px, batch=self.batch, reference=self.reference)
        plan = replace(plan, workers=min(plan.workers, plan.batch))
        if self.asked.epochs is None:
            a_pass = steps_per_pass(self.split.train, plan)
            passes = max(1, self.steps // (JUDGEMENTS * a_pass))
            plan = replace(plan, passes=passes, epochs=max(1, round(self.steps / (passes * a_pass))))
        return replace(plan, validate_every=max(1, (plan.epochs or 1) // JUDGEMENTS))


def search(wanted: Search, backbone: Backbone | None, folder: Path, trials: int, minutes: float | None) -> optuna.Study:
    """Try dials until there are so many trials, or the time is over.

    Args:
        wanted: what is searched.
        backbone: what each trial begins with; None draws the weights.
        folder: gets `study.db`, and the log of each trial; a search that is there goes on.
        trials: in all, those of before included.
        minutes: end after this long; None: never.

    Returns:
        The study.

    Raises:
        ConfigError: Another search is in the folder.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    make_folder(folder)
    space = wanted.space()
    study = _opened(wanted, space, folder / "study.db")
    until_ns = None if minutes is None else time.monotonic_ns() + round(minutes * 60e9)
    while _ended(study) < trials and (until_ns is None or time.monotonic_ns() < until_ns):
        study.sampler = optuna.samplers.TPESampler(seed=(wanted.asked.seed + len(study.trials)) % 2**32)
        trial = study.ask(space)
        run = folder / f"trial{trial.number:04d}"
        try:
            plan = wanted.plan(trial.params)
            figures = train(wanted.split, plan, run, False, backbone, _Judge(trial, plan, until_ns))
        except optuna.TrialPruned:
            study.tell(trial, state=TrialState.PRUNED)
        except _TimeIsUp:
            study.tell(trial, state=TrialState.FAIL)
            study.enqueue_trial(trial.params)  # a search that goes on has it again
        else:
            assert figures is not None
            study.tell(trial, figures.ap_pooled)
        for weights in run.glob("*.pt"):  # of a short training on a part of the data: of no use to anybody
            weights.unlink()
    return study


class _TimeIsUp(Exception):
    """The search's time has ended a trial, which says nothing about its dials."""


class _Judge(Observer):
    """Gives a trial up where others were better at the same point, and ends it when the time is over."""

    def __init__(self, trial: Trial, plan: Plan, until_ns: int | None) -> None:
        self._trial = trial
        self._plan = plan
        self._until_ns = until_ns
        self._judgements = 0

    def sees_epoch(self, entry: Mapping[str, float]) -> None:
        if "ap_pooled" in entry:
            self._judgements += 1
            self._trial.report(entry["ap_pooled"], self._judgements)
            if self._trial.should_prune():
                raise optuna.TrialPruned
        is_last = entry["epoch"] == self._plan.epochs
        if self._until_ns is not None and time.monotonic_ns() >= self._until_ns and not is_last:
            raise _TimeIsUp


def _opened(wanted: Search, space: Mapping[str, BaseDistribution], file: Path) -> optuna.Study:
    try:
        study = optuna.create_study(
            storage=f"sqlite:///{file.resolve()}",
            study_name="tune",
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=1),
        )
    except SQLAlchemyError as error:
        raise ConfigError(f"{file}: is no search ({error}); name another --out") from error
    identity = dict(wanted.identity)
    found = study.user_attrs.get("identity", identity)
    differing = [name for name in sorted(identity.keys() | found.keys()) if identity.get(name) != found.get(name)]
    if differing:
        told = ", ".join(f"{name} {found.get(name)} (now {identity.get(name)})" for name in differing)
        raise ConfigError(f"{file}: is a search with {told}; repeat that, or name another --out")
    _check_sides(study, space, file)
    study.set_user_attr("identity", identity)
    study.enqueue_trial(wanted.usual(), skip_if_exists=True)
    for trial in study.get_trials(states=(TrialState.RUNNING,)):  # a kill has ended it
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params)
    return study


def _check_sides(study: optuna.Study, space: Mapping[str, BaseDistribution], file: Path) -> None:
    """Refuse to go on where other crops were tried: another trainer may choose others for the same data."""
    now = space.get("side_px")
    for trial in study.get_trials(deepcopy=False):
        was = trial.distributions.get("side_px")
        if isinstance(now, CategoricalDistribution) and isinstance(was, CategoricalDistribution) and was != now:
            before, after = (", ".join(map(str, it.choices)) for it in (was, now))
            raise ConfigError(
                f"{file}: is a search among crops of {before} pixels, by another version of the trainer; it would now "
                f"be among {after}: name another --out"
            )


def _ended(study: optuna.Study) -> int:
    return len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)))


def _sides(usual_px: int, largest_px: int) -> list[int]:
    """Return the sides to try: the usual one, what is smaller, and what is larger as long as a picture fills it."""
    sides = {32 * round(factor * usual_px / 32) for factor in (0.6, 0.8, 1.0, 1.25, 1.5)}
    most_px = max(usual_px, min(LARGEST_SIDE_PX, math.ceil(largest_px / 32) * 32))
    return sorted(side for side in sides if 64 <= side <= most_px)
