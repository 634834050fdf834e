"""The cases that a person should look at: what was missed, what was seen that is not there, what was taken for what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from appliance.events import Box
from appliance.optics.detections import ious
from trainer.datasets.sample import Sample
from trainer.metrics import PROTOCOL_IOU, Judged, Matched

MOST_CASES = 12
SURE = 0.9
"""A detection that is at least so sure, where there is no label or another one, is rather a mistake of the label."""

UNSEEN = 0.5
"""Weight of a label where nothing is seen, not even faintly: less than what is sure."""

_AGAIN = "Labels to look at again"


@dataclass(frozen=True, slots=True)
class Case:
    """One place on one picture.

    Args:
        picture: its index among the pictures.
        box: x1 y1 x2 y2 in its pixels, what it is about.
        words: what happened there.
        weight: the larger, the more it should be looked at.
    """

    picture: int
    box: Box
    words: str
    weight: float


def find_cases(judged: list[Judged], names: tuple[str, ...], limits: NDArray[np.float64]) -> dict[str, list[Case]]:
    """Sort out the cases, the worst first; what is found and what is missed is as the protocol counts it.

    Args:
        judged: the pictures, with every detection.
        names: of the classes, in the order of the labels.
        limits: float64 [classes], reject scores.

    Returns:
        Heading -> at most 12 cases; a heading without any is left out.
    """
    found: dict[str, list[Case]] = {
        "Missed": [],
        "Seen where nothing is": [],
        "Taken for another kind": [],
        _AGAIN: [],
    }
    matched = Matched.of(judged)
    hits = matched.hits(limits)
    for picture, (part, is_found) in enumerate(zip(judged, hits, strict=True)):
        order, taken = matched.found[picture]
        is_wrong = np.zeros(len(order), bool)
        is_wrong[order[taken < 0]] = True
        overlap = ious(part.boxes, part.true_boxes)
        counts = part.scores >= limits[part.labels]
        for number in np.flatnonzero(~is_found):
            _look_at_missed(found, picture, part, (overlap[:, number], counts, is_wrong, int(number)), names)
        is_sure = part.scores >= SURE  # whatever the limit, which such labels push up
        for alone in np.flatnonzero((counts | is_sure) & (overlap.max(axis=1, initial=0.0) <= PROTOCOL_IOU)):
            words = f"{names[part.labels[alone]]} {part.scores[alone]:.2f}"
            case = Case(picture, as_box(part.boxes[alone]), words, float(part.scores[alone]))
            if counts[alone]:
                found["Seen where nothing is"].append(case)
            if is_sure[alone]:
                where = "" if len(part.true_labels) else " on a good part"
                found[_AGAIN].append(replace(case, words=f"{words}{where}"))
    return {
        heading: sorted(cases, key=lambda case: -case.weight)[:MOST_CASES] for heading, cases in found.items() if cases
    }


def sure_on_good(judged: list[Judged], samples: Sequence[Sample]) -> str:
    """Say which good parts the model is sure to be bad: they may be, and then they push the limit past real defects.

    Args:
        judged: parts with calibrated scores.
        samples: the same parts.

    Returns:
        The words; empty if there are none.
    """
    both = [(float(part.scores.max(initial=0.0)), at) for at, part in enumerate(judged) if not len(part.true_labels)]
    sure = sorted((each for each in both if each[0] >= SURE), reverse=True)
    if not sure:
        return ""
    score, first = sure[0]
    return (
        f"{len(sure)} of {len(both)} good parts have a detection with a score of {SURE:g} or more, the surest "
        f"{samples[first].image} ({score:.3f}): look whether they are good (`trainer evaluate --report` shows them). "
        "One that is not pushes the limit up, past defects that it should reject"
    )


def _look_at_missed(
    found: dict[str, list[Case]],
    picture: int,
    part: Judged,
    seen: tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_], int],
    names: tuple[str, ...],
) -> None:
    overlap, counts, is_wrong, number = seen
    near = overlap > PROTOCOL_IOU
    label = part.true_labels[number]
    box = as_box(part.true_boxes[number])
    others = near & is_wrong & (part.labels != label)
    for heading, which in ((_AGAIN, part.scores >= SURE), ("Taken for another kind", counts)):
        if len(such := np.flatnonzero(others & which)):
            best = such[part.scores[such].argmax()]
            words = f"{names[label]}, taken for {names[part.labels[best]]} {part.scores[best]:.2f}"
            found[heading].append(Case(picture, box, words, float(part.scores[best])))
    if (others & counts).any():
        return
    mine = near & (part.labels == label)
    if (mine & counts).any():
        words = f"{names[label]}, lies with another in one detection"
        found["Missed"].append(Case(picture, box, words, 0.0))
        return
    if not (overlap > 0).any():
        found[_AGAIN].append(Case(picture, box, f"{names[label]}, nothing is seen there", UNSEEN))
    score = float(part.scores[mine].max(initial=0.0))
    found["Missed"].append(Case(picture, box, f"{names[label]}, best score {score:.2f}", 1.0 - score))


def as_box(row: NDArray[np.float32]) -> Box:
    """Return a row of boxes, float32 [4], as four numbers."""
    x1, y1, x2, y2 = (float(edge) for edge in row)
    return x1, y1, x2, y2
