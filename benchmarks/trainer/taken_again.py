"""What a model that compares is worth where a part is not its reference to the last bit.

`python -m benchmarks.trainer.taken_again --bundle FILE --data FOLDER --groups A,B`: DeepPCB's good parts are the very
templates that they are compared with, and its other pictures lie exactly over theirs. So each picture is taken again,
as a camera at a line would: a little aside and turned, out of focus, lit otherwise, with a noise of its own. Its
reference stays as it is, and is laid over it as on the device.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from appliance.arguments import names
from appliance.bundle.archive import Bundle, read_bundle
from appliance.errors import ConfigError
from appliance.events import Pixels
from benchmarks.mistakes import tell_mistakes
from benchmarks.results import RESULTS, machine
from trainer.datasets import source
from trainer.datasets.reading import read_dataset
from trainer.datasets.sample import Boxes, Dataset, Sample, load_picture
from trainer.evaluate import BundleRunner, beside_truth, report
from trainer.files import write_json
from trainer.metrics import Judged
from trainer.progress import results, tracked
from trainer.references import load_input
from trainer.seen import of_groups
from trainer.stress import brighter, displaced
from trainer.threads import in_threads, usual_at_once

SHIFT_PX, TURN_DEG = 2.0, 0.3
"""Spread (standard deviation) of how a part lies."""

DEFOCUS_PX, LIGHT_PERCENT, NOISE_LEVELS = 0.4, 10.0, 3.0
"""Spread of the blur; light more or less; spread of the noise in grey levels of 255."""

TIMES = (0.0, 1.0, 2.0)
"""How much of all that; 0: the pictures as they are."""


def take_again(picture: Pixels, boxes: Boxes, rng: np.random.Generator, times: float) -> tuple[Pixels, Boxes]:
    """Return a picture as another exposure of the part would show it, and where its boxes are then.

    Args:
        picture: uint8 [height, width, channels].
        boxes: float32 [N, 4] in pixels.
        rng: decides everything.
        times: how much of it; 0: none.
    """
    if not times:
        return picture, boxes
    centre = picture.shape[1] / 2, picture.shape[0] / 2
    motion: NDArray[np.float64] = cv2.getRotationMatrix2D(centre, times * rng.normal(0, TURN_DEG), 1.0)
    motion[:, 2] += times * rng.normal(0, SHIFT_PX, 2)
    seen, boxes = displaced(picture, boxes, motion)
    seen = cv2.GaussianBlur(seen, (0, 0), times * DEFOCUS_PX).reshape(picture.shape)
    seen = brighter(seen, times * rng.uniform(-LIGHT_PERCENT, LIGHT_PERCENT))
    noise = rng.normal(0, times * NOISE_LEVELS, seen.shape)
    return np.clip(seen + noise, 0, 255).astype(np.uint8), boxes


def measure(bundle: Bundle, dataset: Dataset, times: float) -> dict[str, Any]:
    """Judge the pictures, each taken again, and return the figures."""
    manifest = bundle.manifest
    runner = BundleRunner(bundle.model_onnx, manifest)
    classes = [item.name for item in manifest.classes]

    def judge(numbered: tuple[int, Sample]) -> Judged:
        number, sample = numbered
        picture = load_picture(sample.image, manifest.geometry.picture_channels)
        picture, boxes = take_again(picture, sample.boxes, np.random.default_rng(number), times)
        found = runner.detect(load_input(sample, manifest.geometry.channels, picture))
        return beside_truth(found, replace(sample, boxes=boxes), dataset.classes, classes)

    samples = list(enumerate(dataset.samples))
    judged = list(tracked(in_threads(judge, samples, usual_at_once()), f"judge, {times:g} x", len(samples)))
    found = report(judged, manifest).as_dict()
    return {
        "ap_pooled": found["ap_pooled"],
        "f_best": found["best"]["f"],
        "parts": found["parts"],
        "separation": found["evidence"]["separation"],
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table, write the figures down."""
    parser = argparse.ArgumentParser(prog="benchmarks.trainer.taken_again", description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True, help="with a model that compares")
    source.add_arguments(parser)
    parser.add_argument("--groups", type=names, default=(), metavar="A,B", help="to judge on (default: all)")
    parser.add_argument("--json", type=Path, default=RESULTS / "taken_again.json", help="default %(default)s")
    arguments = parser.parse_args(argv)
    dataset = read_dataset(source.source_of(arguments))
    kept = of_groups(dataset, arguments.groups)
    bundle = read_bundle(arguments.bundle)
    if not bundle.manifest.geometry.has_reference:
        raise ConfigError(f"{arguments.bundle}: its model compares with no reference; name the bundle of one that does")
    rows = {f"{times:g}": measure(bundle, kept, times) for times in TIMES}
    table = Table(title="parts taken again, each beside its reference as it was")
    for name in ("as much", "AP@0.33", "best F", "escapes", "overkill", "highest good", "lowest bad"):
        table.add_column(name, justify="right")
    for times, row in rows.items():
        parts, apart = row["parts"], row["separation"] or {"highest_good": np.nan, "lowest_bad": np.nan}
        counts = f"{parts['escapes']} of {parts['bad']}", f"{parts['overkill']} of {parts['good']}"
        ends = f"{apart['highest_good']:.3f}", f"{apart['lowest_bad']:.3f}"
        table.add_row(f"{times} x", f"{row['ap_pooled']:.4f}", f"{row['f_best']:.3f}", *counts, *ends)
    results.print(table)
    write_json(arguments.json, {"machine": machine(), "pictures": len(kept.samples), "times": rows})
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes(main, "trainer.taken_again"))
