"""What crops are made to vary by: disturbances in physical units, defects of other pictures, mosaics."""

import argparse
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import ConfigError
from tests.crops import NO_CHANGE, NOTHING, grey
from tests.tiny_boards import write_tiny_boards
from trainer.__main__ import main
from trainer.datasets.copper import COPPER
from trainer.datasets.reading import read_dataset
from trainer.datasets.sample import Dataset, Sample
from trainer.datasets.split import split_by_group
from trainer.defaults import complete, usual_strengths
from trainer.disturb import Disturb, dusty, shaded
from trainer.model import PAD_VALUE
from trainer.pictures import Pictures
from trainer.plan import Plan
from trainer.strengths import Strengths
from trainer.train_arguments import strengths
from trainer.transplant import Transplants


def _sample(boxes: list[list[float]], labels: list[int]) -> Sample:
    return Sample(Path("p"), np.array(boxes, np.float32), np.array(labels), "g", is_good=not boxes)


def test_without_strength_nothing_is_disturbed() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)
    disturb = Disturb(NO_CHANGE)
    assert all(np.array_equal(disturb(picture, np.random.default_rng(seed)), picture) for seed in range(60))


@pytest.mark.parametrize(
    ("name", "value", "most"),
    [("light_percent", 10.0, 0.1 * 255), ("shadow_percent", 30.0, 0.3 * 120), ("contrast_percent", 10.0, 0.1 * 120)],
)
def test_a_picture_is_changed_by_no_more_than_the_strength(name: str, value: float, most: float) -> None:
    disturb = Disturb(replace(NO_CHANGE, **{name: value}))
    changes = [
        float(np.abs(disturb(grey(), np.random.default_rng(seed)).astype(float) - 120).max()) for seed in range(80)
    ]
    assert 0.5 * most < max(changes) <= most + 1.5


def test_motion_smears_no_further_than_its_length() -> None:
    picture = grey(0)
    picture[48, 48] = 255
    disturb = Disturb(replace(NO_CHANGE, motion_px=7.0))
    lengths = []
    for seed in range(400):
        rows, columns = np.nonzero(disturb(picture, np.random.default_rng(seed))[:, :, 0])
        lengths.append(max(np.ptp(rows), np.ptp(columns)) + 1)
    assert 3 < max(lengths) <= 7


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), darker=st.floats(0.05, 1.0), channels=st.sampled_from([1, 3]))
def test_a_shadow_only_darkens_and_reaches_its_depth(seed: int, darker: float, channels: int) -> None:
    lit = shaded(grey(200, channels=channels), darker, np.random.default_rng(seed))
    assert lit.max() <= 200
    assert abs(int(lit.min()) - 200 * (1 - darker)) <= 2


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), largest=st.floats(1.0, 6.0))
def test_a_speck_is_no_larger_than_dust(seed: int, largest: float) -> None:
    changed = (dusty(grey(), largest, np.random.default_rng(seed))[:, :, 0] != 120).astype(np.uint8)
    covered = int(changed.sum())
    assert covered <= 6 * (largest + 6) ** 2  # six specks, each with its soft rim


def test_a_speck_is_smaller_than_the_smallest_defect() -> None:
    tiny = Dataset(("a",), (_sample([[10, 10, 13, 30]], [0]), _sample([], [])))
    large = Dataset(("a",), (_sample([[10, 10, 60, 60]], [0]),))
    assert usual_strengths(tiny) == {"dust_px": 1.0}
    assert usual_strengths(large) == {}


def test_what_is_left_behind_when_copper_is_binarised_does_not_disturb_it() -> None:
    copper = Dataset(("open",), (_sample([[10, 10, 60, 60]], [0]),), COPPER)
    gone = replace(Strengths(), **usual_strengths(copper))
    assert (gone.shadow_percent, gone.motion_px, gone.dust_px, gone.turn_deg) == (0, 0, 0, 0)


