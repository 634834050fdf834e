"""Annotations -> a data set that can be learned from."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from appliance.annotations.deeppcb import CLASSES
from appliance.annotations.layouts import LAYOUTS, read_annotations
from appliance.annotations.pictures import LabelledPicture
from appliance.bundle.manifest import Name
from appliance.errors import ConfigError
from trainer.datasets.sample import Copper, Dataset, Sample, picture_size
from trainer.progress import tracked

COPPER = Copper(
    missing={name: CLASSES.index(name) for name in ("open", "mousebite", "pin_hole")}, opposites=(1, 0, 3, 2, 5, 4)
)
"""DeepPCB's pictures are binarised copper; an open is the opposite of a short, a mousebite of a spur, and so on."""

_NAME: TypeAdapter[str] = TypeAdapter(Name)


def read_dataset(source: Path) -> Dataset:
    """Read a data set in any layout that the appliance knows, and check what only learning needs.

    Args:
        source: a COCO file (`.json`) or a folder with `annotations.json`, or DeepPCB's folder or list file (`.txt`).

    Returns:
        Checked samples in the order of the source (DeepPCB: all tested pictures, then all templates).

    Raises:
        ConfigError: Nothing readable is there, or something in it is broken; the message names file and line.
    """
    if not source.exists():
        raise ConfigError(f"{source}: does not exist; give {LAYOUTS}")
    annotations = read_annotations(source)
    if annotations is None:
        raise ConfigError(f"{source}: no annotations.json, and no trainval.txt here or in PCBData/; give {LAYOUTS}")
    if not annotations.classes:
        raise ConfigError(f"{source}: has no categories; a detector needs at least one class")
    for name, where in annotations.classes.items():
        _check_name(name, where)
    classes = tuple(annotations.classes)
    samples = tuple(_sample(picture, classes) for picture in tracked(annotations.pictures, "reading"))
    return Dataset(classes, samples, COPPER if annotations.layout == "deeppcb" else None)


def _check_name(name: str, where: str) -> None:
    try:
        _NAME.validate_python(name)
    except ValidationError as error:
        plain = re.sub(r"[^a-z0-9_.-]+", "_", name.lower()).strip("_.-")[:64] or "scratch"
        raise ConfigError(
            f"{where}: {name!r} is no name of a class; take lower-case letters, digits, '_', '.' and '-', "
            f"at most 64 of them, as in '{plain}'"
        ) from error


def _sample(picture: LabelledPicture, classes: tuple[str, ...]) -> Sample:
    width, height = picture_size(picture.path, picture.where)
    told = tuple(real if said is None else said for said, real in zip(picture.told_size, (width, height), strict=True))
    if told != (width, height):
        raise ConfigError(
            f"{picture.where}: says {told[0]} x {told[1]} pixels, {picture.path} has {width} x {height}; "
            "correct the entry or restore the picture"
        )
    for item in picture.boxes:
        x1, y1, x2, y2 = item.box
        if x1 < 0 or y1 < 0 or x2 > width or y2 > height:
            raise ConfigError(
                f"{item.where}: box {item.box} leaves the picture of {width} x {height} pixels; repair or remove it"
            )
    return Sample(
        picture.path,
        np.array([item.box for item in picture.boxes], np.float32).reshape(-1, 4),
        np.array([classes.index(item.label) for item in picture.boxes], np.int64),
        picture.group,
        is_good=not picture.boxes,
        reference=_reference(picture, (width, height)),
    )


def _reference(picture: LabelledPicture, size: tuple[int, int]) -> Path | None:
    if picture.reference is not None and picture.reference != picture.path:
        found = picture_size(picture.reference, picture.where)
        if found != size:
            raise ConfigError(
                f"{picture.where}: the reference {picture.reference} has {found[0]} x {found[1]} pixels, the picture "
                f"{size[0]} x {size[1]}; take one of the same camera"
            )
    return picture.reference


def dataset_digest(dataset: Dataset) -> str:
    """Return one SHA-256 (hex) over all pictures and labels, in order.

    It goes into checkpoint and bundle: the same digest means the same data, wherever it lay.

    Args:
        dataset: all of it, in an order that does not change.

    Raises:
        ConfigError: A picture cannot be read.
    """
    total = hashlib.sha256(repr(dataset.classes).encode())
    for sample in tracked(dataset.samples, "digest of the data"):
        total.update(hashlib.sha256(_content(sample.image)).digest())
        if sample.reference is not None and sample.reference != sample.image:
            total.update(hashlib.sha256(_content(sample.reference)).digest())
        total.update(sample.group.encode() + b"\0" + sample.boxes.tobytes() + sample.labels.tobytes())
    return total.hexdigest()


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; restore or unlist it") from error
