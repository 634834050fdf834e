"""Which groups a model was trained on, so that figures of them are told apart from those of others."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, Literal

from appliance.bundle.manifest import MOST_HELD_OUT, MOST_LEARNED_PICTURES, PICTURE_DIGITS, Lineage, Manifest
from trainer.datasets.reading import dataset_digest, picture_digest
from trainer.datasets.sample import Dataset, Sample
from trainer.datasets.split import check_groups, split_by_group
from trainer.evaluate import Report, report
from trainer.metrics import Judged
from trainer.progress import console, results
from trainer.wording import decimal


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of the groups that a model was trained on.

    Args:
        groups: those of the data set that it was trained on.
        by: "data": it is the very data of the training; "pictures": which of its pictures are is known, be it none;
            "names": it is other data, whose groups are called like those of the training; "": nothing is known.
    """

    groups: frozenset[str] = frozenset()
    by: Literal["data", "pictures", "names", ""] = ""


@dataclass(frozen=True, slots=True)
class Halves:
    """The figures of groups that a model was not trained on, and of those that it was.

    Args:
        by: as `Seen` has it.
        unseen: None if there is none, or nothing is known.
        seen: the same.
    """

    by: str
    unseen: Report | None
    seen: Report | None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        found = {"unseen": self.unseen, "seen": self.seen}
        return {"seen_by": self.by or None} | {name: each and each.as_dict() for name, each in found.items()}

    def show(self) -> None:
        """Tell both in a line each, where something is known."""
        if self.seen is None or (self.by == "data" and self.unseen is None):  # that is said before they are judged
            return
        flatter = "where figures flatter"
        words = {
            "data": f"left out above: pictures that the model was trained on, {flatter}",
            "pictures": f"pictures that the model was trained on, and others of such groups, {flatter}",
            "names": f"groups that are called like those that the model was trained on, {flatter}",
        }[self.by]
        others = {"data": "groups that it never saw", "names": "groups with other names"}.get(self.by, "other groups")
        for what, figures in ((others, self.unseen), (words, self.seen)):
            if figures is not None:
                show_line(what, figures)


def show_line(what: str, figures: Report) -> None:
    """Print the figures of some of the pictures in a line.

    Args:
        what: which pictures they are.
        figures: of these.
    """
    parts = figures.parts
    results.print(
        f"{what}: {figures.pictures} pictures, AP@0.33 {decimal(figures.ap_pooled, 4)}, F at the limits "
        f"{decimal(figures.at_limits.f, 4)}, escapes {parts.escapes} of {parts.bad}, overkill "
        f"{parts.overkill} of {parts.good}",
        soft_wrap=True,
    )


def learned(train: Dataset) -> dict[str, Any]:
    """Return what a bundle's lineage tells of the data that it was trained on.

    Args:
        train: the training half.

    Returns:
        learned_from: names of the groups with more than one picture, since a picture's own name says nothing about
        other data; learned_pictures: beginnings of the digests of all files. Empty where there are too many for a
        manifest.

    Raises:
        ConfigError: A picture cannot be read.
    """
    pictures = Counter(sample.group for sample in train.samples)
    names = tuple(sorted(name for name, count in pictures.items() if count > 1))
    told = train.samples if len(train.samples) <= MOST_LEARNED_PICTURES else ()
    digits = sorted({picture_digest(sample)[:PICTURE_DIGITS] for sample in told})
    return {"learned_from": names if len(names) <= MOST_HELD_OUT else (), "learned_pictures": "".join(digits)}


def seen_groups(dataset: Dataset, lineage: Lineage, asked: Dataset) -> Seen:
    """Return the groups that a model was trained on.

    Args:
        dataset: all of it.
        lineage: of the bundle.
        asked: those of its pictures that are to be judged.

    Returns:
        What its digest tells if it is the very data of the training; else what the pictures' digests tell; else what
        the groups' names tell.

    Raises:
        ConfigError: A picture cannot be read.
    """
    groups = set(dataset.groups())
    if lineage.held_out and groups > set(lineage.held_out):
        whole = split_by_group(dataset, lineage.held_out).whole()
        if dataset_digest(whole) == lineage.dataset_digest:
            return Seen(frozenset(groups - set(lineage.held_out)), "data")
    named = frozenset(groups & set(lineage.learned_from))
    known = _learned(asked, lineage.learned_pictures)
    if known:
        console.print(
            f"trainer: beware: the model was trained on {len(known)} of these {len(asked.samples)} pictures; figures "
            "of these, and of groups that it saw others of, say nothing about new ones and are told apart",
            soft_wrap=True,
        )
        return Seen(named | {sample.group for sample in known}, "pictures")
    if named:
        return Seen(named, "names")
    return Seen(by="pictures" if lineage.learned_pictures else "")  # which says that it learned from none of these


def _learned(dataset: Dataset, digits: str) -> list[Sample]:
    """Return the pictures whose digests a bundle tells."""
    if not digits:
        return []
    learned = {digits[at : at + PICTURE_DIGITS] for at in range(0, len(digits), PICTURE_DIGITS)}
    return [sample for sample in dataset.samples if picture_digest(sample)[:PICTURE_DIGITS] in learned]


def only(dataset: Dataset, groups: frozenset[str]) -> Dataset:
    """Return the pictures of some groups.

    Args:
        dataset: all of it.
        groups: which to keep.
    """
    return replace(dataset, samples=tuple(sample for sample in dataset.samples if sample.group in groups))


def of_groups(dataset: Dataset, groups: tuple[str, ...]) -> Dataset:
    """Return the pictures of the groups that `--groups` names.

    Args:
        dataset: all of it.
        groups: their names; empty for all.

    Raises:
        ConfigError: There is no such group.
    """
    check_groups(dataset, groups, "--groups")
    return only(dataset, frozenset(groups)) if groups else dataset


def apart(dataset: Dataset, seen: Seen) -> tuple[Dataset, Dataset | None]:
    """Keep pictures that a model was trained on out of the figures, where there is anything else.

    Args:
        dataset: what is to be judged.
        seen: what the model was trained on. Names alone say little, for another data set may use them for other parts;
            then everything is judged.

    Returns:
        What the figures are of, and what is told beside them.
    """
    groups = frozenset(dataset.groups())
    if seen.by != "data" or not groups & seen.groups:
        return dataset, None
    if groups <= seen.groups:
        words = "the model was trained on these very pictures: the figures say nothing about others"
        console.print(f"trainer: beware: {words}", soft_wrap=True)
        return dataset, None
    return only(dataset, groups - seen.groups), only(dataset, groups & seen.groups)


def halves(judged: list[Judged], figures: Report, known: Report | None, seen: Seen, manifest: Manifest) -> Halves:
    """Tell seen and unseen groups apart.

    Args:
        judged: the pictures that the figures are of.
        figures: of all of them.
        known: of pictures that were left out, because the model was trained on them.
        seen: what the model was trained on.
        manifest: class names and limits.
    """
    whole = replace(figures, peak_memory_mib=None)
    mine = [part for part in judged if part.group in seen.groups]
    if known is not None or not mine:
        return Halves(seen.by, whole if seen.by else None, known)
    others = [part for part in judged if part.group not in seen.groups]
    if not others:
        return Halves(seen.by, None, whole)
    return Halves(seen.by, report(others, manifest), report(mine, manifest))
