"""Masks that no name tells from pictures: their pixels tell, and they are refused, not learned as good parts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from appliance.errors import ConfigError
from trainer.datasets.layouts.regions import FEW_VALUES
from trainer.datasets.sample import spread

_MOST_FILES = 8
_MOST_KINDS = 100
_SAMPLED = 20_000


def refuse_unnamed_masks(pictures: list[Path], masks: list[Path], source: Path) -> None:
    """Refuse files that are called like another picture, or like it and more before or behind, and look like masks.

    Of each kind of such names few files are looked at, and none after the first that shows many values.

    Args:
        pictures: what would be taken as pictures.
        masks: what is taken as masks, because a picture of the same name lies beside.
        source: the folder that holds them.

    Raises:
        ConfigError: A file looks like a mask; it is named, and what to do.
    """
    kinds: dict[tuple[str, ...], list[tuple[Path, Path]]] = {}
    for path, after in _named_after(pictures, masks):
        folder = path.relative_to(source).parent
        more = path.stem.removeprefix(after.stem).removesuffix(after.stem)
        kind = [str(folder), more, path.suffix.lower(), str(path.parent == after.parent)]
        kinds.setdefault(tuple(re.sub(r"\d+", "0", part) for part in kind), []).append((path, after))
    for pairs in spread(list(kinds.values()), _MOST_KINDS):
        refused = _first_mask(spread(pairs, _MOST_FILES))
        if refused:
            path, after, count = refused
            raise ConfigError(
                f"{path}: is called like {after} and shows {count} values only, as a mask does, but would be taken as "
                f"a picture of a good part; rename such masks to {after.stem}_mask{path.suffix}, or move them into a "
                "folder called masks/; if it is a picture, give it a name without another one's in it"
            )


def _named_after(pictures: list[Path], masks: list[Path]) -> Iterator[tuple[Path, Path]]:
    beside = {(path.parent, path.stem): path for path in (*masks, *pictures)}
    anywhere: dict[str, list[Path]] = {}
    for path in pictures:
        anywhere.setdefault(path.stem, []).append(path)
    alike = {path.with_suffix(""): path for path in masks}
    for path in pictures:
        stem = path.stem
        if path.with_suffix("") in alike:
            yield path, alike[path.with_suffix("")]
            continue
        for rest in _rests(stem):
            others = [beside.get((path.parent, rest)), *anywhere.get(rest, [])[:2]]
            after = next((other for other in others if other not in (None, path)), None)
            if after is not None:
                yield path, after
                break


def _rests(stem: str) -> Iterator[str]:
    """Yield what another picture may be called: what a name begins with, the longest first, then what it ends with."""
    for length in range(len(stem), 0, -1):
        if not stem[length : length + 1].isdigit():  # part10 is not named after part1
            yield stem[:length]
    for start in range(1, len(stem)):
        if not stem[start - 1].isalnum():  # mask_a is named after a, and beta is not
            yield stem[start:]


def _first_mask(pairs: Sequence[tuple[Path, Path]]) -> tuple[Path, Path, int] | None:
    """Return the first file that looks like a mask, what it is called like, how many values; None if none does."""
    first = None
    for path, after in pairs:
        values = _values(path)
        if not 1 <= len(values) <= FEW_VALUES:
            return None
        others = _values(after)
        is_like_it = len(others) <= FEW_VALUES and (values <= others or others <= values)
        if len(values) > 1 and not is_like_it:
            first = first or (path, after, len(values))
    return first


def _values(path: Path) -> frozenset[int]:
    """Find the values of a file's pixels, a colour as one of them: none if it is damaged, not all where many."""
    try:
        pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    except (OSError, cv2.error):
        return frozenset()
    if pixels is None:
        return frozenset()
    flat = pixels.reshape(pixels.shape[0] * pixels.shape[1], -1)
    sampled = _distinct(flat[:: max(1, len(flat) // _SAMPLED)])
    return sampled if len(sampled) > FEW_VALUES else _distinct(flat)


def _distinct(flat: NDArray[np.generic]) -> frozenset[int]:
    colours = flat[:, :3] if flat.shape[1] >= 3 else flat[:, :1].repeat(3, axis=1)
    codes = colours.astype(np.int64) @ np.array([1, 1 << 16, 1 << 32])
    if flat.shape[1] == 4 and (flat[:, 3] != flat[0, 3]).any():
        codes ^= flat[:, 3].astype(np.int64) << 48
    return frozenset(np.unique(codes).tolist())
