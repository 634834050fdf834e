"""What can be wrong with the pictures that others are compared with."""

from __future__ import annotations

from collections.abc import Iterator

from trainer.datasets.examination import Examined
from trainer.datasets.findings import Case, Finding


def damaged_references(examined: Examined) -> Iterator[Case]:
    """Tell of references that are no pictures of the data set themselves and cannot be read.

    Args:
        examined: all pictures.

    Yields:
        One case for each, with the pictures that name it.
    """
    for path, words in examined.references.items():
        if isinstance(words, str):
            yield Case(examined.compared(path), f"their reference {path} {words}")


def check_references(examined: Examined) -> Finding:
    """Hold references against their pictures.

    Args:
        examined: all pictures.
    """
    return Finding(
        "references that do not fit their picture",
        True,
        "`trainer train` refuses them: a picture is compared with its reference pixel by pixel",
        "name one of the same camera",
        tuple(_misfits(examined)),
    )


def _misfits(examined: Examined) -> Iterator[Case]:
    sizes = examined.sizes()
    for at, picture, facts in examined.sound():
        size = facts.size if picture.reference is None else sizes.get(picture.reference, facts.size)
        if size != facts.size:
            words = "{} has {} x {} pixels, the picture {} x {}".format(picture.reference, *size, *facts.size)
            yield Case((at,), words)
