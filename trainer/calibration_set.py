"""The pictures on which the ranges of an INT8 model are seen: of the training half only, spread over what is in it."""

from __future__ import annotations

import hashlib
import random
from collections import Counter

import numpy as np

from appliance.bundle.geometry import to_model_input
from appliance.bundle.manifest import Geometry
from appliance.events import Pixels
from trainer.datasets.sample import Dataset, Sample
from trainer.references import load_input

CALIBRATION_PICTURES = 64


def choose_samples(train: Dataset, wanted: int = CALIBRATION_PICTURES) -> tuple[Sample, ...]:
    """Choose pictures: good parts and each class in turn, each time from the group that has given the least.

    Args:
        train: the training half.
        wanted: how many; all if there are no more.

    Returns:
        Samples; the same ones for the same data.
    """
    order = list(range(len(train.samples)))
    random.Random(0).shuffle(order)
    kinds = [[i for i in order if train.samples[i].is_good]]
    kinds += [[i for i in order if label in train.samples[i].labels] for label in range(len(train.classes))]
    taken: dict[int, None] = {}
    given: Counter[str] = Counter()
    while any(kinds) and len(taken) < wanted:
        for kind in kinds:
            kind[:] = [index for index in kind if index not in taken]
            if kind and len(taken) < wanted:
                chosen = min(kind, key=lambda index: given[train.samples[index].group])
                taken[chosen] = None
                given[train.samples[chosen].group] += 1
    return tuple(train.samples[index] for index in taken)


def load_piece(sample: Sample, geometry: Geometry, number: int) -> Pixels:
    """Load what a model of this geometry is shown of a sample: around a defect, if the picture is larger.

    Args:
        sample: the picture.
        geometry: the model's input.
        number: which defect, counted round.

    Returns:
        A picture of at most the model's size.
    """
    centre = None
    if not sample.is_good:
        x1, y1, x2, y2 = sample.boxes[number % len(sample.boxes)].tolist()
        centre = (x1 + x2) / 2, (y1 + y2) / 2
    return piece_around(load_input(sample, geometry.channels), geometry, centre)


def piece_around(picture: Pixels, geometry: Geometry, centre: tuple[float, float] | None) -> Pixels:
    """Cut a piece of the model's size out of a picture.

    Args:
        picture: uint8 [height, width, channels].
        geometry: the model's input.
        centre: x and y in pixels around which it is cut, as far as the picture's edges let it; None for the middle.

    Returns:
        A picture of at most the model's size.
    """
    height, width = picture.shape[:2]
    x, y = centre or (width / 2, height / 2)
    left = round(max(min(x - geometry.width / 2, width - geometry.width), 0))
    top = round(max(min(y - geometry.height / 2, height - geometry.height), 0))
    return np.ascontiguousarray(picture[top : top + geometry.height, left : left + geometry.width])


def load_inputs(samples: tuple[Sample, ...], geometry: Geometry) -> list[Pixels]:
    """Load the chosen pictures as the model takes them.

    Args:
        samples: what was chosen.
        geometry: the model's input.

    Returns:
        One uint8 [height, width, channels] for each sample, in their order.
    """
    return [to_model_input(load_piece(each, geometry, n), geometry)[0] for n, each in enumerate(samples)]


def digests(samples: tuple[Sample, ...]) -> tuple[str, ...]:
    """Return the SHA-256 (hex) of each picture's file, sorted."""
    return tuple(sorted(hashlib.sha256(sample.image.read_bytes()).hexdigest() for sample in samples))
