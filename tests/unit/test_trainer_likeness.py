"""Which pictures are taken for copies of each other."""

from collections.abc import Callable
from itertools import combinations
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.events import Pixels
from tests.tiny_boards import board
from trainer.datasets.likeness import alike, looks_of

COPIES: list[Callable[[Pixels], Any]] = [
    lambda pixels: pixels,
    lambda pixels: cv2.imdecode(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], 0),
    lambda pixels: cv2.convertScaleAbs(pixels, alpha=0.8, beta=20),
    lambda pixels: cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
]


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), other=st.integers(10_001, 20_000))
def test_copies_are_alike_and_two_boards_are_not(seed: int, other: int) -> None:
    looks = [looks_of(copy(board(seed))) for copy in COPIES]
    assert alike([*looks, looks_of(board(other))]) == list(combinations(range(len(COPIES)), 2))


def test_the_same_artwork_a_pixel_aside_is_another_part() -> None:
    large = np.repeat(np.repeat(np.random.default_rng(0).integers(40, 220, (52, 52), dtype=np.uint8), 2, 0), 2, 1)
    looks = [looks_of(np.ascontiguousarray(large[2:98, shift : shift + 96])) for shift in (2, 3, 2)]
    assert alike(looks) == [(0, 2)]


def part(seed: int) -> Pixels:
    """Draw a part of one product, cut out a little larger or smaller, with a surface of its own."""
    rng = np.random.default_rng(seed)
    height, width = 300 + seed % 9 - 4, 400 + seed % 7 - 3
    y, x = np.mgrid[0:height, 0:width]
    across, down = (x + 0.5) / width - 0.5 + rng.normal(0, 0.006), (y + 0.5) / height - 0.5 + rng.normal(0, 0.006)
    shape = 120 + 50.0 * (np.abs(across - 0.3) < 0.04) + 40 * (np.abs(down + 0.3) < 0.05)
    shape += 60.0 * (np.hypot(across + 0.3, down - 0.25) < 0.08) - 60 * (np.hypot(across - 0.1, down + 0.05) < 0.15)
    surface = cv2.GaussianBlur(rng.normal(0, 25, (height, width)), (0, 0), 1.5)
    return np.asarray(np.clip(shape + surface, 0, 255), np.uint8)


def test_parts_of_one_product_are_no_copies_when_their_pictures_differ_in_size() -> None:
    parts = [part(seed) for seed in range(12)]
    smaller = [looks_of(np.asarray(COPIES[3](pixels), np.uint8)) for pixels in parts]
    assert alike([looks_of(pixels) for pixels in parts]) == []
    assert alike([*(looks_of(pixels) for pixels in parts), *smaller]) == [(number, number + 12) for number in range(12)]


def tile(seed: int) -> Pixels:
    """Draw the grain of one tile, with a rim for cutting it out otherwise."""
    rng = np.random.default_rng([seed, 7])
    grain, tone = (cv2.GaussianBlur(rng.normal(0, 1, (150, 170)), (0, 0), spread) for spread in (1.5, 12))
    return np.asarray(np.clip(115 + 6 * grain / grain.std() + 12 * tone / tone.std(), 0, 255), np.uint8)


TILES = [tile(seed) for seed in range(40)]


@settings(deadline=None, max_examples=30)
@given(
    number=st.integers(0, 39),
    aside=st.tuples(st.integers(-2, 2), st.integers(-2, 2)),
    less=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    light=st.floats(0.7, 1.3),
)
def test_one_tile_under_other_light_and_cut_out_otherwise_is_a_copy(
    number: int, aside: tuple[int, int], less: tuple[int, int], light: float
) -> None:
    looks = [looks_of(np.ascontiguousarray(pixels[10:-10, 10:-10])) for pixels in TILES]
    (down, right), (lower, narrower) = aside, less
    cut = TILES[number][10 + down : 140 + down - lower, 10 + right : 160 + right - narrower]
    again = np.clip(cut * light + np.random.default_rng(0).normal(0, 2, cut.shape), 0, 255).astype(np.uint8)
    assert alike([*looks, looks_of(again)]) == [(number, 40)]


@pytest.mark.parametrize("radius", [1, 2])
def test_a_speck_does_not_make_another_tile_of_it(radius: int) -> None:
    tiles = [np.ascontiguousarray(pixels[10:-10, 10:-10]) for pixels in TILES]
    again = np.ascontiguousarray(TILES[7][11:-9, 12:-8])
    cv2.circle(again, (75, 65), radius, 255, -1)
    assert alike([looks_of(pixels) for pixels in (*tiles, again)]) == [(7, 40)]
    assert alike([looks_of(pixels) for pixels in (again, *tiles)]) == [(0, 8)]


def weave(seed: int) -> Pixels:
    """Draw fabric: the same threads everywhere, under one light, with a surface of its own."""
    rng = np.random.default_rng([seed, 8])
    y, x = np.mgrid[0:160, 0:160] + rng.uniform(0, 9, (2, 1, 1))
    threads = 25 * np.sin(2 * np.pi * x / 9) + 25 * np.sin(2 * np.pi * y / 9)
    light = 40 * np.cos((np.mgrid[0:160, 0:160] - 80) / 80).sum(axis=0)
    blotches = cv2.GaussianBlur(rng.normal(0, 40, (160, 160)), (0, 0), 10)
    return np.asarray(np.clip(100 + threads + light + blotches + rng.normal(0, 2, (160, 160)), 0, 255), np.uint8)


def test_pieces_of_one_fabric_are_no_copies() -> None:
    assert alike([looks_of(weave(seed)) for seed in range(60)]) == []


def test_parts_of_one_product_a_few_pixels_aside_are_no_copies() -> None:
    """All of them look alike, so that the same artwork a few pixels aside says nothing."""
    product = tile(99)
    asides = [(down, right) for down in range(0, 20, 3) for right in range(0, 20, 3)][:40]
    parts = [product[down : down + 120, right : right + 140] for down, right in asides]
    assert alike([looks_of(np.ascontiguousarray(pixels)) for pixels in parts]) == []
