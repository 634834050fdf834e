"""A net whose size nobody chose has the one that the data ask for."""

from argparse import Namespace
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest

from trainer.datasets.sample import Dataset, Sample
from trainer.plan import Plan
from trainer.sizes import TABLE, SizeName
from trainer.usual_size import sized


@pytest.mark.parametrize(
    ("pictures", "references", "chosen", "size"),
    [
        (600, 0, {}, "small"),
        (599, 0, {}, "nano"),
        (600, 599, {}, "small"),
        (600, 600, {}, "nano"),
        (600, 600, {"reference": "no"}, "small"),
        (600, 0, {"weights": "none"}, "small"),
        (600, 0, {"weights": "own.safetensors"}, "nano"),
        (600, 0, {"teacher": Path("base")}, "nano"),
        (3, 0, {"size": "base"}, "base"),
        (600, 0, {"size": "nano"}, "nano"),
    ],
)
def test_a_net_whose_size_nobody_chose_is_larger_where_many_single_pictures_can_teach_it(
    pictures: int, references: int, chosen: dict[str, object], size: SizeName
) -> None:
    boxes = np.array([[0, 0, 20, 20]], np.float32)
    samples = tuple(
        Sample(
            Path("p"), boxes, np.zeros(1, np.int64), "g", is_good=False, reference=Path("p") if n < references else None
        )
        for n in range(pictures)
    )
    usual = {"size": None, "width": None, "weights": "auto", "reference": "auto", "teacher": None}
    plan, named, words = sized(Plan(), Namespace(**{**usual, **chosen}), Dataset(("a",), samples))
    assert (plan.width, plan.depth, plan.detail) == astuple(TABLE[size])
    assert named == size
    assert words.startswith(f"the net is {size}")


def test_a_width_of_its_own_is_that_of_the_smallest_net() -> None:
    chosen = Namespace(size=None, width=48, weights="auto", reference="auto")
    plan, _, _ = sized(Plan(), chosen, Dataset(("a",), ()))
    assert (plan.width, plan.depth, plan.detail) == (48, *astuple(TABLE["nano"])[1:])
