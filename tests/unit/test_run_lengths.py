"""Boxes around COCO's masks, held against the library that all of COCO's tools use."""

from typing import Any

import numpy as np
import pytest
from faster_coco_eval.core import mask as coco_mask
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from appliance.annotations.run_lengths import box_around

MASKS = array_shapes(min_dims=2, max_dims=2, max_side=40).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.integers(0, 1))
)


def _runs(mask: Any) -> list[int]:
    flat = np.concatenate(([0], mask.reshape(-1, order="F"), [2]))
    lengths = np.diff(np.nonzero(np.diff(flat, prepend=2))[0]).tolist()
    return [length - (not at) for at, length in enumerate(lengths)]  # the first has one too many


@given(mask=MASKS)
def test_a_box_is_where_cocos_own_code_finds_it(mask: Any) -> None:
    told = coco_mask.encode(np.asfortranarray(mask))
    expected = coco_mask.toBbox(told).tolist() if mask.any() else None
    size = list(mask.shape)
    assert box_around({"size": size, "counts": told["counts"].decode()}) == expected
    assert box_around({"size": size, "counts": _runs(mask)}) == expected


@given(text=st.text(max_size=20), size=st.lists(st.integers(-1, 5), max_size=3))
def test_no_text_stops_the_reader(text: str, size: list[int]) -> None:
    found = box_around({"size": size, "counts": text})
    assert found is None or min(found[2:]) > 0


@pytest.mark.parametrize(
    "mask",
    [
        None,
        [[1, 2, 3, 4, 5, 6]],
        {"size": [2, 2]},
        {"size": [2, 2], "counts": []},
        {"size": [2, 2], "counts": [1, 2]},
        {"size": [2, 2], "counts": [5, -1]},
        {"size": [2, 2], "counts": [0, True, 3]},
        {"size": [2.0, 2], "counts": [0, 4]},
        {"size": [4], "counts": [0, 4]},
        {"size": [2, 2], "counts": "P"},
    ],
)
def test_what_is_no_mask_has_no_box(mask: Any) -> None:
    assert box_around(mask) is None
