"""Which gate stops which bad model: signed releases are given to a real agent beside a real line, one after another.

The line is an `appliance run` process with a mosquitto broker and recorded pictures, started again whenever it ends;
the agent's code fetches, proves and judges as on a device. The models are tiny: what a gate sees of them is verdicts,
scores and times, and those are the flaw's and not the size's. What parts decide is tried several times, with the
pictures in another order each time. Exit code 1: a release was caught elsewhere than it is known to be, or the good one
was, a part had no verdict or several, or the way back took too long.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.results import RESULTS, machine, write
from tests.bad_releases import FLAWS, KINDS, Flaw
from tests.trial_line import BUDGET_MS, MOST_MB, SLOW_S, TrialLine, as_rows

GATES = {
    "shadow_parts": 200, "canary_parts": 100, "watch_parts": 400, "watch_h": 0, "alpha": 0.05, "beta": 0.01,
    "most_imbalance": 0.05,
}  # fmt: skip
"""Fewer parts than a plant would ask for, so that all of it ends today; else what is allowed is as by default."""

BY_PARTS = ("SHADOW", "CANARY", "WATCH")
BEFORE_PARTS = ("BUILD", "PROVE")
BY_THEIR_CRASHES = ("hungry", "crashing")
"""Before WATCH a third crash is enough, so that chance has no part in it."""

MOST_ROLLBACK_S = 1.0
PARTS_BEFORE = 1000
"""Of the good release, before the first trial: so that the agent knows what is usual."""

Row = Mapping[str, Any]


def spread(numbers: Iterable[float]) -> str:
    """Return least, median and most in words; nothing for all zero, one number where they are equal."""
    found = sorted(numbers)
    if not any(found):
        return ""
    if found[0] == found[-1]:
        return f"{found[0]:,}"
    return f"{found[0]:,} / {statistics.median_low(found):,} / {found[-1]:,}"


def by_model(models: Sequence[Row]) -> list[tuple[str, str, str, str]]:
    """Return for each model its name with its mistake, what caught it, after how many parts, and how many FAULTs."""
    rows = []
    for name in dict.fromkeys(each["model"] for each in models):
        tries = [each for each in models if each["model"] == name]
        gates = " or ".join(sorted({each["caught_at"] for each in tries}))
        faults = spread(each["faults"] for each in tries) or "0"
        where = gates.replace("success", "**no gate**")
        rows.append((f"{name}: {tries[0]['mistake']}", where, spread(each["parts"] for each in tries), faults))
    return rows


def by_kind(models: Sequence[Row]) -> list[tuple[str, ...]]:
    """Return for each kind of badness what caught it before any part, in SHADOW, in CANARY and in WATCH."""
    rows = []
    for kind in KINDS:
        cells = []
        for gates in (BEFORE_PARTS, *((gate,) for gate in BY_PARTS)):
            caught = [each for each in models if each["kind"] == kind and each["caught_at"] in gates]
            names = dict.fromkeys(each["model"] for each in caught)
            parts = [spread(each["parts"] for each in caught if each["model"] == name) for name in names]
            if gates == BEFORE_PARTS:
                cells.append(", ".join(dict.fromkeys(each["caught_at"] for each in caught)))
            else:
                known = (" (a known part)" if "known part" in name else "" for name in names)
                cells.append(
                    "; ".join(f"{found or 'before the first'}{why}" for found, why in zip(parts, known, strict=True))
                )
        rows.append((kind, *cells))
    return rows


def table(models: Sequence[Row]) -> str:
    """Return both tables as Markdown."""
    lines = ["| kind | BUILD, PROVE | SHADOW | CANARY | WATCH |", "|---|---|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in by_kind(models)]
    lines += ["", "| model | caught at | parts seen | FAULTs |", "|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in by_model(models))]) + "\n"


def wrong(each: Row) -> str:
    """Say what is not as it must be; empty if nothing is."""
    if each["caught_at"] not in FLAWS[each["model"]].caught_at:
        return f"{each['caught_at']}, and not {' or '.join(FLAWS[each['model']].caught_at)}"
    if each["without_one_verdict"]:
        return f"{each['without_one_verdict']} of {each['announced']} parts have no verdict, or several"
    if each["rollback_s"] is not None and each["rollback_s"] > MOST_ROLLBACK_S:
        return f"the way back took {each['rollback_s']} s, and {MOST_ROLLBACK_S:g} s is allowed"
    return ""


def is_by_chance(flaw: Flaw) -> bool:
    """Whether it is of a kind, and the order of the pictures decides after how many parts it is caught."""
    gate = flaw.caught_at[0]
    return bool(flaw.kind) and gate in BY_PARTS and (gate == "WATCH" or flaw.kind not in BY_THEIR_CRASHES)


def kept_without(names: Sequence[str] | None) -> list[Row]:
    """Return what was measured before of the models that are not measured now; nothing where all are."""
    path = RESULTS / "bad_models.json"
    if not names or not path.exists():
        return []
    found = json.loads(path.read_text(encoding="utf-8"))["models"]
    return [{**each, "mistake": FLAWS[each["model"]].words} for each in found if each["model"] not in names]


def main() -> int:
    """Try the releases out, print the tables, write benchmarks/results/bad_models.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", nargs="*", choices=list(FLAWS), metavar="MODEL", help="these; others stay as they were"
    )
    parser.add_argument("--rate", type=float, default=80.0, help="parts a second, as far as the line keeps up")
    parser.add_argument("--tries", type=int, default=3, help="of each model that is caught by chance")
    arguments = parser.parse_args()
    models, trials = kept_without(arguments.only), []
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        TrialLine(Path(folder), GATES, arguments.rate) as line,
    ):
        line.wait_for_parts(PARTS_BEFORE)
        for name in arguments.only or FLAWS:
            for seed in range(arguments.tries if is_by_chance(FLAWS[name]) else 1):
                trials.append(line.try_out(name, seed=seed))
                sys.stdout.write(f"{trials[-1]}\n")
                sys.stdout.flush()
    models = sorted([*models, *as_rows(trials)], key=lambda each: list(FLAWS).index(each["model"]))
    sys.stdout.write(table(models))
    found = [f"{each['model']}: {words}\n" for each in models if (words := wrong(each))]
    sys.stdout.writelines(found)
    means = {"budget_ms": BUDGET_MS, "slow_s": SLOW_S, "memory_mb": MOST_MB, "gates": GATES}
    write("bad_models", {"machine": machine(), **means, "models": models})
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
