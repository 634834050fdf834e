"""Disturbances of a crop come in units of their own: each reaches its strength, and does not go beyond.

Light, contrast, shadow and motion: test_trainer_disturb.py.
"""

import math
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.crops import NO_CHANGE, NOTHING, grey
from trainer.augment import Augment
from trainer.datasets.sample import Dataset, Sample
from trainer.disturb import Disturb, dusty
from trainer.pictures import Pictures
from trainer.plan import Plan

SIDE = 96


def _disturbed(picture: np.ndarray, seeds: int, **strengths: float) -> list[np.ndarray]:
    disturb = Disturb(replace(NO_CHANGE, **strengths))
    return [disturb(picture, np.random.default_rng(seed)) for seed in range(seeds)]


def _crops(picture: np.ndarray, seeds: int, **strengths: float) -> list[np.ndarray]:
    augment = Augment(SIDE, replace(NO_CHANGE, **strengths))
    return [augment(picture, *NOTHING, np.random.default_rng(seed))[0] for seed in range(seeds)]


def test_defocus_widens_an_edge_by_its_pixels() -> None:
    picture = grey(50)
    picture[:, SIDE // 2 :] = 200
    widths = []
    for piece in _disturbed(picture, 120, defocus_px=2.5):
        steepness = np.diff(piece[SIDE // 2, :, 0].astype(float))
        offset = np.arange(SIDE - 1) - (SIDE // 2 - 1)
        widths.append(math.sqrt(float((steepness * offset**2).sum() / steepness.sum())))
    assert 1.5 < max(widths) <= 2.6
    assert min(widths) == 0


def test_noise_has_the_spread_of_its_levels() -> None:
    spreads = [float(piece.std()) for piece in _disturbed(grey(), 120, noise_levels=12.0)]
    assert 9 < max(spreads) < 13
    assert min(spreads) == 0


def test_a_coded_picture_is_a_jpeg_of_no_worse_quality() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 1), dtype=np.uint8)
    picture = cv2.GaussianBlur(picture, (0, 0), 2.0).reshape(picture.shape)
    known = {}
    for quality in range(40, 96):
        _, coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
        known[cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE).tobytes()] = quality
    pieces = [piece for piece in _disturbed(picture, 400, jpeg_quality=40.0) if not np.array_equal(piece, picture)]
    assert len(pieces) > 20
    assert min(known[piece.tobytes()] for piece in pieces) < 50


def test_dust_reaches_its_diameter() -> None:
    largest = []
    for seed in range(60):
        changed = (np.abs(dusty(grey(), 8.0, np.random.default_rng(seed))[:, :, 0] - 120.0) > 3).astype(np.uint8)
        _, _, found, _ = cv2.connectedComponentsWithStats(changed)
        if len(found) == 2:  # a speck by itself
            largest.append(found[1, cv2.CC_STAT_AREA])
    assert math.pi * 3.0**2 < max(largest) < math.pi * 5.5**2  # with its soft rim


def test_a_part_is_turned_in_its_fixture_by_no_more_than_its_degrees() -> None:
    picture = grey(0)
    picture[46:50, 10:86] = 255
    angles = []
    for piece in _crops(picture, 150, turn_deg=8.0):
        rows, columns = np.nonzero(piece[:, :, 0] > 128)
        (_, _), (width, height), angle = cv2.minAreaRect(np.stack([columns, rows], 1).astype(np.float32))
        assert max(width, height) > 60
        angles.append(min(angle % 90, 90 - angle % 90))
    assert 5 < max(angles) < 9
    assert sum(angle < 0.5 for angle in angles) > 75  # most parts lie straight


def test_a_part_is_shown_larger_and_smaller_by_its_percents() -> None:
    picture = grey(0)
    picture[33:63, 33:63] = 255
    sides = [math.sqrt((piece[:, :, 0] > 128).sum()) for piece in _crops(picture, 200, scale_percent=50.0)]
    assert 30 * 1.3 < max(sides) < 30 * 1.55
    assert 30 / 1.55 < min(sides) < 30 / 1.3


def test_a_reference_lies_off_its_part_by_its_pixels() -> None:
    pair = grey(0, channels=2)
    pair[40:56, 40:56] = 200
    offsets = []
    for piece in _crops(pair, 200, misplaced_px=2.0):
        part, reference = (_centre(piece[:, :, channel]) for channel in range(2))
        offsets.append(reference - part)
    moved = np.array([offset for offset in offsets if np.abs(offset).max() > 0.01])
    assert 70 < len(moved) < 130  # half of them
    assert moved.std(axis=0) == pytest.approx([2.0, 2.0], rel=0.25)


def test_a_reference_has_a_light_of_its_own() -> None:
    levels = np.array([piece[0, 0] for piece in _crops(grey(120, channels=2), 200, light_percent=20.0)], float) - 120
    alone = (levels[:, 0] != 0) != (levels[:, 1] != 0)
    both = (levels != 0).all(axis=1)
    assert alone.sum() > 40
    assert (levels[both][:, 0] != levels[both][:, 1]).mean() > 0.8


def _centre(piece: np.ndarray) -> np.ndarray:
    weight = piece.astype(float)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return np.array([(rows * weight).sum(), (columns * weight).sum()]) / weight.sum()


def test_some_crops_are_put_together_from_four_pictures(tmp_path: Path) -> None:
    samples = []
    for level in range(40, 240, 10):
        cv2.imwrite(str(tmp_path / f"{level}.png"), grey(level))
        boxes, labels = np.array([[0, 0, SIDE, SIDE]], np.float32), np.array([0])
        samples.append(Sample(tmp_path / f"{level}.png", boxes, labels, "g", is_good=False))
    plan = Plan(epochs=1, passes=20, batch=4, side_px=SIDE, vary=asdict(NO_CHANGE))
    crops = np.concatenate(
        [images.numpy() for images, _, _ in Pictures(Dataset(("a",), tuple(samples)), plan).batches(0)]
    )
    levels = np.array([len(np.unique(crop)) for crop in crops])
    assert 0.1 < (levels > 1).mean() < 0.2
