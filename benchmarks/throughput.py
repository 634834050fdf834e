"""How many parts a second the whole line inspects, with each runtime, and what it adds to the bare model.

The line is that of `end_to_end`: mosquitto, `appliance run`, a durable ledger, a consumer, all on the same cores.
The bare figures are of the same runtime in an idle process, its answers checked as on the line, right before and right
after. Exit code 1: with one of the runtimes, whatever its threads, a part was lost or a FAULT, or the way from
the picture to the action took longer than LARGEST_RATIO times the bare model.
"""

import argparse
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from appliance.bundle.archive import read_bundle
from appliance.config import RuntimeSection
from appliance.demo.station import SHIPPED_BUNDLE
from appliance.engine import make_runtime
from appliance.processor import Wakefulness
from appliance.report import percentiles
from benchmarks.end_to_end import WAYS, line_run, tell, write_pictures
from benchmarks.results import machine, write

LARGEST_RATIO = 1.2


@dataclass(frozen=True, slots=True)
class Pace:
    """A runtime, and the parts a second that it must inspect on two cores."""

    kind: str
    precision: str
    threads: int
    rate_hz: float

    @property
    def name(self) -> str:
        """Words for a table."""
        return f"{self.kind} {self.precision}, {self.threads} thread(s)"

    @property
    def words(self) -> list[str]:
        """The demo's arguments."""
        return ["--runtime", self.kind, "--precision", self.precision, "--threads", str(self.threads)]


PACES = (
    Pace("onnx", "f32", 1, 60.0),
    Pace("openvino", "int8", 1, 100.0),
    Pace("openvino", "int8", 2, 100.0),
)
"""With one thread the model leaves a core to all else, and little time between two parts to its own thread; with two
it is the other way round. Which is better is the computer's own; a goal is met if it is met with one of them."""


def bare_ms(bundle: Path, pace: Pace, paths: list[Path], runs: int) -> list[float]:
    """Time the runtime alone, in milliseconds, at the line's pace."""
    section = RuntimeSection.model_validate({"kind": pace.kind, "precision": pace.precision, "threads": pace.threads})
    runtime = make_runtime(section, read_bundle(bundle))
    pictures = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)[None, :, :, None] for path in paths[:50]]
    spent, pause = [], threading.Event()
    with Wakefulness(0):
        for number in range(runs):
            started_ns = time.monotonic_ns()
            runtime.infer(pictures[number % len(pictures)])
            spent_ns = time.monotonic_ns() - started_ns
            spent.append(spent_ns / 1e6)
            pause.wait(max(0.0, 1 / pace.rate_hz - spent_ns / 1e9))
    runtime.close()
    return spent


def measure(bundle: Path, pace: Pace, paths: list[Path], parts: int, runs: int = 300) -> dict[str, Any]:
    """Run the line between two measurements of the bare model; returns all figures."""
    spent = bare_ms(bundle, pace, paths, runs)
    report = line_run(bundle, paths[0].parent, parts, pace.rate_hz, pace.words)
    bare = percentiles(spent + bare_ms(bundle, pace, paths, runs))
    over = {way: round(report["latency_ms"][way]["p50"] / bare["p50"], 3) for way in WAYS}
    return {
        "kind": pace.kind,
        "rate_hz": pace.rate_hz,
        "threads": pace.threads,
        "bare_ms": bare,
        "over_bare": over,
        **report,
    }


def is_kept(found: dict[str, Any]) -> bool:
    """Tell whether nothing was lost, everything was inspected, and little was added to the model."""
    is_whole = not any(found["losses"].values()) and not found["verdicts"]["FAULT"]
    return bool(is_whole and found["over_bare"]["frame_to_action"] <= LARGEST_RATIO)


def missed(found: list[dict[str, Any]]) -> set[str]:
    """Return the runtimes that keep their pace with no number of threads."""
    return {figures["kind"] for figures in found} - {figures["kind"] for figures in found if is_kept(figures)}


def main() -> int:
    """Measure, print a table for each runtime, write benchmarks/results/throughput.json."""
    parser = argparse.ArgumentParser(prog="benchmarks throughput", description=__doc__)
    parser.add_argument("--bundle", type=Path, default=SHIPPED_BUNDLE)
    parser.add_argument("--parts", type=int, default=3000)
    parser.add_argument("--only", choices=sorted({pace.kind for pace in PACES}), help="one runtime")
    parser.add_argument("--rate", type=float, help="another rate than the goal's, in parts a second")
    given = parser.parse_args()
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = write_pictures(Path(folder))
        for pace in PACES:
            if given.only in (None, pace.kind):
                asked = Pace(pace.kind, pace.precision, pace.threads, given.rate or pace.rate_hz)
                found[asked.name] = measure(given.bundle, asked, paths, given.parts)
    for name, figures in found.items():
        sys.stdout.write(f"\n{name}: {given.parts} parts at {figures['rate_hz']:g}/s over {figures['broker']}\n")
        sys.stdout.write(f"{'milliseconds':22} {'p50':>8} {'p95':>8} {'p99':>8}\n")
        tell("bare at this pace", figures["bare_ms"])
        for stage, times in figures["latency_ms"].items():
            tell(stage, times)
        words = ", ".join(f"{way} {over:.2f} x bare" for way, over in figures["over_bare"].items())
        sys.stdout.write(f"verdicts {figures['verdicts']}, losses {figures['losses']}; {words}\n")
    write("throughput", {"machine": machine(), "largest_ratio": LARGEST_RATIO, **found})
    goals = missed(list(found.values()))
    sys.stdout.write(f"\ngoals missed: {', '.join(sorted(goals)) or 'none'}\n")
    return 1 if goals else 0


if __name__ == "__main__":
    sys.exit(main())
