"""What the shipped weights are worth where there is little to learn from.

`python -m benchmarks.trainer.little_data --data FOLDER`: from so many defective pictures and as many good ones, spread
over the training groups, nets are fitted for the same number of steps, from random weights and from the shipped ones,
each with several seeds, and judged on the held-out groups. As any factory's pictures would be: without the painted
defects that only pictures of binarised copper allow, unless `--painted`, and without references, unless `--reference`.
`--tiles FOLDER` does so with drawn tiles, which are no boards and are kept there, and judges on tiles drawn apart.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

from rich.table import Table

from appliance.arguments import count, names, whole
from benchmarks.mistakes import tell_mistakes
from benchmarks.results import RESULTS, machine
from benchmarks.trainer.tiles import PICTURES, drawn
from trainer.backbone import find_backbone
from trainer.datasets import source
from trainer.datasets.reading import read_dataset
from trainer.datasets.sample import spread
from trainer.datasets.split import Split, split_by_group
from trainer.defaults import complete
from trainer.device import choose
from trainer.files import write_json
from trainer.pictures import steps_per_pass
from trainer.plan import Plan
from trainer.progress import results
from trainer.train import train

COUNTS = (25, 50, 100, 200)
STEPS = 1_000
SEEDS = (0, 1, 2)


def main(argv: Sequence[str] | None = None) -> int:
    """Fit, judge, print a table, write the figures down after each pair."""
    parser = argparse.ArgumentParser(prog="benchmarks.trainer.little_data", description=__doc__)
    source.add_arguments(parser, is_required=False)
    parser.add_argument("--tiles", type=Path, metavar="FOLDER", help="drawn tiles instead of --data, kept there")
    parser.add_argument("--pictures", type=count, default=PICTURES, help="tiles to choose from; default %(default)s")
    parser.add_argument("--holdout", type=names, default=(), metavar="A,B", help="groups to judge on")
    parser.add_argument("--counts", type=_counts, default=COUNTS, metavar="N,N", help="defective pictures")
    parser.add_argument("--seeds", type=_seeds, default=SEEDS, metavar="N,N", help="of everything random")
    parser.add_argument("--reference", action="store_true", help="beside their references")
    parser.add_argument("--painted", action="store_true", help="with the defects that are painted on binarised copper")
    parser.add_argument("--steps", type=count, default=STEPS, help="default %(default)s")
    parser.add_argument(
        "--json", type=Path, help="default: little_data.json (with _tiles, _compared) in benchmarks/results"
    )
    arguments = parser.parse_args(argv)
    is_drawn = arguments.tiles is not None
    if (arguments.data is None) is not is_drawn:
        parser.error("give --data or --tiles")
    if is_drawn and (arguments.reference or arguments.holdout or arguments.painted):
        parser.error("--tiles are no boards and are judged on others: leave out --reference, --holdout and --painted")
    halves = _tiles(arguments.tiles, arguments.pictures) if is_drawn else _boards(arguments)
    suffix = "_compared" if arguments.reference else "_tiles" if is_drawn else ""
    path = arguments.json or RESULTS / f"little_data{suffix}.json"
    held_out = "drawn apart" if is_drawn else list(halves.validation.groups())
    told = {"machine": machine(), "steps": arguments.steps, "held_out": held_out}
    rows: list[dict[str, Any]] = []
    for wanted in arguments.counts:
        few = take(halves, wanted, arguments.painted)
        for seed in arguments.seeds:
            fitted = {kind: fit(few, kind, arguments.steps, seed, arguments.reference) for kind in ("none", "auto")}
            rows.append({"pictures": wanted, "seed": seed} | fitted)
            write_json(path, told | {"rows": rows})
    show(rows)
    return 0


def _boards(arguments: argparse.Namespace) -> Split:
    return split_by_group(read_dataset(source.source_of(arguments)), arguments.holdout)


def _tiles(folder: Path, pictures: int) -> Split:
    learned, unseen = (read_dataset(place) for place in drawn(folder, pictures))
    return Split(learned, unseen)


def _counts(text: str) -> tuple[int, ...]:
    return tuple(count(one) for one in names(text))


def _seeds(text: str) -> tuple[int, ...]:
    return tuple(whole(one) for one in names(text))


def take(halves: Split, wanted: int, is_painted: bool = False) -> Split:
    """Keep so many defective pictures of the training half, and as many good ones, spread over it."""
    bad = [sample for sample in halves.train.samples if not sample.is_good]
    good = [sample for sample in halves.train.samples if sample.is_good]
    copper = halves.train.copper if is_painted else None
    few = replace(halves.train, samples=(*spread(bad, wanted), *spread(good, wanted)), copper=copper)
    return replace(halves, train=few)


def fit(few: Split, weights: str, steps: int, seed: int, compares: bool) -> dict[str, Any]:
    """Fit a net and return its figures on the held-out groups."""
    asked, reference = Plan(epochs=1, seed=seed, device=choose("auto")), "yes" if compares else "no"
    plan = complete(asked, few, side_px=None, batch=None, reference=reference)
    a_pass = steps_per_pass(few.train, plan)
    passes = max(1, round(min(50, steps) / a_pass))
    plan = replace(plan, passes=passes, epochs=max(1, round(steps / a_pass / passes)), validate_every=10_000)
    shape = plan.shape(len(few.train.classes))
    backbone, _ = find_backbone(weights, None, shape)
    folder = Path(tempfile.mkdtemp(prefix="little-data-"))
    try:
        figures = train(few, plan, folder / "run", backbone=backbone)
    finally:
        shutil.rmtree(folder)
    assert figures is not None
    return {"ap_pooled": figures.ap_pooled, "f_best": figures.best.f} | {
        name: getattr(figures.parts, name) for name in ("bad", "escapes", "good", "overkill")
    }


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table: means over the seeds, and the least and most AP."""
    table = Table(title="from so many defective pictures, mean over the seeds")
    for name in ("", "random: AP@0.33", "escapes", "overkill", "shipped: AP@0.33", "escapes", "overkill"):
        table.add_column(name, justify="right")
    for pictures in dict.fromkeys(row["pictures"] for row in rows):
        cells = [str(pictures)]
        for kind in ("none", "auto"):
            runs = [row[kind] for row in rows if row["pictures"] == pictures]
            found = [run["ap_pooled"] for run in runs]
            cells += [
                f"{mean(found):.3f} ({min(found):.3f} to {max(found):.3f})",
                f"{mean(run['escapes'] for run in runs):.1f} of {runs[0]['bad']}",
                f"{mean(run['overkill'] for run in runs):.1f} of {runs[0]['good']}",
            ]
        table.add_row(*cells)
    results.print(table)


if __name__ == "__main__":
    sys.exit(tell_mistakes(main, "trainer.little_data"))
