"""Training and validation by whole groups: what is measured is the step to a board that was never seen."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, replace

from appliance.errors import ConfigError
from trainer.datasets.sample import Dataset

MOST_DRAWS = 50

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


def split_by_group(dataset: Dataset, holdout: tuple[str, ...] = (), share: float = 0.2, seed: int = 0) -> Split:
    """Hold out whole groups.

    Args:
        dataset: what was read.
        holdout: names of the groups to hold out; empty to draw them.
        share: share of the pictures to hold out at least when groups are drawn, 0..1.
        seed: seed of the draw.

    Returns:
        The split; every sample is in exactly one half.

    Raises:
        ConfigError: A named group does not exist, or nothing would be left on one side.
    """
    groups = dataset.groups()
    unknown = sorted(set(holdout) - set(groups))
    if unknown:
        raise ConfigError(f"holdout: no group {', '.join(unknown)}; the groups are {', '.join(groups)}")
    split = _divided(dataset, set(holdout)) if holdout else _drawn(dataset, share, seed)
    if not split.train.samples or not split.validation.samples:
        raise ConfigError(
            f"holdout: of the groups {', '.join(groups)} none is left on one side; at least two groups are needed, "
            "one to train on and one to validate on"
        )
    return split


def _divided(dataset: Dataset, held: set[str]) -> Split:
    train = tuple(s for s in dataset.samples if s.group not in held)
    validation = tuple(s for s in dataset.samples if s.group in held)
    return Split(replace(dataset, samples=train), replace(dataset, samples=validation))


def _drawn(dataset: Dataset, share: float, seed: int) -> Split:
    """Draw until both halves have every kind of defect and good parts; if none has, take what lacks the least."""
    draws = (_divided(dataset, _draw(dataset, share, seed * MOST_DRAWS + turn)) for turn in range(MOST_DRAWS))
    best: tuple[int, Split] | None = None
    for split in draws:
        lacking = sum(_lacks(half) for half in (split.train, split.validation))
        if best is None or lacking < best[0]:
            best = lacking, split
        if not lacking:
            break
    assert best is not None
    return best[1]


def _lacks(half: Dataset) -> int:
    """Count what a half lacks: defects at all weigh most, then each class, then good parts."""
    missing = sum(not count for count in half.boxes_per_class().values())
    has_bad = any(not sample.is_good for sample in half.samples)
    return 100 * (not has_bad) + 2 * missing + (not any(sample.is_good for sample in half.samples))


def _draw(dataset: Dataset, share: float, seed: int) -> set[str]:
    """Draw groups until enough is held out; one that would hold out far too much is passed over while others do."""
    sizes = Counter(sample.group for sample in dataset.samples)
    drawn = sorted(sizes)
    random.Random(seed).shuffle(drawn)
    wanted = share * len(dataset.samples)
    held: set[str] = set()
    passed_over: list[str] = []
    while drawn and len(held) < len(sizes) - 1 and sum(sizes[name] for name in held) < wanted:
        group = drawn.pop()
        if sum(sizes[name] for name in held) + sizes[group] > MOST_OF_SHARE * wanted:
            passed_over.append(group)
        else:
            held.add(group)
    has_room = len(held) < len(sizes) - 1
    if has_room and passed_over and sum(sizes[name] for name in held) < wanted / 2:
        held.add(min(passed_over, key=lambda name: (sizes[name], name)))
    return held


def describe(split: Split) -> list[dict[str, str | int]]:
    """Tell what was read: one row per group.

    Returns:
        Rows with group, split ("train" or "validation"), pictures, good and one count per class.
    """
    rows: list[dict[str, str | int]] = []
    for name, half in (("train", split.train), ("validation", split.validation)):
        for group in half.groups():
            members = [s for s in half.samples if s.group == group]
            row: dict[str, str | int] = {"group": group, "split": name, "pictures": len(members)}
            row["good"] = sum(s.is_good for s in members)
            row.update(half.boxes_per_class(group))
            rows.append(row)
    return rows
