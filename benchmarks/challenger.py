"""How many parts a device needs to pass a good model and to fail a bad one; made-up lines, fixed seeds.

Each row is a line and a candidate of docs/challenger.md, judged with the default settings again and again. Exit code 1:
a candidate as good as the model in force failed, or one that is worse than allowed passed, more often than the settings
say.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from appliance.bundle.gate_settings import GateSettings
from appliance.update.challenger import ShadowGate, ShadowState
from appliance.update.criteria import Outcome
from appliance.update.watch import Reference, Stage, WatchGate, WatchState
from benchmarks.challenger_lines import BUDGET_MS, Candidate, line_parts, pairs
from benchmarks.results import machine, write

SETTINGS = GateSettings()
RUNS = 100
BEFORE = Reference(300, 10_000)
PER_H = 100.0
MANY_BEFORE = Reference(1500, 50_000)


@dataclass(frozen=True, slots=True)
class Run:
    """How one ended: after how many parts that counted, of them of the class that the candidate is blind to."""

    outcome: Outcome
    cause: str
    parts: int
    of_class: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; is_good: as good as what is in force, None: allowed, but not the same."""

    gate: str
    words: str
    is_good: bool | None
    run: Callable[[np.random.Generator], Run]


def shadow(candidate: Candidate, rejected: float = 0.05, dark: float = 0.0) -> Callable[[np.random.Generator], Run]:
    gate = ShadowGate(SETTINGS, BUDGET_MS)

    def run(rng: np.random.Generator) -> Run:
        state = ShadowState()
        for pair in pairs(candidate, rng, rejected=rejected, dark=dark):
            state = gate.take(state, pair)
            if state.outcome is not Outcome.CONTINUE:
                break
        of_class = sum(of for label, of, _ in state.labels if label == candidate.blind)
        return Run(state.outcome, state.cause, state.parts, of_class)

    return run


def watch(stage: Stage, before: Reference = BEFORE, **line: float) -> Callable[[np.random.Generator], Run]:
    gate = WatchGate(SETTINGS, stage, before, BUDGET_MS)

    def run(rng: np.random.Generator) -> Run:
        state = WatchState()
        for part in line_parts(rng, per_h=PER_H, **line):
            state = gate.take(state, part)
            if state.outcome is not Outcome.CONTINUE:
                break
        return Run(state.outcome, state.cause, state.parts)

    return run


ROWS = (
    Row("SHADOW", "the same in all, 5 % rejected", True, shadow(Candidate(0, 0, 0, spread=0))),
    Row("SHADOW", "as good, 5 % rejected", True, shadow(Candidate())),
    Row("SHADOW", "as good, 2 % rejected", True, shadow(Candidate(), 0.02)),
    Row("SHADOW", "as good, 20 % rejected", True, shadow(Candidate(), 0.2)),
    Row("SHADOW", "as good, 0.3 % rejected: too few bad parts", None, shadow(Candidate(), 0.003)),
    Row("SHADOW", "as good, half of the pictures too dark for both", True, shadow(Candidate(), dark=0.5)),
    Row("SHADOW", "accepts 20 % of what is rejected", False, shadow(Candidate(escapes=0.2))),
    Row("SHADOW", "accepts 50 % of what is rejected", False, shadow(Candidate(escapes=0.5))),
    Row("SHADOW", "accepts all", False, shadow(Candidate(escapes=1.0))),
    Row("SHADOW", "blind to a class: 20 % of the rejected parts", False, shadow(Candidate(blind="mousebite"))),
    Row("SHADOW", "blind to a class: 8 % of the rejected parts", None, shadow(Candidate(blind="spur"))),
    Row("SHADOW", "blind to a class: 2 % of the rejected parts", None, shadow(Candidate(blind="pinhole"))),
    Row("SHADOW", "rejects 5 % of what is accepted", False, shadow(Candidate(overkill=0.05))),
    Row("SHADOW", "rejects 20 % of what is accepted", False, shadow(Candidate(overkill=0.2))),
    Row("SHADOW", "over the latency budget: 2 %", False, shadow(Candidate(late=0.02))),
    Row("SHADOW", "over the latency budget: 10 %", False, shadow(Candidate(late=0.1))),
    Row("SHADOW", "gives no answer for 5 %", False, shadow(Candidate(faults=0.05))),
    Row("SHADOW", "NaN for one part in 1000", None, shadow(Candidate(not_a_number=0.001))),
    Row("SHADOW", "crashes at one part in 100", False, shadow(Candidate(crashes=0.01))),
    Row("SHADOW", "top scores 0.15 too high", False, shadow(Candidate(shift=0.15))),
    Row("SHADOW", "top scores 0.15 too low", False, shadow(Candidate(shift=-0.15))),
    Row("CANARY", "as good, 3 % diverted as before", True, watch(Stage.CANARY, diverted=0.03)),
    Row("CANARY", "diverts 15 % instead of 3 %", False, watch(Stage.CANARY, diverted=0.15)),
    Row("CANARY", "diverts 50 % instead of 3 %", False, watch(Stage.CANARY, diverted=0.5)),
    Row("CANARY", "over the deadline: 10 %", False, watch(Stage.CANARY, diverted=0.03, missed=0.1)),
    Row("WATCH", "as good, 3 % diverted as before", True, watch(Stage.WATCH, diverted=0.03)),
    Row("WATCH", "as good, 50,000 parts before", True, watch(Stage.WATCH, MANY_BEFORE, diverted=0.03)),
    Row("WATCH", "diverts 8 % instead of 3 %", False, watch(Stage.WATCH, diverted=0.08)),
    Row("WATCH", "7 % instead of 3 %, 50,000 parts before", False, watch(Stage.WATCH, MANY_BEFORE, diverted=0.07)),
    Row("WATCH", "diverts 10 % instead of 3 %", False, watch(Stage.WATCH, diverted=0.1)),
    Row("WATCH", "diverts nothing any more", False, watch(Stage.WATCH, diverted=0.0)),
    Row("WATCH", "over the latency budget: 3 %", False, watch(Stage.WATCH, diverted=0.03, late=0.03)),
    Row("WATCH", "gives no answer for 5 %", False, watch(Stage.WATCH, diverted=0.03, faults=0.05)),
)


