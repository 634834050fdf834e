"""A training run, top to bottom.

Everything random is drawn from (seed, epoch, index), and everything else that the next step depends on is in the
checkpoint; so a run that was killed and resumed ends with the same weights as one that was left alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from appliance.errors import ConfigError
from trainer.backbone import Backbone
from trainer.checkpoint import Checkpoint, save_checkpoint
from trainer.datasets.reading import dataset_digest
from trainer.datasets.split import Split
from trainer.decoded import decode_together
from trainer.device import own_device, usual_loaders
from trainer.files import append_json, make_folder, write_json
from trainer.learner import Learner
from trainer.lineage import source_commit
from trainer.observer import Observer
from trainer.patience import has_run_out, praised, remember
from trainer.pictures import Pictures
from trainer.plan import Plan
from trainer.preflight import check_data, dimness
from trainer.progress import console
from trainer.resume import beginning
from trainer.spent import peak_memory_mib
from trainer.teacher import Teacher
from trainer.team import Team, gathered, launched_size
from trainer.validate import Figures, validate

LAST_RATE = 0.1
"""Of the highest rate, at the end: the average calms the weights, and with less they fit the pictures at hand
(docs/decisions/0048-a-rate-that-does-not-fall-to-nothing.md)."""


def train(
    split: Split,
    plan: Plan,
    folder: Path,
    resume: bool = False,
    backbone: Backbone | None = None,
    observer: Observer | None = None,
    teacher: Teacher | None = None,
) -> Figures | None:
    """Fit a net to the training half and judge it on the other.

    Args:
        split: two halves that share no group.
        plan: the dials, with a length (trainer.plan.complete).
        folder: gets `last.pt`, `final.pt`, `log.jsonl` and `figures.json`.
        resume: go on from `last.pt` if it is there.
        backbone: what a new run begins with; None draws all weights.
        observer: who looks on in the first process.
        teacher: the run whose answers are learned beside the labels; None: of nobody.

    Returns:
        The figures of the averaged weights on the validation half; None in a process of `torchrun` but the first.

    Raises:
        ConfigError: The plan does not fit the data, no bundle could come of it, or the folder holds another run.
        StorageError: The disk is full or refuses.
    """
    plan.check()
    if plan.epochs is None and plan.budget_minutes is None:
        raise RuntimeError("a plan without a length must be completed first")
    plan = replace(plan, workers=launched_size() or plan.workers)
    if plan.workers > plan.batch:
        raise ConfigError(
            f"{plan.workers} processes cannot divide the {plan.batch} crops of a step; start fewer, or raise --batch"
        )
    check_folder(folder, resume)
    check_data(split, plan.input_channels)
    plan = replace(plan, weights=str(backbone) if backbone else None, teacher=str(teacher) if teacher else None)
    work = partial(_train, split, plan, folder, backbone, teacher)
    with gathered(plan.workers, work) as team:
        return work(team, observer)


def _train(
    split: Split,
    plan: Plan,
    folder: Path,
    backbone: Backbone | None,
    teacher: Teacher | None,
    team: Team,
    observer: Observer | None = None,
) -> Figures | None:
    torch.manual_seed(plan.seed)
    torch.set_num_threads(plan.threads)
    begun = team.from_first(lambda: _begin(split, plan, folder))
    run = Learner(begun, team, own_device(plan.device, team.rank), None, backbone, teacher)
    loaders = usual_loaders(plan.device, team.size)
    pixels = decode_together(split.train.samples, plan.input_channels, team)
    if team.is_first and (words := dimness(pixels)):
        console.print(f"trainer: beware: {words}", soft_wrap=True)
    pictures = team.together(lambda: Pictures(split.train, plan, team.rank, team.size, loaders, pixels))
    observer = observer if observer is not None and team.is_first else Observer()
    observer.begins(run.state)
    clock = _Clock(plan, time.monotonic_ns() - run.state.elapsed_ns, team)
    figures, judged_at = None, -1
    with _progress(team.is_first) as bar:
        task = bar.add_task("train", total=1000, note="")
        while clock.done(run.state.epoch) < 1.0 and not has_run_out(run.state, plan.patience, team):
            loss = math.nan  # of an epoch for which no time is left
            for steps, (done, its_loss) in enumerate(_steps(run, pictures, clock), 1):
                loss = its_loss if steps == 1 else loss + (its_loss - loss) / steps
                note = f"epoch {run.state.epoch + 1}, loss {loss:.3f}"
                bar.update(task, completed=round(1000 * done), note=note)
            loss = team.mean(loss)
            run.state.epoch += 1
            run.state.elapsed_ns = time.monotonic_ns() - clock.began_ns
            is_judged = clock.done(run.state.epoch) >= 1.0 or run.state.epoch % plan.validate_every == 0
            if team.is_first:
                entry = {"epoch": run.state.epoch, "step": run.state.step, "loss": loss}
                if is_judged:
                    bar.update(task, note="judging the held-out groups")
                    figures, judged_at = validate(run.average, split.validation), run.state.epoch
                    entry |= {"ap_pooled": figures.ap_pooled, "f_best": figures.best.f}
                    bar.console.print(
                        f"epoch {run.state.epoch}: AP@0.33 of the held-out groups {figures.ap_pooled:.4f}"
                    )
                    if plan.patience is not None:
                        remember(run, figures.ap_pooled, folder)
                entry |= {"elapsed_s": run.state.elapsed_ns // 10**9, "peak_memory_mib": round(peak_memory_mib())}
                append_json(folder / "log.jsonl", entry)
                save_checkpoint(folder / "last.pt", run.snapshot())
                observer.sees_epoch(entry)
        bar.update(task, completed=1000, note="")
    if not team.is_first:
        return None
    state, net = praised(run, plan.patience, folder)
    if figures is None or judged_at != state.epoch:  # the clock may have run out after the last look
        figures = validate(net, split.validation)
    save_checkpoint(folder / "final.pt", state)
    write_json(folder / "figures.json", figures.as_dict())
    observer.ends(figures, net, split.validation)
    return figures


def _steps(run: Learner, pictures: Pictures, clock: _Clock) -> Iterator[tuple[float, float]]:
    """Learn an epoch's batches until the run is over; give before which share of the run each was, and its loss."""
    for index, batch in enumerate(pictures.batches(run.state.epoch)):
        done = clock.done(run.state.epoch + index / pictures.steps)
        if done >= 1.0:
            return
        yield done, run.learn(batch, clock.plan.rate * one_cycle(done, LAST_RATE))


