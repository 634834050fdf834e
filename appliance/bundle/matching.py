"""Which of the detections on a picture are the same object, and how near to each other they are."""

from dataclasses import dataclass

from appliance.events import Box, Detection


@dataclass(frozen=True, slots=True)
class Pair:
    """What the trainer found and what was found here of one object, with the overlap of the two."""

    expected: Detection
    found: Detection
    iou: float

    @property
    def score_difference(self) -> float:
        """How far the score is off."""
        return abs(self.expected.score - self.found.score)

    @property
    def edge_px(self) -> float:
        """How far the furthest edge is off, in pixels of the picture."""
        return max(abs(one - other) for one, other in zip(self.expected.box, self.found.box, strict=True))


def match(
    expected: tuple[Detection, ...], found: tuple[Detection, ...]
) -> tuple[list[Pair], list[Detection], list[Detection]]:
    """Pair detections of one label, the best overlaps first.

    Args:
        expected: the trainer's on one picture.
        found: those of the same picture here.

    Returns:
        The pairs, what is missing, and what was found besides.
    """
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
            pairs.append(Pair(expected[-minus_wanted], found[-minus_got], overlap))
    return pairs, [expected[place] for place in sorted(free_expected)], [found[place] for place in sorted(free_found)]


def iou(box: Box, other: Box) -> float:
    """Return intersection over union of two boxes, 0..1."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    if width <= 0.0 or height <= 0.0:
        return 0.0
    common = width * height
    return common / ((box[2] - box[0]) * (box[3] - box[1]) + (other[2] - other[0]) * (other[3] - other[1]) - common)
