"""What a picture and its reference show unlike each other, where nobody marked a defect."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import ConfigError
from appliance.events import Box
from appliance.optics.alignment import Aligner
from trainer.datasets.examination import Examined
from trainer.datasets.findings import Case, Finding
from trainer.datasets.pair_differences import EDGE_PX, LEAST_DIFFERENCE, LEAST_GREY_LEVELS, Difference, differences
from trainer.datasets.sample import Sample, load_picture, picture_size
from trainer.progress import tracked
from trainer.references import misplacement
from trainer.threads import in_threads, usual_at_once

MOST_TOGETHER, MOST_PIXELS_AT_ONCE = 16, 64_000_000
"""Pictures that one thread compares with one reference; and of all threads' pictures, as some 30 bytes a pixel."""

MOST_TOLD = 3
"""Of a picture's differences, in words; the JSON file has all."""

Pair = tuple[Path, Path, Sequence[Box]]
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
        f"by more than {LEAST_DIFFERENCE:.0%} of the contrast and {LEAST_GREY_LEVELS:g} grey levels, more than "
        f"{EDGE_PX} pixels from any edge, where no box is: a defect without a box, or a reference that is not good; "
        "what shows it is learned and judged as good",
        "mark it, or name a reference without it; a template that has one is no good part: leave it out of --good-list",
        tuple(
            Case((at,), done.words(), tuple(each.box for each in done.differences), has_reference=True)
            for at, done in differing
        ),
    )


def _comparable(examined: Examined) -> tuple[list[int], list[Pair]]:
    """Return the indices of the pictures that can be compared with another, and what is to be compared."""
    sizes = examined.sizes()
    numbers: list[int] = []
    pairs: list[Pair] = []
    for at, picture, facts in examined.sound():
        path = picture.reference
        if path is not None and path != picture.path and sizes.get(path) == facts.size:
            numbers.append(at)
            pairs.append((picture.path, path, [truth.box for truth in picture.boxes]))
    return numbers, pairs


def pairs_of(samples: Sequence[Sample]) -> list[Pair]:
    """Return what can be compared: each picture that has another as its reference.

    Args:
        samples: of a data set that was read, so references have their pictures' size.
    """
    pairs = [(item.image, item.reference, item.boxes.tolist()) for item in samples if item.reference]
    return [pair for pair in pairs if pair[0] != pair[1]]


def compare_all(pairs: Sequence[Pair]) -> list[Comparison]:
    """Compare pictures with their references, several at once; a reference of many is prepared once for MOST_TOGETHER.

    Args:
        pairs: of pictures and references.

    Returns:
        What came of it, in order.
    """
    by_reference: dict[Path, list[int]] = defaultdict(list)
    for at, (_, reference, _) in enumerate(pairs):
        by_reference[reference].append(at)
    together = [
        (reference, members[first : first + MOST_TOGETHER])
        for reference, members in by_reference.items()
        for first in range(0, len(members), MOST_TOGETHER)
    ]

    def work(some: tuple[Path, list[int]]) -> list[tuple[int, Comparison]]:
        reference, members = some
        return list(zip(members, _compare(reference, [pairs[at] for at in members]), strict=True))

    done = in_threads(work, together, _at_once(pairs))
    found = dict(one for some in tracked(done, "comparing with the references", len(together)) for one in some)
    return [found[at] for at in range(len(pairs))]


def _at_once(pairs: Sequence[Pair]) -> int:
    """Return how many threads have memory for what they compare."""
    if not pairs:
        return 1
    width, height = picture_size(pairs[0][0], "the data set")
    return max(1, min(usual_at_once(), MOST_PIXELS_AT_ONCE // (width * height)))


def _compare(path: Path, pairs: Sequence[Pair]) -> Iterator[Comparison]:
    """Compare pictures with one reference."""
    try:
        aligner = Aligner(load_picture(path, 3))
    except ConfigError as error:  # one that is not needed to train without references
        yield from [Comparison(str(error))] * len(pairs)
        return
    for image, _, boxes in pairs:
        picture = load_picture(image, 3)
        laid = aligner(picture)
        words = misplacement(path, laid)
        yield Comparison(words) if words else Comparison("", tuple(differences(picture, laid, boxes)))
