"""What a device finds on the golden images beside what the trainer found there: the same objects, the same verdicts."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, islice

from appliance.bundle.archive import Bundle
from appliance.bundle.at_once import at_once
from appliance.bundle.golden import GoldenKind, file_name
from appliance.bundle.limits import Limits, bundles_limits, golden_lacks, is_over, truth_limits, verdict_of
from appliance.bundle.manifest import Geometry, Precision
from appliance.bundle.matching import Pair, match
from appliance.bundle.tolerance import Deciding, Tolerated, beyond, tolerated
from appliance.errors import AnswerFault, BundleProofError
from appliance.events import Box, Detection, Pixels, Verdict

LEAST_AGREEMENT = 0.997
"""Of a variant with the model that it stands for, as AP: 0.3 points are what it may cost (docs/decisions/0019)."""

AGREEMENT_IOU = 0.5

_SHOWN = 3

Detect = Callable[[Pixels], tuple[Detection, ...]]
"""Finds what is on one picture, as the line does."""

DetectSeveral = Callable[[Sequence[Pixels]], Sequence[tuple[Detection, ...]]]
"""Finds what is on each of several pictures that the model is asked about at once, as the line does with tiles."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How near this device came to the trainer; worst_iou is 1 and worst_score_difference 0 with nothing to compare.

    kinds: what the golden images are there for, as far as somebody said, and how many of each there are.
    golden_lacks: what they do not tell, in words, at the recipe's limits; empty if they tell enough.
    agreement_ap: average precision with the trainer's detections at or above their class's limit as the truth; see
        `appliance.bundle.limits.truth_limits`.
    deciding: the same of those detections alone that decide. tolerated: how near they had to come.
    """

    images: int
    detections: int
    worst_iou: float
    worst_score_difference: float
    agreement_ap: float
    kinds: Mapping[GoldenKind, int]
    golden_lacks: str
    deciding: Deciding
    tolerated: Tolerated


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
    deciding = [each.deciding for each in found]
    return replace(
        found[0],
        worst_iou=min(each.worst_iou for each in found),
        worst_score_difference=max(each.worst_score_difference for each in found),
        agreement_ap=min(each.agreement_ap for each in found),
        deciding=Deciding(
            detections=max(each.detections for each in deciding),
            worst_iou=min(each.worst_iou for each in deciding),
            worst_score_difference=max(each.worst_score_difference for each in deciding),
            displaced=max(each.displaced for each in deciding),
            worst_edge_px=max(each.worst_edge_px for each in deciding),
        ),
    )


def compare(
    bundle: Bundle, detect: Detect, *, precision: Precision = "f32", limits: Limits | None = None, copy: int = 1
) -> Comparison:
    """Look at each golden image once and compare with what the trainer found on it.

    A detection so close to the score floor that the tolerance reaches below it may be missing, or be there as well,
    unless it decides.

    Args:
        bundle: the release.
        detect: the very function that the line will use, with the engine that it will use.
        precision: of the bundle's model that `detect` runs; the manifest says how near each must come.
        limits: of the recipe; None takes the manifest's. No verdict may be another one: ACCEPT, REVIEW, REJECT.
        copy: which of the engine's copies this is, for the message.

    Raises:
        BundleProofError: detections differ by more than is tolerated, or a verdict does; the model answers with what
            is no detection; or the bundle tolerates more than any may; says what.
        RuntimeFault: the engine failed.
    """
    looks = _looks(bundle, lambda pictures: [detect(pictures[0])], 1)
    return _compared(bundle, looks, precision, limits, copy)


def compare_several(
    bundle: Bundle, copies: Sequence[DetectSeveral], at_once_counts: Sequence[int], *, precision: Precision,
    limits: Limits,
) -> None:  # fmt: skip
    """Compare as `compare_all` does, with the model asked about several golden images at once.

    An engine has ways of its own for each number of pictures, and a model may mix them up.

    Args:
        bundle: the release.
        copies: what the line will use, at least one.
        at_once_counts: numbers of pictures, each above 1.
        precision: see `compare`.
        limits: see `compare`.

    Raises:
        BundleProofError, RuntimeFault: see `compare`.
    """
    at_once([partial(_compare_several, bundle, detect, at_once_counts, precision, limits, number)
             for number, detect in enumerate(copies, 1)])  # fmt: skip


def _compare_several(
    bundle: Bundle, detect: DetectSeveral, counts: Sequence[int], precision: Precision, limits: Limits, copy: int
) -> None:
    for count in counts:
        try:
            _compared(bundle, _looks(bundle, detect, count), precision, limits, copy)
        except BundleProofError as error:
            words = f"asked about {count} pictures at once, as tiles come: {error}"
            raise BundleProofError(words, error.differences) from error


def _compared(
    bundle: Bundle, looks: Iterable[tuple[Pixels, tuple[Detection, ...]]], precision: Precision,
    limits: Limits | None, copy: int,
) -> Comparison:  # fmt: skip
    """Compare what was found on the golden images, in their order, with what the trainer found there."""
    _refuse_loose(bundle, precision)
    near_enough = tolerated(bundle.manifest.tolerance_of(precision))
    limits = bundles_limits(bundle) if limits is None else limits
    judge = _Judge(near_enough, limits, bundle.manifest.outputs.score_floor + near_enough.max_score_difference)
    answers = []
    for index, (image, (pixels, found)) in enumerate(zip(bundle.golden, looks, strict=True)):
        answers.append((image.detections, found))
        scale = _input_scale(pixels, bundle.manifest.geometry)
        judge.look(f"golden/{file_name(index)}", image.detections, found, scale)
    agreement = agreement_ap(answers, truth_limits(bundle, limits))
    if precision != "f32" and agreement < LEAST_AGREEMENT:
        judge.differences.append(f"AP against model.onnx is {agreement:.4f} (at least {LEAST_AGREEMENT})")
    if judge.differences or judge.near_limit:
        raise _refused(bundle, judge.differences, judge.near_limit, copy)
    return Comparison(
        images=len(bundle.golden),
        detections=len(judge.pairs),
        worst_iou=min((pair.iou for pair in judge.pairs), default=1.0),
        worst_score_difference=max((pair.score_difference for pair in judge.pairs), default=0.0),
        agreement_ap=agreement,
        kinds=Counter(image.kind for image in bundle.golden if image.kind is not None),
        golden_lacks=golden_lacks(bundle, limits),
        deciding=judge.deciding(),
        tolerated=near_enough,
    )


def _looks(bundle: Bundle, detect: DetectSeveral, count: int) -> Iterator[tuple[Pixels, tuple[Detection, ...]]]:
    """Yield each golden image and what is found on it, asked about `count` at once; the last batch begins anew."""
    for first in range(0, len(bundle.golden), count):
        indices = [number % len(bundle.golden) for number in range(first, first + count)]
        pictures = [bundle.golden[index].pixels() for index in indices]
        try:
            found = detect(pictures)
        except AnswerFault as error:
            names = ", ".join(f"golden/{file_name(index)}" for index in indices)
            raise BundleProofError(
                f"bundle {bundle.manifest.name} revision {bundle.manifest.revision} may not judge: for {names} the "
                f"model answered with {error.what}; it is refused. The running bundle stays; export it again"
            ) from error
        yield from islice(zip(pictures, found, strict=True), len(bundle.golden) - first)


@dataclass(slots=True)
class _Judge:
    """Collects what differs, picture by picture.

    optional_below: a detection with less may be missing or be found besides.
    """

    near_enough: Tolerated
    limits: Limits
    optional_below: float
    differences: list[str] = field(default_factory=list)
    near_limit: list[str] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    displaced_px: list[float] = field(default_factory=list)

    def look(self, name: str, expected: tuple[Detection, ...], found: tuple[Detection, ...], scale: float) -> None:
        """Compare what was found on one picture; scale: pixels of the model's input for one of the picture."""
        matched, missing, extra = match(expected, found)
        self.pairs += matched
        told = [f"{_words(it)} is not found" for it in missing if self._counts(it)]
        told += [f"{_words(it)} is found besides" for it in extra if self._counts(it)]
        told += [text for pair in matched for text in self._apart(pair, pair.edge_px * scale)]
        self.differences += [f"{name}: {text}" for text in told]
        if before_and_now := _other_verdict(expected, found, self.limits):
            near = _near_limit(expected, found, self.limits, self.near_enough.deciding_max_score_difference)
            (self.near_limit if near else self.differences).append(f"{name}: {before_and_now}{near}")

    def deciding(self) -> Deciding:
        """Return how near the detections came that decide."""
        pairs = [pair for pair in self.pairs if self._decides(pair)]
        return Deciding(
            detections=len(pairs),
            worst_iou=min((pair.iou for pair in pairs), default=1.0),
            worst_score_difference=max((pair.score_difference for pair in pairs), default=0.0),
            displaced=len(self.displaced_px),
            worst_edge_px=max(self.displaced_px, default=0.0),
        )

    def _decides(self, pair: Pair) -> bool:
        return is_over(pair.expected, self.limits.accept) or is_over(pair.found, self.limits.accept)

    def _counts(self, alone: Detection) -> bool:
        # "not below" instead of "at or above": a score that is NaN counts
        return not alone.score < self.optional_below or is_over(alone, self.limits.accept)

    def _apart(self, pair: Pair, edge_px: float) -> list[str]:
        most, decides = self.near_enough, self._decides(pair)
        differences = []
        if not pair.iou >= most.min_iou or (decides and self._is_displaced(pair, edge_px)):
            least = f"at least {most.deciding_min_iou if decides else most.min_iou}"
            if decides and most.deciding_max_edge_px:
                least += f" where it decides, or no edge more than {most.deciding_max_edge_px:g} pixels off"
            differences.append(
                f"{_words(pair.expected)} is found at {_corners(pair.found.box)}, IoU {pair.iou:.3f} ({least})"
            )
        allowed = most.deciding_max_score_difference if decides else most.max_score_difference
        if not pair.score_difference <= allowed:
            differences.append(
                f"{_words(pair.expected)} is found with score {pair.found.score:.3f} (at most {allowed:g} off)"
            )
        return differences

    def _is_displaced(self, pair: Pair, edge_px: float) -> bool:
        """Note how far a box that overlaps too little is off, and tell whether that is too far."""
        if pair.iou >= self.near_enough.deciding_min_iou:
            return False
        self.displaced_px.append(edge_px)
        return not edge_px <= self.near_enough.deciding_max_edge_px


