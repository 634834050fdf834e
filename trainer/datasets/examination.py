"""Every picture of a data set, decoded once and measured; what all checks look at."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from appliance.annotations.pictures import Annotations, LabelledPicture, TruthBox
from appliance.bundle.picture import decode, size_px
from appliance.errors import ConfigError
from trainer.datasets.layouts.boxes import fitted_boxes
from trainer.datasets.likeness import Looks, looks_of
from trainer.progress import tracked


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """What was measured on one picture.

    Args:
        digest: SHA-256 of the file, hex.
        size: width and height in pixels.
        kind: channels and depth, as in "1 x 8 bit".
        brightness: mean grey value, 0..255.
        brightest: the largest value that is stored, as a share of what its depth holds, 0..1.
        spread: standard deviation of the grey values.
        looks: for comparing.
        is_turned: whether a note in the file (EXIF) has it shown otherwise than it is stored.
    """

    digest: str
    size: tuple[int, int]
    kind: str
    brightness: float
    brightest: float
    spread: float
    looks: Looks
    is_turned: bool


@dataclass(frozen=True, slots=True, eq=False)
class Examined:
    """A data set with what was measured on its pictures.

    Args:
        annotations: what it says.
        facts: of each picture, in that order; of a damaged one the words that say what is wrong.
        references: the same of each reference that is none of these pictures.
    """

    annotations: Annotations
    facts: tuple[Facts | str, ...]
    references: Mapping[Path, Facts | str]

    def sound(self) -> list[tuple[int, LabelledPicture, Facts]]:
        """Return index, entry and facts of each picture that can be decoded."""
        both = zip(self.annotations.pictures, self.facts, strict=True)
        return [(at, picture, facts) for at, (picture, facts) in enumerate(both) if isinstance(facts, Facts)]

    def sizes(self) -> dict[Path, tuple[int, int]]:
        """Return width and height of each picture and reference that can be decoded."""
        sizes = {picture.path: facts.size for _, picture, facts in self.sound()}
        return sizes | {path: facts.size for path, facts in self.references.items() if isinstance(facts, Facts)}

    def compared(self, reference: Path) -> tuple[int, ...]:
        """Return the indices of the pictures that name a reference."""
        pictures = self.annotations.pictures
        return tuple(at for at, picture in enumerate(pictures) if picture.reference == reference)


def examine(annotations: Annotations) -> Examined:
    """Decode and measure all pictures.

    Args:
        annotations: what a data set says.

    Returns:
        What was measured; boxes are held against their pictures, but for those that do not fit.
    """
    facts = tuple(measure(picture.path) for picture in tracked(annotations.pictures, "looking at the pictures"))
    own = {item.path for item in annotations.pictures}
    named = {item.reference: None for item in annotations.pictures if item.reference is not None}
    others = [path for path in named if path not in own]
    references = {path: measure(path) for path in tracked(others, "looking at the references")}
    pictures = [
        picture if isinstance(its, str) else replace(picture, boxes=tuple(_fitted(picture.boxes, its.size)))
        for picture, its in zip(annotations.pictures, facts, strict=True)
    ]
    return Examined(replace(annotations, pictures=tuple(pictures)), facts, references)


def _fitted(boxes: Sequence[TruthBox], size: tuple[int, int]) -> Iterator[TruthBox]:
    for truth in boxes:
        try:
            yield from fitted_boxes([truth], size)
        except ConfigError:  # a check of its own tells it
            yield truth


def measure(path: Path) -> Facts | str:
    """Decode and measure one picture.

    Args:
        path: the file.

    Returns:
        The facts; of a damaged or truncated picture what is wrong with it, in words.
    """
    try:
        data = path.read_bytes()
        size = size_px(path)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if is_cut_off(data):
        return f"ends too early, after {len(data)} bytes"
    grey = decode(data, 1)
    stored = None if grey is None else cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if grey is None or stored is None or size is None:
        return "cannot be decoded"
    channels = stored.shape[2] if stored.ndim == 3 else 1
    return Facts(
        hashlib.sha256(data).hexdigest(),
        size,
        f"{channels} x {8 * stored.dtype.itemsize} bit",
        float(grey.mean()),
        _brightest(stored),
        float(grey.std()),
        looks_of(grey[:, :, 0]),
        _is_turned(data, grey),
    )


def _brightest(stored: np.ndarray) -> float:
    most = np.iinfo(stored.dtype).max if np.issubdtype(stored.dtype, np.integer) else 1.0
    return float(stored.max()) / most


def is_turned(path: Path) -> bool:
    """Tell whether a note in a file (EXIF) has a picture shown otherwise than it is stored.

    Args:
        path: of the picture; of one that cannot be read or decoded nothing is known.
    """
    try:
        data = path.read_bytes()
    except OSError:
        return False
    shown = decode(data, 1) if _has_note(data) else None
    return shown is not None and _is_turned(data, shown)


def _has_note(data: bytes) -> bool:
    return b"Exif" in data or b"eXIf" in data


def _is_turned(data: bytes, shown: np.ndarray) -> bool:
    if not _has_note(data):
        return False
    stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)
    return stored is None or not np.array_equal(stored, shown[:, :, 0])


def is_cut_off(data: bytes) -> bool:
    """Tell whether a JPEG, PNG or BMP lacks its end; decoders fill such a picture up with grey and say nothing.

    Args:
        data: the whole file.

    Source:
        ITU-T T.81 (JPEG) B.1.1.3: EOI; RFC 2083 (PNG) 4.1.4: IEND.
    """
    if data[:2] == b"\xff\xd8":
        return b"\xff\xd9" not in data[-4096:]
    if data[:4] == b"\x89PNG":
        return b"IEND" not in data[-4096:]
    return data[:2] == b"BM" and int.from_bytes(data[2:6], "little") > len(data)
