"""What a person should read about masks before the labels from them are relied on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from trainer.datasets.layouts.found import Defect
from trainer.datasets.layouts.regions import SMALL_PX, Mask

_UNMASKED = "{count} pictures have no mask and are taken as good parts, the first {first}"
_ASIDE = (
    "{count} pictures of bad parts have no mask, the first {first}: a detector must know where a defect is, so nothing "
    "is learned from them. unmarked.txt lists them: move those of good parts to good/, mark the others (NAME_mask.png "
    "beside them, 0 = background), or let `trainer evaluate --bad-list unmarked.txt` count whether they are rejected"
)
_NAMED_ALIKE = "{count} {alike} files are taken as the masks of JPEGs beside, the first {first}"
_SOFT = (
    "{count} masks have values between their ground and their brightest, the first {first}: what is above half of the "
    "brightest is taken as the defect, as soft edges need it; if weaker values mark defects, too, save these masks "
    "with 0 and 255 only"
)
_SMALL = (
    "{count} regions have fewer than {small} pixels, the first in {first}: each is taken as a defect; if they are "
    "specks, remove them from the masks and import again"
)

_EMPTY = (
    "{count} masks in the folder of a kind of defect are empty, the first {first}, and their pictures are taken as "
    "good parts, though there are good parts elsewhere; mark the defect, or move the pictures of good parts to good/"
)
_BY_PICTURE = (
    "of {count} masks only the folder of their picture says the class, the first {first}; if it is no class, put the "
    "masks into folders named after theirs, or name it with --classes"
)
_AROUND = (
    "{count} of {drawn} masks mark their border nearly all around, the first {first}: their ground seems to be white "
    "and the defect black; invert them (0 = background) and import again"
)
_MOST_OF_A_BORDER = 0.9


@dataclass(slots=True)
class MaskRemarks:
    """Files of which something is to be said, in the order in which they were read.

    unmasked: pictures without a mask that are taken as good parts. aside: those of bad parts that were left out.
    named_alike: masks that only the name of a JPEG beside makes masks. soft: masks that were cut at half of their
    brightest. small: the masks of small regions, once for each region. around: masks that mark their border. drawn: how
    many masks mark anything. empty: masks in a kind's folder that mark nothing. by_picture: those whose class only the
    folder of their picture tells.
    """

    named_alike: list[Path]
    unmasked: list[Path] = field(default_factory=list)
    aside: list[Path] = field(default_factory=list)
    soft: list[Path] = field(default_factory=list)
    small: list[Path] = field(default_factory=list)
    around: list[Path] = field(default_factory=list)
    drawn: int = 0
    empty: list[Path] = field(default_factory=list)
    by_picture: list[Path] = field(default_factory=list)

    def add(self, path: Path, mask: Mask, taken: Mask, defects: list[Defect]) -> None:
        """Take note of a mask that was read.

        Args:
            path: its file.
            mask: int32, as `load_mask` gives it.
            taken: what of it is taken as marked, 0 elsewhere.
            defects: what was found in it.
        """
        shown = taken != 0
        if (shown != (mask != 0)).any():
            self.soft.append(path)
        if np.concatenate((shown[0], shown[-1], shown[:, 0], shown[:, -1])).mean() >= _MOST_OF_A_BORDER:
            self.around.append(path)
        self.drawn += bool(defects)
        self.small.extend(path for defect in defects if defect.area_px < SMALL_PX)

    def said(self) -> Iterator[str]:
        """Give one sentence for each kind of remark."""
        alike = "/".join(sorted({path.suffix[1:].upper() for path in self.named_alike}))
        for paths, words in (
            (self.unmasked, _UNMASKED),
            (self.aside, _ASIDE),
            (self.named_alike, _NAMED_ALIKE),
            (self.soft, _SOFT),
            (self.small, _SMALL),
            (self.empty, _EMPTY),
            (self.by_picture, _BY_PICTURE),
            (self.around if 2 * len(self.around) > self.drawn else [], _AROUND),
        ):
            if paths:
                yield words.format(count=len(paths), first=paths[0], alike=alike, drawn=self.drawn, small=SMALL_PX)
