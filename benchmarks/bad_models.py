"""Which gate stops which bad model: signed releases are given to a real agent beside a real line, one after another.

The line is an `appliance run` process with a mosquitto broker and recorded pictures, started again whenever it ends;
the agent's code fetches, proves and judges as on a device. The models are tiny: what a gate sees of them is verdicts,
scores and times, and those are the flaw's and not the size's. Exit code 1: a release was caught elsewhere than it is
known to be, or the good one was.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.results import machine, write
from tests.bad_releases import FLAWS
from tests.trial_line import BUDGET_MS, MOST_MB, SLOW_S, Trial, TrialLine, as_rows

GATES = {
    "shadow_parts": 200, "canary_parts": 100, "watch_parts": 400, "watch_h": 0, "alpha": 0.05, "beta": 0.01,
    "most_imbalance": 0.05,
}  # fmt: skip
"""Fewer parts than a plant would ask for, so that all of it ends today; else what is allowed is as by default."""

MOST_SHOWN = 160
PARTS_BEFORE = 1000
"""Of the good release, before the first trial: so that the agent knows what is usual."""


def table(trials: list[Trial]) -> str:
    """Return the rows as Markdown."""
    rows = ["| model | caught at | parts seen | FAULTs | reason |", "|---|---|---|---|---|"]
    for each in trials:
        where = "**no gate**" if each.caught_at == "success" else each.caught_at
        reason = each.reason if len(each.reason) <= MOST_SHOWN else f"{each.reason[:MOST_SHOWN]}..."
        rows.append(f"| {each.model}: {each.mistake} | {where} | {each.parts or ''} | {each.faults} | {reason} |")
    return "\n".join(rows) + "\n"


def main() -> int:
    """Try the releases out, print the table, write benchmarks/results/bad_models.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=list(FLAWS), metavar="MODEL", help="these (default: all)")
    parser.add_argument("--rate", type=float, default=80.0, help="parts a second, as far as the line keeps up")
    arguments = parser.parse_args()
    trials = []
    with tempfile.TemporaryDirectory() as folder, TrialLine(Path(folder), GATES, arguments.rate) as line:
        line.wait_for_parts(PARTS_BEFORE)
        for name in arguments.only or FLAWS:
            trials.append(line.try_out(name))
            sys.stdout.write(f"{trials[-1]}\n")
            sys.stdout.flush()
    sys.stdout.write(table(trials))
    elsewhere = [each for each in trials if each.caught_at not in FLAWS[each.model].caught_at]
    for each in elsewhere:
        sys.stdout.write(f"{each.model}: {each.caught_at}, and not {' or '.join(FLAWS[each.model].caught_at)}\n")
    if not arguments.only:
        means = {"budget_ms": BUDGET_MS, "slow_s": SLOW_S, "memory_mb": MOST_MB, "gates": GATES}
        write("bad_models", {"machine": machine(), **means, "models": as_rows(trials)})
    return 1 if elsewhere else 0


if __name__ == "__main__":
    sys.exit(main())
