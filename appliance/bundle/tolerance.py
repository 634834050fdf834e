"""How near to the trainer's detections a device must come: what decides a verdict nearer than what decides nothing."""

from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import Field

from appliance.bundle.manifest import Precision, Ratio, Tolerance
from appliance.bundle.section import Section

_LOOSEST_WITH_FEWER_BITS: Final = Tolerance(min_iou=0.6, max_score_difference=0.3)

LOOSEST: Final[Mapping[Precision, Tolerance]] = {
    "f32": Tolerance(min_iou=0.9, max_score_difference=0.02),
    "fp16": _LOOSEST_WITH_FEWER_BITS,
    "int8": _LOOSEST_WITH_FEWER_BITS,
}
"""How far a bundle may let a device be off, by precision, and what the trainer writes at most.

Measured with the shipped bundle: 1e-6 of a score from one runtime to another with 32 bits, 0.145 where nothing is
decided with 8, of which twice as much is tolerated (docs/decisions/0019).
"""

DECIDING_IOU = 0.9
"""Least overlap of a detection that decides a verdict, whatever else the bundle tolerates."""

DECIDING_EDGE_PX = 2.0
"""Less overlap is the same box still if no edge is further off than this: a box of 18 pixels falls below 0.9 by it."""

DECIDING_SCORE = 0.05
"""So far the score of a detection that decides may be off; golden images keep that far from the bundle's limits."""


class Deciding(Section):
    """How near those detections came that decide: at or above the recipe's accept limit, here or at the trainer.

    displaced: how many of them overlap by less than the share that is asked of them.
    worst_edge_px: of those, how far the furthest edge is off, in pixels of the model's input; 0 without any.
    """

    detections: Annotated[int, Field(ge=0)]
    worst_iou: Ratio
    worst_score_difference: Ratio
    displaced: Annotated[int, Field(ge=0)]
    worst_edge_px: Annotated[float, Field(ge=0.0)]


class Tolerated(Section):
    """How near they had to come; see `tolerated`.

    min_iou, max_score_difference: of every detection, as the bundle says.
    deciding_min_iou, deciding_max_score_difference: of one that decides.
    deciding_max_edge_px: so far each edge of a displaced one may be off, in pixels of the model's input.
    """

    min_iou: Ratio
    max_score_difference: Ratio
    deciding_min_iou: Ratio
    deciding_max_edge_px: Annotated[float, Field(ge=0.0)]
    deciding_max_score_difference: Ratio


def tolerated(tolerance: Tolerance) -> Tolerated:
    """Return how near each detection must come, where a bundle tolerates so much.

    Detections that decide are held to the overlap that is asked of 32 bits, whatever the bundle says: its tolerance of
    a variant is twice what the trainer measured, and scores differ most where nothing is decided.

    Args:
        tolerance: of the model that runs, from the manifest.
    """
    is_wide = tolerance.min_iou < DECIDING_IOU
    return Tolerated(
        min_iou=tolerance.min_iou,
        max_score_difference=tolerance.max_score_difference,
        deciding_min_iou=max(tolerance.min_iou, DECIDING_IOU),
        deciding_max_edge_px=DECIDING_EDGE_PX if is_wide else 0.0,
        deciding_max_score_difference=min(tolerance.max_score_difference, DECIDING_SCORE),
    )


def beyond(tolerance: Tolerance, precision: Precision) -> str:
    """Say what a bundle tolerates beyond what any may; empty if nothing.

    Args:
        tolerance: from its manifest.
        precision: of the model that it is for.
    """
    most = LOOSEST[precision]
    words = []
    if not tolerance.min_iou >= most.min_iou:
        words.append(f"boxes that overlap by {tolerance.min_iou:g} (at least {most.min_iou:g} is asked for)")
    if not tolerance.max_score_difference <= most.max_score_difference:
        words.append(f"scores {tolerance.max_score_difference:g} off (at most {most.max_score_difference:g} may be)")
    return " and ".join(words)
