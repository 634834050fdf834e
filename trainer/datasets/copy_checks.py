"""Pictures that are there twice: labels that contradict each other, and figures that a divided pair would flatter."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np

from appliance.annotations.pictures import LabelledPicture, TruthBox
from appliance.bundle.matching import iou
from appliance.events import Box, Pixels
from appliance.optics.alignment import Alignment, align
from trainer.datasets.examination import Examined
from trainer.datasets.findings import Case, Finding
from trainer.datasets.likeness import DETAIL_LIKENESS, HASH_DISTANCE, SCALED_LIKENESS, SHIFTED_HASH_DISTANCE, alike
from trainer.datasets.sample import load_picture
from trainer.datasets.shifted import LARGEST_SHIFT_PX, SHIFTED_LIKENESS
from trainer.progress import tracked
from trainer.references import misplacement

SAME_BOX_IOU = 0.5
SAME_CONTENT = 0.9
"""Correlation of what two pictures show in a box, above which both show the defect or neither does."""

SAME_CONTRAST, SAME_LEVELS = 0.2, 8.0
"""If nothing in it differs by more than this share of what they show there from dark to light, or these grey levels: a
defect that is small in its box leaves the rest of it as it is."""

Pair = tuple[int, int]


def check_copies(examined: Examined, held: frozenset[str], exact: list[Pair], near: list[Pair]) -> Iterator[Finding]:
    """Tell of copies and of what they spoil.

    Args:
        examined: all pictures.
        held: groups that the training would hold out.
        exact: pairs of one file, as `copies` found them.
        near: pairs that look the same.

    Yields:
        One finding per check, also where all is well.
    """
    pictures = examined.annotations.pictures
    yield Finding(
        "exact copies",
        False,
        "the same file (SHA-256) is learned from and counted more than once",
        "take all but one off the list",
        tuple(Case(members, f"{len(members)} files are the same") for members in _clusters(exact)),
    )
    yield Finding(
        "near-duplicates",
        False,
        f"one part taken, cut out or saved again: at most {HASH_DISTANCE} of 64 bits of the coarse picture differ, and "
        f"fine detail correlates above {DETAIL_LIKENESS} (between sizes above {SCALED_LIKENESS}); up to "
        f"{LARGEST_SHIFT_PX} pixels aside {SHIFTED_HASH_DISTANCE} bits and {SHIFTED_LIKENESS}, unless many look so",
        "keep one of them, or at least give them one group",
        tuple(Case(members, f"{len(members)} pictures look the same") for members in _clusters(near)),
    )
    conflicts = [*_conflicts(exact, pictures, is_copy=True), *_conflicts(near, pictures, is_copy=False)]
    yield Finding(
        "contradicting labels",
        True,
        "two pictures show the same, and their labels do not say the same: the net cannot learn both",
        "look at both, and give both the right labels",
        tuple(conflicts),
    )
    across = [pair for pair in exact + near if len({pictures[at].group for at in pair}) == 2]
    divided = [pair for pair in across if len({pictures[at].group in held for at in pair}) == 2]
    yield Finding(
        "leakage",
        True,
        "a picture that was trained on is in the held-out groups too, as a copy: the figures flatter",
        "give both pictures one group, or take one off the list",
        _told(divided, pictures),
    )
    yield Finding(
        "copies in several groups",
        False,
        "groups share copies; the split that was looked at divides none of them, another --holdout or --seed may",
        "give them one group",
        _told([pair for pair in across if pair not in set(divided)], pictures),
    )


def copies(examined: Examined) -> tuple[list[Pair], list[Pair]]:
    """Look for copies.

    Args:
        examined: all pictures.

    Returns:
        Pairs of one file, and pairs that look the same, as indices into the annotations.
    """
    sound = examined.sound()
    by_digest: dict[str, list[int]] = defaultdict(list)
    for at, _, facts in sound:
        by_digest[facts.digest].append(at)
    exact = [(one, other) for members in by_digest.values() for one, other in pairwise(members)]
    looks = [facts.looks for _, _, facts in sound]
    found = [(sound[i], sound[j]) for i, j in alike(looks)]
    near = [
        (one[0], other[0])
        for one, other in found
        if one[2].digest != other[2].digest and not _is_reference(one[1], other[1])
    ]
    return exact, near


def _is_reference(one: LabelledPicture, other: LabelledPicture) -> bool:
    return one.group == other.group and (one.reference == other.path or other.reference == one.path)


def _clusters(pairs: list[Pair]) -> list[tuple[int, ...]]:
    found: dict[int, set[int]] = {}
    for pair in pairs:
        joined = set().union(*(found.get(at, {at}) for at in pair))
        found.update(dict.fromkeys(joined, joined))
    unique = {min(members): tuple(sorted(members)) for members in found.values()}
    return [unique[first] for first in sorted(unique)]


def _told(pairs: list[Pair], pictures: tuple[LabelledPicture, ...]) -> tuple[Case, ...]:
    return tuple(Case(pair, " and ".join(f"group {pictures[at].group}" for at in pair)) for pair in pairs)


def _conflicts(pairs: list[Pair], pictures: tuple[LabelledPicture, ...], *, is_copy: bool) -> Iterator[Case]:
    differing = [pair for pair in pairs if _unmatched(*(pictures[at].boxes for at in pair))]
    for pair in tracked(differing, "comparing labels"):
        one, other = (pictures[at] for at in pair)
        shown = _unmatched(one.boxes, other.boxes) if is_copy else _shown_by_both(one, other)
        if shown:
            yield Case(
                pair, f"only one of them is labelled {', '.join(sorted({truth.label for truth in shown}))} there"
            )


def _unmatched(first: tuple[TruthBox, ...], second: tuple[TruthBox, ...]) -> list[TruthBox]:
    left, alone = list(second), []
    for truth in first:
        same = [other for other in left if other.label == truth.label and iou(other.box, truth.box) >= SAME_BOX_IOU]
        if same:
            left.remove(max(same, key=lambda other: iou(other.box, truth.box)))
        else:
            alone.append(truth)
    return alone + left


def _shown_by_both(one: LabelledPicture, other: LabelledPicture) -> list[TruthBox]:
    """Return what only one of two pictures is labelled with although both show it, the other laid over the one."""
    first, second = (load_picture(picture.path, 1) for picture in (one, other))
    if first.shape != second.shape:
        return []
    laid = align(second, first)
    if misplacement(other.path, laid):
        return []
    moved = tuple(replace(truth, box=_moved(truth.box, laid)) for truth in other.boxes)
    pixels = first[:, :, 0], laid.pixels[:, :, 0]
    return [truth for truth in _unmatched(one.boxes, moved) if _is_same(*pixels, truth)]


def _moved(box: Box, laid: Alignment) -> Box:
    """Return where a box of the picture that was laid over another lies there."""
    middle = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, 1.0])
    x, y = (laid.motion() @ middle - middle[:2]).tolist()
    return box[0] + x, box[1] + y, box[2] + x, box[3] + y


def _is_same(first: Pixels, second: Pixels, truth: TruthBox) -> bool:
    """Tell whether two pictures show the same in a box, however light they are."""
    x1, y1, x2, y2 = (max(int(side), 0) for side in truth.box)
    one, other = (picture[y1 : y2 + 1, x1 : x2 + 1].astype(np.float64) for picture in (first, second))
    if not one.size or not one.std() or not other.std():
        return False
    levels = float(np.sqrt(one.std() * other.std()))
    one, other = ((crop - crop.mean()) / crop.std() for crop in (one, other))
    if (one * other).mean() <= SAME_CONTENT:
        return False
    contrast = (np.ptp(one) + np.ptp(other)) / 2
    left = np.abs(cv2.GaussianBlur(one - other, (0, 0), 1.0)).max()
    return bool(left <= max(SAME_CONTRAST * contrast, SAME_LEVELS / levels))
