"""What `trainer evaluate` and `trainer report` do, and how the figures are shown."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

import torch
from rich.table import Table

from appliance.bundle.archive import Bundle, read_bundle
from appliance.bundle.manifest import Precision
from appliance.errors import ConfigError
from trainer.datasets.reading import read_dataset
from trainer.datasets.sample import Dataset
from trainer.datasets.source import source_of
from trainer.evaluate import EngineName, Report, Runner, judge_samples, load_runtime, report
from trainer.export import weights_file
from trainer.files import write_json
from trainer.intervals import share
from trainer.metrics import Judged
from trainer.parity import Parity, TorchRuntime, compare_all
from trainer.progress import console as _err
from trainer.progress import results as _out
from trainer.report_page import write_page
from trainer.seen import Halves, apart, halves, of_groups, seen_groups, show_line
from trainer.spent import Spent, peak_memory_mib
from trainer.stress import borne_at_export, sweep
from trainer.threads import usual_at_once
from trainer.unmarked import Unmarked, judge_unmarked, read_unmarked
from trainer.variants import engines_of
from trainer.wording import at_its_limit, between, decimal, within

SCHEMA = "vi.evaluation/1"
"""Of the JSON file; docs/evaluation.md tells its keys."""


def evaluate(arguments: argparse.Namespace) -> int:
    """Judge a bundle on a data set.

    Args:
        arguments: of `trainer evaluate` or `trainer report`.

    Returns:
        The exit code; 1 if a figure is worse than asked for.
    """
    bundle = read_bundle(arguments.bundle)
    place = source_of(arguments)
    whole = read_dataset(place)
    compares = bundle.manifest.geometry.has_reference
    bad_parts = read_unmarked(place, arguments.bad_list, whole, compares=compares) if arguments.bad_list else ()
    asked = of_groups(whole, arguments.groups)
    seen = seen_groups(whole, bundle.manifest.lineage, asked)
    dataset, trained_on = apart(asked, seen)
    first: Precision = arguments.precision or "f32"
    runner = _runner(arguments, bundle, first, _engine(arguments, first))
    judged, spent = judge_samples(runner, dataset)
    figures = report(judged, bundle.manifest, spent, peak_memory_mib())
    show_report(figures)
    placed = _placed(judged, bundle)
    unmarked = judge_unmarked(runner, bad_parts) if bad_parts else None
    if unmarked:
        _out.print(unmarked.words(), soft_wrap=True)
    known = None
    if trained_on:
        its_judged, its_spent = judge_samples(runner, trained_on)
        known = report(its_judged, bundle.manifest, its_spent)
    told_apart = halves(judged, figures, known, seen, bundle.manifest)
    told_apart.show()
    refusals = refuse(figures, arguments.min_ap, arguments.max_escapes, arguments.max_overkill, unmarked)
    for words in refusals:
        _err.print(f"trainer: refused: {words}", soft_wrap=True)
    tolerances = borne_at_export(bundle.manifest.lineage.metrics)
    if arguments.stress:
        tolerances = sweep(runner, dataset, usual_at_once(arguments.threads))
        for name, tolerance in tolerances.items():
            _out.print(tolerance.words(name))
    found = _judged_otherwise(arguments, bundle, dataset)
    parity = _compared(bundle, f"{first} {arguments.runtime}", judged, found)
    if arguments.report:
        arguments.report.write(write_page(bundle, dataset, judged, figures, parity, told_apart, tolerances, unmarked))
    if arguments.json:
        others = {name: report(its, bundle.manifest, its_spent) for name, (its, its_spent) in found.items()}
        content = _content(bundle, runner, figures, others, told_apart)
        content |= {"refused": refusals, "tolerances": {name: asdict(each) for name, each in tolerances.items()}}
        content |= {"parity": {name: asdict(row) for name, row in parity.items()}}
        content |= {"unmarked": asdict(unmarked) if unmarked else None, "placed": placed and placed.as_dict()}
        write_json(arguments.json.path, content)
    return 1 if refusals else 0


def _placed(judged: list[Judged], bundle: Bundle) -> Report | None:
    """Judge the parts that lie over their reference by themselves; None where all do, or none."""
    kept = [part for part in judged if not part.is_misplaced]
    if not 0 < len(kept) < len(judged):
        return None
    placed = report(kept, bundle.manifest)
    show_line("without the parts that do not lie over their reference", placed)
    return placed


def _content(
    bundle: Bundle, runner: Runner, figures: Report, others: dict[str, Report], told_apart: Halves
) -> dict[str, Any]:
    """Return what the JSON file says but for tolerances, parity and refusals."""
    manifest = bundle.manifest
    about = {"name": manifest.name, "revision": manifest.revision, "precisions": list(bundle.holds())}
    limits = {item.name: item.limit for item in manifest.classes}
    return (
        {"schema": SCHEMA, "bundle": about, "bundle_digest": bundle.digest, "limits": limits}
        | {"engine": runner.describe()}
        | figures.as_dict()
        | told_apart.as_dict()
        | {"others": {name: each.as_dict() for name, each in others.items()}}
    )


def _runner(arguments: argparse.Namespace, bundle: Bundle, precision: Precision, engine: EngineName) -> Runner:
    if precision not in bundle.holds():
        raise ConfigError(
            f"--precision {precision}: {arguments.bundle} holds {', '.join(bundle.holds())}; name one of them, "
            "or export it again"
        )
    runtime = load_runtime(engine, bundle.model(precision), bundle.manifest, arguments.threads, precision)
    return Runner(runtime, bundle.manifest, arguments.overlap_px)


def _engine(arguments: argparse.Namespace, precision: Precision) -> EngineName:
    """Return what runs a model: only ONNX Runtime computes FP16 on a processor; asked for by name, another refuses."""
    is_beside = precision == "fp16" and arguments.precision != "fp16"
    engine: EngineName = "onnxruntime" if is_beside else arguments.runtime
    return engine


def _judged_otherwise(
    arguments: argparse.Namespace, bundle: Bundle, dataset: Dataset
) -> dict[str, tuple[list[Judged], Spent]]:
    """Judge with the bundle's other models too, and in torch where a run is named."""
    is_for_people_or_files = arguments.precision is None and bool(arguments.report or arguments.json)
    if not (arguments.parity or arguments.weights or is_for_people_or_files):
        return {}
    found = {}
    for precision in bundle.holds():
        if precision == (arguments.precision or "f32"):
            continue
        for engine in engines_of("int8") if precision == "int8" else (_engine(arguments, precision),):
            runner = _runner(arguments, bundle, precision, engine)
            found[f"{precision} {engine}"] = judge_samples(runner, dataset)
    if arguments.weights:
        torch.set_num_threads(arguments.threads)
        runtime = TorchRuntime(weights_file(arguments.weights), bundle)
        found["torch"] = judge_samples(Runner(runtime, bundle.manifest, arguments.overlap_px), dataset)
    return found


