"""What a picture and its reference show unlike each other, where nobody marked a defect."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from appliance.errors import ConfigError
from appliance.events import Box, Pixels
from appliance.optics.alignment import Aligner, Alignment
from trainer.datasets.examination import Examined
from trainer.datasets.findings import Case, Finding
from trainer.datasets.sample import Sample, load_picture
from trainer.datasets.unlike import LEAST_DIFFERENCE, REACH_PX, Difference, differences
from trainer.progress import tracked
from trainer.references import misplacement
from trainer.threads import in_threads, usual_at_once

MOST_TOLD = 3
"""Of a picture's differences, in words; the JSON file has all."""

ToCompare = tuple[Path, Path, Sequence[Box]]
"""A picture, its reference (of the same size), and the boxes of what is marked, x1, y1, x2, y2 in pixels."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A picture beside its reference.

    Args:
        refused: why a station would not compare them, or nobody can, in words; empty if they were compared.
        differences: that nobody marked, the thickest first.
    """

    refused: str
    differences: tuple[Difference, ...] = ()

    def words(self) -> str:
        """Say where the thickest differences are, and how many more there are."""
        more = len(self.differences) - MOST_TOLD
        told = [each.words() for each in self.differences[:MOST_TOLD]]
        return "; ".join([*told, f"{more} more"] if more > 0 else told)


def check_pairs(examined: Examined) -> Iterator[Finding]:
    """Look for pictures that do not lie over their reference, and for what nobody marked where they do.

    Args:
        examined: all pictures.

    Yields:
        One finding per check, also where all is well.
    """
    numbers, pairs = _comparable(examined)
    compared = list(zip(numbers, compare_all(pairs), strict=True))
    yield Finding(
        "pictures that do not lie over their reference",
        False,
        "a station would answer FAULT(misplaced), and not show them to the model",
        "name the right reference, or leave them out",
        tuple(Case((at,), done.refused, has_reference=True) for at, done in compared if done.refused),
    )
    differing = [(at, done) for at, done in compared if done.differences]
    differing.sort(key=lambda both: -both[1].differences[0].thickness_px)
    yield Finding(
        "differences that nobody marked",
        False,
        f"by more than {LEAST_DIFFERENCE:.0%} of the contrast, more than {REACH_PX} pixels from any edge, where no box "
        "is: a defect without a box, or a reference that is not good; what shows it is learned and judged as good",
        "mark it, or name a reference without it; a template that has one is no good part: leave it out of --good-list",
        tuple(
            Case((at,), done.words(), tuple(each.box for each in done.differences), has_reference=True)
            for at, done in differing
        ),
    )


def _comparable(examined: Examined) -> tuple[list[int], list[ToCompare]]:
    """Return the indices of the pictures that can be compared with another, and what is to be compared."""
    sizes = examined.sizes()
    numbers: list[int] = []
    pairs: list[ToCompare] = []
    for at, picture, facts in examined.sound():
        path = picture.reference
        if path is not None and path != picture.path and sizes.get(path) == facts.size:
            numbers.append(at)
            pairs.append((picture.path, path, [truth.box for truth in picture.boxes]))
    return numbers, pairs


def pairs_of(samples: Sequence[Sample]) -> list[ToCompare]:
    """Return what can be compared: each picture with another as its reference.

    Args:
        samples: of a data set that was read, so that references have their pictures' size.
    """
    found = []
    for item in samples:
        if item.reference is not None and item.reference != item.image:
            found.append((item.image, item.reference, item.boxes.tolist()))
    return found


def compare_all(pairs: Sequence[ToCompare]) -> list[Comparison]:
    """Compare pictures with their references, laid over them as on the device, several at once.

    Args:
        pairs: of pictures and references.

    Returns:
        What came of it, in order.
    """
    order = sorted(range(len(pairs)), key=lambda at: str(pairs[at][1]))  # each reference is prepared once
    work = in_threads(lambda at: compare(*pairs[at]), order, usual_at_once())
    found = dict(zip(order, tracked(work, "comparing with the references", len(pairs)), strict=True))
    return [found[at] for at in range(len(pairs))]


def compare(image: Path, reference: Path, boxes: Sequence[Box]) -> Comparison:
    """Compare a picture with its reference, laid over it as on the device.

    Args:
        image: the picture.
        reference: of the same size.
        boxes: of what is marked, x1, y1, x2, y2 in pixels.
    """
    try:
        shown, laid = lay_over(image, reference)
    except ConfigError as error:  # of a reference that nobody may need
        return Comparison(str(error))
    words = misplacement(reference, laid)
    return Comparison(words) if words else Comparison("", tuple(differences(shown, laid, boxes)))


def lay_over(image: Path, reference: Path) -> tuple[Pixels, Alignment]:
    """Return a picture in colour, and its reference as the device lays it over it.

    Args:
        image: the picture.
        reference: of the same size.

    Raises:
        ConfigError: A file is missing or damaged.
    """
    shown = load_picture(image, 3)
    return shown, _aligner(reference)(shown)


@lru_cache(maxsize=4)
def _aligner(reference: Path) -> Aligner:
    return Aligner(load_picture(reference, 3))
