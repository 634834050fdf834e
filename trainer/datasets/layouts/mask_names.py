"""Which files are masks, told by their names and folders, and which picture each of them belongs to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from appliance.errors import ConfigError
from trainer.datasets.layouts.found import is_in

GOOD_FOLDERS = frozenset({"good", "ok"})
PLAIN_FOLDERS = frozenset({"images", "train", "test", "val"})

_MASK_FOLDERS = frozenset({"masks", "mask", "ground_truth", "gt"})
_FOLDERS_IF_BESIDE = frozenset({"labels", "annotations", "segmentation"})
"""These hold masks only if a picture outside is called like some file in them: they may hold pictures, too."""
_NO_KINDS = (
    frozenset({"data", "image", "img", "imgs", "jpegimages", "photos", "pictures", "raw", "valid", *PLAIN_FOLDERS})
    | _FOLDERS_IF_BESIDE
)
_MASK_ENDS = ("_mask", "_gt")
_ENDS_IF_BESIDE = ("_label", "_seg")
"""These end the name of a mask only if a picture is called like the rest of some such name."""
_JPEG = frozenset({".jpg", ".jpeg"})


@dataclass(frozen=True, slots=True)
class MaskFile:
    """One mask: the folders that tell its class, and the name of its picture without what makes it a mask's.

    is_named_alike: only that its picture has the same name tells that it is a mask. is_sure: its name and folder could
    be no picture's. of_picture: the folder of its picture that may tell the class where nothing else does; empty if
    there is none.
    """

    path: Path
    folders: tuple[str, ...]
    stem: str
    is_named_alike: bool
    is_sure: bool
    of_picture: str = ""

    @property
    def kind(self) -> str:
        """The first of its folders that may be named after a kind of defect; empty if none may be."""
        return next((folder for folder in self.folders if folder.lower() not in _NO_KINDS), "")


def parted(files: list[Path], source: Path) -> tuple[list[Path], list[MaskFile]]:
    """Part pictures and masks by their names and folders.

    Args:
        files: all picture files, in the order of their names.
        source: the folder that holds them.

    Returns:
        The pictures and the masks, each in that order.
    """
    stems, lossless = {path.stem for path in files}, [path for path in files if path.suffix.lower() not in _JPEG]
    beside = [
        end
        for end in _ENDS_IF_BESIDE
        if any(_has_end(path, end) and _without_end(path, end) in stems for path in lossless)
    ]
    folders = _mask_folders(files, source)
    lossy = {path.with_suffix("") for path in files if path.suffix.lower() in _JPEG}
    not_png = {path.with_suffix("") for path in files if path.suffix.lower() != ".png"}
    pictures, masks = [], []
    for path in files:
        root = next((above for above in _folders_above(path, source) if above in folders), None)
        suffix, name = path.suffix.lower(), path.with_suffix("")
        ends = _MASK_ENDS if suffix in _JPEG else (*_MASK_ENDS, *beside)
        is_named = root is not None or any(_has_end(path, end) for end in ends)
        is_alike = (suffix not in _JPEG and name in lossy) or (suffix == ".png" and name in not_png)
        if is_named or is_alike:
            is_sure = root is not None and root.name.lower() in _MASK_FOLDERS
            is_sure |= any(_has_end(path, end) for end in _MASK_ENDS)
            masks.append(_mask(path, root or source, ends, is_named_alike=not is_named, is_sure=is_sure))
        else:
            pictures.append(path)
    return pictures, masks


def inner(path: Path, source: Path) -> Path:
    """Return a file's path from the source without the folders that say nothing, such as `images/` and `train/`."""
    return Path(*(part for part in path.relative_to(source).parts if part.lower() not in PLAIN_FOLDERS))


def kind_of(path: Path, source: Path) -> str:
    """Return the first folder of a picture that may be named after a kind of defect; empty if none may be."""
    folders = path.relative_to(source).parent.parts
    if is_in(path, source, GOOD_FOLDERS):
        return ""
    return next((folder for folder in folders if folder.lower() not in _NO_KINDS), "")


def assigned(masks: list[MaskFile], pictures: list[Path], source: Path) -> dict[Path, list[MaskFile]]:
    """Find the picture of each mask: of those of its name the one that shares the most folders with it.

    Of several that share as many, it is the one whose further folders are called like the mask's.

    Args:
        masks: with the names of their pictures.
        pictures: all there are.
        source: the folder that holds them.

    Returns:
        Of each picture that has masks, all of them, with the folder of the picture that may tell their class.

    Raises:
        ConfigError: A mask fits no picture, or several that are equally near.
    """
    places: dict[tuple[Path, tuple[str, ...] | None, str], list[Path]] = {}
    for path in pictures:
        for above in _folders_above(path, source):
            folders = inner(path, above).parent.parts
            places.setdefault((above, folders, path.stem), []).append(path)
            places.setdefault((above, None, path.stem), []).append(path)
    found: dict[Path, list[MaskFile]] = {}
    for mask in masks:
        keys = [(above, at, mask.stem) for above in _folders_above(mask.path, source) for at in (mask.folders, None)]
        fitting = next((places[key] for key in keys if key in places), [])
        if len(fitting) != 1:
            seen = " and ".join(map(str, fitting[:2])) or "none"
            raise ConfigError(
                f"{mask.path}: belongs to one picture called {mask.stem}, found {seen}; name the mask after its "
                "picture and put it into a folder of the same name, or remove it"
            )
        placed = replace(mask, of_picture=kind_of(fitting[0], source))
        found.setdefault(fitting[0], []).append(placed)
    return found


def _mask_folders(files: list[Path], source: Path) -> set[Path]:
    inside: dict[Path, list[str]] = {}
    for path in files:
        for above in _folders_above(path, source)[:-1]:
            if above.name.lower() in _MASK_FOLDERS | _FOLDERS_IF_BESIDE:
                inside.setdefault(above, []).append(path.stem)
    found, everywhere = set(), Counter(path.stem for path in files)
    for folder, stems in inside.items():
        here = Counter(stems)
        cut = (stem[: -len(end)] for stem in stems for end in (*_MASK_ENDS, *_ENDS_IF_BESIDE)
               if stem.lower().endswith(end))  # fmt: skip
        is_sure = folder.name.lower() in _MASK_FOLDERS
        if is_sure or any(everywhere[stem] > here[stem] for stem in (*stems, *cut)):
            found.add(folder)
    return found


def _mask(path: Path, root: Path, ends: tuple[str, ...], *, is_named_alike: bool, is_sure: bool) -> MaskFile:
    below = tuple(part for part in path.relative_to(root).parent.parts if part.lower() not in PLAIN_FOLDERS)
    stem = next((_without_end(path, end) for end in ends if _has_end(path, end)), path.stem)
    return MaskFile(path, below, stem, is_named_alike, is_sure)


def _folders_above(path: Path, source: Path) -> list[Path]:
    """Return the folders that hold a file, the nearest first, up to the source."""
    return list(path.parents)[: len(path.relative_to(source).parts)]


def _has_end(path: Path, end: str) -> bool:
    return path.stem.lower().endswith(end)


def _without_end(path: Path, end: str) -> str:
    return path.stem[: -len(end)]
