"""Groups that say nothing of parts are taken apart: each of their pictures is a group of its own then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from trainer.datasets.sample import Sample, plain
from trainer.names import listed
from trainer.progress import console

NEARLY, MOST = 0.9, 0.5
"""Groups are the kinds of defect if so many of all defective pictures are of their kind's group, and more than so many
of each kind: a few pictures show two kinds, and lie with one of them."""

TOO_FEW = 5
"""A fifth of the good parts cannot be held out by whole groups if they are of fewer."""


def taken_apart(samples: tuple[Sample, ...], folder: Path) -> tuple[tuple[Sample, ...], dict[str, str]]:
    """Make each picture a group of its own where the groups say nothing of parts, and say so.

    Args:
        samples: as they were read.
        folder: the data's own, from which pictures in it are named.

    Returns:
        The samples, those of a group that was taken apart with a group for each; and such groups: name -> why.
    """
    kinds = _of_kinds(samples)
    groups = kinds | _of_good_parts(samples, kinds)
    if not groups:
        return samples, {}
    why, so_that = "all pictures are of one group, or the groups are the kinds of defect", ""
    if not kinds:
        why, so_that = f"all good parts are of {_named(groups)}, and nothing else is", ", so that some can be held out"
    told = f"{why}: each picture of {_named(groups)} is taken as a group of its own{so_that}"
    console.print(f"trainer: {told}; name parts, days or cameras as groups if there are any", soft_wrap=True)
    alone = _each_by_itself(samples, folder, groups)
    return alone, dict.fromkeys(sorted(groups - {sample.group for sample in alone}), why)


def _named(groups: frozenset[str]) -> str:
    return f"the group{'s' if len(groups) > 1 else ''} {listed([repr(name) for name in sorted(groups)])}"


def _of_kinds(samples: tuple[Sample, ...]) -> frozenset[str]:
    """Return the groups by which a kind of defect would be held out, or everything, where that is so of each kind."""
    groups = {sample.group for sample in samples}
    if len(groups) == len(samples):  # each is by itself already, and keeps its name
        return frozenset()
    if len(groups) == 1:
        return frozenset(groups)
    places: dict[int, Counter[str]] = {}
    for sample in samples:
        for label in set(sample.labels.tolist()):
            places.setdefault(label, Counter())[sample.group] += 1
    homes = {label: found.most_common(1)[0] for label, found in places.items()}
    if any(most <= MOST * places[label].total() for label, (_, most) in homes.items()):
        return frozenset()
    if sum(most for _, most in homes.values()) < NEARLY * sum(found.total() for found in places.values()):
        return frozenset()
    return frozenset(group for group, _ in homes.values())


def _of_good_parts(samples: tuple[Sample, ...], kinds: frozenset[str]) -> frozenset[str]:
    """Return the few groups besides that hold good parts and nothing else: one half would have none, or too many."""
    others = [sample for sample in samples if sample.group not in kinds]
    good = frozenset(sample.group for sample in others if sample.is_good)
    if len(good) >= TOO_FEW or good & {sample.group for sample in others if not sample.is_good}:
        return frozenset()
    is_each_by_itself = sum(sample.is_good for sample in others) == len(good)
    return frozenset() if is_each_by_itself and not kinds else good


def _each_by_itself(samples: tuple[Sample, ...], folder: Path, groups: frozenset[str]) -> tuple[Sample, ...]:
    """Name each picture's group after it; a good part that a picture is compared with stays in that picture's."""
    mine = [sample.image for sample in samples if sample.group in groups]
    beside = {s.reference: s.image for s in reversed(samples) if s.group in groups and s.reference != s.image}
    others = frozenset(sample.group for sample in samples) - groups
    name = dict(zip(mine, _names(mine, folder, others), strict=True))
    return tuple(
        replace(sample, group=name.get(beside.get(sample.image, sample.image), sample.group)) for sample in samples
    )


def _names(pictures: Sequence[Path], folder: Path, others: frozenset[str]) -> list[str]:
    """Name each picture by its way from the data's folder; one that lies elsewhere by its own folder and its name.

    A name stays the same when the data move, and when other pictures join. Only where a picture from elsewhere would be
    called like another one, or like a group that stays, so many folders above it are named as tell them apart.
    """
    inside = [_way(folder, picture) for picture in pictures]
    parts = [plain(picture).parts for picture in pictures]
    depths = {at: 2 for at, way in enumerate(inside) if way is None}
    while True:
        names = [way or Path(*parts[at][-depths[at] :]).as_posix() for at, way in enumerate(inside)]
        told = Counter(names)
        longer = [at for at in depths if (told[names[at]] > 1 or names[at] in others) and depths[at] < len(parts[at])]
        if not longer:
            return names
        for at in longer:
            depths[at] += 1


def _way(folder: Path, picture: Path) -> str | None:
    """Return how a picture is named from a folder that it lies in, by the names of links or by what they lead to."""
    for path, top in (
        (plain(picture), plain(folder)),
        (picture.parent.resolve() / picture.name, folder.resolve()),
    ):
        if path.is_relative_to(top):
            return path.relative_to(top).as_posix()
    return None
