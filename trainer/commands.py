"""What each command does, and how its result is shown."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from appliance.bundle.golden import lacking
from appliance.errors import ConfigError
from appliance.events import utc_now
from trainer.backbone import Backbone, find_backbone
from trainer.checkpoint import load_checkpoint
from trainer.datasets.reading import bundle_name, dataset_digest, read_dataset
from trainer.datasets.sample import Dataset
from trainer.datasets.source import AnySource, source_of, written_source
from trainer.datasets.split import Split
from trainer.defaults import complete, lone_pictures
from trainer.device import choose
from trainer.evaluate_command import show_report
from trainer.export import Exported, ExportOptions, weights_file
from trainer.export import export as write_export
from trainer.files import make_folder, write_json
from trainer.metrics import Parts
from trainer.operating_point import Wish
from trainer.plan import LARGEST_TEAM, USUAL_BATCH, USUAL_SIDE_PX, Plan
from trainer.plan_words import in_words as plan_in_words
from trainer.preflight import check_data, doubts
from trainer.progress import console as _err
from trainer.progress import results as _out
from trainer.resume import of_length
from trainer.split_commands import divide, show_split
from trainer.teacher import Teacher, find_teacher
from trainer.threads import usable_cores, usual_at_once
from trainer.tracking import Tracking, place_of, track_address
from trainer.train import check_folder
from trainer.train import train as run_training
from trainer.usual_size import sized
from trainer.variants import in_words
from trainer.wording import NOT_KNOWN, at_its_limit, decimal


def train(arguments: argparse.Namespace) -> int:
    """Read, tell what was read, fit, and tell how good it is.

    Args:
        arguments: of `trainer train`.

    Returns:
        The exit code.
    """
    _out.quiet = _err.quiet = os.environ.get("RANK", "0") != "0"  # under torchrun only the first one speaks
    check_folder(arguments.out, arguments.resume)
    asked = asked_plan(arguments)
    asked.check()
    place = source_of(arguments)
    split, leak = divide(read_dataset(place), arguments.holdout, arguments.seed, arguments.allow_leakage)
    show_split(split)
    asked, _, size_words = sized(asked, arguments, split.whole())
    plan = complete(asked, split, side_px=arguments.crop, batch=arguments.batch, reference=arguments.reference)
    if arguments.resume and asked.epochs is None and asked.budget_minutes is None:
        plan = of_length(plan, arguments.out)
    geometry = check_data(split, plan.input_channels)
    _err.print(
        f"{size_words}\n"
        f"the model takes {geometry.width} x {geometry.height} pixels{', each beside its reference' * plan.reference}; "
        f"it learns from crops of {plan.side_px} pixels, {plan.batch} a step\n{plan_in_words(plan, split)}",
        soft_wrap=True,
    )
    backbone = begun_with(arguments, plan, split.whole(), split.validation.groups())
    teacher = _taught_by(arguments.teacher, plan, split)
    lone = lone_pictures(split.whole(), arguments.reference)
    for words in filter(None, [*doubts(split, geometry), lone, leak]):
        _err.print(f"trainer: beware: {words}", soft_wrap=True)
    if not (arguments.out / "last.pt").is_file() and not _err.quiet:
        make_folder(arguments.out)
        write_json(arguments.out / "source.json", place.as_dict())
    observer = None if arguments.track is None else Tracking(place_of(arguments.track, arguments.out), arguments.out)
    figures = run_training(split, plan, arguments.out, arguments.resume, backbone, observer, teacher)
    if figures is None:
        return 0
    digest = load_checkpoint(arguments.out / "final.pt").averaged_digest
    _out.print(
        f"held-out groups: AP@0.33 {decimal(figures.ap_pooled, 4)}, best F {decimal(figures.best.f, 4)}"
        f"{at_its_limit(figures.best.limit, 2)}; {_in_parts(figures.parts)} there\n"
        f"averaged weights, SHA-256 {digest}\nnext: trainer export {arguments.out} --out FILE",
        soft_wrap=True,
    )
    if arguments.json:
        write_json(arguments.json.path, figures.as_dict() | {"averaged_weights_sha256": digest})
    return 0


def export(arguments: argparse.Namespace) -> int:
    """Write the bundle of a run.

    Args:
        arguments: of `trainer export`.

    Returns:
        The exit code.

    Raises:
        ConfigError: Run, data and options do not fit together.
    """
    options = ExportOptions(
        name=arguments.name or bundle_name(arguments.run.resolve().name, "model"),
        revision=arguments.revision or int(utc_now().strftime("%Y%m%d%H%M")),
        released_by=arguments.released_by,
        severities=arguments.severity,
        golden=arguments.golden,
        at_once=arguments.threads or usual_at_once(),
        is_stressed=not arguments.no_stress,
        wish=_wish(arguments),
        variants=arguments.precisions,
        few_golden=arguments.few_golden,
        intended_use=arguments.intended_use,
    )
    if arguments.data is None and (arguments.list or arguments.format or arguments.good_list):
        raise ConfigError("--list, --format and --good-list say more of --data: name that too, or leave them out")
    file = weights_file(arguments.run)
    state = load_checkpoint(file)
    place = source_of(arguments) if arguments.data else _source_of(arguments.run)
    options.check(state.classes)
    if file.name == "last.pt":
        words = f"has not ended; these are its weights after epoch {state.epoch}, and --resume goes on with it"
        _err.print(f"trainer: beware: {arguments.run} {words}", soft_wrap=True)
    tracking = None
    if arguments.track is not None:
        where = place_of(arguments.track or track_address(arguments.run), arguments.run)
        tracking = Tracking(where, arguments.run).about(state)
    result = write_export(arguments.run, read_dataset(place), options, arguments.out.path)
    show_report(result.report)
    _out.print(f"the limit {result.choice.limit:.3f} is chosen for {result.choice.reason}", soft_wrap=True)
    for doubt in result.doubts():
        _err.print(f"trainer: beware: {doubt}", soft_wrap=True)
    size_mb = arguments.out.path.stat().st_size / 1e6
    before, after = (decimal(e, 3) for e in (result.calibration.error_before, result.calibration.error_after))
    _out.print(
        f"calibration error {before} -> {after}; "
        f"torch and ONNX Runtime differ by {result.score_difference:.1e} in score, {result.box_difference_px:.1e} px\n"
        f"{arguments.out.path}: {size_mb:.2f} MB, SHA-256 {result.bundle.digest}"
    )
    for words in in_words(result.bundle.manifest.variants):
        _out.print(words, soft_wrap=True)
    for name, words in result.variants.refused.items():
        _err.print(f"trainer: no {name}: {words}", soft_wrap=True)
    if arguments.json:
        write_json(arguments.json.path, _as_dict(result, size_mb) | {"averaged_weights_sha256": state.averaged_digest})
    if tracking is not None:
        version = tracking.register(arguments.out.path, result.bundle, result.report)
        _out.print(f"registered as {result.bundle.manifest.name}, version {version}")
    return 0


def _as_dict(result: Exported, size_mb: float) -> dict[str, Any]:
    """Return what `trainer export --json` writes."""
    calibration = {"before": result.calibration.error_before, "after": result.calibration.error_after}
    return result.report.as_dict() | {
        "bundle_digest": result.bundle.digest,
        "bundle_mb": size_mb,
        "calibration_error_fold": calibration,
        "torch_difference": {"score": result.score_difference, "box_px": result.box_difference_px},
        "choice": asdict(result.choice),
        "golden_lacks": lacking(result.bundle.golden),
        "variants": {name: each.model_dump(mode="json") for name, each in result.variants.told().items()},
        "variants_refused": result.variants.refused,
    }


def _in_parts(parts: Parts | None) -> str:
    if parts is None:
        return f"escapes and overkill {NOT_KNOWN}"
    return f"escapes {parts.escapes} of {parts.bad}, overkill {parts.overkill} of {parts.good}"


def _wish(arguments: argparse.Namespace) -> Wish:
    bad, escapes, overkill = (
        None if value is None else value / 100
        for value in (arguments.bad_share, arguments.max_escapes, arguments.max_overkill)
    )
    return Wish(arguments.cost_escape, arguments.cost_overkill, bad, escapes, overkill)


def asked_plan(arguments: argparse.Namespace) -> Plan:
    """Return the dials that were chosen, and what never depends on the data; tune has fewer of them.

    The net's size is not among them (trainer.usual_size).

    Args:
        arguments: of `trainer train`, `tune` or `crossval`.
    """
    usual = Plan()
    chosen = vars(arguments)
    device = choose(arguments.device)
    return Plan(
        epochs=arguments.epochs,
        budget_minutes=chosen.get("budget_minutes"),
        batch=arguments.batch or USUAL_BATCH,
        side_px=arguments.crop or USUAL_SIDE_PX,
        seed=arguments.seed,
        threads=arguments.threads,
        workers=min(_workers(arguments, device), arguments.batch or USUAL_BATCH),
        device=device,
        channels=arguments.channels,
        rate=chosen.get("rate", usual.rate),
        good_share=chosen.get("good_share", usual.good_share),
        variation=chosen.get("variation", usual.variation),
        vary=chosen.get("vary", {}),
        patience=chosen.get("patience"),
    )


def begun_with(
    arguments: argparse.Namespace, plan: Plan, whole: Dataset, judged_on: tuple[str, ...]
) -> Backbone | None:
    """Return the weights that a net begins with, and say which.

    Args:
        arguments: of `trainer train`, `tune` or `crossval`.
        plan: completed.
        whole: all of the data, what is held out included.
        judged_on: names of the groups that some net of this command is judged on, or of one that follows.

    Raises:
        ConfigError: The file is missing, damaged, another one, of another net, or of a run that may have learned from
            what is judged on.
    """
    shape = plan.shape(len(whole.classes))
    defective = sum(not sample.is_good for sample in whole.samples)
    is_copper = whole.copper is not None
    backbone, words = find_backbone(arguments.weights, arguments.weights_digest, shape, defective, is_copper=is_copper)
    _err.print(f"the net {words}", soft_wrap=True)
    if backbone is None:
        return None
    if learned := backbone.may_have_learned(judged_on):
        learned = f"--weights {backbone.name}: that run {learned}, which is judged on here; the figures would flatter"
        if not vars(arguments).get("allow_leakage"):
            other = "; --allow-leakage begins with it all the same" if "allow_leakage" in arguments else ""
            raise ConfigError(f"{learned}: repeat its --holdout and --seed, or choose other --weights{other}")
        _err.print(f"trainer: beware: {learned}", soft_wrap=True)
    _compare_data(str(backbone), backbone.dataset_digest, whole)
    return backbone


def _compare_data(name: str, digest: str, whole: Dataset) -> None:
    """Say so if a run had other data: a group of the same name may then hold other pictures."""
    if digest and digest != dataset_digest(whole):
        _err.print(
            f"trainer: beware: {name} was made with other pictures, labels or held-out groups than these; see that it "
            "never learned from a picture that is held out here, else the figures flatter",
            soft_wrap=True,
        )


def _taught_by(run: Path | None, plan: Plan, split: Split) -> Teacher | None:
    """Return the run that teaches beside the labels, and say which."""
    if run is None:
        return None
    teacher = find_teacher(run, split.train.classes, plan.input_channels, split.validation.groups())
    _err.print(f"it learns the answers of {teacher}, too", soft_wrap=True)
    _compare_data(str(teacher), teacher.dataset_digest, split.whole())
    return teacher


def _workers(arguments: argparse.Namespace, device: str) -> int:
    """Return how many processes divide each step: those asked for, else those of the run, else one a GPU or core."""
    if arguments.workers:
        return int(arguments.workers)
    last = arguments.out / "last.pt"
    if last.is_file():
        return int(load_checkpoint(last).plan.get("workers", 1))
    return min(LARGEST_TEAM, torch.cuda.device_count() if device == "cuda" else usable_cores())


def _source_of(run: Path) -> AnySource:
    source = run / "source.json"
    try:
        return written_source(json.loads(source.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{source}: not what `trainer train` writes ({error}); name the data with --data") from error
