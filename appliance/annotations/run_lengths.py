"""COCO's masks as run lengths: down each column, from the left one on, so many pixels outside, then so many inside.

Source: maskApi of pycocotools (github.com/cocodataset/cocoapi): `counts` as whole numbers, or six bits to a letter.
"""

from itertools import accumulate, pairwise
from typing import Any

_FIRST_LETTER, _VALUE_BITS, _MORE, _NEGATIVE = 48, 5, 0x20, 0x10
_LONGEST = 13
"""Letters of a number that fits into 64 bits."""


def box_around(mask: Any) -> list[float] | None:
    """Return the box around a mask as `bbox` has it.

    Args:
        mask: what stands in "segmentation": {"size": [height, width], "counts": numbers or a text}.

    Returns:
        x, y, width and height in pixels; None if it is no such mask, does not fill its size, or has nothing inside.
    """
    if not isinstance(mask, dict) or not _are_counts(mask.get("size")) or len(mask["size"]) != 2:
        return None
    height, width = mask["size"]
    counts = _decoded(mask["counts"]) if isinstance(mask.get("counts"), str) else mask.get("counts")
    if not _are_counts(counts) or not counts or sum(counts) != height * width:
        return None
    ends = list(accumulate(counts))
    inside = [(first, end - 1) for first, end in list(pairwise([0, *ends]))[1::2] if end > first]
    if not inside:
        return None
    columns = [(first // height, last // height) for first, last in inside]
    rows = [
        (first % height, last % height) if left == right else (0, height - 1)
        for (first, last), (left, right) in zip(inside, columns, strict=True)
    ]
    x, y = min(left for left, _ in columns), min(top for top, _ in rows)
    return [x, y, max(right for _, right in columns) + 1 - x, max(low for _, low in rows) + 1 - y]


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _decoded(text: str) -> list[int] | None:
    """Return the counts in a text: from the fourth on each is told by how much it differs from the last but one."""
    counts: list[int] = []
    value = bits = 0
    for letter in text:
        code = ord(letter) - _FIRST_LETTER
        if not 0 <= code < 64 or bits >= _LONGEST * _VALUE_BITS:
            return None
        value |= (code & (_MORE - 1)) << bits
        bits += _VALUE_BITS
        if not code & _MORE:
            if code & _NEGATIVE:
                value -= 1 << bits
            counts.append(value + counts[-2] if len(counts) > 2 else value)
            value = bits = 0
    return None if bits else counts
