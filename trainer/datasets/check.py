"""All checks of a data set, one after the other."""

from __future__ import annotations

import numpy as np

from trainer.datasets.copy_checks import check_copies, copies
from trainer.datasets.examination import Examined
from trainer.datasets.findings import Case, Finding
from trainer.datasets.label_checks import check_labels
from trainer.datasets.picture_checks import check_pictures
from trainer.datasets.sample import Dataset, Sample
from trainer.datasets.split import split_by_group, tied_groups


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
    exact, near = copies(examined)
    groups = [picture.group for picture in examined.annotations.pictures]
    held, cases = _held_out(examined, holdout, [(groups[i], groups[j]) for i, j in exact + near])
    grouping = Finding(
        "groups",
        True,
        "nothing could be held out, so nothing can be measured",
        "name groups, at least two that share no copies",
        cases,
    )
    return [*findings, grouping, *check_copies(examined, held, exact, near)]


def _held_out(
    examined: Examined, holdout: tuple[str, ...], ties: list[tuple[str, str]]
) -> tuple[frozenset[str], tuple[Case, ...]]:
    pictures, classes = examined.annotations.pictures, tuple(examined.annotations.classes)
    groups = {item.group for item in pictures}
    everything = tuple(range(len(pictures)))
    if len(groups) < 2:
        return frozenset(), (Case(everything, f"all pictures are of group {pictures[0].group}"),)
    if not holdout and len(tied_groups(groups, ties)) == 1:
        return frozenset(), (Case(everything, "each group shares copies with the others"),)
    samples = tuple(
        Sample(
            item.path,
            np.zeros((len(item.boxes), 4), np.float32),
            np.array([classes.index(truth.label) for truth in item.boxes], np.int64),
            item.group,
            is_good=not item.boxes,
        )
        for item in pictures
    )
    split = split_by_group(Dataset(classes, samples), holdout, ties=ties)
    return frozenset(split.validation.groups()), ()
