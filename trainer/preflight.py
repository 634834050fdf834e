"""What would make the export fail after hours of training, found before the first epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from appliance.bundle.manifest import Geometry
from appliance.errors import ConfigError
from appliance.optics.tiles import Region, model_grid, usual_overlap_px
from trainer.candidates import CANDIDATES
from trainer.datasets.examination import is_turned
from trainer.datasets.pair_checks import compare_all, pairs_of
from trainer.datasets.picture_checks import LEAST_RANGE
from trainer.datasets.sample import Dataset, Sample, picture_size, spread
from trainer.datasets.split import Split
from trainer.model import PAD_VALUE, SIDE_MULTIPLE, STRIDE
from trainer.progress import tracked

LARGEST_INPUT_PX, LONGEST_INPUT_PX = 1280 * 1280, 2048
"""A larger picture is tiled instead of taken whole, so that memory and latency stay in bounds."""

LARGEST_TILE_PX = 640

NEARLY_BLACK = 15
"""Of 255: what 12 bits at the lower end of 16 become."""

MOST_LOOKED_AT = 100
"""So many pictures, spread over the data, are looked at for what is mostly true of all or of none."""


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


def doubts(split: Split, geometry: Geometry) -> list[str]:
    """Say in words what can be trained but not be judged or found well.

    Args:
        split: both halves.
        geometry: the model's input; a larger picture is shown to it in tiles.

    Returns:
        One sentence for each doubt.

    Raises:
        ConfigError: A picture cannot be read.
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
    looked_at = [sample.image for sample in spread(split.whole().samples, MOST_LOOKED_AT)]
    turned = [image for image in looked_at if is_turned(image)]
    if turned:
        found.append(
            f"{len(turned)} of {len(looked_at)} pictures that were looked at are shown otherwise than they are stored, "
            f"because of a note in the file (EXIF), the first {turned[0]}: boxes that were drawn on what is stored lie "
            "elsewhere then; `trainer data check --report` shows them"
        )
    if unmarked := _unmarked(split.whole().samples):
        found.append(unmarked)
    crowded = [sample for sample in split.whole().samples if _most_at_once(sample, geometry) > CANDIDATES]
    if crowded:
        found.append(
            f"{len(crowded)} pictures have more boxes than the {CANDIDATES} that the model tells of all that it takes "
            f"at once, {geometry.width} x {geometry.height} pixels, the first {crowded[0].image}: draw one box around "
            "those that lie together"
        )
    return found


def _unmarked(samples: Sequence[Sample]) -> str:
    """Say how many pictures differ from their reference where nobody marked a defect."""
    looked_at = spread(pairs_of(samples), MOST_LOOKED_AT)
    compared = zip(looked_at, compare_all(looked_at), strict=True)
    done = [(image, found) for (image, _, _), found in compared if not found.refused]
    differing = [(image, found) for image, found in done if found.differences]
    if not differing:
        return ""
    image, first = differing[0]
    return (
        f"{len(differing)} of {len(done)} pictures that were compared differ from their reference where nobody marked "
        f"a defect, the first {image}: {first.words()}. What shows it is learned and judged as good; "
        "`trainer data check` lists all"
    )


def dimness(pictures: Sequence[NDArray[np.uint8]]) -> str:
    """Say how many pictures are so dark that they were hardly meant to be.

    Args:
        pictures: as the model sees them, uint8 [height, width, channels].

    Returns:
        The words; empty if one uses what pictures can hold, and none is nearly black.
    """
    brightest = [int(pixels.max()) for pixels in pictures]
    black = [value for value in brightest if value <= NEARLY_BLACK]
    if max(brightest) <= 255 * LEAST_RANGE:
        of, most = "any training picture", max(brightest)
    elif black:
        of, most = f"{len(black)} of {len(brightest)} training pictures", max(black)
    else:
        return ""
    return (
        f"no pixel of {of} is brighter than {most} of 255. Of 16-bit files the upper 8 bits are taken: move a "
        "camera's 10 or 12 bits up, or export 8. `trainer data check` tells which pictures are meant"
    )


def _most_at_once(sample: Sample, geometry: Geometry) -> int:
    """Return how many boxes the model has before it at once, at most: of a large picture, those in the fullest tile."""
    if len(sample.boxes) <= CANDIDATES:
        return len(sample.boxes)
    region = Region(0, 0, *picture_size(sample.image, "the data set"))
    grid = model_grid(region, geometry, usual_overlap_px(geometry.width, geometry.height))
    first = np.array([(tile.x_px, tile.y_px) for tile in grid.tiles])[:, None]
    behind = first + np.array([grid.tiles[0].width_px, grid.tiles[0].height_px])  # all tiles have one size
    centres = (sample.boxes[:, :2] + sample.boxes[:, 2:]) / 2
    is_there = ((first <= centres) & (centres < behind)).all(axis=2)
    return int(is_there.sum(axis=1).max())
