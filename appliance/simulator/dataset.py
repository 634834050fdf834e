"""Data sets written by the simulated line: pictures and COCO annotations with the board family as group."""

from __future__ import annotations

import errno
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from appliance.errors import ConfigError, StorageError
from appliance.events import Pixels
from appliance.simulator.defects import DEFECT_KINDS, DefectStyle
from appliance.simulator.line import SimulatedLine, SimulatedPart, Truth
from appliance.simulator.optics import Optics

PICTURE_FORMATS: Final = ("png", "jpg")

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_SHOW_PROGRESS_AFTER_NS = 2_000_000_000
_LEAST_SIDE_PX, _MOST_SIDE_PX = 160, 8192


@dataclass(frozen=True, slots=True)
class DatasetSummary:
    """What was written: number of pictures, defective parts, annotations per kind, and the annotation file."""

    parts: int
    defective: int
    annotations: dict[str, int]
    file: Path


def _outline(part: SimulatedPart, truth: Truth) -> list[list[float]]:
    """COCO polygons of a defect's mask; the box where the mask is too thin for a polygon."""
    x1, y1, x2, y2 = truth.box
    mask = (part.mask[y1:y2, x1:x2] == truth.label + 1).astype(np.uint8)
    found, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=(x1, y1))
    polygons = [[float(value) for value in outline.ravel()] for outline in found if len(outline) >= 3]
    return polygons or [[float(value) for value in (x1, y1, x2, y1, x2, y2, x1, y2)]]


def _annotation(part: SimulatedPart, truth: Truth, image_id: int, annotation_id: int) -> dict[str, Any]:
    x1, y1, x2, y2 = truth.box
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": truth.label + 1,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": int(np.count_nonzero(part.mask[y1:y2, x1:x2] == truth.label + 1)),
        "segmentation": _outline(part, truth),
        "iscrowd": 0,
    }


def _refuse(problem: str) -> ConfigError:
    return ConfigError(f"simulated data set: {problem}")


def _not_written(file: Path, error: OSError) -> StorageError:
    return StorageError(f"{file}: cannot be written ({error.strerror}); free space or name another folder, start again")


def _check(parts: int, line: SimulatedLine, picture_format: str) -> None:
    style, limits = line.style, f"{_LEAST_SIDE_PX}..{_MOST_SIDE_PX} px"
    if parts < 1:
        raise _refuse(f"{parts} parts asked for; ask for 1 or more")
    if line.seed < 0:
        raise _refuse(f"seed {line.seed} is below 0; name a whole number, 0 or more")
    if line.parts_per_family < 0:
        raise _refuse(f"{line.parts_per_family} parts per family; name 1 or more, or 0 for one layout")
    if not 0 <= line.defect_rate <= 1:
        raise _refuse(f"defect rate {line.defect_rate} is not in 0..1; 0.5 makes every second part bad")
    if not all(_LEAST_SIDE_PX <= side <= _MOST_SIDE_PX for side in (line.width, line.height)):
        raise _refuse(f"size {line.width}x{line.height} is outside {limits}; choose e.g. 640x640")
    if not 0 < style.size_px[0] <= style.size_px[1] <= _MOST_SIDE_PX:
        raise _refuse(f"defect size {style.size_px[0]:g} to {style.size_px[1]:g} px is no range; 10 36 is the default")
    if not 0 <= style.contrast <= 1:
        raise _refuse(f"contrast {style.contrast:g} is not in 0..1; 1 is a full step of copper")
    if picture_format not in PICTURE_FORMATS:
        raise _refuse(f"format {picture_format!r} is unknown; choose {' or '.join(PICTURE_FORMATS)}")


def _write_picture(file: Path, picture: Pixels) -> None:
    pixels = picture if picture.shape[2] == 1 else picture[..., ::-1]
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1] if file.suffix == ".png" else [cv2.IMWRITE_JPEG_QUALITY, 95]
    done, encoded = cv2.imencode(file.suffix, np.ascontiguousarray(pixels), options)
    if not done:
        raise RuntimeError(f"{file}: the picture could not be encoded")
    try:
        file.write_bytes(encoded.tobytes())
    except OSError as error:
        raise _not_written(file, error) from error