def judged(row: Row, runs: int, seed: int) -> dict[str, Any]:
    """Judge a row again and again."""
    ended = [row.run(np.random.default_rng([seed, number])) for number in range(runs)]
    figures: dict[str, Any] = {"gate": row.gate, "candidate": row.words, "runs": runs}
    for outcome in (Outcome.PASS, Outcome.FAIL):
        parts = [run.parts for run in ended if run.outcome is outcome]
        figures[outcome.value] = len(parts)
        if parts:
            median, high = np.quantile(parts, (0.5, 0.95), method="higher")
            figures[f"{outcome.value}_parts"] = [int(median), int(high)]
    figures["causes"] = dict(Counter(run.cause for run in ended if run.cause).most_common())
    of_class = [run.of_class for run in ended if run.of_class and run.outcome is Outcome.FAIL]
    if of_class:
        figures["parts_of_the_class"] = [int(each) for each in np.quantile(of_class, (0.5, 0.95), method="higher")]
    return figures


def keeps_its_promise(row: Row, figures: dict[str, Any]) -> bool:
    """Whether errors are as rare as the settings say, with three standard deviations for chance."""
    if row.is_good is None:
        return True
    share, errors = (SETTINGS.beta, figures["fail"]) if row.is_good else (SETTINGS.alpha, figures["pass"])
    runs = figures["runs"]
    return bool(errors <= runs * share + 3 * (runs * share) ** 0.5)


def main() -> int:
    """Simulate, print, write benchmarks/results/challenger.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="of each row")
    args = parser.parse_args()
    table = Table("gate", "candidate", "PASS", "parts", "FAIL", "parts", "why")
    is_kept = True
    with ProcessPoolExecutor() as processes:
        waiting = [processes.submit(_judged, number, args.runs) for number in range(len(ROWS))]
        rows = [each.result() for each in track(waiting, "judging", console=Console(stderr=True))]
    for row, figures in zip(ROWS, rows, strict=True):
        is_kept &= keeps_its_promise(row, figures)
        ended = [text for kind in ("pass", "fail") for text in (str(figures[kind]), _parts(figures, f"{kind}_parts"))]
        why = ", ".join(f"{cause} {count}" for cause, count in figures["causes"].items())
        table.add_row(row.gate, row.words, *ended, f"{why} {_parts(figures, 'parts_of_the_class')}")
    Console(width=160).print(table)
    write("challenger", {"machine": machine(), "runs": args.runs, "rows": rows})
    return 0 if is_kept else 1


def _judged(number: int, runs: int) -> dict[str, Any]:
    return judged(ROWS[number], runs, number)


def _parts(figures: dict[str, Any], name: str) -> str:
    if name not in figures:
        return ""
    median, high = figures[name]
    return f"({median:,}, 95 %: {high:,})"


if __name__ == "__main__":
    sys.exit(main())
