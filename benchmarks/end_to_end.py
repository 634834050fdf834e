"""From the picture, and from the trigger, to the action at a subscriber, beside the bare `session.run` of the model.

The line is the real one: a mosquitto process, an `appliance run` process, a durable ledger, a consumer.
The pictures are files without compression, as a camera has no JPEG to decode, and the next one is read ahead.
The bare figures are taken right before and right after in an idle process, on the same pictures, with as many threads
as the line takes, and with the processor kept awake as the line keeps it: one picture right after the other, and one at
the line's own pace, with colder caches. Exit code 1: at the sustained rate a part was lost or a FAULT, or the way
from the picture to the action took longer than LARGEST_RATIO times the bare model without a pause.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from appliance.bundle.archive import read_bundle
from appliance.demo.station import SHIPPED_BUNDLE
from appliance.engine import default_threads
from appliance.processor import Wakefulness
from appliance.report import percentiles
from appliance.runtimes.onnx import onnxruntime  # not on its own: it would tell its makers of this computer
from appliance.simulator.line import SimulatedLine
from benchmarks.results import machine, write

PICTURES = 200
LARGEST_RATIO = 1.2
WAYS = ("frame_to_action", "round_trip")


def write_pictures(folder: Path, count: int = PICTURES, form: str = "bmp") -> list[Path]:
    """Write simulated boards: uncompressed as a camera delivers them, or as `jpg`, as a recorder would."""
    line = SimulatedLine(seed=77, defect_rate=0.1, parts_per_family=20)
    paths = []
    for number in range(count):
        path = folder / f"{number:04d}.{form}"
        cv2.imwrite(str(path), line.part(number).pixels, [cv2.IMWRITE_JPEG_QUALITY, 92])
        paths.append(path)
    return paths


def bare_ms(bundle: Path, paths: list[Path], threads: int, runs: int, rate_hz: float | None = None) -> list[float]:
    """Time `session.run` alone, in milliseconds, with ONNX Runtime's defaults but for the threads; paced, if asked."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(read_bundle(bundle).model_onnx, options, providers=["CPUExecutionProvider"])
    pictures = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)[None, :, :, None] for path in paths[:50]]
    for picture in pictures[:20]:
        session.run(None, {"image": picture})
    spent = []
    pause = threading.Event()
    with Wakefulness(0):
        for number in range(runs):
            if rate_hz is not None:
                pause.wait(1 / rate_hz)
            picture = np.ascontiguousarray(pictures[number % len(pictures)])
            started_ns = time.monotonic_ns()
            session.run(None, {"image": picture})
            spent.append((time.monotonic_ns() - started_ns) / 1e6)
    return spent


def line_run(bundle: Path, pictures: Path, parts: int, rate_hz: float, more: Sequence[str] = ()) -> dict[str, Any]:
    """Run the demo on recorded pictures, with more of its arguments, and return its report."""
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        command = [sys.executable, "-m", "appliance", "demo", "--images", str(pictures), "--bundle", str(bundle),
                   "--parts", str(parts), "--rate", str(rate_hz), "--json", report.name, *more]  # fmt: skip
        ended = subprocess.run(command, check=False, capture_output=True, text=True)
        text = Path(report.name).read_text(encoding="utf-8")
        if not text:
            raise SystemExit(f"the demo ended with {ended.returncode} and no report: {ended.stderr[-500:]}")
        return dict(json.loads(text))


def ratios(report: dict[str, Any], bare_hot: dict[str, float], bare_paced: dict[str, float]) -> dict[str, Any]:
    """Return each way's median over the bare model's: run without a pause, and at the line's pace."""
    answer_ms = {way: report["latency_ms"][way]["p50"] for way in WAYS}
    return {
        way: {"over_hot": round(ms / bare_hot["p50"], 3), "over_paced": round(ms / bare_paced["p50"], 3)}
        for way, ms in answer_ms.items()
    }


def tell(name: str, figures: dict[str, float]) -> None:
    """Print one row of the table."""
    sys.stdout.write(f"{name:22} {figures['p50']:8.2f} {figures['p95']:8.2f} {figures['p99']:8.2f}\n")


def main() -> int:
    """Measure, print a table, write benchmarks/results/end_to_end.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=SHIPPED_BUNDLE)
    parser.add_argument("--latency-parts", type=int, default=300)
    parser.add_argument("--latency-rate", type=float, default=20.0)
    parser.add_argument("--sustained-parts", type=int, default=3000)
    parser.add_argument("--sustained-rate", type=float, default=50.0)
    arguments = parser.parse_args()
    threads = default_threads()
    lines = {"latency": (arguments.latency_parts, arguments.latency_rate),
             "sustained": (arguments.sustained_parts, arguments.sustained_rate)}  # fmt: skip
    hot: list[float] = []
    paced: dict[str, list[float]] = {name: [] for name in lines}
    reports: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = write_pictures(Path(folder))
        for name, (parts, rate_hz) in lines.items():
            for is_before in (True, False):
                hot += bare_ms(arguments.bundle, paths, threads, 150)
                paced[name] += bare_ms(arguments.bundle, paths, threads, 150, rate_hz)
                if is_before:
                    reports[name] = line_run(arguments.bundle, Path(folder), parts, rate_hz)
    with Wakefulness(0) as processor:  # as it is for the line and for the bare model, each on its own
        seen = processor.seen
    bare_hot = percentiles(hot)
    bare_paced = {name: percentiles(spent) for name, spent in paced.items()}
    found = {name: ratios(report, bare_hot, bare_paced[name]) for name, report in reports.items()}
    sys.stdout.write(f"\nthe processor {seen}; milliseconds: {'p50':>8} {'p95':>8} {'p99':>8}\n")
    tell(f"bare, {threads} thread(s)", bare_hot)
    for name, (parts, rate_hz) in lines.items():
        report = reports[name]
        sys.stdout.write(f"\n{name}: {parts} parts at {rate_hz:g}/s over {report['broker']}\n")
        tell("bare at this pace", bare_paced[name])
        for stage, figures in report["latency_ms"].items():
            tell(stage, figures)
        sys.stdout.write(f"verdicts {report['verdicts']}, losses {report['losses']}\n")
        for way, over in found[name].items():
            sys.stdout.write(f"{way} p50: {over['over_hot']:.2f} x bare, {over['over_paced']:.2f} x at its pace\n")
    write("end_to_end", {
        "machine": machine(), "processor": seen, "threads": threads,
        "bare_ms": bare_hot, "bare_paced_ms": bare_paced, "ratios": found, **reports,
    })  # fmt: skip
    sustained = reports["sustained"]
    is_kept = not any(sustained["losses"].values()) and not sustained["verdicts"]["FAULT"]
    return 0 if is_kept and found["sustained"]["frame_to_action"]["over_hot"] <= LARGEST_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
