"""One labelled picture, and a list of them: what every reader gives and everything else takes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from appliance.annotations.pictures import Outline
from appliance.bundle.picture import decode, size_px
from appliance.errors import ConfigError

Item = TypeVar("Item")
Boxes = NDArray[np.float32]
Labels = NDArray[np.int64]

SIZES_PX2 = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, float("inf"))}
"""COCO's classes of box area."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A picture on disk with its truth.

    Args:
        image: path of the picture.
        boxes: float32 [N, 4], x1 y1 x2 y2 in pixels of the picture.
        labels: int64 [N], index into the data set's classes.
        group: what must not be divided between training and validation (a board type, a day, a machine).
        is_good: True if the part has no defect; then N is 0.
        reference: path of a picture of the same part without defects, as large; None if there is none.
        camera: what took it; empty if nobody says so.
        outlines: of each box its polygons. Nothing is learned from them, so they are there only for a version.
        origin: plain values that say who labelled it, and from where it comes; there only for a version, too.
    """

    image: Path
    boxes: Boxes
    labels: Labels
    group: str
    is_good: bool
    reference: Path | None = None
    camera: str = ""
    outlines: tuple[tuple[Outline, ...], ...] = ()
    origin: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Copper:
    """What the classes mean in pictures of binarised copper: each is copper missing, or copper too much.

    Args:
        missing: class of copper missing -> label: "open" (parted), "mousebite" (at the edge), "pin_hole" (inside).
        opposites: the label that each label becomes when copper and gap are exchanged.
    """

    missing: Mapping[str, int]
    opposites: tuple[int, ...]

    def label(self, name: str, is_too_much: bool) -> int:
        """Return the label of a class of missing copper, or of its opposite."""
        label = self.missing[name]
        return self.opposites[label] if is_too_much else label


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Checked samples.

    Args:
        classes: names; a label is an index into them.
        samples: in the order of the source, which is the order of every later draw.
        copper: what the classes mean if the pictures are binarised copper, else None.
        taken_apart: groups that are no more, because they say nothing of parts: name -> why, in words.
    """

    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    copper: Copper | None = None
    taken_apart: Mapping[str, str] = field(default_factory=dict)

    def groups(self) -> tuple[str, ...]:
        """Return the names of the groups, sorted."""
        return tuple(sorted({sample.group for sample in self.samples}))

    def boxes_per_class(self) -> dict[str, int]:
        """Count the boxes of each class."""
        found: Counter[int] = Counter()
        for sample in self.samples:
            found.update(sample.labels.tolist())
        return {name: found[index] for index, name in enumerate(self.classes)}


def spread(items: Sequence[Item], wanted: int) -> Sequence[Item]:
    """Return so many of the items, evenly spread over them; all if there are no more."""
    return [items[i * len(items) // wanted] for i in range(wanted)] if wanted < len(items) else items


def plain(path: Path) -> Path:
    """Make a path absolute and take `..` out of it, following no link: a link's own name is what people know."""
    return Path(os.path.normpath(path.absolute()))


def picture_size(path: Path, where: str) -> tuple[int, int]:
    """Read width and height of a picture, from the header alone where that is enough.

    Args:
        path: the picture.
        where: file and line that name it, for the message.

    Returns:
        Width and height in pixels.

    Raises:
        ConfigError: The picture is missing or is none.
    """
    try:
        size = size_px(path)
    except OSError as error:
        raise ConfigError(f"{where}: cannot read picture {path}: {error.strerror}; restore or unlist it") from error
    if size is None:
        raise ConfigError(f"{where}: {path} is not a picture that OpenCV reads; restore or unlist it")
    return size


def load_picture(path: Path, channels: int) -> NDArray[np.uint8]:
    """Decode a picture as the cameras do.

    Args:
        path: JPEG, PNG or anything else that OpenCV reads.
        channels: 1 for grey, 3 for RGB.

    Returns:
        uint8 [height, width, channels].

    Raises:
        ConfigError: The file is missing or damaged.
    """
    try:
        picture = decode(path.read_bytes(), channels)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read: {error.strerror}; restore the file or take it off the list"
        ) from error
    if picture is None:
        raise ConfigError(f"{path}: cannot be decoded; restore the file or take it off the list")
    return picture