def _input_scale(pixels: Pixels, geometry: Geometry) -> float:
    """Return how many pixels of the model's input one of the picture is."""
    height, width = pixels.shape[:2]
    return min(geometry.width / width, geometry.height / height) if geometry.fit == "letterbox" else 1.0


def agreement_ap(
    answers: Sequence[tuple[tuple[Detection, ...], tuple[Detection, ...]]], limits: Mapping[str, float]
) -> float:
    """Return the average precision of what was found, all classes pooled, 1 if it is as good as the trainer's.

    What matches a detection of the trainer below its class's limit is neither right nor wrong.

    Args:
        answers: of each picture the trainer's detections and those that were found.
        limits: class -> score at or above which a detection of the trainer counts as the truth.
    """
    truths = sum(is_over(it, limits) for expected, _ in answers for it in expected)
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
    matched, _, extra = match(expected, found)
    near = [pair for pair in matched if pair.iou >= AGREEMENT_IOU]
    wrong = [it.score for it in extra] + [pair.found.score for pair in matched if pair.iou < AGREEMENT_IOU]
    right = [pair.found.score for pair in near if is_over(pair.expected, limits)]
    return [(score, True) for score in right] + [(score, False) for score in wrong]


def _refuse_loose(bundle: Bundle, precision: Precision) -> None:
    if words := beyond(bundle.manifest.tolerance_of(precision), precision):
        raise BundleProofError(
            f"bundle {bundle.manifest.name} revision {bundle.manifest.revision} would pass a proof that shows little: "
            f"of its {precision} model its manifest tolerates {words}. The running bundle stays; export it again with "
            "a tolerance that is no wider",
            [words],
        )


