"""Annotations -> a data set that can be learned from."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from appliance.annotations.pictures import LabelledPicture
from appliance.bundle.manifest import Name
from appliance.errors import ConfigError
from trainer.datasets.copper import copper_of
from trainer.datasets.grouping import taken_apart
from trainer.datasets.layouts.boxes import fitted_boxes, taken_otherwise
from trainer.datasets.sample import Dataset, Sample, picture_size
from trainer.datasets.source import AnySource, Source
from trainer.progress import console, tracked

LARGEST_SHARE = 1.01
"""Boxes written as shares of width and height end at 1, but for rounding."""

_IF_TURNED = ". If a note in the file (EXIF) turns it, save it as it is shown and draw its boxes there"

_NAME: TypeAdapter[str] = TypeAdapter(Name)


def read_dataset(source: AnySource | Path, *, for_version: bool = False) -> Dataset:
    """Read a data set in any layout that the appliance knows, and check what only learning needs.

    Args:
        source: where it lies, or simply its folder or file.
        for_version: also take what is kept though nothing is learned from it, outlines and origin.

    Returns:
        Checked samples in the order of the source (DeepPCB: all tested pictures, then all templates).

    Raises:
        ConfigError: Nothing readable is there, or something in it is broken; the message names file and line.
    """
    place = Source(source) if isinstance(source, Path) else source
    annotations = place.annotations()
    if not annotations.classes:
        raise ConfigError("the data set has no categories; a detector needs at least one class")
    names = {name: bundle_name(name, f"class_{_digits(name)}") for name in annotations.classes}
    taken: dict[str, str] = {}
    for name, short in names.items():
        where = annotations.classes[name]
        if not any(map(str.isalnum, name)):
            raise ConfigError(f"{where}: {name!r} is no name of a class; take letters and digits, as in 'scratch'")
        if taken.setdefault(short, name) != name:
            raise ConfigError(f"{where}: {name!r} and {taken[short]!r} would both be {short!r}; rename one")
        if short != name:
            console.print(f"trainer: class {name!r} is called {short} in the bundle", soft_wrap=True)
    classes = tuple(names.values())
    _refuse_shares(annotations.pictures)
    pictures = tuple(_fitted(picture) for picture in tracked(annotations.pictures, "reading"))
    samples = tuple(_sample(picture, names, classes, for_version) for picture in pictures)
    _tell_taken_otherwise(pictures)
    if annotations.layout == "deeppcb" and not any(picture.reference for picture in pictures):
        console.print("trainer: no picture has a template (_temp): there are no references", soft_wrap=True)
    copper = copper_of(annotations.layout, samples)
    if copper is not None:
        return Dataset(classes, samples, copper)
    if annotations.layout == "deeppcb":
        told = "the pictures are not black and white as DeepPCB's are, and are taken as any pictures are"
        console.print(f"trainer: {told}", soft_wrap=True)
    samples, gone = taken_apart(samples, place.folder())
    return Dataset(classes, samples, taken_apart=gone)


def _refuse_shares(pictures: Sequence[LabelledPicture]) -> None:
    boxes = [item for picture in pictures for item in picture.boxes]
    if boxes and max(max(item.box) for item in boxes) <= LARGEST_SHARE:
        raise ConfigError(
            f"{boxes[0].where}: this box and all others lie within one pixel, so they seem to be shares of width and "
            "height; pixels are wanted: multiply them, or bring YOLO's files with `trainer data import --from yolo`"
        )


def _tell_taken_otherwise(pictures: Sequence[LabelledPicture]) -> None:
    words = taken_otherwise(box for picture in pictures for box in picture.boxes)
    if words:
        console.print(f"trainer: beware: {words} (`trainer data check` lists them)", soft_wrap=True)


def bundle_name(name: str, otherwise: str) -> str:
    """Return a name as a bundle spells it: lower-case letters a to z without accents, digits, `_`, `.` and `-`.

    Args:
        name: of a class, as the annotations have it, or of a run.
        otherwise: what it is called if a letter of it would be lost, as of one in Chinese.
    """
    if _is_name(name):
        return name
    bare = "".join(letter for letter in unicodedata.normalize("NFKD", name) if not unicodedata.combining(letter))
    if any(letter.isalnum() and not letter.isascii() for letter in bare):
        return otherwise
    return re.sub(r"[^a-z0-9_.-]+", "_", bare.lower()).strip("_.-")[:64].strip("_.-") or otherwise


def _digits(name: str) -> str:
    """Return what tells a name from others, however many stand before it."""
    return hashlib.sha256(unicodedata.normalize("NFC", name).encode()).hexdigest()[:8]


def _is_name(name: str) -> bool:
    try:
        _NAME.validate_python(name)
    except ValidationError:
        return False
    return True


def _fitted(picture: LabelledPicture) -> LabelledPicture:
    """Return a picture whose boxes are inside it, and whose size and reference are what the annotations say."""
    width, height = size = picture_size(picture.path, picture.where)
    told = tuple(real if said is None else said for said, real in zip(picture.told_size, size, strict=True))
    if told != size:
        raise ConfigError(
            f"{picture.where}: says {told[0]!r} x {told[1]!r} pixels, {picture.path} has {width} x {height}; "
            f"correct the entry or restore the picture{_IF_TURNED if told == (height, width) else ''}"
        )
    return replace(picture, boxes=fitted_boxes(picture.boxes, size), reference=_reference(picture, size))


def _sample(picture: LabelledPicture, names: Mapping[str, str], classes: tuple[str, ...], for_version: bool) -> Sample:
    return Sample(
        picture.path,
        np.array([item.box for item in picture.boxes], np.float32).reshape(-1, 4),
        np.array([classes.index(names[item.label]) for item in picture.boxes], np.int64),
        picture.group,
        is_good=not picture.boxes,
        reference=picture.reference,
        camera=picture.camera,
        outlines=tuple(item.outlines for item in picture.boxes) if for_version else (),
        origin=picture.origin if for_version else None,
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
        total.update(bytes.fromhex(picture_digest(sample)))
        if sample.reference is not None and sample.reference != sample.image:
            total.update(hashlib.sha256(_content(sample.reference)).digest())
        total.update(sample.group.encode() + b"\0" + sample.boxes.tobytes() + sample.labels.tobytes())
    return total.hexdigest()


def picture_digest(sample: Sample) -> str:
    """Return the SHA-256 (hex) of a picture's file.

    Raises:
        ConfigError: It cannot be read.
    """
    return hashlib.sha256(_content(sample.image)).hexdigest()


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; restore or unlist it") from error
