"""The golden proof: this device, with this engine, gets the trainer's detections from this bundle, and in time."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, cycle, islice

from appliance.bundle.archive import Bundle
from appliance.bundle.at_once import at_once
from appliance.bundle.endurance import LARGEST_GROWTH_BYTES, Timing, time_runs
from appliance.bundle.golden import GoldenKind, file_name
from appliance.bundle.manifest import Precision, Tolerance
from appliance.errors import BundleProofError, BundleSlowError
from appliance.events import Box, Detection, Pixels, Verdict

TIMED_RUNS = 200
"""Least number of inferences that are timed: the 99th percentile then has two runs above it."""

MOST_ATTEMPTS = 2
"""Rounds of timed runs: another program may be in the way once, but not twice."""

LEAST_AGREEMENT = 0.997
"""Of a variant with the model that it stands for, as AP: 0.3 points are what it may cost (docs/decisions/0019)."""

AGREEMENT_IOU = 0.5

_SHOWN = 3

Detect = Callable[[Pixels], tuple[Detection, ...]]
"""Finds what is on one picture, as the line does."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a verdict changes, class -> score: from reject on the line rejects, from accept on it asks a person.

    accept is at most as high as reject; below both a detection decides nothing.
    """

    reject: Mapping[str, float]
    accept: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Comparison:
    """How near this device came to the trainer; worst_iou is 1 and worst_score_difference 0 with nothing to compare.

    kinds: what the golden images are there for, as far as somebody said, and how many of each there are.
    agreement_ap: average precision with the trainer's detections at or above their class's limit as the truth.
    """

    images: int
    detections: int
    worst_iou: float
    worst_score_difference: float
    agreement_ap: float
    kinds: Mapping[GoldenKind, int]


@dataclass(frozen=True, slots=True)
class Proof:
    """What the proof measured."""

    bundle_digest: str
    comparison: Comparison
    timing: Timing


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
    detect: Detect,
    *,
    latency_budget_ms: float,
    precision: Precision = "f32",
    limits: Limits | None = None,
    on_progress: Callable[[float], None] = lambda share: None,
    beside: Sequence[Detect] = (),
) -> Proof:
    """Compare the golden images, then run them over and over: in time, and without taking ever more memory.

    Args:
        bundle: the release to prove.
        detect: the very function that the line will use, with the engine that it will use.
        latency_budget_ms: longest acceptable 99th percentile of one `detect`, with the other copies at work.
        precision: of the bundle's model that `detect` runs; the manifest says how near each must come.
        limits: of the recipe; None takes the manifest's.
        on_progress: told the share that is done, 0..1, which is not timed; a second round begins at less again.
        beside: the other copies of the engine that the line uses at the same time; each is compared and timed.

    Returns:
        The measurements, for the record.

    Raises:
        BundleProofError: see `compare`; or the memory grows.
        BundleSlowError: it takes too long.
        RuntimeFault: the engine failed.
    """
    comparison = compare_all(bundle, (detect, *beside), precision=precision, limits=limits)
    name = f"bundle {bundle.manifest.name} revision {bundle.manifest.revision}"
    copies = 1 + len(beside)
    runs = -(-max(TIMED_RUNS, len(bundle.golden)) // copies) * copies
    # decoded before: a copy that decodes leaves the others more of the processor than a part on the line does
    decoded = [image.pixels() for image in bundle.golden]
    for attempt in range(1, MOST_ATTEMPTS + 1):
        pictures = _shown(decoded, runs, on_progress)
        timing = time_runs(detect, pictures, runs=runs, budget_ms=latency_budget_ms, attempt=attempt, beside=beside)
        is_fast = timing.p99_ms <= latency_budget_ms
        if is_fast and timing.is_flat:
            on_progress(1.0)
            return Proof(bundle.digest, comparison, timing)
    if not is_fast:
        together = f" {copies} at once," if beside else ""
        fewer = " inspect fewer at once (runtime.instances)," if beside else ""
        raise BundleSlowError(
            f"{name} takes {timing.p99_ms:.1f} ms a picture here (99th percentile of {timing.runs} runs,{together} "
            f"median {timing.p50_ms:.1f} ms) and may take {latency_budget_ms:.1f} ms. The running bundle stays; "
            f"use a smaller model,{fewer} or take work off this device"
        )
    raise BundleProofError(
        f"{name}: the process grew by {timing.memory_growth_bytes} bytes while it looked at the same pictures again "
        f"and again, at most {LARGEST_GROWTH_BYTES} are allowed. The running bundle stays; check the runtime's version"
    )


def _shown(decoded: Sequence[Pixels], runs: int, on_progress: Callable[[float], None]) -> Iterator[Pixels]:
    """Yield the pictures of one round; telling is not timed."""
    looked_at = len(decoded)  # once each, to compare
    for done, pixels in enumerate(islice(cycle(decoded), runs)):
        on_progress((looked_at + done) / (looked_at + runs))
        yield pixels


def compare_all(
    bundle: Bundle, copies: Sequence[Detect], *, precision: Precision = "f32", limits: Limits | None = None
) -> Comparison:
    """Let each copy of an engine look at each golden image once, all at the same time.

    Args:
        bundle: the release.
        copies: what the line will use, at least one.
        precision: see `compare`.
        limits: see `compare`.

    Returns:
        The worst that one of them did.

    Raises:
        BundleProofError, RuntimeFault: see `compare`.
    """
    found = at_once(
        [
            partial(compare, bundle, detect, precision=precision, limits=limits, copy=number)
            for number, detect in enumerate(copies, 1)
        ]
    )
    return replace(
        found[0],
        worst_iou=min(each.worst_iou for each in found),
        worst_score_difference=max(each.worst_score_difference for each in found),
        agreement_ap=min(each.agreement_ap for each in found),
    )


def compare(
    bundle: Bundle, detect: Detect, *, precision: Precision = "f32", limits: Limits | None = None, copy: int = 1
) -> Comparison:
    """Look at each golden image once and compare with what the trainer found on it.

    A detection so close to the score floor that the tolerance reaches below it may be missing, or be there as well.

    Args:
        bundle: the release.
        detect: the very function that the line will use, with the engine that it will use.
        precision: of the bundle's model that `detect` runs; the manifest says how near each must come.
        limits: of the recipe; None takes the manifest's. No verdict may be another one: ACCEPT, REVIEW, REJECT.
        copy: which of the engine's copies this is, for the message.

    Raises:
        BundleProofError: detections differ by more than the manifest's tolerance, or a verdict does; says what.
        RuntimeFault: the engine failed.
    """
    tolerance, floor = bundle.manifest.tolerance_of(precision), bundle.manifest.outputs.score_floor
    optional_below = floor + tolerance.max_score_difference
    limits = _manifests(bundle) if limits is None else limits
    differences: list[str] = []
    near_limit: list[str] = []
    pairs: list[_Pair] = []
    answers = []
    for index, image in enumerate(bundle.golden):
        found = detect(image.pixels())
        answers.append((image.detections, found))
        matched, missing, extra = _match(image.detections, found)
        pairs += matched
        name = f"golden/{file_name(index)}"
        # "not below" instead of "at or above": a score that is NaN counts
        differences += [f"{name}: {_words(it)} is not found" for it in missing if not it.score < optional_below]
        differences += [f"{name}: {_words(it)} is found besides" for it in extra if not it.score < optional_below]
        differences += [f"{name}: {text}" for pair in matched for text in _apart(pair, tolerance)]
        if before_and_now := _other_verdict(image.detections, found, limits):
            near = _near_limit(image.detections, found, limits, tolerance.max_score_difference)
            (near_limit if near else differences).append(f"{name}: {before_and_now}{near}")
    agreement = agreement_ap(answers, limits.reject)
    if precision != "f32" and agreement < LEAST_AGREEMENT:
        differences.append(f"AP against model.onnx is {agreement:.4f} (at least {LEAST_AGREEMENT})")
    if differences or near_limit:
        raise _refused(bundle, differences, near_limit, copy)
    return Comparison(
        images=len(bundle.golden),
        detections=len(pairs),
        worst_iou=min((pair.iou for pair in pairs), default=1.0),
        worst_score_difference=max((pair.score_difference for pair in pairs), default=0.0),
        agreement_ap=agreement,
        kinds=Counter(image.kind for image in bundle.golden if image.kind is not None),
    )


def agreement_ap(
    answers: Sequence[tuple[tuple[Detection, ...], tuple[Detection, ...]]], limits: Mapping[str, float]
) -> float:
    """Return the average precision of what was found, all classes pooled, 1 if it is as good as the trainer's.

    What matches a detection of the trainer below its class's limit is neither right nor wrong.

    Args:
        answers: of each picture the trainer's detections and those that were found.
        limits: class -> score at or above which a detection of the trainer counts as the truth.
    """
    truths = sum(_is_over(it, limits) for expected, _ in answers for it in expected)
    judged = sorted(chain.from_iterable(_judged(*answer, limits) for answer in answers), reverse=True)
    area, best, right = 0.0, 0.0, 0
    precisions = []
    for rank, (_, is_right) in enumerate(judged, 1):
        right += is_right
        precisions.append((right / rank, is_right))
    for precision, is_right in reversed(precisions):  # the best that is reached at this recall or a higher one
        best = max(best, precision)
        area += best * is_right
    return area / truths if truths else 1.0


def _judged(
    expected: tuple[Detection, ...], found: tuple[Detection, ...], limits: Mapping[str, float]
) -> list[tuple[float, bool]]:
    """Return score and rightness of each detection that counts; one that matches two goes to the better overlap."""
    matched, _, extra = _match(expected, found)
    near = [pair for pair in matched if pair.iou >= AGREEMENT_IOU]
    wrong = [it.score for it in extra] + [pair.found.score for pair in matched if pair.iou < AGREEMENT_IOU]
    right = [pair.found.score for pair in near if _is_over(pair.expected, limits)]
    return [(score, True) for score in right] + [(score, False) for score in wrong]


def _refused(bundle: Bundle, differences: list[str], near_limit: list[str], copy: int) -> BundleProofError:
    told = [*differences, *near_limit]
    more = f"; and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
    remedy = "export again or check the runtime's version" if differences else "move the limit in the recipe"
    return BundleProofError(
        f"{f'copy {copy} of ' if copy > 1 else ''}bundle {bundle.manifest.name} revision {bundle.manifest.revision} "
        f"does not do here what it did at the trainer: {'; '.join(told[:_SHOWN])}{more}. The running bundle stays; "
        f"{remedy}"
    )


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


def _manifests(bundle: Bundle) -> Limits:
    limits = {item.name: item.limit for item in bundle.manifest.classes}
    return Limits(limits, limits)


def _other_verdict(expected: tuple[Detection, ...], found: tuple[Detection, ...], limits: Limits) -> str:
    before, now = _verdict(expected, limits), _verdict(found, limits)
    return f"the part gets {now.value} here and got {before.value} there" if before != now else ""


def _near_limit(expected: tuple[Detection, ...], found: tuple[Detection, ...], limits: Limits, margin: float) -> str:
    """Say of each class that turns the verdict which limit its score lies near; empty if one of them does not."""
    verdicts = (_verdict(expected, limits), _verdict(found, limits))
    decisive = limits.reject if Verdict.REJECT in verdicts else limits.accept
    words = ""
    for label, limit in decisive.items():
        before, now = (max((it.score for it in each if it.label == label), default=0.0) for each in (expected, found))
        if (before >= limit) == (now >= limit):
            continue
        if not max(abs(before - limit), abs(now - limit)) <= margin:
            return ""
        words += (
            f", where {label} scores {now:.4f} here and {before:.4f} there, "
            f"within {margin:g} of the recipe's limit {limit:g}"
        )
    return words


def _verdict(found: tuple[Detection, ...], limits: Limits) -> Verdict:
    if any(_is_over(it, limits.reject) for it in found):
        return Verdict.REJECT
    return Verdict.REVIEW if any(_is_over(it, limits.accept) for it in found) else Verdict.ACCEPT


def _is_over(found: Detection, limits: Mapping[str, float]) -> bool:
    return found.label in limits and found.score >= limits[found.label]


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
