"""How exactly references lie over real parts, what other products look like beside them, and how long that takes.

`python -m benchmarks alignment --data DeepPCB/PCBData`: each defective picture with its reference, as on the device.
Then each edge of the reference that was laid is held against the nearest one of the part: what lies between them is
what shift, turn and stretch did not bring together.
"""

import argparse
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from appliance.errors import ConfigError
from appliance.events import Pixels
from appliance.optics.alignment import Aligner, Alignment
from appliance.optics.reference import PlaceLimits
from benchmarks.mistakes import tell_mistakes
from benchmarks.results import RESULTS, machine
from trainer.datasets.reading import read_dataset
from trainer.datasets.sample import Sample, load_picture
from trainer.files import write_json
from trainer.progress import results, tracked
from trainer.references import LIMITS

BORDER_PX = 24
"""Not looked at: there the reference may have nothing to lay over the part."""

REACH_PX = 8.0
"""An edge whose like is not so near is a defect's."""

FAR_PX = 1.5
"""A pair lies far off where the worst tenth of its edges do."""


class Laid(NamedTuple):
    """How a reference lies over its part, how far off the worst tenth of it is in pixels (nan: not known), and ms."""

    place: Alignment
    off_px: float
    spent_ms: float


def off_px(moved: Pixels, part: Pixels) -> float:
    """Return how far the worst tenth of a reference's edges are from the nearest ones of the part.

    Args:
        moved: uint8 [height, width, 1], the reference as it was laid.
        part: the same shape.

    Returns:
        Pixels; nan if the reference has no edge that is found again.
    """
    wanted, seen = (
        cv2.Canny(cv2.GaussianBlur(picture, (0, 0), 1.0), 60, 150)[BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX]
        for picture in (moved, part)
    )
    nearest = cv2.distanceTransform(255 - seen, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[wanted > 0]
    found = nearest[nearest <= REACH_PX]
    return float(np.quantile(found, 0.9)) if len(found) else float("nan")


def lay(sample: Sample) -> Laid:
    """Lay a sample's reference over its picture."""
    assert sample.reference is not None
    part, aligner = load_picture(sample.image, 1), Aligner(load_picture(sample.reference, 1))
    began_ns = time.monotonic_ns()
    place = aligner(part)
    spent_ms = (time.monotonic_ns() - began_ns) / 1e6
    return Laid(place, off_px(place.pixels, part), spent_ms)


def figures(laid: list[Laid], limits: PlaceLimits) -> dict[str, Any]:
    """Return what a group's pairs come to; stretches are of those that match."""
    off = np.array([pair.off_px for pair in laid])
    matching = [pair.place.stretch_percent for pair in laid if pair.place.match >= limits.min_match]
    stretches: NDArray[np.float64] = np.abs(np.array(matching or [(np.nan, np.nan)]))
    return {
        "pairs": len(laid),
        "below_match": sum(pair.place.match < limits.min_match for pair in laid),
        "stretch_percent_median": [round(float(way), 2) for way in np.median(stretches, axis=0)],
        "stretch_percent_most": [round(float(way), 2) for way in stretches.max(axis=0)],
        "over_1_percent": int((stretches.max(axis=1) > 1.0).sum()),
        "over_2_percent": int((stretches.max(axis=1) > 2.0).sum()),
        "measured": int(np.isfinite(off).sum()),
        "far_off": int((off > FAR_PX).sum()),
        "ms_median": round(float(np.median([pair.spent_ms for pair in laid])), 1),
    }


def others(samples: list[Sample]) -> list[float]:
    """Return the match of each part with a reference of another group, as far as one lies half the list away."""
    half = len(samples) // 2
    matches = []
    for sample, other in tracked(list(zip(samples, samples[half:] + samples[:half], strict=True)), "other products"):
        if other.group != sample.group:
            assert other.reference is not None
            matches.append(Aligner(load_picture(other.reference, 1))(load_picture(sample.image, 1)).match)
    return matches


def main() -> int:
    """Measure, print, write benchmarks/results/alignment.json."""
    return tell_mistakes(_measure, "alignment")


def _measure() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks alignment", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="DeepPCB's PCBData, or other pairs of one size")
    parser.add_argument("--json", type=Path, default=RESULTS / "alignment.json", help="default %(default)s")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    pairs = [sample for sample in read_dataset(arguments.data).samples if not sample.is_good and sample.reference]
    if not pairs:
        raise ConfigError(f"{arguments.data}: no defective picture names a reference; name data of pairs")
    groups: dict[str, list[Laid]] = defaultdict(list)
    for sample in tracked(pairs, "lay references over parts"):
        groups[sample.group].append(lay(sample))
    rows = {name: figures(laid, LIMITS) for name, laid in sorted(groups.items())}
    table = Table(
        "group",
        *(key.replace("_", " ") for key in next(iter(rows.values()))),
        title=f"far off: a tenth lies more than {FAR_PX:g} px off",
    )
    for name, row in rows.items():
        table.add_row(name, *(str(value).strip("[]") for value in row.values()))
    results.print(table)
    matches = others(pairs)
    beside = {"pairs": len(matches), "best_match": round(max(matches), 3) if matches else None}
    results.print(f"other products: {beside}")
    write_json(arguments.json, {"machine": machine(), "groups": rows, "others": beside})
    return 0
