"""Whether a split divides copies: then what is measured on the held-out groups was partly trained on."""

from __future__ import annotations

from trainer.datasets.likeness import Looks, alike, looks_of
from trainer.datasets.sample import Sample, load_picture
from trainer.datasets.split import Split
from trainer.progress import tracked


def leaks(split: Split) -> list[str]:
    """Look for pictures of the held-out groups that training sees too, as they are or saved again.

    Args:
        split: both halves.

    Returns:
        No sentence, or one that counts them and names the first pair.

    Raises:
        ConfigError: A picture is missing or damaged.
    """
    looks = {
        id(sample): _looks(sample) for sample in tracked(split.whole().samples, "looking for copies across the split")
    }
    first, second = ([looks[id(sample)] for sample in half.samples] for half in (split.train, split.validation))
    pairs = alike(first, second)
    if not pairs:
        return []
    trained, held = split.train.samples[pairs[0][0]], split.validation.samples[pairs[0][1]]
    pictures = len({j for _, j in pairs})
    return [
        f"{pictures} of {len(second)} held-out pictures are there for training too, as a copy or nearly one, so the "
        f"figures flatter: {held.image} (group {held.group}) is like {trained.image} (group {trained.group}); "
        "give them one group; `trainer data check` lists all"
    ]


def _looks(sample: Sample) -> Looks:
    return looks_of(load_picture(sample.image, 1)[:, :, 0])
