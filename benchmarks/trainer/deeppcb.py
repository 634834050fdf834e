"""The figures to reach on DeepPCB, by the commands that anybody would use: train, export, evaluate.

`python -m benchmarks.trainer.deeppcb --data DeepPCB/PCBData --holdout A,B --runs FOLDER`: trains a net on the other
board groups in each way, exports it with all its models, judges the bundle on the groups that were held out, and keeps
runs, bundles and whole evaluations in FOLDER. A run that is there goes on from where it ended, so a kill costs little.
What stands behind `--` is added to `trainer train`.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from appliance.arguments import names
from appliance.errors import ConfigError
from benchmarks.mistakes import tell_mistakes
from benchmarks.results import RESULTS, machine
from trainer.checkpoint import load_checkpoint
from trainer.files import write_json
from trainer.progress import results

WAYS = {
    "compared": (),
    "single": ("--reference", "no"),
    "single_nano": ("--reference", "no", "--size", "nano"),
}
"""What each way adds to `trainer train`: beside the template; from the picture alone; so with the smallest net."""

ENOUGH_AP = 0.95
MOST_OVERKILL = 0.001
MOST_ESCAPES = 0.008


def main(argv: Sequence[str] | None = None) -> int:
    """Train, export and judge in each way; print a table; write the figures down."""
    parser = argparse.ArgumentParser(prog="benchmarks.trainer.deeppcb", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--holdout", type=names, required=True, metavar="A,B", help="board groups to judge on")
    parser.add_argument("--runs", type=Path, required=True, help="keeps runs, bundles and evaluations")
    parser.add_argument("--ways", type=_ways, default=tuple(WAYS), metavar="A,B", help=f"of {', '.join(WAYS)}")
    parser.add_argument("--json", type=Path, default=RESULTS / "deeppcb.json", help="default %(default)s")
    parser.add_argument("train", nargs="*", help="behind --: more for `trainer train`, such as --workers 1")
    arguments = parser.parse_args(argv)
    rows = json.loads(arguments.json.read_text())["ways"] if arguments.json.exists() else {}
    for way in arguments.ways:
        rows[way] = measure(way, arguments)
        write_json(arguments.json, {"ways": rows})
    show(rows)
    return 0


def _ways(text: str) -> tuple[str, ...]:
    asked = names(text)
    if unknown := set(asked) - set(WAYS):
        raise argparse.ArgumentTypeError(f"no way {', '.join(sorted(unknown))}; there are {', '.join(WAYS)}")
    return asked


def measure(way: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Make the bundle of one way and return its figures.

    Raises:
        ConfigError: A command failed; its own words are on the standard error before.
    """
    folder = arguments.runs / way
    folder.mkdir(parents=True, exist_ok=True)
    run, bundle, groups = folder / "run", folder / "deeppcb.bundle", ",".join(arguments.holdout)
    if not (run / "final.pt").exists():
        asked = ("--data", arguments.data, "--holdout", groups, *WAYS[way], *arguments.train)
        _trainer("train", *asked, "--resume", "--out", run)  # which begins where there is nothing to go on with
    state = load_checkpoint(run / "final.pt")
    if set(state.holdout) != set(arguments.holdout):
        raise ConfigError(f"{run}: held out {', '.join(state.holdout)}; name these with --holdout, or another --runs")
    if not bundle.exists() or bundle.stat().st_mtime < (run / "final.pt").stat().st_mtime:
        bundle.unlink(missing_ok=True)
        made = ["--name", "deeppcb", "--json", folder / "export.json", "--few-golden", "as many as there are"]
        _trainer("export", run, *made, "--data", arguments.data, "--out", bundle)
    _trainer(
        "evaluate", "--bundle", bundle, "--data", arguments.data, "--groups", groups, "--json", folder / "figures.json"
    )
    epochs = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    found = json.loads((folder / "figures.json").read_text())
    net = {name: state.plan[name] for name in ("width", "depth", "detail", "reference", "seed")}
    told = {"machine": machine(), "held_out": sorted(state.holdout), "net": net, "training": training(epochs)}
    return told | figures(found)


def _trainer(*words: object) -> None:
    command = [sys.executable, "-m", "trainer", *map(str, words)]
    code = subprocess.run(command, check=False).returncode
    if code:
        raise ConfigError(f"`trainer {words[0]}` ended with {code}; mend what it says, then repeat the command")


def training(epochs: list[dict[str, Any]]) -> dict[str, Any]:
    """Tell what the training took: of the epochs in log.jsonl, in order."""
    judged = [epoch for epoch in epochs if epoch.get("ap_pooled") is not None]
    enough = next((epoch for epoch in judged if epoch["ap_pooled"] >= ENOUGH_AP), None)
    return {
        "steps": epochs[-1]["step"],
        "seconds": epochs[-1]["elapsed_s"],
        "peak_memory_mib": max(epoch["peak_memory_mib"] for epoch in epochs),
        "seconds_to_ap_095": enough["elapsed_s"] if enough else None,
        "curve": [(epoch["step"], epoch["ap_pooled"]) for epoch in judged],
    }


def figures(found: dict[str, Any]) -> dict[str, Any]:
    """Take the figures to reach, with counts and bounds, out of what `trainer evaluate` wrote."""
    evidence, parts = found["evidence"], found["parts"]
    told = ("ap_pooled", "f_best", "f_at_limits", "ap50", "ap50_95", "calibration_error")
    clean = [point for point in evidence["roc"] if point["overkill"] <= MOST_OVERKILL * parts["good"]]
    safe = [point for point in evidence["roc"] if point["escapes"] <= MOST_ESCAPES * parts["bad"]]
    return {
        "ap_pooled": found["ap_pooled"],
        "ap_classes": found["ap_classes"],
        "best": found["best"],
        "at_limits": found["at_limits"],
        "parts": parts,
        "bounds": {name: evidence[name] for name in told} | {"parts": [evidence["escapes"], evidence["overkill"]]},
        "separation": evidence["separation"],
        "least_escapes_with_0.1_percent_overkill": min((point["escapes"] for point in clean), default=None),
        "least_overkill_with_0.8_percent_escapes": min((point["overkill"] for point in safe), default=None),
        "groups": {name: group["ap_pooled"] for name, group in found["groups"].items()},
        "parity": {name: other["ap_drop"] for name, other in found["parity"].items()},
        "detect_ms_p50": found["detect_ms_p50"],
    }


def show(rows: dict[str, Any]) -> None:
    """Print one line for each way."""
    table = Table(title="on board groups that were held out")
    for name in ("", "AP@0.33", "best F", "escapes", "overkill", "gap", "minutes", "memory MiB"):
        table.add_column(name, justify="left" if not name else "right")
    for way, row in rows.items():
        parts, took = row["parts"], row["training"]
        table.add_row(
            way,
            f"{row['ap_pooled']:.4f}",
            f"{row['best']['f']:.3f}",
            f"{parts['escapes']} of {parts['bad']}",
            f"{parts['overkill']} of {parts['good']}",
            f"{row['separation']['gap']:.2f}",
            f"{took['seconds'] / 60:.0f}",
            f"{took['peak_memory_mib']}",
        )
    results.print(table)


if __name__ == "__main__":
    sys.exit(tell_mistakes(main, "trainer.deeppcb"))
