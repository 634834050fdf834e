"""Pascal VOC: one XML file per picture.

Source: host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc, section 4 (annotation): pixels are counted from 1, and the
last one belongs to the box.
"""

from __future__ import annotations

import math
from pathlib import Path

from appliance.annotations.pictures import TruthBox, check_corners, existing
from appliance.bundle.picture import picture_files
from appliance.errors import ConfigError
from trainer.datasets.layouts.boxes import placed
from trainer.datasets.layouts.found import Defect, Found, FoundPicture, Wishes
from trainer.datasets.layouts.xml_lines import Element, read_xml
from trainer.datasets.sample import picture_size
from trainer.progress import tracked

PICTURE_FOLDERS = ("JPEGImages", "images", "Images")


def read_voc(source: Path, wishes: Wishes) -> Found:
    """Read all XML files of a folder, such as `Annotations/`, and the pictures in `JPEGImages/`, `images/` or beside.

    An XML file without objects is a good part.

    Args:
        source: the folder.
        wishes: classes and groups.

    Returns:
        Pictures in the order of the XML files' names; classes as wished, else in alphabetical order.

    Raises:
        ConfigError: An entry is broken, or a picture has no XML file; the message names file and line.
    """
    files = sorted(source.rglob("*.xml"))
    if not files:
        raise ConfigError(f"{source}: has no .xml file; name the folder that holds Annotations/")
    pictures: dict[str, list[Path]] = {}
    for path in sorted(picture_files(source)):
        pictures.setdefault(path.stem, []).append(path)
    found = tuple(_picture(file, source, pictures, wishes) for file in tracked(files, "reading labels"))
    described = {picture.path for picture in found}
    left = sorted(path for paths in pictures.values() for path in paths if path not in described)
    if left:
        raise ConfigError(
            f"{left[0]}: has no XML file, as {len(left)} pictures here; write one without <object> for a good part, "
            "or move the pictures elsewhere"
        )
    names = sorted({defect.label for picture in found for defect in picture.defects})
    return Found(wishes.classes or tuple(names), found)


def _picture(file: Path, source: Path, pictures: dict[str, list[Path]], wishes: Wishes) -> FoundPicture:
    entry = read_xml(file)
    if entry.name != "annotation":
        raise ConfigError(f"{entry.where}: expected <annotation>, found <{entry.name}>; is it Pascal VOC?")
    where = f"{file}:1"
    path = _file_of(entry, file, source, pictures)
    size = picture_size(path, where)
    for told in entry.all("size"):
        said = tuple(int(_number(told.only(side))) for side in ("width", "height"))
        if said not in ((0, 0), size):
            raise ConfigError(
                f"{told.where}: says {said[0]} x {said[1]} pixels, {path} has {size[0]} x {size[1]}; "
                "correct the entry or restore the picture"
            )
    name = Path(*(part for part in path.relative_to(source).parts if part not in PICTURE_FOLDERS))
    return FoundPicture(path, size, wishes.group(name), tuple(_defect(o, size, wishes) for o in entry.all("object")))


def _file_of(entry: Element, file: Path, source: Path, pictures: dict[str, list[Path]]) -> Path:
    of_this_stem = pictures.get(file.stem, [])
    for told in entry.all("filename")[:1]:
        name = told.text.strip().replace("\\", "/").rpartition("/")[2] or file.stem
        folders = [file.parent, *(base / inner for base in (file.parent.parent, source) for inner in PICTURE_FOLDERS)]
        nested = [source / inner / file.parent.name for inner in PICTURE_FOLDERS]
        return existing([*(folder / name for folder in [*folders, *nested]), *of_this_stem[:1]], told.where)
    if len(of_this_stem) != 1:
        raise ConfigError(
            f"{entry.where}: has no <filename>, and {len(of_this_stem)} pictures are called {file.stem}; add <filename>"
        )
    return of_this_stem[0]


def _defect(entry: Element, size: tuple[int, int], wishes: Wishes) -> Defect:
    name = entry.only("name")
    if not name.text.strip():
        raise ConfigError(f"{name.where}: <name> is empty; name the class, or remove the object")
    box = entry.only("bndbox")
    x1, y1, x2, y2 = (_number(box.only(corner)) for corner in ("xmin", "ymin", "xmax", "ymax"))
    check_corners((x1, y1, x2, y2), box.where)  # before they are moved: the last pixel may be the first, not before it
    label = wishes.label(name.text.strip(), name.where)
    return placed(TruthBox(label, (x1 - 1, y1 - 1, x2, y2), box.where), size)


def _number(entry: Element) -> float:
    try:
        value = float(entry.text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(f"{entry.where}: <{entry.name}> is no number: {entry.text.strip()!r}; repair it")
    return value
