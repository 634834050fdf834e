"""decide: what the views showed and what the recipe allows -> the one verdict; pure, and the same every time."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from appliance.events import Decision, Detection, ImageStatistics, Reason, Verdict, ViewResult
from appliance.optics.reference import misplacements
from appliance.optics.zones import contains, overlaps
from appliance.recipe import BoundRecipe, ClassLimits, ImageLimits, View

MILDEST_FIRST = (Verdict.ACCEPT, Verdict.REVIEW, Verdict.REJECT, Verdict.FAULT)

_SEVERITIES = ("minor", "major", "critical")
_MAX_DETAIL = 1000


@dataclass(frozen=True, slots=True)
class _Finding:
    """One thing that speaks against the part or against its inspection."""

    verdict: Verdict
    reason: Reason
    text: str
    limits: ClassLimits | None = None
    detection: Detection | None = None

    @property
    def weight(self) -> tuple[int, int, float]:
        """Larger decides; equal ones are decided by their order."""
        severity = _SEVERITIES.index(self.limits.severity) if self.limits else 0
        return MILDEST_FIRST.index(self.verdict), severity, self.detection.score if self.detection else 0.0


def decide(results: Sequence[ViewResult], recipe: BoundRecipe) -> Decision:
    """Give the verdict on one part.

    ACCEPT needs every view of the recipe exactly once, each picture in its agreed form, inside its image limits and in
    its place, and no counting detection at or over an accept limit. Otherwise the worst finding wins, FAULT > REJECT >
    REVIEW: all three divert the part, and FAULT comes first because it says that the inspection itself cannot be
    trusted: called REJECT, a failing lamp would pass for bad parts and nobody would mend it. The defects found are
    still in the detail. Among faults a view that did not come decides, then the pictures in the recipe's order (form,
    light, focus, placement, reference), then the model; among defects the most severe class, then the highest score.

    What counts: a detection in any inspect zone if its box touches one (in the whole picture if there is none), unless
    the box lies completely in one ignore zone, and unless it is smaller than every given minimum of its class. Boxes,
    not centres, decide: a scratch that reaches out of an ignore zone counts.

    Args:
        results: what each view showed, in any order.
        recipe: bound to the bundle that made the detections.

    Returns:
        The decision; detail names every finding (up to 1000 characters), label, score and limit are the deciding one's.
    """
    findings = list(_all_findings(results, recipe))
    if not findings:
        return Decision(Verdict.ACCEPT, Reason.COMPLETE, f"{len(recipe.views)} view(s) inspected, nothing over a limit")
    worst = max(findings, key=lambda finding: finding.weight)
    others = [finding.text for finding in findings if finding is not worst]
    detail = "; ".join(dict.fromkeys([worst.text, *others]))
    if len(detail) > _MAX_DETAIL:
        detail = detail[: _MAX_DETAIL - 4] + " ..."
    if worst.limits is None or worst.detection is None:
        return Decision(worst.verdict, worst.reason, detail)
    limit = worst.limits.reject_limit if worst.verdict is Verdict.REJECT else worst.limits.accept_limit
    return Decision(worst.verdict, worst.reason, detail, worst.detection.label, worst.detection.score, limit)


def _all_findings(results: Sequence[ViewResult], recipe: BoundRecipe) -> Iterator[_Finding]:
    wanted = {view.name for view in recipe.views}
    for result in results:
        if result.view not in wanted:
            yield _fault(Reason.WRONG_PICTURE, f"{result.view}: a view that the recipe does not have")
    pairs = []
    for view in recipe.views:
        own = [result for result in results if result.view == view.name]
        if len(own) != 1:
            what = "no picture" if not own else f"{len(own)} pictures of one part"
            yield _fault(Reason.CAMERA, f"{view.name}: {what}")
        pairs += [(view, result) for result in own]
    for view, result in pairs:
        yield from _picture_findings(view, result)
    for view, result in pairs:
        for detection in result.detections:
            yield from _detection_findings(view, detection, recipe)


def _picture_findings(view: View, result: ViewResult) -> Iterator[_Finding]:
    if result.frame is None:
        yield _fault(Reason.CAMERA, f"{view.name}: no picture")
        return
    wanted = (view.height_px, view.width_px, view.channels)
    if result.frame.pixels.shape != wanted or result.frame.view != view.name:
        yield _fault(
            Reason.WRONG_PICTURE,
            f"{view.name}: the picture is {result.frame.pixels.shape} of view {result.frame.view}, "
            f"the recipe's {wanted} (height, width, channels)",
        )
    if result.statistics is None:
        yield _fault(Reason.WRONG_PICTURE, f"{view.name}: the picture was not measured")
    else:
        yield from _image_findings(view.name, result.statistics, view.image_limits)
    if view.placement is not None:
        yield from _placement_findings(view.name, result.offset_px, view.placement.max_offset_px)
    if view.reference is not None:
        for text in misplacements(result.alignment, view.reference):
            yield _fault(Reason.MISPLACED, f"{view.name}: {text}")


def _image_findings(name: str, seen: ImageStatistics, limits: ImageLimits) -> Iterator[_Finding]:
    """Each limit is written so that NaN breaks it."""
    mean, sharpness = seen.brightness_mean, seen.sharpness
    low, high = seen.clipped_low_ratio, seen.clipped_high_ratio
    if not mean >= limits.brightness_min:
        yield _fault(Reason.TOO_DARK, f"{name}: brightness {mean:.1f} below {limits.brightness_min:g}")
    if not low <= limits.clipped_low_max_ratio:
        yield _fault(Reason.TOO_DARK, f"{name}: {low:.3f} of the picture black, over {limits.clipped_low_max_ratio:g}")
    if not mean <= limits.brightness_max:
        yield _fault(Reason.TOO_BRIGHT, f"{name}: brightness {mean:.1f} above {limits.brightness_max:g}")
    if not high <= limits.clipped_high_max_ratio:
        text = f"{name}: {high:.3f} of the picture white, over {limits.clipped_high_max_ratio:g}"
        yield _fault(Reason.TOO_BRIGHT, text)
    if not sharpness >= limits.sharpness_min:
        yield _fault(Reason.BLURRED, f"{name}: sharpness {sharpness:.1f} below {limits.sharpness_min:g}")


def _placement_findings(name: str, offset_px: tuple[float, float] | None, limit_px: float) -> Iterator[_Finding]:
    if offset_px is None:
        yield _fault(Reason.MISPLACED, f"{name}: the part was not found at its place")
        return
    distance_px = math.hypot(*offset_px)
    if not distance_px <= limit_px:
        yield _fault(Reason.MISPLACED, f"{name}: the part lies {distance_px:.1f} px off its place, over {limit_px:g}")


def _detection_findings(view: View, detection: Detection, recipe: BoundRecipe) -> Iterator[_Finding]:
    limits = recipe.limits.get(detection.label)
    x1, y1, x2, y2 = detection.box
    is_sound = 0.0 <= detection.score <= 1.0 and all(map(math.isfinite, detection.box)) and x1 <= x2 and y1 <= y2
    if limits is None or not is_sound:
        text = f"{view.name}: the model answered {detection.label} {detection.score} {detection.box}"
        yield _fault(Reason.RUNTIME, f"{text}, which its bundle does not allow")
        return
    if detection.score < limits.accept_limit or not _counts(view, detection) or _is_small(detection, limits):
        return
    what = f"{view.name}: {detection.label} {detection.score:.3f} at {x1:.0f},{y1:.0f}"
    if detection.score >= limits.reject_limit:
        text = f"{what}, reject limit {limits.reject_limit:g}"
        yield _Finding(Verdict.REJECT, Reason.DEFECT, text, limits, detection)
    else:
        text = f"{what}, grey band {limits.accept_limit:g}..{limits.reject_limit:g}"
        yield _Finding(Verdict.REVIEW, Reason.GREY_BAND, text, limits, detection)


def _counts(view: View, detection: Detection) -> bool:
    if any(contains(zone.points_px, detection.box) for zone in view.zones if zone.kind == "ignore"):
        return False
    inspected = [zone for zone in view.zones if zone.kind == "inspect"]
    return not inspected or any(overlaps(zone.points_px, detection.box) for zone in inspected)


def _is_small(detection: Detection, limits: ClassLimits) -> bool:
    """Below every given minimum: a long thin scratch is not small."""
    x1, y1, x2, y2 = detection.box
    sizes = (
        (x2 - x1, limits.min_width_px),
        (y2 - y1, limits.min_height_px),
        ((x2 - x1) * (y2 - y1), limits.min_area_px),
    )
    below = [size < least for size, least in sizes if least is not None]
    return bool(below) and all(below)


def _fault(reason: Reason, text: str) -> _Finding:
    return _Finding(Verdict.FAULT, reason, text)
