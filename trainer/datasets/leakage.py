"""Whether a split divides copies: then what is measured on the held-out groups was partly trained on."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from itertools import pairwise

from trainer.datasets.likeness import Looks, alike, looks_of
from trainer.datasets.sample import Dataset, Sample, load_picture
from trainer.datasets.split import Split
from trainer.progress import tracked

Pair = tuple[Sample, Sample]


def copies_across_groups(dataset: Dataset) -> list[Pair]:
    """Look for pictures that another group has too, as they are or saved again.

    Args:
        dataset: all of it.

    Returns:
        Pairs of two groups; of many copies of one picture not every pair, but all are linked.

    Raises:
        ConfigError: A picture is missing or damaged.
    """
    samples = dataset.samples
    looks: list[Looks] = []
    same: dict[bytes, list[int]] = defaultdict(list)
    for at, sample in enumerate(tracked(samples, "looking for copies in other groups")):
        pixels = load_picture(sample.image, 1)[:, :, 0]
        looks.append(looks_of(pixels))
        same[hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).digest()].append(at)
    pairs = set(alike(looks)) | {pair for members in same.values() for pair in pairwise(members)}
    return [(samples[i], samples[j]) for i, j in sorted(pairs) if samples[i].group != samples[j].group]


def leaks(split: Split, copies: list[Pair]) -> str | None:
    """Say which pictures of the held-out groups training would see too.

    Args:
        split: both halves.
        copies: of the whole data set.

    Returns:
        A sentence that counts them and names the first pair; None if there are none.
    """
    held = set(split.validation.groups())
    divided = [
        (one, other) if one.group in held else (other, one)
        for one, other in copies
        if (one.group in held) != (other.group in held)
    ]
    if not divided:
        return None
    (shown, trained), pictures = divided[0], len({id(one) for one, _ in divided})
    return (
        f"{pictures} of {len(split.validation.samples)} held-out pictures are there for training too, as a copy or "
        f"nearly one, so the figures flatter: {shown.image} (group {shown.group}) is like {trained.image} (group "
        f"{trained.group}); give them one group; `trainer data check` lists all"
    )
