"""What would make the export fail after hours of training, found before the first epoch."""

from __future__ import annotations

from appliance.bundle.manifest import Geometry
from appliance.errors import ConfigError
from trainer.candidates import CANDIDATES
from trainer.datasets.sample import Dataset, picture_size
from trainer.datasets.split import Split
from trainer.model import PAD_VALUE, SIDE_MULTIPLE, STRIDE
from trainer.progress import tracked

LARGEST_INPUT_PX, LONGEST_INPUT_PX = 1280 * 1280, 2048
"""A larger picture is tiled instead of taken whole, so that memory and latency stay in bounds."""

LARGEST_TILE_PX = 640


def model_geometry(dataset: Dataset, channels: int) -> Geometry:
    """Choose the model's input: the largest picture whole if the net can take it, else tiles.

    Nothing is ever scaled: the net would see lines of a width that it was not trained on. What is smaller than the
    input is filled up.

    Args:
        dataset: all pictures, both halves.
        channels: 1 or 3; 2 or 6 with a reference.

    Returns:
        Width, height and channels; smaller pictures are filled up, also where there is none today: another camera's may
        come.
    """
    sizes = {picture_size(sample.image, "the data set") for sample in tracked(dataset.samples, "picture sizes")}
    width, height = (max(_whole_cells(size[axis]) for size in sizes) for axis in (0, 1))
    if width * height > LARGEST_INPUT_PX or max(width, height) > LONGEST_INPUT_PX:
        width, height = min(LARGEST_TILE_PX, width), min(LARGEST_TILE_PX, height)
    while width * height < CANDIDATES * STRIDE**2:
        width, height = width + SIDE_MULTIPLE * (width <= height), height + SIDE_MULTIPLE * (height < width)
    return Geometry.model_validate(
        {"width": width, "height": height, "channels": channels, "fit": "pad", "pad_value": PAD_VALUE}
    )


def _whole_cells(side_px: int) -> int:
    return -(-side_px // SIDE_MULTIPLE) * SIDE_MULTIPLE


def check_data(split: Split, channels: int) -> Geometry:
    """Refuse data from which no bundle could be made.

    Args:
        split: both halves.
        channels: 1 or 3.

    Returns:
        The input of the model that the export will write.

    Raises:
        ConfigError: One side has no defect.
    """
    for half, name in ((split.train, "training pictures"), (split.validation, "held-out groups")):
        if all(sample.is_good for sample in half.samples):
            raise ConfigError(f"the {name} have no defect; hold out other groups with --holdout, or label more")
    return model_geometry(split.whole(), channels)


def doubts(split: Split) -> list[str]:
    """Say in words what can be trained but not be judged or found well.

    Args:
        split: both halves.

    Returns:
        One sentence for each doubt.
    """
    found = []
    for half, verb in ((split.train, "learned"), (split.validation, "judged")):
        missing = [name for name, count in half.boxes_per_class().items() if not count]
        if missing:
            where = "training pictures" if half is split.train else "held-out groups"
            found.append(f"the {where} have no {', '.join(missing)}: it cannot be {verb}")
    if not any(sample.is_good for sample in split.whole().samples):
        found.append("no picture is of a good part: the baseline is made of defective ones; add pictures without boxes")
    if not any(sample.is_good for sample in split.validation.samples):
        found.append("the held-out groups have no good part: overkill cannot be measured, and the limit is a guess")
    sides = [(box[2:] - box[:2]).min() for sample in split.whole().samples for box in sample.boxes]
    small = sum(side < STRIDE for side in sides)
    if small:
        found.append(f"{small} of {len(sides)} boxes are thinner than {STRIDE} pixels: use a lens that shows more")
    crowded = [sample for sample in split.whole().samples if len(sample.boxes) > CANDIDATES]
    if crowded:
        found.append(
            f"{len(crowded)} pictures have more boxes than the {CANDIDATES} that the model tells of all that it takes "
            f"at once, the first {crowded[0].image}: draw one box around those that lie together"
        )
    return found