def _compared(
    bundle: Bundle, first: str, judged: list[Judged], found: dict[str, tuple[list[Judged], Spent]]
) -> dict[str, Parity]:
    if not found:
        return {}
    table = compare_all({first: judged} | {name: its for name, (its, _) in found.items()}, first, bundle.manifest)
    for name, row in table.items():
        _out.print(
            f"{name}: AP@0.33 {decimal(row.ap_pooled, 4)}, a score differs by "
            f"{decimal(row.largest_score_difference, 3)} at most, "
            f"{row.parts_changed} parts judged otherwise than with {first}",
            soft_wrap=True,
        )
    return table


def refuse(
    figures: Report,
    min_ap: float | None,
    max_escapes: float | None,
    max_overkill: float | None,
    unmarked: Unmarked | None = None,
) -> list[str]:
    """Say in words which figures are worse than asked for.

    Args:
        figures: of the bundle.
        min_ap: lowest pooled AP, 0..1, or None.
        max_escapes: most escapes in percent of the bad parts, or None.
        max_overkill: most overkill in percent of the good parts, or None.
        unmarked: bad parts that nobody has marked, whose escapes count with the others; None if there are none.

    Returns:
        One line for each refusal; a figure that could not be measured is refused too.
    """
    parts, more = figures.parts, unmarked.escapes if unmarked else share(0, 0)
    lines = []
    if min_ap is not None and not figures.ap_pooled >= min_ap:
        lines.append(f"AP@0.33: {decimal(figures.ap_pooled, 4)}, below {min_ap} (or nothing to measure on)")
    for name, count, whole, most in (
        ("escapes", parts.escapes + more.count, parts.bad + more.of, max_escapes),
        ("overkill", parts.overkill, parts.good, max_overkill),
    ):
        if most is not None and (not whole or 100 * count / whole > most):
            listed = f", {more.of} of them by --bad-list" if name == "escapes" and more.of else ""
            lines.append(
                f"{name}: {count} of {whole} parts{listed}, more than {most} % allowed (or nothing to measure on)"
            )
    return lines


