"""Groups that say nothing of parts are taken apart: each of their pictures is a group of its own then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from trainer.datasets.sample import Sample, plain
from trainer.progress import console


def taken_apart(samples: tuple[Sample, ...], folder: Path) -> tuple[tuple[Sample, ...], dict[str, str]]:
    """Make each picture a group of its own where the groups say nothing of parts, and say so.

    Args:
        samples: as they were read.
        folder: the data's own, from which pictures in it are named.

    Returns:
        The samples, those of a group that was taken apart with a group for each; and such groups: name -> why.
    """
    if _are_kinds(samples):
        why = "all pictures are of one group, or the groups are the kinds of defect"
        told = f"{why}: each picture is taken as a group of its own"
        groups = frozenset(sample.group for sample in samples)
    elif (group := _all_good_parts(samples)) is not None:
        why = "all good parts are of it, and nothing else is"
        told = (
            f"all good parts are of the group {group!r}, and nothing else is: each of its pictures is a group of its "
            "own then, so that some can be held out"
        )
        groups = frozenset([group])
    else:
        return samples, {}
    console.print(f"trainer: {told}; name parts, days or cameras as groups if there are any", soft_wrap=True)
    alone = _each_by_itself(samples, folder, groups)
    return alone, dict.fromkeys(sorted(groups - {sample.group for sample in alone}), why)


def _are_kinds(samples: tuple[Sample, ...]) -> bool:
    """Whether holding out a group would hold out a kind of defect, or everything: then groups say nothing of parts."""
    places: dict[int, set[str]] = {}
    for sample in samples:
        for label in sample.labels.tolist():
            places.setdefault(label, set()).add(sample.group)
    groups = {sample.group for sample in samples}
    if len(groups) == len(samples):  # each is by itself already, and keeps its name
        return False
    is_one_place_each = all(len(found) == 1 for found in places.values())
    return len(groups) == 1 or (is_one_place_each and len(groups) <= len(places) + 1)


def _all_good_parts(samples: tuple[Sample, ...]) -> str | None:
    """Return the group that is all good parts and nothing else: held out or not, one half would have none."""
    good = {sample.group for sample in samples if sample.is_good}
    if len(good) != 1 or good & {sample.group for sample in samples if not sample.is_good}:
        return None
    (group,) = good
    return group if sum(sample.is_good for sample in samples) > 1 else None


def _each_by_itself(samples: tuple[Sample, ...], folder: Path, groups: frozenset[str]) -> tuple[Sample, ...]:
    mine = [sample.image for sample in samples if sample.group in groups]
    others = frozenset(sample.group for sample in samples) - groups
    name = dict(zip(mine, _names(mine, folder, others), strict=True))
    return tuple(replace(sample, group=name.get(sample.image, sample.group)) for sample in samples)


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
