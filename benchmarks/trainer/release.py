"""What a release does in a second on this computer, from the pictures' files to verdicts, with each of its models.

`python -m benchmarks.trainer.release --bundle FILE --data FOLDER`: each picture is decoded, laid over its reference if
the model compares, and judged by the appliance's own code; all ways to run the model take turns on the same pictures.
Once one picture after the other, and once with the next one prepared by another thread meanwhile, as a station's
cameras do.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from appliance.arguments import count, names
from appliance.bundle.archive import Bundle, read_bundle
from appliance.bundle.manifest import Precision
from benchmarks.mistakes import tell_mistakes
from benchmarks.results import machine, write
from trainer.datasets import source
from trainer.datasets.reading import read_dataset
from trainer.datasets.sample import Dataset, Sample
from trainer.evaluate import EngineName, Runner, beside_truth, load_runtime
from trainer.metrics import Judged, average_precision, judge_parts, rank
from trainer.references import load_input
from trainer.seen import of_groups
from trainer.variants import engines

TURN = 20
"""Pictures that one way judges before the next has its turn."""


@dataclass(slots=True)
class Way:
    """One engine with one of the bundle's models, and what was measured of it."""

    name: str
    runner: Runner
    prepare_ms: list[float] = field(default_factory=list)
    detect_ms: list[float] = field(default_factory=list)
    beside_s: float = 0.0
    judged: list[Judged] = field(default_factory=list)

    def figures(self, limits: np.ndarray) -> dict[str, Any]:
        """Return the figures as plain values."""
        both_ms = np.add(self.prepare_ms, self.detect_ms)
        parts = judge_parts(self.judged, limits)
        return {
            "ap_pooled": average_precision(rank([part for part in self.judged if len(part.true_labels)])),
            "escapes": parts.escapes,
            "overkill": parts.overkill,
            "prepare_ms_p50": float(np.median(self.prepare_ms)),
            "detect_ms_p50": float(np.median(self.detect_ms)),
            "pictures_per_s": len(both_ms) / float(both_ms.sum()) * 1000,
            "pictures_per_s_prepared_beside": len(both_ms) / self.beside_s,
        }


def ways(bundle: Bundle, threads: int) -> Iterator[Way]:
    """Load the bundle's models into the engines that are here."""
    for engine in engines():
        for precision in bundle.holds():
            if engine == "openvino" and precision == "fp16":
                continue
            yield Way(f"{engine} {precision}", _runner(bundle, engine, precision, threads))


def _runner(bundle: Bundle, engine: EngineName, precision: Precision, threads: int) -> Runner:
    runtime = load_runtime(engine, bundle.model(precision), bundle.manifest, threads, precision)
    return Runner(runtime, bundle.manifest)


def judge_turn(way: Way, samples: tuple[Sample, ...], dataset: Dataset, channels: int) -> None:
    """Judge some pictures one after the other, and then again with the next one prepared meanwhile."""
    classes = [item.name for item in way.runner.manifest.classes]
    for sample in samples:
        began_ns = time.monotonic_ns()
        pixels = load_input(sample, channels)
        ready_ns = time.monotonic_ns()
        found = way.runner.detect(pixels)
        way.detect_ms.append((time.monotonic_ns() - ready_ns) / 1e6)
        way.prepare_ms.append((ready_ns - began_ns) / 1e6)
        way.judged.append(beside_truth(found, sample, dataset.classes, classes))
    with ThreadPoolExecutor(1) as beside:
        began_ns = time.monotonic_ns()
        for pixels in beside.map(lambda sample: load_input(sample, channels), samples):
            way.runner.detect(pixels)
        way.beside_s += (time.monotonic_ns() - began_ns) / 1e9


def measure(bundle: Bundle, dataset: Dataset, threads: int) -> dict[str, dict[str, Any]]:
    """Let all ways take turns over the pictures; return the figures of each."""
    cv2.setNumThreads(1)
    limits = np.array([item.limit for item in bundle.manifest.classes])
    found = list(ways(bundle, threads))
    for first in range(0, len(dataset.samples), TURN):
        for way in found:
            turn = dataset.samples[first : first + TURN]
            judge_turn(way, turn, dataset, bundle.manifest.geometry.channels)
    return {way.name: way.figures(limits) for way in found}


def main() -> int:
    """Measure, print a table, write benchmarks/results/release.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    source.add_arguments(parser)
    parser.add_argument("--groups", type=names, default=())
    parser.add_argument("--threads", type=count, default=2)
    arguments = parser.parse_args()
    dataset = read_dataset(source.source_of(arguments))
    kept = of_groups(dataset, arguments.groups)
    bundle = read_bundle(arguments.bundle)
    figures = measure(bundle, kept, arguments.threads)
    sys.stdout.write(f"{len(kept.samples)} pictures, {arguments.threads} thread(s)\n")
    sys.stdout.write(f"{'':20}{'AP@0.33':>9}{'prepare':>9}{'detect':>9} ms{'/s':>8}{'/s beside':>11}\n")
    for name, row in figures.items():
        sys.stdout.write(
            f"{name:20}{row['ap_pooled']:9.4f}{row['prepare_ms_p50']:9.1f}{row['detect_ms_p50']:9.1f}   "
            f"{row['pictures_per_s']:8.1f}{row['pictures_per_s_prepared_beside']:11.1f}\n"
        )
    write(
        "release", {"machine": machine(), "pictures": len(kept.samples), "threads": arguments.threads, "ways": figures}
    )
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes(main, "trainer.release"))