def test_a_transplant_carries_what_the_defect_changed_and_nothing_else() -> None:
    giver = grey(180)
    giver[40:52, 30:50] = 60
    transplants = Transplants([_sample([[30, 40, 50, 52]], [1])], [giver], 96, has_reference=False)
    for seed in range(12):
        crop, boxes, labels = transplants(grey(120), *NOTHING, np.random.default_rng(seed))
        assert labels.tolist() == [1]
        x1, y1, x2, y2 = boxes[0].astype(int)
        assert sorted((x2 - x1, y2 - y1)) == [12, 20]
        middle = crop[(y1 + y2) // 2, (x1 + x2) // 2, 0]
        assert middle <= 120 - 0.6 * 120 * 0.7
        outside = np.ones((96, 96), bool)
        outside[max(0, y1 - 8) : y2 + 8, max(0, x1 - 8) : x2 + 8] = False
        assert (crop[outside] == 120).all()


def test_a_defect_that_covers_its_picture_is_set_nowhere_because_nothing_tells_what_it_changed() -> None:
    transplants = Transplants([_sample([[0, 0, 40, 40]], [1])], [grey(180)[:40, :40]], 96, has_reference=False)
    crop, boxes, _ = transplants(grey(120), *NOTHING, np.random.default_rng(0))
    assert not len(boxes)
    assert (crop == 120).all()


def test_beside_a_reference_only_the_part_gets_the_defect() -> None:
    giver = grey(180, channels=2)
    giver[40:52, 30:50, 0] = 60
    transplants = Transplants([_sample([[30, 40, 50, 52]], [0])], [giver], 96, has_reference=True)
    crop, boxes, _ = transplants(grey(120, channels=2), *NOTHING, np.random.default_rng(3))
    assert len(boxes) == 1
    assert (crop[:, :, 1] == 120).all()
    assert crop[:, :, 0].min() < 60


def test_a_transplant_lies_on_no_other_defect_and_the_classes_come_evenly() -> None:
    givers = [_sample([[30, 40, 50, 52]], [0]) for _ in range(9)] + [_sample([[10, 10, 20, 22]], [1])]
    transplants = Transplants(givers, [grey(180)] * 10, 96, has_reference=False)
    there = np.array([[0, 0, 96, 40]], np.float32)
    counts = [0, 0]
    for seed in range(100):
        _, boxes, labels = transplants(grey(), there, np.array([0]), np.random.default_rng(seed))
        for box, label in zip(boxes[1:], labels[1:], strict=True):
            assert box[1] >= 40
            counts[label] += 1
    assert min(counts) > 0.5 * max(counts)


def test_pictures_that_leave_crops_empty_are_shown_four_at_a_time(tmp_path: Path) -> None:
    train_half = split_by_group(read_dataset(write_tiny_boards(tmp_path)), ("family0",)).train
    plan = Plan(epochs=1, batch=16, side_px=320, good_share=0.0, vary=asdict(NO_CHANGE))  # the boards have 128 pixels
    images, _, _ = next(Pictures(train_half, plan).batches(0))
    is_shown = images[:, :, :, 0].reshape(16, 2, 160, 2, 160) != PAD_VALUE
    quarters = (is_shown.float().mean(dim=(2, 4)) > 0.1).sum(dim=(1, 2))
    assert int((quarters == 4).sum()) >= 8


@pytest.mark.parametrize("text", ["light", "light_percent=much", "lamp=3"])
def test_a_strength_that_is_none_is_refused_in_words(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=text.split("=", maxsplit=1)[0]):
        strengths(text)


@pytest.mark.parametrize("text", ["light_percent=-1", "jpeg_quality=0", "shadow_percent=101", "turn_deg=200"])
def test_a_strength_out_of_range_is_refused_in_words(text: str) -> None:
    with pytest.raises(ConfigError, match=f"--vary {text}"):
        Plan(epochs=1, vary=strengths(text)).check()


def test_what_is_varied_reaches_the_run(tmp_path: Path) -> None:
    split = split_by_group(read_dataset(write_tiny_boards(tmp_path)), ("family0",))
    asked = Plan(epochs=1, vary={"light_percent": 5.0}, variation=0.5)
    plan = complete(asked, split, side_px=64, batch=4, reference="no")
    assert plan.strengths.light_percent == 2.5
    assert plan.strengths.jpeg_quality == 80.0


def test_the_contact_sheet_shows_crops_with_their_boxes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_tiny_boards(tmp_path)
    sheet = tmp_path / "crops.png"
    assert main(["augment", "--data", str(data), "--crop", "64", "--preview", str(sheet)]) == 0
    drawn = cv2.imread(str(sheet))
    assert drawn is not None
    assert drawn.shape == (4 * 244, 8 * 244, 3)
    assert (np.abs(drawn.astype(int) - (40, 40, 255)).max(axis=2) < 30).sum() > 1000  # boxes
    assert "32 crops of 64 pixels" in capsys.readouterr().out