def _cost(figures: Report) -> list[str]:
    memory = [] if figures.peak_memory_mib is None else [f"{figures.peak_memory_mib:.0f} MiB resident at most"]
    return ([] if figures.spent is None else [str(figures.spent)]) + memory


def _lost(figures: Report) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {decimal(value, 4)}" for name, value in figures.ap_lost.items())


def show_report(figures: Report) -> None:
    """Print the figures.

    Args:
        figures: of a bundle.
    """
    table = Table(title=f"{figures.pictures} pictures")
    for name in ("", "AP@0.33", "escapes", "overkill"):
        table.add_column(name, justify="right" if name else "left")
    parts = figures.parts
    whole = (f"{parts.escapes} of {parts.bad}", f"{parts.overkill} of {parts.good}")
    table.add_row("all, pooled over the classes", decimal(figures.ap_pooled, 4), *whole, style="bold")
    for name, value in figures.ap_classes.items():
        table.add_row(f"class {name}", decimal(value, 4))
    groups = [(f"group {name}", row) for name, row in figures.groups.items()]
    cameras = [(f"camera {name}", row) for name, row in figures.cameras.items()]
    for name, row in [*(groups if len(groups) <= 24 else []), *cameras]:
        counts = (f"{row.parts.escapes} of {row.parts.bad}", f"{row.parts.overkill} of {row.parts.good}")
        table.add_row(name, decimal(row.ap_pooled, 4), *counts)
    _out.print(table)
    behind = figures.evidence
    _out.print(
        f"95 % bounds: AP@0.33 {within(behind.ap_pooled, 4)}, escapes {between(behind.escapes)}, "
        f"overkill {between(behind.overkill)}",
        soft_wrap=True,
    )
    if (misplaced := behind.misplaced).of:
        _out.print(
            f"FAULT at a station: at least {misplaced.count} of {misplaced.of} parts do not lie over their reference "
            f"({between(misplaced)})",
            soft_wrap=True,
        )
    if behind.separation is not None:
        apart = behind.separation
        _out.print(f"highest score on a good part {apart.highest_good:.3f}, lowest on a bad one {apart.lowest_bad:.3f}")
    at, best = figures.at_limits, figures.best
    _out.print(
        f"with the good parts among them AP@0.33 {decimal(figures.ap_pooled_all, 4)}; "
        f"COCO AP50 {decimal(figures.coco.ap50, 4)}, AP50-95 {decimal(figures.coco.ap50_95, 4)}\n"
        f"at the bundle's limits: precision {decimal(at.precision, 4)}, recall {decimal(at.recall, 4)}, "
        f"F {decimal(at.f, 4)}; best F {decimal(best.f, 4)}{at_its_limit(best.limit)}\n"
        f"AP@0.33 is lost by: {_lost(figures)}\n"
        + "; ".join([f"calibration error {decimal(figures.calibration_error, 3)}", *_cost(figures)]),
        soft_wrap=True,
    )