def _refused(bundle: Bundle, differences: list[str], near_limit: list[str], copy: int) -> BundleProofError:
    told = [*differences, *near_limit]
    more = f"; and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
    remedy = "export again or check the runtime's version" if differences else "move the limit in the recipe"
    return BundleProofError(
        f"{f'copy {copy} of ' if copy > 1 else ''}bundle {bundle.manifest.name} revision {bundle.manifest.revision} "
        f"does not do here what it did at the trainer: {'; '.join(told[:_SHOWN])}{more}. The running bundle stays; "
        f"{remedy}",
        told,
    )


def _other_verdict(expected: tuple[Detection, ...], found: tuple[Detection, ...], limits: Limits) -> str:
    before, now = verdict_of(expected, limits), verdict_of(found, limits)
    return f"the part gets {now.value} here and got {before.value} there" if before != now else ""


def _near_limit(expected: tuple[Detection, ...], found: tuple[Detection, ...], limits: Limits, margin: float) -> str:
    """Say of each class that turns the verdict which limit its score lies near; empty if one of them does not."""
    verdicts = (verdict_of(expected, limits), verdict_of(found, limits))
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


def _words(found: Detection) -> str:
    return f"{found.label} {found.score:.3f} at {_corners(found.box)}"


def _corners(box: Box) -> str:
    return "(" + ", ".join(f"{edge:.1f}" for edge in box) + ")"
