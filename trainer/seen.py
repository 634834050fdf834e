"""Which groups a model was trained on, so that no figure mixes them with those that it never saw."""

from __future__ import annotations

from dataclasses import replace

from appliance.bundle.manifest import Lineage
from trainer.datasets.reading import dataset_digest
from trainer.datasets.sample import Dataset
from trainer.datasets.split import split_by_group
from trainer.evaluate import Report, Runner, judge_samples, report
from trainer.progress import console, results


def seen_groups(dataset: Dataset, lineage: Lineage) -> frozenset[str]:
    """Return the groups of a data set that a model was trained on.

    Names alone say little: another data set may use them for other parts. So the data must be the very same.

    Args:
        dataset: all of it.
        lineage: of the bundle.

    Returns:
        Names; none if it is other data, or if the bundle does not say what it held out.
    """
    groups = set(dataset.groups())
    if not lineage.held_out or not groups > set(lineage.held_out):
        return frozenset()
    whole = split_by_group(dataset, lineage.held_out).whole()
    if dataset_digest(whole) != lineage.dataset_digest:
        return frozenset()
    return frozenset(groups - set(lineage.held_out))


def only(dataset: Dataset, groups: frozenset[str]) -> Dataset:
    """Return the pictures of some groups.

    Args:
        dataset: all of it.
        groups: which to keep.
    """
    return replace(dataset, samples=tuple(sample for sample in dataset.samples if sample.group in groups))


def apart(dataset: Dataset, seen: frozenset[str]) -> tuple[Dataset, Dataset | None]:
    """Keep what a model was trained on out of the figures, where there is anything else.

    Args:
        dataset: what is to be judged.
        seen: groups that the model was trained on.

    Returns:
        What the figures are of, and what is told beside them.
    """
    groups = frozenset(dataset.groups())
    if not groups & seen:
        return dataset, None
    if groups <= seen:
        words = "the model was trained on these very pictures: the figures say nothing about others"
        console.print(f"trainer: beware: {words}", soft_wrap=True)
        return dataset, None
    return only(dataset, groups - seen), only(dataset, groups & seen)


def show_trained_on(runner: Runner, dataset: Dataset) -> Report:
    """Judge what a model was trained on, and tell it in one line.

    Args:
        runner: the model.
        dataset: pictures that it was trained on.
    """
    judged, spent = judge_samples(runner, dataset)
    figures = report(judged, runner.manifest, spent)
    parts = figures.parts
    results.print(
        f"left out above are {figures.pictures} pictures that the model was trained on, where figures flatter: "
        f"AP@0.33 {figures.ap_pooled:.4f}, escapes {parts.escapes} of {parts.bad}, overkill {parts.overkill} of "
        f"{parts.good}",
        soft_wrap=True,
    )
    return figures
