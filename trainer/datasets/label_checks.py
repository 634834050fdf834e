"""What can be wrong with the labels, seen by themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations

from appliance.annotations.pictures import LabelledPicture
from appliance.bundle.matching import iou
from appliance.errors import ConfigError
from trainer.datasets.examination import Examined
from trainer.datasets.findings import Case, Finding
from trainer.datasets.layouts.boxes import fitted
from trainer.model import STRIDE

SAME_PLACE_IOU = 0.8
"""Two boxes that overlap more than this are about one place."""

RARE = 0.1
"""A class with fewer boxes than this share of the most frequent one's is rare."""


def check_labels(examined: Examined) -> Iterator[Finding]:
    """Look for boxes that do not fit and classes that are rare.

    Corners the wrong way round and unknown classes never get here: reading refuses them with file and line.

    Args:
        examined: all pictures.

    Yields:
        One finding per check, also where all is well.
    """
    pictures = examined.annotations.pictures
    outside = [Case((at,), words) for at, picture, facts in examined.sound() for words in _misfits(picture, facts.size)]
    yield Finding(
        "labels that do not fit their picture",
        True,
        "`trainer train` refuses them",
        "repair the labels, or restore the picture that they were drawn on",
        tuple(outside),
    )
    yield Finding(
        "labels taken otherwise than they are written",
        False,
        "lines are taken as one pixel wide, crowds as one defect, and what leaves its picture by up to a pixel is cut "
        "off: see that this is what was meant",
        "draw boxes around single defects, inside their pictures",
        tuple(_taken_otherwise(pictures)),
    )
    yield from _one_place(pictures)
    yield Finding(
        "thin boxes",
        False,
        f"thinner than {STRIDE} pixels, the model's stride: they are found less surely",
        "use a lens that shows more, or draw the box around the whole defect",
        tuple(_thin(pictures)),
    )
    yield Finding(
        "rare classes",
        False,
        f"fewer than {100 * RARE:.0f} % of the most frequent class's boxes: learned worse, and measured hardly at all",
        "label more of them",
        _rare(examined),
    )


def _misfits(picture: LabelledPicture, size: tuple[int, int]) -> Iterator[str]:
    told = tuple(real if said is None else said for said, real in zip(picture.told_size, size, strict=True))
    if told != size:
        yield f"{picture.where} says {told[0]} x {told[1]} pixels, the picture has {size[0]} x {size[1]}"
    for truth in picture.boxes:
        try:
            fitted(truth.box, size, truth.where)
        except ConfigError as error:
            yield str(error)


def _taken_otherwise(pictures: Sequence[LabelledPicture]) -> Iterator[Case]:
    for at, picture in enumerate(pictures):
        for truth in picture.boxes:
            if truth.taken_as:
                yield Case((at,), f"{truth.where}: {truth.taken_as}")


def _one_place(pictures: Sequence[LabelledPicture]) -> Iterator[Finding]:
    """Look for pairs of boxes about one place."""
    same_place = [
        (at, one, other)
        for at, picture in enumerate(pictures)
        for one, other in combinations(picture.boxes, 2)
        if one.box[0] < other.box[2]
        and other.box[0] < one.box[2]  # of many boxes few are so near
        and iou(one.box, other.box) > SAME_PLACE_IOU
    ]
    yield Finding(
        "one place, two classes",
        False,
        f"boxes of different classes overlap by more than {SAME_PLACE_IOU} (IoU): the net is taught a contradiction",
        "decide for one class",
        tuple(
            Case((at,), f"{one.label} and {other.label} lie in one place ({one.where})")
            for at, one, other in same_place
            if one.label != other.label
        ),
    )
    yield Finding(
        "one defect, two boxes",
        False,
        f"boxes of one class overlap by more than {SAME_PLACE_IOU} (IoU): it counts as two defects, of which the "
        "appliance reports one, so that every figure misses the other",
        "remove one of them",
        tuple(
            Case((at,), f"{one.label} is written twice ({one.where}, {other.where})")
            for at, one, other in same_place
            if one.label == other.label
        ),
    )


def _thin(pictures: Sequence[LabelledPicture]) -> Iterator[Case]:
    """Give the boxes thinner than the stride, the thinnest first."""
    sides = [
        (min(truth.box[2] - truth.box[0], truth.box[3] - truth.box[1]), at)
        for at, picture in enumerate(pictures)
        for truth in picture.boxes
    ]
    for side, at in sorted(sides):
        if side < STRIDE:
            yield Case((at,), f"{side:.1f} pixels")


def _rare(examined: Examined) -> tuple[Case, ...]:
    pictures = examined.annotations.pictures
    boxes = Counter(truth.label for picture in pictures for truth in picture.boxes)
    most = max(boxes.values(), default=0)
    cases = []
    for name in examined.annotations.classes:
        if boxes[name] < RARE * most:
            members = tuple(at for at, p in enumerate(pictures) if any(truth.label == name for truth in p.boxes))
            cases.append(Case(members, f"{name}: {boxes[name]} boxes, the most frequent class has {most}"))
    return tuple(cases)
