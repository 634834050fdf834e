"""The golden proof: this device, with this engine, gets the trainer's detections from this bundle, and in time."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import cycle, islice

from appliance.bundle.archive import Bundle
from appliance.bundle.golden import file_name
from appliance.bundle.manifest import Precision, Tolerance
from appliance.errors import BundleProofError, BundleSlowError
from appliance.events import Box, Detection, Pixels

TIMED_RUNS = 30
"""Least number of inferences whose median is compared with the budget."""

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Proof:
    """What the proof measured; worst_iou is 1 and worst_score_difference 0 if there was nothing to compare."""

    bundle_digest: str
    images: int
    detections: int
    worst_iou: float
    worst_score_difference: float
    median_latency_ms: float


@dataclass(frozen=True, slots=True)
class _Pair:
    expected: Detection
    found: Detection
    iou: float

    @property
    def score_difference(self) -> float:
        return abs(self.expected.score - self.found.score)


def prove(
    bundle: Bundle,
    detect: Callable[[Pixels], tuple[Detection, ...]],
    *,
    latency_budget_ms: float,
    precision: Precision = "f32",
    limits: Mapping[str, float] | None = None,
) -> Proof:
    """Run the golden images and compare with what the trainer found on them.

    A detection so close to the score floor that the tolerance reaches below it may be missing, or be there as well.

    Args:
        bundle: the release to prove.
        detect: the very function that the line will use, with the engine that it will use.
        latency_budget_ms: longest acceptable median time of one `detect`.
        precision: of the bundle's model that `detect` runs; the manifest says how near each must come.
        limits: class -> score from which the line rejects; None takes the manifest's. A variant may change no verdict.

    Returns:
        The measurements, for the record.

    Raises:
        BundleProofError: detections differ by more than the manifest's tolerance; says what.
        BundleSlowError: it takes too long.
        RuntimeFault: the engine failed.
    """
    tolerance, floor = bundle.manifest.tolerance_of(precision), bundle.manifest.outputs.score_floor
    optional_below = floor + tolerance.max_score_difference
    limits = {item.name: item.limit for item in bundle.manifest.classes} if limits is None else limits
    differences: list[str] = []
    pairs: list[_Pair] = []
    for index, image in enumerate(bundle.golden):
        found = detect(image.pixels())
        matched, missing, extra = _match(image.detections, found)
        pairs += matched
        name = f"golden/{file_name(index)}"
        # "not below" instead of "at or above": a score that is NaN counts
        differences += [f"{name}: {_words(it)} is not found" for it in missing if not it.score < optional_below]
        differences += [f"{name}: {_words(it)} is found besides" for it in extra if not it.score < optional_below]
        differences += [f"{name}: {text}" for pair in matched for text in _apart(pair, tolerance)]
        if precision != "f32":  # whose tolerance is wide enough to hide another verdict
            differences += [f"{name}: {text}" for text in _other_verdict(image.detections, found, limits)]
    if differences:
        raise _refused(bundle, differences)
    median_ms = _median_ms(bundle, detect)
    if not median_ms <= latency_budget_ms:
        raise BundleSlowError(
            f"bundle {bundle.manifest.name} revision {bundle.manifest.revision} takes {median_ms:.1f} ms a picture "
            f"here and may take {latency_budget_ms:.1f} ms. The running bundle stays; "
            "use a smaller model, or take work off this device"
        )
    return Proof(
        bundle_digest=bundle.digest,
        images=len(bundle.golden),
        detections=len(pairs),
        worst_iou=min((pair.iou for pair in pairs), default=1.0),
        worst_score_difference=max((pair.score_difference for pair in pairs), default=0.0),
        median_latency_ms=median_ms,
    )


def _refused(bundle: Bundle, differences: list[str]) -> BundleProofError:
    more = f"; and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
    return BundleProofError(
        f"bundle {bundle.manifest.name} revision {bundle.manifest.revision} does not do here what it did at the "
        f"trainer: {'; '.join(differences[:_SHOWN])}{more}. The running bundle stays; export again or check the "
        "runtime's version"
    )


def _median_ms(bundle: Bundle, detect: Callable[[Pixels], tuple[Detection, ...]]) -> float:
    spent_ms = []
    runs = max(TIMED_RUNS, len(bundle.golden))
    for image in islice(cycle(bundle.golden), runs):
        pixels = image.pixels()
        started_ns = time.monotonic_ns()
        detect(pixels)
        spent_ms.append((time.monotonic_ns() - started_ns) / 1e6)
    return statistics.median(spent_ms)


def _match(
    expected: tuple[Detection, ...], found: tuple[Detection, ...]
) -> tuple[list[_Pair], list[Detection], list[Detection]]:
    """Pair detections of one label, the best overlaps first; return pairs, missing and extra ones."""
    candidates = sorted(
        (
            (overlap, -wanted, -got)
            for wanted, before in enumerate(expected)
            for got, now in enumerate(found)
            if before.label == now.label and (overlap := iou(before.box, now.box)) > 0.0
        ),
        reverse=True,
    )
    free_expected, free_found = set(range(len(expected))), set(range(len(found)))
    pairs = []
    for overlap, minus_wanted, minus_got in candidates:
        if -minus_wanted in free_expected and -minus_got in free_found:
            free_expected.remove(-minus_wanted)
            free_found.remove(-minus_got)
            pairs.append(_Pair(expected[-minus_wanted], found[-minus_got], overlap))
    return pairs, [expected[place] for place in sorted(free_expected)], [found[place] for place in sorted(free_found)]


def _apart(pair: _Pair, tolerance: Tolerance) -> list[str]:
    differences = []
    if not pair.iou >= tolerance.min_iou:
        differences.append(
            f"{_words(pair.expected)} is found at {_corners(pair.found.box)}, IoU {pair.iou:.3f} "
            f"(at least {tolerance.min_iou})"
        )
    if not pair.score_difference <= tolerance.max_score_difference:
        differences.append(
            f"{_words(pair.expected)} is found with score {pair.found.score:.3f} "
            f"(at most {tolerance.max_score_difference} off)"
        )
    return differences


def _other_verdict(
    expected: tuple[Detection, ...], found: tuple[Detection, ...], limits: Mapping[str, float]
) -> list[str]:
    before, now = (any(it.score >= limits[it.label] for it in each) for each in (expected, found))
    return [f"the part is {'rejected' if now else 'accepted'} here and was not there"] if before != now else []


def iou(box: Box, other: Box) -> float:
    """Return intersection over union of two boxes, 0..1."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    if width <= 0.0 or height <= 0.0:
        return 0.0
    common = width * height
    return common / ((box[2] - box[0]) * (box[3] - box[1]) + (other[2] - other[0]) * (other[3] - other[1]) - common)


def _words(found: Detection) -> str:
    return f"{found.label} {found.score:.3f} at {_corners(found.box)}"


def _corners(box: Box) -> str:
    return "(" + ", ".join(f"{edge:.1f}" for edge in box) + ")"
