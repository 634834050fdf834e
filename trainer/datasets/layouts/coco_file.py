"""Writing what was found as one COCO file; the pictures stay where they are."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from appliance.annotations.pictures import Annotations
from appliance.bundle.whole_file import write_whole
from appliance.errors import ConfigError
from trainer.datasets.layouts.boxes import placed
from trainer.datasets.layouts.found import Defect, Found, FoundPicture, Wishes
from trainer.datasets.sample import picture_size
from trainer.files import make_folder
from trainer.progress import tracked

ANNOTATIONS = "annotations.json"


def found_in(annotations: Annotations, wishes: Wishes) -> Found:
    """Take over what the appliance's own readers give: groups, outlines and origin as they are there.

    Args:
        annotations: of a COCO file or of DeepPCB's layout.
        wishes: classes and groups.

    Returns:
        What was found.

    Raises:
        ConfigError: A box leaves its picture, or a class is not among those wished; names file and line.
    """
    found = []
    for picture in tracked(annotations.pictures, "reading pictures"):
        size = picture_size(picture.path, picture.where)
        group = wishes.group(Path(picture.path.name)) if wishes.group_pattern else picture.group
        labelled = [replace(truth, label=wishes.label(truth.label, truth.where)) for truth in picture.boxes]
        defects = tuple(placed(truth, size) for truth in labelled)
        found.append(
            FoundPicture(picture.path, size, group, defects, picture.reference, picture.origin, picture.camera)
        )
    return Found(wishes.classes or tuple(annotations.classes), tuple(found))


def check_is_new(folder: Path) -> None:
    """Refuse to write over a COCO file, whose labels somebody may have corrected since.

    Args:
        folder: where `annotations.json` would come to lie.

    Raises:
        ConfigError: One is there already.
    """
    if (folder / ANNOTATIONS).exists():
        raise ConfigError(f"{folder / ANNOTATIONS}: is there already and is kept; name another folder, or move it away")


def write_coco(found: Found, folder: Path) -> Path:
    """Write `annotations.json`, one entry a line, so that a message about it can name the line.

    Args:
        found: what the file says.
        folder: made if it is not there; pictures are named relative to it.

    Returns:
        The file.

    Raises:
        StorageError: The disk is full or refuses.
    """
    make_folder(folder)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, picture in enumerate(found.pictures, start=1):
        width, height = picture.size
        image = {"id": number, "file_name": named_from(picture.path, folder), "width": width, "height": height}
        image["group"] = picture.group
        if picture.camera:
            image["camera"] = picture.camera
        if picture.reference is not None:
            image["reference"] = named_from(picture.reference, folder)
        if picture.origin is not None:
            image["origin"] = picture.origin
        images.append(image)
        for defect in picture.defects:
            category = found.classes.index(defect.label) + 1
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number, "category_id": category, **_shape(defect)}
            )
    categories = [{"id": number, "name": name} for number, name in enumerate(found.classes, start=1)]
    lists = {"categories": categories, "images": images, "annotations": annotations}
    parts = [f'"{key}": [\n' + ",\n".join(map(json.dumps, entries)) + "\n]" for key, entries in lists.items()]
    path = folder / ANNOTATIONS
    write_whole(path, ("{\n" + ",\n".join(parts) + "\n}\n").encode())
    return path


def _shape(defect: Defect) -> dict[str, Any]:
    x1, y1, x2, y2 = defect.box
    shape: dict[str, Any] = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
    if defect.outlines:
        shape["segmentation"] = [list(outline) for outline in defect.outlines]
        shape["area"] = sum(_area(outline) for outline in defect.outlines)
    return shape


def _area(outline: tuple[float, ...]) -> float:
    xs, ys = outline[::2], outline[1::2]
    return abs(sum(xs[at - 1] * ys[at] - xs[at] * ys[at - 1] for at in range(len(xs)))) / 2


def named_from(picture: Path, folder: Path) -> str:
    """Name a picture from a folder; on another drive, where no way leads there, by its absolute path."""
    try:
        return Path(os.path.relpath(picture.parent.resolve() / picture.name, folder.resolve())).as_posix()
    except ValueError:
        return picture.resolve().as_posix()
