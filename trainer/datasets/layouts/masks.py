"""Masks: a picture per picture whose pixels above 0 are defects, as MVTec AD, VisA or KolektorSDD2 have them.

Source: mvtec.com/company/research/datasets/mvtec-ad (test/<defect>/000.png, ground_truth/<defect>/000_mask.png),
vicos.si/resources/kolektorsdd2 (train/10000.png, train/10000_GT.png), magnetic tiles (MT_Crack/Imgs/1.jpg and 1.png).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from appliance.bundle.picture import picture_files
from appliance.errors import ConfigError
from trainer.datasets.layouts.found import Defect, Found, FoundPicture, Wishes, is_in
from trainer.datasets.layouts.mask_names import GOOD_FOLDERS, MaskFile, assigned, inner, kind_of, parted
from trainer.datasets.layouts.mask_remarks import MaskRemarks
from trainer.datasets.layouts.palette import Colours
from trainer.datasets.layouts.regions import defects_of, load_mask, marked, shows_a_picture
from trainer.datasets.layouts.unnamed_masks import refuse_unnamed_masks
from trainer.datasets.sample import picture_size
from trainer.progress import tracked

BAD = "defect"
"""The only class where nobody has marked any: a data set must have one."""


def read_masks(source: Path, wishes: Wishes, *, is_mask_needed: bool = False) -> Found:
    """Read pictures and their masks in `masks/` or `gt/`, or beside them: `_mask`, `_label`, or PNG beside JPEG.

    The class is the first folder below `masks/`; with --classes it is the pixel value (1 the first name), or
    always the only name. Where neither says it, it is the folder of the picture. A picture without a mask is a
    good part; where others of its folder have one, or if `is_mask_needed`, it must lie in `good/` for that.

    Args:
        source: the folder.
        wishes: classes and groups.
        is_mask_needed: every picture outside of `good/` shows a bad part; those without a mask are left out.

    Returns:
        Pictures in the order of their names; classes as wished, else in alphabetical order.

    Raises:
        ConfigError: A mask fits no picture or not exactly one, is as large as none, is missing, or has a name that
            does not tell it from pictures.
    """
    pictures, masks = parted(sorted(picture_files(source)), source)
    if not pictures:
        raise ConfigError(f"{source}: has no pictures; name the folder that holds images/ and masks/")
    named_alike = [mask.path for mask in masks if mask.is_named_alike]
    refuse_unnamed_masks(pictures, named_alike, source)
    remarks = MaskRemarks(named_alike)
    masks_of = assigned(masks, pictures, source)
    kinds = {mask.kind for mask in masks} | {_kind(mask, wishes) for of_one in masks_of.values() for mask in of_one}
    kinds.discard("")
    found: list[FoundPicture] = []
    colours: Colours = {}
    for path in tracked(pictures, "reading masks"):
        name, is_good = inner(path, source), is_in(path, source, GOOD_FOLDERS)
        if path not in masks_of and not is_good:
            if is_mask_needed:
                remarks.aside.append(path)
                continue
            if kinds & {name.parts[0], kind_of(path, source)}:
                raise ConfigError(
                    f"{path}: shows a defect and has no mask, but a detector must know where it is; add "
                    f"{path.stem}_mask.png (0 = background) beside it or in masks/, or move a good part to good/"
                )
            remarks.unmasked.append(path)
        size = picture_size(path, str(path))
        read = [_defects(mask, size, wishes, remarks, colours) for mask in masks_of.get(path, [])]
        defects = tuple(defect for one in read for defect in one)
        if (is_good and defects) or (is_mask_needed and not is_good and not defects):
            seen = "lies in good/ and its mask shows a defect" if is_good else "lies not in good/ and its mask is empty"
            raise ConfigError(f"{path}: {seen}; correct the mask ({masks_of[path][0].path}) or move the picture")
        found.append(FoundPicture(path, size, wishes.group(name), defects))
    shown = {defect.label for picture in found for defect in picture.defects}
    good = [picture.path for picture in found if not picture.defects]
    remarks.empty = _empty([(path, masks_of.get(path, [])) for path in good], source, wishes, shown)
    classes = wishes.classes or tuple(sorted(shown or kinds or ({BAD} if remarks.aside else set())))
    return Found(classes, tuple(found), tuple(remarks.said()), unmarked=tuple(remarks.aside))


def read_folders(source: Path, wishes: Wishes) -> Found:
    """Read `good/`, whose pictures are good parts, and other folders such as `bad/`; those without a mask are left out.

    Args:
        source: the folder.
        wishes: classes and groups.

    Raises:
        ConfigError: There is no `good/`.
    """
    found = read_masks(source, wishes, is_mask_needed=True)
    if not any(is_in(picture.path, source, GOOD_FOLDERS) for picture in found.pictures):
        raise ConfigError(f"{source}: has no pictures in good/; put the good parts there, or read it with --from masks")
    return found


def _defects(
    mask: MaskFile, size: tuple[int, int], wishes: Wishes, remarks: MaskRemarks, colours: Colours
) -> list[Defect]:
    kind = _kind(mask, wishes)
    labels = (kind,) if kind else wishes.classes
    values = load_mask(mask.path, size, colours if len(labels) > 1 else None)
    if not mask.is_sure and shows_a_picture(values):
        raise ConfigError(
            f"{mask.path}: is called like a mask of {mask.stem}, but no value covers half of it, as the ground of a "
            f"mask does; call it {mask.stem}_mask.png if it is one, else give it a name of its own"
        )
    if not labels and values.any():
        raise ConfigError(
            f"{mask.path}: nothing says what it shows; put it into a folder named after the class, or name the "
            "classes of the pixel values 1, 2, ... with --classes A,B"
        )
    taken = marked(values).astype(np.int32) if len(labels) == 1 else values
    found = defects_of(taken, labels, mask.path)
    remarks.add(mask.path, values, taken, found)
    if found and kind and not mask.kind:
        remarks.by_picture.append(mask.path)
    return found


def _kind(mask: MaskFile, wishes: Wishes) -> str:
    """Return the folder that tells a mask's class; empty where the classes that are named do, or nothing does."""
    if mask.kind and (not wishes.classes or mask.kind in wishes.classes):
        return mask.kind
    return "" if wishes.classes or mask.kind else mask.of_picture


def _empty(good: list[tuple[Path, list[MaskFile]]], source: Path, wishes: Wishes, shown: set[str]) -> list[Path]:
    """Find the empty masks in the folder of a kind, though there are good parts elsewhere, among masks of good parts.

    Where no good part lies elsewhere, a folder with empty masks alone is that of the good parts, and no kind.
    """
    kinds: dict[str, list[Path]] = {}
    for path, masks in good:
        kind = next(filter(None, (_kind(mask, wishes) for mask in masks)), "")
        if kind and not is_in(path, source, GOOD_FOLDERS):
            kinds.setdefault(kind, []).append(masks[0].path)
    is_plain = sum(map(len, kinds.values())) < len(good)
    told = set(kinds) if is_plain else shown if set(kinds) - shown else set()
    return [path for kind, paths in kinds.items() if kind in told for path in paths]
