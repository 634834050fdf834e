"""Where a verdict changes, and what golden images tell of a device: something only if they come out on both sides."""

from collections.abc import Mapping
from dataclasses import dataclass

from appliance.bundle.archive import Bundle
from appliance.bundle.golden import lacking
from appliance.errors import BundleProofError
from appliance.events import Detection, Verdict

TOLD = 5
"""So many classes are named, which may be a thousand."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a verdict changes, class -> score: from reject on the line rejects, from accept on it asks a person.

    accept is at most as high as reject; below both a detection decides nothing.
    """

    reject: Mapping[str, float]
    accept: Mapping[str, float]


def bundles_limits(bundle: Bundle) -> Limits:
    """Return the limits that the trainer had in mind: of a recipe that says nothing of its own."""
    limits = {item.name: item.limit for item in bundle.manifest.classes}
    return Limits(limits, limits)


def verdict_of(found: tuple[Detection, ...], limits: Limits) -> Verdict:
    """Return what a part with these detections gets."""
    if any(is_over(it, limits.reject) for it in found):
        return Verdict.REJECT
    return Verdict.REVIEW if any(is_over(it, limits.accept) for it in found) else Verdict.ACCEPT


def is_over(found: Detection, limits: Mapping[str, float]) -> bool:
    """Tell whether a detection is at or above the limit of its class."""
    return found.label in limits and found.score >= limits[found.label]


def truth_limits(bundle: Bundle, limits: Limits) -> Mapping[str, float]:
    """Return the limits from which the trainer's detections are what a model with fewer bits must find.

    The recipe's, unless no golden image has anything at or above them: average precision would be 1 then, whatever the
    model finds. Then those from which a person is asked, and after these the bundle's own.

    Args:
        bundle: the release.
        limits: of the recipe.
    """
    found = [it for image in bundle.golden for it in image.detections]
    ways = (limits.reject, limits.accept, bundles_limits(bundle).reject)
    return next((each for each in ways if any(is_over(it, each) for it in found)), limits.reject)


def decides_nothing(bundle: Bundle, limits: Limits | None = None) -> str:
    """Say why any proof on these golden images would show nothing; empty if it shows something.

    It does if one of them is accepted and another is not, at the recipe's limits or at the bundle's own: a recipe that
    rejects later than the trainer had in mind makes no bundle worthless.

    Args:
        bundle: the release.
        limits: of the recipe; None for the bundle's own alone.
    """
    own = bundles_limits(bundle)
    here = _accepted(bundle, limits or own)
    if len(here) == 2 or len(_accepted(bundle, own)) == 2:
        return ""
    if True in here:
        return "none of its golden images is rejected, so that a model that finds nothing would do"
    return "none of its golden images is accepted, so that a model that rejects every part would do"


def refuse_undecided(bundle: Bundle, limits: Limits | None = None) -> None:
    """Refuse a bundle whose golden images decide nothing.

    Args:
        bundle: the release.
        limits: of the recipe; None for the bundle's own alone.

    Raises:
        BundleProofError: it is such a one.
    """
    if words := decides_nothing(bundle, limits):
        raise BundleProofError(
            f"bundle {bundle.manifest.name} revision {bundle.manifest.revision} cannot be proved: {words}. The running "
            "bundle stays; export it again with clear good and clear bad parts among the golden images"
        )


def golden_lacks(bundle: Bundle, limits: Limits | None = None) -> str:
    """Return in words what the golden images do not tell, so that their proof says little; empty if they do.

    Args:
        bundle: the release.
        limits: of the recipe; None for what they lack with any.
    """
    words = [lacking(bundle.golden), "" if limits is None else one_sided(bundle, limits)]
    return "; ".join(each for each in words if each)


def one_sided(bundle: Bundle, limits: Limits) -> str:
    """Say that with these limits all golden images get the same verdict, so that it proves nothing; empty if not.

    Args:
        bundle: the release.
        limits: of the recipe.
    """
    verdicts = _accepted(bundle, limits)
    if len(verdicts) == 2:
        return ""
    told = ", ".join(f"{label} {limit:g}" for label, limit in sorted(limits.accept.items())[:TOLD])
    told += f" and {len(limits.accept) - TOLD} more" if len(limits.accept) > TOLD else ""
    return f"at the recipe's limits ({told}) no golden image is {'rejected' if True in verdicts else 'accepted'}"


def move_limits(bundle: Bundle, limits: Limits | None) -> str:
    """Return the remedy where these limits are one-sided; empty if they are not.

    Args:
        bundle: the release.
        limits: of the recipe; None where none is known.
    """
    is_remedy = limits is not None and one_sided(bundle, limits)
    return "move the recipe's limits nearer to the bundle's own" if is_remedy else ""


def _accepted(bundle: Bundle, limits: Limits) -> set[bool]:
    """Return whether one of the golden images is accepted, and whether another is not, as the trainer found them."""
    return {verdict_of(image.detections, limits) is Verdict.ACCEPT for image in bundle.golden}
