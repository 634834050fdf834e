"""How much of each stress a model bears is measured on what the device runs, and told where it is needed."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.bundle.archive import read_bundle
from appliance.events import Detection, Pixels
from appliance.runtimes.onnx import OnnxRuntime
from tests.models import tiny_bundle
from tests.tiny_deeppcb import write_tiny_deeppcb
from trainer.__main__ import main
from trainer.datasets.reading import read_dataset
from trainer.datasets.sample import Dataset, Sample
from trainer.evaluate import BundleRunner, Runner
from trainer.stress import STRESSES, sweep

pytestmark = pytest.mark.long


@pytest.fixture
def boards(tmp_path: Path) -> Dataset:
    """Pictures of 64x64 with one spot of brightness 200, which `tiny_bundle` finds with score 200 / 255."""
    found = read_dataset(write_tiny_deeppcb(tmp_path / "pcb", {"a": 3}))
    return Dataset(("spot",), tuple(sample for sample in found.samples))


def test_a_model_that_counts_brightness_bears_light_as_far_as_its_score_floor(tmp_path: Path, boards: Dataset) -> None:
    bundle = read_bundle(tiny_bundle(tmp_path / "tiny.bundle"))
    found = sweep(BundleRunner(bundle.model_onnx, bundle.manifest), boards)
    assert set(found) == {stress.name for stress in STRESSES}
    assert found["brighter_percent"].is_whole_range
    assert found["brighter_percent"].level == 100
    assert 0 < found["shift_px"].level < 16
    assert not found["shift_px"].is_whole_range
    assert {each.pictures for each in found.values()} == {sum(not sample.is_good for sample in boards.samples)}
    assert "on 3 pictures" in found["shift_px"].words("shift_px")


def test_nothing_is_told_of_a_model_that_finds_nothing(tmp_path: Path, boards: Dataset) -> None:
    bundle = read_bundle(tiny_bundle(tmp_path / "tiny.bundle"))
    nowhere = Dataset(("spot",), tuple(sample for sample in boards.samples if sample.is_good))
    assert sweep(BundleRunner(bundle.model_onnx, bundle.manifest), nowhere) == {}


class _Perfect(Runner):
    """Finds each bright place as it is framed on the picture."""

    def detect(self, pixels: Pixels) -> tuple[Detection, ...]:
        """Return the frames of what is bright."""
        is_bright = (pixels[:, :, 0] > 150).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(is_bright)
        frames = [(x, y, x + w, y + h) for x, y, w, h in stats[1:, :4].tolist()]
        return tuple(Detection("spot", 0.9, (x1, y1, x2, y2)) for x1, y1, x2, y2 in frames)


def test_a_defect_that_leaves_the_picture_is_not_missed(tmp_path: Path) -> None:
    picture = np.full((64, 64), 40, np.uint8)
    picture[30:36, 30:36] = picture[2:8, 2:8] = picture[56:62, 54:60] = 220
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    boxes = np.array([[30, 30, 36, 36], [2, 2, 8, 8], [54, 56, 60, 62]], np.float32)
    sample = Sample(tmp_path / "a.png", boxes, np.zeros(3, np.int64), "a", is_good=False)
    bundle = read_bundle(tiny_bundle(tmp_path / "tiny.bundle"))
    runner = _Perfect(OnnxRuntime(bundle.model_onnx, bundle.manifest), bundle.manifest)
    found = sweep(runner, Dataset(("spot",), (sample,)))
    for name in ("shift_px", "rotation_deg", "scale_percent"):
        assert found[name].is_whole_range, found[name]
        assert found[name].ap == 1.0


@given(st.sampled_from(STRESSES), st.integers(0, 6), st.integers(0, 80), st.integers(0, 80))
def test_a_box_frames_its_defect_at_every_level(stress: object, place: int, x: int, y: int) -> None:
    levels, changes = stress.levels, stress.changes  # type: ignore[attr-defined]
    picture = np.full((120, 120, 1), 90, np.uint8)
    picture[y + 8 : y + 24, x + 8 : x + 24] = 220
    boxes = np.array([[x + 8, y + 8, x + 24, y + 24]], np.float32)
    for change in changes:
        changed, moved = change(picture, boxes, levels[min(place, len(levels) - 1)])
        assert changed.shape == picture.shape
        bright = np.argwhere(changed[:, :, 0].astype(int) > (int(changed.min()) + int(changed.max())) / 2 + 20)
        if changed.max() < 250 and len(bright) > 100:
            low, high = bright.min(axis=0)[::-1], bright.max(axis=0)[::-1] + 1
            assert np.abs(np.concatenate((low, high)) - moved[0]).max() < 8


def test_tolerances_are_in_the_bundle_its_card_and_the_evaluation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tiny_deeppcb(tmp_path / "pcb", {"a": 8, "b": 3}, side_px=96)
    run, bundle, figures = (str(tmp_path / name) for name in ("run", "b.bundle", "f.json"))
    data = ["--data", str(tmp_path / "pcb")]
    words = ["--reference", "no", "--epochs", "60", "--batch", "4", "--crop", "64", "--holdout", "b", "--workers", "1"]
    assert main(["train", *data, "--out", run, *words]) == 0
    assert main(["export", run, "--out", bundle, "--precisions", "f32", "--few-golden", "a test"]) == 0
    written = read_bundle(Path(bundle))
    assert {f"bears_{stress.name}" for stress in STRESSES} <= set(written.manifest.lineage.metrics)
    assert "before the AP falls by more than a point: darker_percent" in written.model_card
    capsys.readouterr()
    assert main(["evaluate", "--bundle", bundle, *data, "--stress", "--json", figures]) == 0
    assert "bears blur_spread_px" in capsys.readouterr().out
    tolerances = json.loads(Path(figures).read_text())["tolerances"]
    assert set(tolerances) == {stress.name for stress in STRESSES}
    assert {each["pictures"] for each in tolerances.values()} == {3}  # of the held-out group
    assert main(["evaluate", "--bundle", bundle, *data, "--json", figures + "2"]) == 0
    for each in json.loads(Path(figures + "2").read_text())["tolerances"].values():
        assert (each["pictures"], each["ap"], each["is_whole_range"]) == (None, None, None)
