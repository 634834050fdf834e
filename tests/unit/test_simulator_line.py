"""The simulated line: the n-th part of a seed is always the same part, and its truth is the truth."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from appliance.simulator.boards import Pixels, make_board
from appliance.simulator.defects import DEFECT_KINDS, DefectStyle
from appliance.simulator.line import SimulatedLine, SimulatedPart, Variation
from appliance.simulator.optics import Optics
from appliance.simulator.script import Keyframes, OpticsScript

SMALL = {"width": 320, "height": 240}


def smooth(pixels: Pixels) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(pixels[..., 0].astype(np.float32), (0, 0), 1.0))


def same(one: SimulatedPart, other: SimulatedPart) -> bool:
    return (
        (one.part_id, one.group, one.truth, one.is_defective)
        == (other.part_id, other.group, other.truth, other.is_defective)
        and np.array_equal(one.pixels, other.pixels)
        and np.array_equal(one.mask, other.mask)
    )


@given(seed=st.integers(0, 2**31), number=st.integers(0, 100_000), channels=st.sampled_from([1, 3]))
@settings(max_examples=15, deadline=None)
def test_a_part_depends_on_seed_and_number_only(seed: int, number: int, channels: int) -> None:
    line = SimulatedLine(seed, 0.5, channels=channels, parts_per_family=10, **SMALL)
    first = line.part(number)
    make_board.cache_clear()
    line.part(number + 1)
    assert same(first, SimulatedLine(seed, 0.5, channels=channels, parts_per_family=10, **SMALL).part(number))


@given(seed=st.integers(0, 10_000), number=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_boxes_lie_in_the_picture_and_masks_in_their_boxes(seed: int, number: int) -> None:
    optics = Optics(shift_x_px=float(seed % 41 - 20), rotation_deg=float(number % 11 - 5))
    part = SimulatedLine(seed % 5, 1.0, optics=optics, **SMALL).part(number)
    outside = part.mask.copy()
    for truth in part.truth:
        x1, y1, x2, y2 = truth.box
        assert 0 <= x1 < x2 <= SMALL["width"]
        assert 0 <= y1 < y2 <= SMALL["height"]
        assert DEFECT_KINDS[truth.label] == truth.kind
        region = outside[y1:y2, x1:x2]
        region[region == truth.label + 1] = 0
    # A defect with less than 3 px left at the border has no box; nothing else may lie outside the boxes.
    outside[:4] = outside[-4:] = 0
    outside[:, :4] = outside[:, -4:] = 0
    assert not outside.any()


def test_a_good_part_has_no_truth_and_no_mask() -> None:
    line = SimulatedLine(3, defect_rate=0.0, **SMALL)
    for number in range(10):
        part = line.part(number)
        assert not part.is_defective
        assert part.truth == ()
        assert not part.mask.any()


def test_a_defective_part_has_its_defects_in_view() -> None:
    line = SimulatedLine(3, defect_rate=1.0, parts_per_family=4)
    for number in range(24):
        part = line.part(number)
        assert part.is_defective
        assert 1 <= len(part.truth) <= 4
        assert set(np.unique(part.mask).tolist()) == {0, *(truth.label + 1 for truth in part.truth)}


def test_the_defect_rate_is_kept() -> None:
    line = SimulatedLine(8, defect_rate=0.3, width=160, height=160)
    rate = np.mean([line.part(number).is_defective for number in range(600)])
    assert rate == pytest.approx(0.3, abs=0.06)


def test_every_kind_comes_about_equally_often() -> None:
    line = SimulatedLine(8, defect_rate=1.0, parts_per_family=6)
    kinds = [truth.label for number in range(150) for truth in line.part(number).truth]
    share = np.bincount(kinds, minlength=6) / len(kinds)
    assert np.all(share > 0.10)
    assert np.all(share < 0.24)


def test_a_changeover_brings_another_family() -> None:
    line = SimulatedLine(1, parts_per_family=3, **SMALL)
    groups = [line.part(number).group for number in range(9)]
    assert len(set(groups)) == 3
    assert groups == sorted(groups)
    assert SimulatedLine(1, **SMALL).part(5000).group == groups[0]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_has_the_size_and_type_of_a_frame(channels: int) -> None:
    part = SimulatedLine(1, channels=channels, **SMALL).part(0)
    assert part.pixels.shape == (240, 320, channels)
    assert part.pixels.dtype == np.uint8
    assert part.pixels.flags["C_CONTIGUOUS"]


def test_truth_marks_what_differs_from_the_good_part() -> None:
    still = Variation(0, 0, 0, 0)
    optics = Optics(noise_sigma=0, defocus_px=0)
    for number in range(12):
        bad, good = (
            SimulatedLine(2, rate, variation=still, optics=optics, **SMALL).part(number) for rate in (1.0, 0.0)
        )
        marked = np.zeros(bad.mask.shape, bool)
        for truth in bad.truth:
            x1, y1, x2, y2 = truth.box
            marked[y1:y2, x1:x2] = True
        # both have the same board and light, but not the same grain: a step is what grain cannot do
        step = np.abs(smooth(bad.pixels) - smooth(good.pixels)) > 25
        assert not good.truth
        assert np.all(marked[bad.mask != 0])
        assert not step[~marked].any()
        for truth in bad.truth:
            x1, y1, x2, y2 = truth.box
            assert step[y1:y2, x1:x2].any(), truth


def test_the_size_reaches_the_defects() -> None:
    line = SimulatedLine(2, 1.0, style=DefectStyle(size_px=(9, 10)))
    small = [np.count_nonzero(line.part(number).mask) for number in range(20)]
    big_line = replace(line, style=DefectStyle(size_px=(28, 32)))
    big = [np.count_nonzero(big_line.part(number).mask) for number in range(20)]
    assert np.mean(big) > 1.5 * np.mean(small)


def test_the_contrast_reaches_the_defects() -> None:
    invisible, faint, full = (
        SimulatedLine(2, 1.0, style=DefectStyle(contrast=contrast), **SMALL) for contrast in (0.0, 0.3, 1.0)
    )
    for number in range(6):
        good, mask = smooth(invisible.part(number).pixels), full.part(number).mask != 0
        seen = [np.abs(smooth(line.part(number).pixels) - good) for line in (faint, full)]
        assert np.mean(seen[0][mask]) == pytest.approx(0.3 * np.mean(seen[1][mask]), rel=0.2)
        assert np.mean(seen[1][mask]) > 20


def test_staged_drift_darkens_the_parts() -> None:
    script = OpticsScript(Optics(), (("lamp_brightness", Keyframes((0, 10), (1, 0.5))),))
    line = SimulatedLine(4, 0.0, optics=script.by_part(10), **SMALL)
    assert line.part(100).pixels.mean() == pytest.approx(0.5 * line.part(0).pixels.mean(), rel=0.15)


def test_good_production_varies() -> None:
    line = SimulatedLine(4, 0.0, **SMALL)
    assert not np.array_equal(line.part(0).pixels, line.part(1).pixels)


def test_what_was_made_is_known_without_a_picture() -> None:
    line = SimulatedLine(4, 0.5, 160, 160)
    assert [line.is_defective(n) for n in range(12)] == [line.part(n).is_defective for n in range(12)]