def write_dataset(
    directory: Path,
    parts: int,
    seed: int,
    *,
    size: tuple[int, int] = (640, 640),
    defect_rate: float = 0.5,
    channels: int = 1,
    parts_per_family: int = 8,
    style: DefectStyle | None = None,
    optics: Optics | Callable[[int], Optics] | None = None,
    picture_format: str = "png",
    has_references: bool = False,
    is_quiet: bool = False,
) -> DatasetSummary:
    """Write a folder `images/` and `annotations.json` that a trainer can read.

    Args:
        directory: made where missing; must be empty.
        parts: number of pictures, 1 or more.
        seed: of the line, 0 or more; the same arguments write the same pixels.
        size: width and height, px.
        defect_rate: part of the parts that are defective, 0..1.
        channels: 1 grey, 3 RGB.
        parts_per_family: pictures per board layout; `group` in the annotations names the layout.
        style: size and contrast of the defects; the default when None.
        optics: the station, or a function of the part's number; a station in good order when None.
        picture_format: `png` (exact) or `jpg` (quality 95, a third of the size).
        has_references: also write `references/` with a good part of each layout, and name it for each picture.
        is_quiet: show no progress bar (none is shown without a terminal either).

    Returns:
        What was written.

    Raises:
        ConfigError: An argument is out of range, or the folder is taken or cannot be made; choose another.
        StorageError: The disk is full or refused a file.
    """
    wanted = style or DefectStyle()
    line = SimulatedLine(seed, defect_rate, size[0], size[1], channels, parts_per_family, style=wanted)
    if optics is not None:
        line = replace(line, optics=optics)
    _check(parts, line, picture_format)
    try:
        if directory.is_dir() and any(directory.iterdir()):
            raise _refuse(f"{directory} already holds something; name a new or an empty folder")
        for name in ("images", "references") if has_references else ("images",):
            (directory / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise _not_written(directory, error) from error
        raise ConfigError(f"{directory}: cannot be made ({error.strerror}); choose another folder") from error
    return _write_parts(directory, parts, line, picture_format, has_references, is_quiet)


def _write_reference(directory: Path, line: SimulatedLine, part: SimulatedPart, picture_format: str) -> str:
    """Return the name of the good part of a part's layout; it is written with the layout's first part."""
    file = directory / "references" / f"{part.group}.{picture_format}"
    if not file.is_file():
        _write_picture(file, line.reference(part.number))
    return f"references/{file.name}"


def _write_parts(
    directory: Path, parts: int, line: SimulatedLine, picture_format: str, has_references: bool, is_quiet: bool
) -> DatasetSummary:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    defective = 0
    console = Console(stderr=True)
    with Progress(
        TextColumn("simulating"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=is_quiet or not console.is_terminal,
        transient=True,
    ) as progress:
        task = progress.add_task("simulating", total=parts, visible=False)
        started_ns = time.monotonic_ns()
        for number in range(parts):
            part = line.part(number)
            name = f"{part.part_id}.{picture_format}"
            _write_picture(directory / "images" / name, part.pixels)
            image = {"id": number + 1, "file_name": f"images/{name}", "width": line.width, "height": line.height}
            if has_references:
                image["reference"] = _write_reference(directory, line, part, picture_format)
            images.append(image | {"group": part.group})
            for truth in part.truth:
                annotations.append(_annotation(part, truth, number + 1, len(annotations) + 1))
            defective += part.is_defective
            is_long = time.monotonic_ns() - started_ns > _SHOW_PROGRESS_AFTER_NS
            progress.update(task, advance=1, visible=is_long)
    return _write_annotations(directory, images, annotations, defective, line)


def _write_annotations(
    directory: Path,
    images: list[dict[str, Any]],
    annotations: list[dict[str, Any]],
    defective: int,
    line: SimulatedLine,
) -> DatasetSummary:
    document = {
        "info": {
            "description": "simulated circuit boards",
            "seed": line.seed,
            "defect_rate": line.defect_rate,
            "parts_per_family": line.parts_per_family,
            "channels": line.channels,
        },
        "categories": [{"id": label + 1, "name": kind} for label, kind in enumerate(DEFECT_KINDS)],
        "images": images,
        "annotations": annotations,
    }
    file = directory / "annotations.json"
    draft = file.with_suffix(".json.part")
    try:
        draft.write_text(json.dumps(document), encoding="utf-8")
        draft.replace(file)
    except OSError as error:
        raise _not_written(file, error) from error
    counts = {
        kind: sum(item["category_id"] == label + 1 for item in annotations) for label, kind in enumerate(DEFECT_KINDS)
    }
    return DatasetSummary(len(images), defective, counts, file)
