"""What every foreign layout is read into, and what all of them refuse in the same words."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

from appliance.annotations.pictures import Outline
from appliance.errors import ConfigError
from appliance.events import Box


@dataclass(frozen=True, slots=True)
class Defect:
    """One defect: box is x1, y1, x2, y2 in pixels, outlines its polygons if they are known.

    where: file and line that say so. taken_as: how it was read, in words, where that is not just as it is written.
    area_px: how many pixels of a mask it has; 0 where it comes from no mask.
    """

    label: str
    box: Box
    outlines: tuple[Outline, ...] = ()
    where: str = field(default="", compare=False)
    taken_as: str = field(default="", compare=False)
    area_px: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class FoundPicture:
    """One picture with its defects; none: a good part. size is width and height in pixels.

    origin: plain values that say who labelled it, and from where it comes; None if nobody knows.
    camera: what took it; empty if nobody says so.
    """

    path: Path
    size: tuple[int, int]
    group: str
    defects: tuple[Defect, ...]
    reference: Path | None = None
    origin: dict[str, Any] | None = None
    camera: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """All of a source; remarks are sentences that a person should read before the labels are relied on.

    set_aside: plain values about what was left out because people must decide.
    unmarked: of plain folders, pictures of bad parts that were left out because nobody has marked where they are bad.
    """

    classes: tuple[str, ...]
    pictures: tuple[FoundPicture, ...]
    remarks: tuple[str, ...] = ()
    set_aside: tuple[dict[str, Any], ...] = ()
    unmarked: tuple[Path, ...] = ()

    def moved(self, root: Path, folder: Path) -> Found:
        """Return the same about pictures that were copied from one folder to another.

        Args:
            root: where they lay.
            folder: where they lie now, under the same names.
        """
        moved = [
            replace(
                picture,
                path=folder / picture.path.relative_to(root),
                reference=picture.reference and folder / picture.reference.relative_to(root),
            )
            for picture in self.pictures
        ]
        return replace(self, pictures=tuple(moved))

    def by_camera(self) -> Found:
        """Return the same with each picture's camera as its group.

        Raises:
            ConfigError: Of a picture nobody says what took it.
        """
        without = [picture for picture in self.pictures if not picture.camera]
        if without:
            raise ConfigError(
                f"--group-by camera: of {len(without)} of {len(self.pictures)} pictures nobody says what took them, "
                f'the first is {without[0].path}; COCO says it ("camera" of an image), and feedback; else group by '
                "--group-pattern"
            )
        return replace(self, pictures=tuple(replace(picture, group=picture.camera) for picture in self.pictures))


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line says about any layout.

    Args:
        classes: names in the order of their numbers; empty to take the source's own.
        group_pattern: its one group is found in a file's name and names the picture's group; None for the folder.
    """

    classes: tuple[str, ...] = ()
    group_pattern: re.Pattern[str] | None = None

    def group(self, name: PurePath) -> str:
        """Return a picture's group: by the pattern, else the first folder, else the picture itself.

        Args:
            name: path of the picture from the pictures' root.

        Raises:
            ConfigError: The pattern does not match the name.
        """
        if self.group_pattern is None:
            return name.parts[0]
        match = self.group_pattern.search(name.name)
        if match is None or not match[1]:
            raise ConfigError(
                f"{name}: --group-pattern {self.group_pattern.pattern!r} finds no group in this name; widen the pattern"
            )
        return match[1]

    def label(self, name: str, where: str) -> str:
        """Return a class's name if it is among those that are wanted.

        Raises:
            ConfigError: --classes does not have it.
        """
        if self.classes and name not in self.classes:
            raise ConfigError(f"{where}: class {name!r} is not in --classes {','.join(self.classes)}; add or rename it")
        return name


def is_in(path: Path, root: Path, names: frozenset[str]) -> bool:
    """Tell whether one of the folders between a root and a file has one of these names, in whatever case."""
    return any(part.lower() in names for part in path.relative_to(root).parent.parts)
