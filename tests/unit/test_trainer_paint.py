import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.annotations.deeppcb import CLASSES
from trainer.datasets.copper import COPPER
from trainer.paint import classify, paint

TRACES = np.zeros((160, 160), np.uint8)
TRACES[20:34] = TRACES[60:74] = TRACES[100:150] = 1


def _removed(rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros_like(TRACES)
    mask[rows, columns] = 1
    return np.asarray(mask & TRACES, np.uint8)


@pytest.mark.parametrize(
    ("rows", "columns", "name"),
    [
        (slice(120, 130), slice(50, 60), "pin_hole"),
        (slice(55, 66), slice(50, 60), "mousebite"),
        (slice(100, 110), slice(50, 60), "mousebite"),
        (slice(58, 76), slice(50, 60), "open"),
        (slice(15, 80), slice(50, 60), None),  # two traces at once
        (slice(60, 74), slice(0, 160), None),  # a trace is gone altogether
    ],
)
def test_a_defect_is_named_after_what_it_does(rows: slice, columns: slice, name: str | None) -> None:
    assert classify(TRACES, _removed(rows, columns)) == name


@pytest.mark.parametrize(("rows", "name"), [(slice(74, 100), "short"), (slice(90, 100), "spur")])
def test_too_much_copper_has_the_opposite_name(rows: slice, name: str) -> None:
    gap = (1 - TRACES).astype(np.uint8)
    added = np.zeros_like(gap)
    added[rows, 50:60] = 1
    missing = classify(gap, np.asarray(added & gap, np.uint8))
    assert missing is not None
    assert CLASSES[COPPER.label(missing, is_too_much=True)] == name


def test_opposites_are_opposite_both_ways() -> None:
    assert [COPPER.opposites[label] for label in COPPER.opposites] == list(range(len(CLASSES)))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_each_painted_box_frames_a_change_and_covers_no_other_defect(seed: int) -> None:
    picture = np.where(TRACES > 0, 0, 255).astype(np.uint8)[:, :, None]
    there = np.array([[20, 55, 50, 80]], np.float32)
    image, boxes, labels = paint(picture, there, np.array([1]), COPPER, np.random.default_rng(seed))
    assert image.shape == picture.shape
    assert len(boxes) == len(labels) <= 4
    assert boxes.min() >= 0
    assert boxes.max() <= 160
    assert np.array_equal(image[55:80, 20:50], picture[55:80, 20:50])
    changed = image[:, :, 0] != picture[:, :, 0]
    for x1, y1, x2, y2 in boxes[1:].astype(int):
        inside = changed[y1:y2, x1:x2]
        assert inside.sum() >= 20
    assert set(labels.tolist()) <= set(range(6))


def test_all_six_classes_are_painted() -> None:
    picture = np.where(TRACES > 0, 0, 255).astype(np.uint8)[:, :, None]
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    seen: set[int] = set()
    for seed in range(80):
        seen |= set(paint(picture, *nothing, COPPER, np.random.default_rng(seed))[2].tolist())
    assert seen == set(range(6))


def test_a_plain_picture_gets_at_most_holes_and_spots() -> None:
    blank = np.full((160, 160, 1), 255, np.uint8)
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    names = set()
    for seed in range(40):
        image, _, labels = paint(blank, *nothing, COPPER, np.random.default_rng(seed))
        names |= {CLASSES[label] for label in labels if image.mean() > 240}
    assert "spurious_copper" in names
    assert blank.min() == 255
