"""What would make the export fail after hours of training, found before the first epoch."""

from __future__ import annotations

from appliance.bundle.manifest import Geometry
from appliance.errors import ConfigError
from trainer.datasets.sample import Dataset, picture_size
from trainer.datasets.split import Split
from trainer.graph import CANDIDATES
from trainer.model import SIDE_MULTIPLE, STRIDE
from trainer.progress import tracked
from trainer.validate import PAD_VALUE

LARGEST_INPUT_PX = 1280 * 1280
"""A larger picture is tiled instead of taken whole, so that memory and latency stay in bounds."""

LARGEST_TILE_PX = 640


def model_geometry(dataset: Dataset, channels: int) -> Geometry:
    """Choose the model's input: pictures whole if they are alike and the net takes them, else tiles.

    A tile is as large as the net and the smallest picture allow, up to 640 pixels a side, and nothing is ever scaled:
    the net would see lines of a width that it was not trained on.

    Args:
        dataset: all pictures, both halves.
        channels: 1 or 3; 2 or 6 with a reference.

    Returns:
        Width, height and channels; fit is always "exact".

    Raises:
        ConfigError: A picture is too small for the net.
    """
    sizes = {picture_size(sample.image, "the data set"): sample for sample in tracked(dataset.samples, "picture sizes")}
    width, height = min(size[0] for size in sizes), min(size[1] for size in sizes)
    is_whole = len(sizes) == 1 and not width % SIDE_MULTIPLE and not height % SIDE_MULTIPLE
    if not is_whole or width * height > LARGEST_INPUT_PX:
        width, height = (min(LARGEST_TILE_PX, side // SIDE_MULTIPLE * SIDE_MULTIPLE) for side in (width, height))
    if width * height < CANDIDATES * STRIDE**2:
        smallest = sizes[min(sizes, key=min)]
        raise ConfigError(
            f"{smallest.image}: leaves an input of {width} x {height} pixels, which is too small for the net (96 x 96 "
            "is enough); take small pictures off the list, or use larger ones"
        )
    return Geometry.model_validate(
        {"width": width, "height": height, "channels": channels, "fit": "exact", "pad_value": PAD_VALUE}
    )


def check_data(split: Split, channels: int) -> Geometry:
    """Refuse data from which no bundle could be made.

    Args:
        split: both halves.
        channels: 1 or 3.

    Returns:
        The input of the model that the export will write.

    Raises:
        ConfigError: There is no good part, no defect on one side, or a picture is too small.
    """
    if not any(sample.is_good for sample in split.whole().samples):
        raise ConfigError(
            "no picture is of a good part: a bundle's baseline is made of them and overkill is measured on them; "
            "add pictures without boxes"
        )
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
    if not any(sample.is_good for sample in split.validation.samples):
        found.append("the held-out groups have no good part: overkill cannot be measured")
    sides = [(box[2:] - box[:2]).min() for sample in split.whole().samples for box in sample.boxes]
    small = sum(side < STRIDE for side in sides)
    if small:
        found.append(f"{small} of {len(sides)} boxes are thinner than {STRIDE} pixels: use a lens that shows more")
    return found
