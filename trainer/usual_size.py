"""The size of a net that nobody has chosen: what the data can teach, and what a single picture asks for."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace

from trainer.backbone import PLENTY
from trainer.datasets.sample import Dataset
from trainer.defaults import uses_reference
from trainer.plan import Plan
from trainer.sizes import TABLE, SizeName


def sized(asked: Plan, arguments: argparse.Namespace, dataset: Dataset) -> tuple[Plan, SizeName, str]:
    """Give the net the size that was asked for, else the usual one, and say which.

    Beside a reference `nano` finds what there is to find. From single pictures `small` finds more
    (docs/training-figures.md), if there are enough to begin with random weights, since none are shipped for it.

    Args:
        asked: what else was chosen.
        arguments: of `trainer train`, `tune` or `crossval`.
        dataset: all of it, what is held out included.

    Returns:
        The plan, which size its net has (but for --width), and a line that says so and why.

    Raises:
        ConfigError: A reference is asked for and a picture names none.
    """
    size, why = _size(arguments, dataset)
    plan = replace(asked, **asdict(TABLE[size]))
    return replace(plan, width=arguments.width or plan.width), size, f"the net is {size}{why}"


def _size(arguments: argparse.Namespace, dataset: Dataset) -> tuple[SizeName, str]:
    if arguments.size:
        return arguments.size, ""
    if arguments.width or arguments.weights not in ("auto", "none") or vars(arguments).get("teacher"):
        return "nano", ""  # what else was chosen is made for that one
    if uses_reference(dataset, arguments.reference):
        return "nano", ", which is enough beside a reference"
    defective = sum(not sample.is_good for sample in dataset.samples)
    if defective < PLENTY:
        return "nano", f", because {defective} defective pictures are few"
    return "small", (
        f", because single pictures ask for more, and {defective} defective ones can teach it (--size nano takes half "
        "the time on the device)"
    )