def check_folder(folder: Path, resume: bool) -> None:
    """Refuse a folder that a run cannot be in, before anything is read or written.

    Args:
        folder: of the run.
        resume: whether a run that is there is to go on.

    Raises:
        ConfigError: It is no folder, it holds a run that was not to be resumed, or one that cannot be.
    """
    if not next(path for path in (folder, *folder.parents) if path.exists()).is_dir():
        raise ConfigError(f"{folder}: is a file or lies in one; --out RUN names a folder")
    has_last, has_final = ((folder / name).is_file() for name in ("last.pt", "final.pt"))
    if (has_last or has_final) and not resume:
        raise ConfigError(f"{folder}: holds a run already; --resume goes on with it, --out RUN starts another")
    if has_final and not has_last:
        raise ConfigError(f"{folder}: has no last.pt to go on from; restore it, or --out RUN starts another")


def _begin(split: Split, plan: Plan, folder: Path) -> Checkpoint:
    make_folder(folder)
    asked = Checkpoint(
        asdict(plan),
        plan.shape(len(split.train.classes)),
        split.train.classes,
        holdout=split.validation.groups(),
        dataset_digest=dataset_digest(split.whole()),
        source_commit=source_commit(),
    )
    return beginning(folder, asked)


@dataclass(frozen=True, slots=True)
class _Clock:
    """How much of the run is over: by epochs, or by the time spent."""

    plan: Plan
    began_ns: int
    team: Team

    def done(self, epoch: float) -> float:
        if self.plan.budget_minutes is not None:
            return self.team.agree((time.monotonic_ns() - self.began_ns) / (self.plan.budget_minutes * 60e9))
        return epoch / (self.plan.epochs or 1)


def one_cycle(done: float, last: float, warm: float = 0.08) -> float:
    """Return the learning rate's factor: up from 1/25 over the warm-up, then down a half cosine.

    Args:
        done: share of the run that is over, 0..1.
        last: factor at the end.
        warm: share of the run that warms up.

    Source:
        Super-Convergence (arXiv 1708.07120).
    """
    if done < warm:
        return 0.04 + 0.96 * done / warm
    return last + (1 - last) * 0.5 * (1 + math.cos(math.pi * (done - warm) / (1 - warm)))


def _progress(is_shown: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    note = TextColumn("{task.fields[note]}")
    return Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), note, console=console, disable=not is_shown)
