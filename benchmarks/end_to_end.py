"""From the trigger to the action at an MQTT subscriber, beside the bare `session.run` of the same model, in one run.

The line is the real one: a mosquitto process, an `appliance run` process, JPEG files, a durable ledger, a consumer.
The folder camera decodes the next JPEG while the present part is inspected, as a camera that exposes ahead would.
The bare figures are taken right before and right after in an idle process, on the same pictures and as many threads as
the line's configuration takes: one picture right after the other, and one at the line's own pace, because a processor
that has slept in between is slower at everything. Exit code 1: slower than the README promises.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime

from appliance.bundle.archive import read_bundle
from appliance.demo.station import SHIPPED_BUNDLE
from appliance.report import percentiles
from appliance.simulator.line import SimulatedLine
from benchmarks.results import machine, write

PICTURES = 200
LARGEST_RATIO = 1.4


def write_pictures(folder: Path) -> list[Path]:
    """Write simulated boards as JPEG, as a camera's recorder would."""
    line = SimulatedLine(seed=77, defect_rate=0.1, parts_per_family=20)
    paths = []
    for number in range(PICTURES):
        path = folder / f"{number:04d}.jpg"
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
    for number in range(runs):
        if rate_hz is not None:
            pause.wait(1 / rate_hz)
        picture = np.ascontiguousarray(pictures[number % len(pictures)])
        started_ns = time.monotonic_ns()
        session.run(None, {"image": picture})
        spent.append((time.monotonic_ns() - started_ns) / 1e6)
    return spent


def line_run(bundle: Path, pictures: Path, parts: int, rate_hz: float) -> dict[str, Any]:
    """Run the demo on recorded pictures and return its report."""
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        command = [sys.executable, "-m", "appliance", "demo", "--images", str(pictures), "--bundle", str(bundle),
                   "--parts", str(parts), "--rate", str(rate_hz), "--json", report.name]  # fmt: skip
        ended = subprocess.run(command, check=False, capture_output=True, text=True)
        text = Path(report.name).read_text(encoding="utf-8")
        if not text:
            raise SystemExit(f"the demo ended with {ended.returncode} and no report: {ended.stderr[-500:]}")
        return dict(json.loads(text))


def main() -> int:
    """Measure, print a table, write benchmarks/results/end_to_end.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=SHIPPED_BUNDLE)
    parser.add_argument("--latency-parts", type=int, default=300)
    parser.add_argument("--latency-rate", type=float, default=20.0)
    parser.add_argument("--sustained-parts", type=int, default=3000)
    parser.add_argument("--sustained-rate", type=float, default=50.0)
    arguments = parser.parse_args()
    threads = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        paths = write_pictures(Path(folder))
        before = bare_ms(arguments.bundle, paths, threads, 200)
        paced = bare_ms(arguments.bundle, paths, threads, 100, arguments.latency_rate)
        slow = line_run(arguments.bundle, Path(folder), arguments.latency_parts, arguments.latency_rate)
        paced += bare_ms(arguments.bundle, paths, threads, 100, arguments.latency_rate)
        between = bare_ms(arguments.bundle, paths, threads, 200)
        fast = line_run(arguments.bundle, Path(folder), arguments.sustained_parts, arguments.sustained_rate)
        after = bare_ms(arguments.bundle, paths, threads, 200)
    bare, bare_paced = percentiles([*before, *between]), percentiles(paced)
    answer_ms = slow["latency_ms"]["round_trip"]["p50"]
    ratio, paced_ratio = answer_ms / bare["p50"], answer_ms / bare_paced["p50"]
    sys.stdout.write(f"\nbare session.run, {threads} threads: p50 {bare['p50']:.2f} ms, p99 {bare['p99']:.2f} ms\n")
    sys.stdout.write(
        f"at {arguments.latency_rate:g}/s: p50 {bare_paced['p50']:.2f} ms, p99 {bare_paced['p99']:.2f} ms\n"
    )
    for name, report, rate_hz in (
        ("latency", slow, arguments.latency_rate),
        ("sustained", fast, arguments.sustained_rate),
    ):
        sys.stdout.write(f"\n{name}: {report['triggers']} parts at {rate_hz:g}/s over {report['broker']}\n")
        sys.stdout.write(f"{'stage':12} {'p50':>8} {'p95':>8} {'p99':>8} ms\n")
        for stage, figures in report["latency_ms"].items():
            sys.stdout.write(f"{stage:12} {figures['p50']:8.2f} {figures['p95']:8.2f} {figures['p99']:8.2f}\n")
        sys.stdout.write(f"verdicts {report['verdicts']}, losses {report['losses']}\n")
    sys.stdout.write(
        f"\ntrigger sent -> action received: p50 {ratio:.2f} x the bare model, {paced_ratio:.2f} x at its pace\n"
    )
    write("end_to_end", {
        "machine": machine(), "threads": threads, "bare_ms": bare, "bare_paced_ms": bare_paced,
        "bare_p50_ms": {"before": statistics.median(before), "between": statistics.median(between),
                        "after": statistics.median(after)},
        "latency": slow, "sustained": fast,
        "round_trip_p50_over_bare_p50": round(ratio, 3), "round_trip_p50_over_paced_p50": round(paced_ratio, 3),
    })  # fmt: skip
    is_kept = ratio <= LARGEST_RATIO and not any(fast["losses"].values()) and not fast["verdicts"]["FAULT"]
    return 0 if is_kept else 1


if __name__ == "__main__":
    sys.exit(main())
