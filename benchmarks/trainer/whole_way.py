"""From data to figures by the commands that anybody would use: train, export, evaluate.

Runs, bundles and whole evaluations are kept in a folder, and what is there goes on from where it ended.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from appliance.errors import ConfigError
from benchmarks.results import machine
from trainer.checkpoint import load_checkpoint
from trainer.progress import results

ENOUGH_AP = 0.95
MOST_OVERKILL = 0.001
MOST_ESCAPES = 0.008
"""Shares of the good and of the bad parts."""


def measure(
    folder: Path, name: str, data: Path, train: Sequence[object], judge: Sequence[object], holdout: Sequence[str] = ()
) -> dict[str, Any]:
    """Make a bundle and return its figures.

    Args:
        folder: keeps the run, the bundle, and what was told of them; is made.
        name: of the bundle.
        data: to learn from.
        train: more words for `trainer train`.
        judge: words that tell `trainer evaluate` what to judge on.
        holdout: groups that the run must have held out; none: as it chose.

    Raises:
        ConfigError: A command failed; its own words are on the standard error before.
    """
    folder.mkdir(parents=True, exist_ok=True)
    run, bundle = folder / "run", folder / f"{name}.bundle"
    if not (run / "final.pt").exists():
        held_out = ("--holdout", ",".join(holdout)) if holdout else ()
        _trainer("train", "--data", data, *held_out, *train, "--resume", "--out", run)  # or begins
    state = load_checkpoint(run / "final.pt")
    if holdout and set(state.holdout) != set(holdout):
        raise ConfigError(f"{run}: held out {', '.join(state.holdout)}; name these with --holdout, or another --runs")
    if not bundle.exists() or bundle.stat().st_mtime < (run / "final.pt").stat().st_mtime:
        bundle.unlink(missing_ok=True)
        made = ["--name", name, "--json", folder / "export.json", "--few-golden", "as many as there are"]
        _trainer("export", run, *made, "--data", data, "--out", bundle)
    _trainer("evaluate", "--bundle", bundle, *judge, "--json", folder / "figures.json")
    epochs = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    found = json.loads((folder / "figures.json").read_text())
    net = {dial: state.plan[dial] for dial in ("width", "depth", "detail", "reference", "seed")}
    return {"machine": machine(), "net": net, "training": training(epochs)} | figures(found)


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
        "placed": _placed(found),
        "bounds": {name: evidence[name] for name in told} | {"parts": [evidence["escapes"], evidence["overkill"]]},
        "separation": evidence["separation"],
        "least_escapes_with_0.1_percent_overkill": min((point["escapes"] for point in clean), default=None),
        "least_overkill_with_0.8_percent_escapes": min((point["overkill"] for point in safe), default=None),
        "groups": {name: group["ap_pooled"] for name, group in found["groups"].items()},
        "parity": {name: other["ap_drop"] for name, other in found["parity"].items()},
        "detect_ms_p50": found["detect_ms_p50"],
    }


def _placed(found: dict[str, Any]) -> dict[str, Any] | None:
    """Take out what is said of the parts that lie over their reference; None where all do."""
    if not (placed := found["placed"]):
        return None
    told = ("ap_pooled", "at_limits", "parts")
    return (
        {"misplaced": found["evidence"]["misplaced"]}
        | {name: placed[name] for name in told}
        | {name: placed["evidence"][name] for name in ("precision", "recall", "f_at_limits")}
    )


def show(rows: dict[str, Any], title: str) -> None:
    """Print one line for each row of figures, by its name."""
    table = Table(title=title)
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
