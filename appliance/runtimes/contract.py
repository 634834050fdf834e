"""What every runtime holds a model to, whatever engine is behind it: its form when it is loaded, and each answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from appliance.bundle.manifest import Manifest
from appliance.config import MAX_THREADS
from appliance.errors import AnswerFault, BundleFormatError, ConfigError, RuntimeFault
from appliance.events import Pixels
from appliance.ports import RawDetections

OUTPUTS = ("boxes", "scores", "labels")
WARM_UP_RUNS = 3

REMEDY = "if it goes on, see the device's driver and `appliance check`"
"""What a person can do about an engine that fails."""


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output: kind is numpy's name of the type; a dimension is None where it is not fixed."""

    kind: str
    shape: tuple[int | None, ...]


def check_threads(threads: int) -> None:
    """Refuse a number of threads that no engine takes.

    Raises:
        ConfigError: it is not 1..64.
    """
    if not 1 <= threads <= MAX_THREADS:
        raise ConfigError(f"the runtime cannot use {threads} threads; set threads to 1..{MAX_THREADS}")


def check_ports(ports: Mapping[str, Port], manifest: Manifest) -> None:
    """Refuse a model whose inputs and outputs are not those of the contract.

    Args:
        ports: name -> what the engine says of it.
        manifest: says geometry and number of candidates.

    Raises:
        BundleFormatError: names, types or shapes differ, or the batch is fixed.
    """
    geometry, candidates = manifest.geometry, manifest.outputs.candidates
    expected = {
        "image": Port("uint8", (None, geometry.height, geometry.width, geometry.channels)),
        "boxes": Port("float32", (None, candidates, 4)),
        "scores": Port("float32", (None, candidates)),
        "labels": Port("int64", (None, candidates)),
    }
    if sorted(ports) != sorted(expected):
        raise BundleFormatError(
            f"the model has inputs and outputs {list(ports)} instead of {list(expected)}; export it to the contract"
        )
    for name, port in ports.items():
        if port != expected[name]:
            raise BundleFormatError(
                f"the model's {name} is {_in_words(port)} and must be {_in_words(expected[name])}; "
                "export the bundle again"
            )


def blank_picture(manifest: Manifest) -> Pixels:
    """Return a batch of one empty picture, to warm up with; uint8, shape (1, height, width, channels)."""
    geometry = manifest.geometry
    return np.full((1, geometry.height, geometry.width, geometry.channels), geometry.pad_value, np.uint8)


def check_images(images: Pixels, manifest: Manifest) -> None:
    """Refuse pictures of another form than the model's.

    Raises:
        RuntimeFault: not uint8, or not of the manifest's height, width and channels.
    """
    geometry = manifest.geometry
    wanted = (geometry.height, geometry.width, geometry.channels)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != wanted:
        raise RuntimeFault(
            f"images of shape {images.shape} and type {images.dtype} do not fit the model, which takes uint8 "
            f"(N, {', '.join(map(str, wanted))}); this is a defect of the appliance"
        )


def check_answer(answer: Sequence[Any], count: int, manifest: Manifest) -> RawDetections:
    """Refuse an answer outside the contract.

    Args:
        answer: boxes, scores and labels as the engine gave them.
        count: pictures that were asked about.
        manifest: says candidates and classes.

    Returns:
        Finite boxes float32 (N, K, 4), scores float32 (N, K) 0..1, labels int64 (N, K) of known classes.

    Raises:
        AnswerFault: another shape, NaN, a score or a label out of range.
    """
    boxes, scores, labels = answer
    candidates = manifest.outputs.candidates
    shapes = (boxes.shape, scores.shape, labels.shape)
    expected = ((count, candidates, 4), (count, candidates), (count, candidates))
    if shapes != expected:
        raise AnswerFault(f"shapes {shapes} instead of {expected}")
    # min and max are NaN if anything is, and NaN compares false
    if not (scores.min(initial=0.0) >= 0.0 and scores.max(initial=0.0) <= 1.0):
        raise AnswerFault("scores that are NaN or not within 0..1")
    if not np.isfinite(boxes).all():
        raise AnswerFault("boxes that are NaN or infinite")
    if not (labels.min(initial=0) >= 0 and labels.max(initial=0) < len(manifest.classes)):
        raise AnswerFault("a label that the manifest does not know")
    return RawDetections(boxes, scores, labels)


def first_line(error: Exception) -> str:
    """Return what an engine's error begins with; the rest is for its makers."""
    return str(error).strip().partition("\n")[0][:300]


def _in_words(port: Port) -> str:
    return f"{port.kind} [{', '.join('N' if size is None else str(size) for size in port.shape)}]"
