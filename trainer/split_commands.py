"""Dividing a data set for training and judging, and showing how."""

from __future__ import annotations

import argparse
import shlex

from rich.table import Table

from appliance.errors import EXIT_REFUSED, ConfigError
from trainer.datasets.leakage import copies_across_groups, leaks
from trainer.datasets.reading import read_dataset
from trainer.datasets.sample import Dataset
from trainer.datasets.source import source_of, words_of
from trainer.datasets.split import Split, describe, split_by_group
from trainer.files import write_json
from trainer.progress import console as _err
from trainer.progress import results as _out

MOST_ROWS = 24
"""Groups that are listed; of more the first and the last."""


def divide(dataset: Dataset, holdout: tuple[str, ...], seed: int, allow_leakage: bool) -> tuple[Split, str | None]:
    """Hold out the groups that are named, or draw them so that copies stay on one side.

    Args:
        dataset: what was read.
        holdout: names of the groups to hold out; empty to draw them.
        seed: of the draw.
        allow_leakage: whether copies may be on both sides.

    Returns:
        The split, and a sentence if it divides copies and may.

    Raises:
        ConfigError: It divides copies and must not, or nothing would be left on one side.
    """
    copies = copies_across_groups(dataset)
    ties = [] if allow_leakage else [(one.group, other.group) for one, other in copies]
    split = split_by_group(dataset, holdout, seed=seed, ties=ties)
    leak = leaks(split, copies)
    if leak and not allow_leakage:
        raise ConfigError(f"{leak}; or say --allow-leakage, and do not rely on the figures")
    return split, leak


def split(arguments: argparse.Namespace) -> int:
    """Show what `trainer train` would hold out, and write it down.

    Args:
        arguments: of `trainer data split`.

    Returns:
        The exit code; 1 if copies would be on both sides.
    """
    dataset = read_dataset(source_of(arguments))
    copies = copies_across_groups(dataset)
    ties = [(one.group, other.group) for one, other in copies]
    found = split_by_group(dataset, arguments.holdout, arguments.share, arguments.seed, ties)
    leak = leaks(found, copies)
    show_split(found)
    if copies:
        groups = len({group for pair in ties for group in pair})
        _out.print(f"{groups} groups share copies with others; a draw keeps them on one side")
    if arguments.json:
        write_json(arguments.json.path, {"groups": describe(found), "leakage": leak})
    if leak:
        _err.print(f"trainer: refused: {leak}", soft_wrap=True)
        return EXIT_REFUSED
    if arguments.out:
        arguments.out.write("".join(f"{group}\n" for group in found.validation.groups()))
        words = ["trainer", "train", *words_of(arguments), "--holdout", f"@{arguments.out.path}", "--out", "RUN"]
        _out.print(f"next: {shlex.join(words)}", soft_wrap=True)
    return 0


def show_split(split: Split) -> None:
    """Tell what was read: pictures, good parts and boxes of each group and half.

    Args:
        split: both halves.
    """
    rows = describe(split)
    table = Table(title="what was read")
    for name in rows[0]:
        table.add_column(name, justify="left" if name in ("group", "split") else "right")
    for row in _telling(rows):
        table.add_row(*(str(value) for value in row.values()))
    for half, name in ((split.train, "train"), (split.validation, "validation")):
        good = sum(sample.is_good for sample in half.samples)
        counts = [str(count) for count in half.boxes_per_class().values()]
        table.add_row(f"{len(half.groups())} groups", name, str(len(half.samples)), str(good), *counts, style="bold")
    _out.print(table)


def _telling(rows: list[dict[str, str | int]]) -> list[dict[str, str | int]]:
    """Leave out what nobody reads: of many groups those in the middle, and all of them if each is one picture."""
    if len(rows) <= MOST_ROWS:
        return rows
    if all(row["pictures"] == 1 for row in rows):
        return []
    gap: dict[str, str | int] = dict.fromkeys(rows[0], "...")
    return [*rows[: MOST_ROWS // 2], gap, *rows[-MOST_ROWS // 2 :]]
