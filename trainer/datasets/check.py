"""All checks of a data set, one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from trainer.datasets.copper import copper_of
from trainer.datasets.copy_checks import check_copies, copies
from trainer.datasets.examination import Examined
from trainer.datasets.findings import Case, Finding
from trainer.datasets.grouping import taken_apart
from trainer.datasets.label_checks import check_labels
from trainer.datasets.pair_checks import check_pairs
from trainer.datasets.picture_checks import check_pictures
from trainer.datasets.sample import Dataset, Sample
from trainer.datasets.split import split_by_group, tied_groups


def grouped_as_in_training(examined: Examined, folder: Path) -> tuple[Examined, dict[str, str]]:
    """Give each picture the group that training gives it.

    Args:
        examined: all pictures.
        folder: the data's own.

    Returns:
        The same with those groups; and groups that were taken apart for it: name -> why.
    """
    samples = _samples(examined)
    if copper_of(examined.annotations.layout, samples):
        return examined, {}
    samples, gone = taken_apart(samples, folder)
    both = zip(examined.annotations.pictures, samples, strict=True)
    pictures = tuple(replace(picture, group=sample.group) for picture, sample in both)
    return replace(examined, annotations=replace(examined.annotations, pictures=pictures)), gone


def check_dataset(
    examined: Examined, holdout: tuple[str, ...] = (), gone: Mapping[str, str] = MappingProxyType({})
) -> list[Finding]:
    """Run every check.

    Args:
        examined: all pictures, in the groups that training gives them.
        holdout: groups that the training would hold out; empty for those that it would draw.
        gone: groups that were taken apart: name -> why.

    Returns:
        One finding per check, also where all is well.

    Raises:
        ConfigError: A group of the holdout does not exist, or nothing would be left on one side.
    """
    findings = [*check_pictures(examined), *check_pairs(examined), *check_labels(examined)]
    exact, near = copies(examined)
    groups = [picture.group for picture in examined.annotations.pictures]
    held, cases = _held_out(examined, holdout, gone, [(groups[i], groups[j]) for i, j in exact + near])
    grouping = Finding(
        "groups",
        True,
        "nothing could be held out, so nothing can be measured",
        "name groups, at least two that share no copies",
        cases,
    )
    return [*findings, grouping, *check_copies(examined, held, exact, near)]


def _held_out(
    examined: Examined, holdout: tuple[str, ...], gone: Mapping[str, str], ties: list[tuple[str, str]]
) -> tuple[frozenset[str], tuple[Case, ...]]:
    pictures = examined.annotations.pictures
    groups = {item.group for item in pictures}
    everything = tuple(range(len(pictures)))
    if len(groups) < 2:
        return frozenset(), (Case(everything, f"all pictures are of group {pictures[0].group}"),)
    if not holdout and len(tied_groups(groups, ties)) == 1:
        return frozenset(), (Case(everything, "each group shares copies with the others"),)
    dataset = Dataset(tuple(examined.annotations.classes), _samples(examined), taken_apart=gone)
    return frozenset(split_by_group(dataset, holdout, ties=ties).validation.groups()), ()


def _samples(examined: Examined) -> tuple[Sample, ...]:
    classes = tuple(examined.annotations.classes)
    return tuple(
        Sample(
            item.path,
            np.zeros((len(item.boxes), 4), np.float32),
            np.array([classes.index(truth.label) for truth in item.boxes], np.int64),
            item.group,
            is_good=not item.boxes,
            reference=item.reference,
        )
        for item in examined.annotations.pictures
    )
