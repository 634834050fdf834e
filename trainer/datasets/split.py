"""Training and validation by whole groups: what is measured is the step to a board that was never seen."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from appliance.errors import ConfigError
from trainer.datasets.sample import Dataset, Sample
from trainer.names import listed

Counts: TypeAlias = NDArray[np.int64]

MOST_DRAWS = 50

EVEN_ENOUGH = 0.05
"""So far may a class' held-out share be from that of all pictures; more where there are few, as chance has it."""

MOST_OF_SHARE = 1.25
"""Drawn groups hold out no more than this times what is wanted, if they can."""


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Two data sets that share no group.

    Args:
        train: what the weights are fitted to.
        validation: what they are judged on.
    """

    train: Dataset
    validation: Dataset

    def whole(self) -> Dataset:
        """Return both halves as one, training pictures first."""
        return replace(self.train, samples=self.train.samples + self.validation.samples)


def split_by_group(
    dataset: Dataset,
    holdout: tuple[str, ...] = (),
    share: float = 0.2,
    seed: int = 0,
    ties: Iterable[tuple[str, str]] = (),
) -> Split:
    """Hold out whole groups.

    Args:
        dataset: what was read.
        holdout: names of the groups to hold out; empty to draw them.
        share: share of the pictures to hold out at least when groups are drawn, 0..1.
        seed: seed of the draw.
        ties: pairs of groups that a draw must not divide, because they share copies.

    Returns:
        The split; every sample is in exactly one half.

    Raises:
        ConfigError: A named group does not exist, or nothing would be left on one side.
    """
    groups = dataset.groups()
    check_groups(dataset, holdout, "holdout")
    tied = tied_groups(groups, ties)
    if not holdout and len(tied) == 1 and len(groups) > 1:
        raise ConfigError(
            "nothing can be held out: pictures of all groups are alike, so that each group is tied to the others; take "
            "copies off the list (`trainer data check` shows them), or say --allow-leakage where there is one: its "
            "figures flatter"
        )
    split = _divided(dataset, set(holdout) if holdout else _drawn(dataset, tied, share, seed))
    if not split.train.samples or not split.validation.samples:
        raise ConfigError(
            f"holdout: of the groups {listed(groups)} none is left on one side; at least two groups are needed, "
            "one to train on and one to validate on"
        )
    return split


def check_groups(dataset: Dataset, named: Iterable[str], option: str) -> None:
    """Refuse names of groups that are not there.

    Args:
        dataset: what was read.
        named: names of groups.
        option: what named them, for the message.

    Raises:
        ConfigError: There is no such group, or it was taken apart; the message says what there is instead.
    """
    groups = dataset.groups()
    unknown = sorted(set(named) - set(groups))
    gone = [name for name in unknown if name in dataset.taken_apart]
    if gone:
        why = dataset.taken_apart[gone[0]]
        raise ConfigError(
            f"{option}: the group {gone[0]} was taken apart, because {why}: each of its pictures is a group of its "
            "own, called by its path; name such ones, or say in the data what parts, days or cameras they are of; the "
            f"{len(groups)} groups are {listed(groups)}"
        )
    if unknown:
        raise ConfigError(f"{option}: no group {listed(unknown)}; the groups are {listed(groups)}")


def tied_groups(groups: Iterable[str], ties: Iterable[tuple[str, str]]) -> list[frozenset[str]]:
    """Join groups that a draw must not divide.

    Args:
        groups: names of all.
        ties: pairs that must stay together.

    Returns:
        What can be drawn, by the first name in each.
    """
    unit = {group: frozenset([group]) for group in groups}
    for one, other in ties:
        joined = unit[one] | unit[other]
        unit.update(dict.fromkeys(joined, joined))
    return sorted(set(unit.values()), key=min)


def _divided(dataset: Dataset, held: set[str]) -> Split:
    train = tuple(s for s in dataset.samples if s.group not in held)
    validation = tuple(s for s in dataset.samples if s.group in held)
    return Split(replace(dataset, samples=train), replace(dataset, samples=validation))


def _drawn(dataset: Dataset, tied: list[frozenset[str]], share: float, seed: int) -> set[str]:
    """Draw until both halves have every kind of defect and good parts, in about equal shares; else take the best.

    If none holds out a defect, although it could, more than the share is held out: nothing could be judged else.
    """
    tally = _tally(dataset, tied)
    best: list[int] = []
    best_rank: tuple[float, ...] = (math.inf,)
    for most in (MOST_OF_SHARE, math.inf):
        for turn in range(MOST_DRAWS):
            held = _draw(tally[:, 0].tolist(), share, seed * MOST_DRAWS + turn, most)
            too_many = int(tally[held, 0].sum()) if most == math.inf else 0
            rank = _lacking(tally, held), _unevenness(tally, held), too_many
            if rank < best_rank:
                best, best_rank = held, rank
            if rank == (0, 0.0, 0):
                break
        if (tally[:, 1] > 0).sum() < 2 or all(half[1] for half in _halves(tally, best)):
            break
    return {group for number in best for group in tied[number]}


def _tally(dataset: Dataset, tied: list[frozenset[str]]) -> Counts:
    """Count the pictures of what is drawn together: a column each for all, bad ones, good ones, and each class."""
    row = {group: number for number, unit in enumerate(tied) for group in unit}
    found = np.zeros((len(tied), 3 + len(dataset.classes)), np.int64)
    for sample in dataset.samples:
        counts = found[row[sample.group]]
        counts[0] += 1
        counts[2 if sample.is_good else 1] += 1
        counts[3 + np.unique(sample.labels)] += 1
    return found


def _halves(tally: Counts, held: list[int]) -> tuple[Counts, Counts]:
    part: Counts = tally[np.array(held, np.int64)].sum(axis=0)
    return tally.sum(axis=0) - part, part


def _lacking(tally: Counts, held: list[int]) -> int:
    """Count what the halves lack: defects at all weigh most, then each class, then good parts.

    What cannot be learned weighs more than what cannot be judged: a class that one group alone has is learned.
    """
    train, validation = (half == 0 for half in _halves(tally, held))
    classes = 3 * train[3:].sum() + 2 * validation[3:].sum()
    return int(100 * (train[1] | validation[1]) + (train[2] | validation[2]) + classes)


def _unevenness(tally: Counts, held: list[int]) -> float:
    """Return how much more the shares of classes and good parts differ than is usual by chance; 0 if not at all.

    A kind that one group alone has is left out: it lies wholly on one side however is drawn. The others are summed up,
    and not only the worst one looked at: one that can hardly be even, since nearly all of it is in one group, would
    hide how the rest lies.
    """
    train, validation = _halves(tally, held)
    whole = np.maximum(train + validation, 1)
    share = validation[0] / whole[0]
    chance = np.maximum(EVEN_ENOUGH, np.sqrt(share * (1 - share) / whole[2:]))
    excess = np.maximum(np.abs(validation[2:] / whole[2:] - share) - chance, 0.0)
    return float(excess[(tally[:, 2:] > 0).sum(axis=0) > 1].sum())


def _draw(sizes: list[int], share: float, seed: int, most: float) -> list[int]:
    """Draw until enough is held out; what would hold out more than so many times the share is passed over first."""
    drawn = list(range(len(sizes)))
    random.Random(seed).shuffle(drawn)
    wanted = share * sum(sizes)
    held: list[int] = []
    passed_over: list[int] = []
    pictures = 0
    while drawn and len(held) < len(sizes) - 1 and pictures < wanted:
        unit = drawn.pop()
        if pictures + sizes[unit] > most * wanted:
            passed_over.append(unit)
        else:
            held.append(unit)
            pictures += sizes[unit]
    has_room = len(held) < len(sizes) - 1
    if has_room and passed_over and pictures < wanted / 2:
        held.append(min(passed_over, key=lambda unit: (sizes[unit], unit)))
    return held


def describe(split: Split) -> list[dict[str, str | int]]:
    """Tell what was read: one row per group.

    Returns:
        Rows with group, split ("train" or "validation"), pictures, good and one count per class.
    """
    rows: list[dict[str, str | int]] = []
    for name, half in (("train", split.train), ("validation", split.validation)):
        members: dict[str, list[Sample]] = {}
        for sample in half.samples:
            members.setdefault(sample.group, []).append(sample)
        for group, its in sorted(members.items()):
            row: dict[str, str | int] = {"group": group, "split": name, "pictures": len(its)}
            row["good"] = sum(sample.is_good for sample in its)
            row.update(replace(half, samples=tuple(its)).boxes_per_class())
            rows.append(row)
    return rows
