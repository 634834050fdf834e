"""All checks of a data set, one after the other."""

from __future__ import annotations

import numpy as np

from trainer.datasets.copy_checks import check_copies
from trainer.datasets.examination import Examined
from trainer.datasets.findings import Case, Finding
from trainer.datasets.label_checks import check_labels
from trainer.datasets.picture_checks import check_pictures
from trainer.datasets.sample import Dataset, Sample
from trainer.datasets.split import split_by_group


def check_dataset(examined: Examined, holdout: tuple[str, ...] = ()) -> list[Finding]:
    """Run every check.

    Args:
        examined: all pictures.
        holdout: groups that the training would hold out; empty for those that it would draw.

    Returns:
        One finding per check, also where all is well.

    Raises:
        ConfigError: A group of the holdout does not exist, or nothing would be left on one side.
    """
    findings = [*check_pictures(examined), *check_labels(examined)]
    held, cases = _held_out(examined, holdout)
    grouping = Finding(
        "groups", True, "nothing could be held out, so nothing can be measured", "name groups, at least two", cases
    )
    return [*findings, grouping, *check_copies(examined, held)]


def _held_out(examined: Examined, holdout: tuple[str, ...]) -> tuple[frozenset[str], tuple[Case, ...]]:
    pictures = examined.annotations.pictures
    empty = (np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    samples = tuple(Sample(item.path, *empty, item.group, is_good=not item.boxes) for item in pictures)
    dataset = Dataset(tuple(examined.annotations.classes), samples)
    if len(dataset.groups()) < 2:
        return frozenset(), (Case(tuple(range(len(pictures))), f"all pictures are of group {pictures[0].group}"),)
    return frozenset(split_by_group(dataset, holdout).validation.groups()), ()
