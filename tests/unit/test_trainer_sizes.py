"""Pictures of any size, and defects of any size, go the whole way from training to a bundle."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.bundle.archive import read_bundle
from tests.tiny_boards import write_tiny_boards
from trainer.__main__ import main
from trainer.datasets.sample import Dataset, Sample
from trainer.datasets.split import Split
from trainer.defaults import complete, usual_side_px
from trainer.loss import assign
from trainer.metrics import Judged, judge_parts
from trainer.model import cell_centres
from trainer.operating_point import LEAST_LIMIT, TARGET_ESCAPES, TARGET_OVERKILL, choose_limit
from trainer.pictures import steps_per_pass
from trainer.plan import Plan
from trainer.preflight import model_geometry

pytestmark = pytest.mark.long


def _dataset(folder: Path, *sizes: tuple[int, int]) -> Dataset:
    samples = []
    for number, (width, height) in enumerate(sizes):
        cv2.imwrite(str(folder / f"{number}.png"), np.zeros((height, width), np.uint8))
        nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
        samples.append(Sample(folder / f"{number}.png", *nothing, "g", is_good=True))
    return Dataset(("a",), tuple(samples))


@pytest.mark.parametrize(
    ("sizes", "model"),
    [
        ([(640, 640)], (640, 640, "pad")),
        ([(1024, 768)], (1024, 768, "pad")),
        ([(800, 600)], (800, 608, "pad")),
        ([(500, 200)], (512, 224, "pad")),
        ([(64, 64)], (96, 96, "pad")),
        ([(640, 480), (800, 640)], (800, 640, "pad")),
        ([(114, 352), (386, 241)], (416, 352, "pad")),
        ([(2048, 2048)], (640, 640, "pad")),
        ([(2048, 2048), (300, 900)], (640, 640, "pad")),
        ([(4000, 130)], (640, 160, "pad")),
    ],
)
def test_the_model_takes_pictures_whole_or_in_tiles_and_never_scaled(
    tmp_path: Path, sizes: list[tuple[int, int]], model: tuple[int, int, str]
) -> None:
    geometry = model_geometry(_dataset(tmp_path, *sizes), 1)
    assert (geometry.width, geometry.height, geometry.fit) == model


@pytest.mark.parametrize("size", [(800, 600), (100, 100), (96, 96)])
def test_pictures_of_any_size_are_trained_exported_and_judged_and_so_are_smaller_ones(
    tmp_path: Path, size: tuple[int, int], capsys: pytest.CaptureFixture[str]
) -> None:
    width, height = size
    path = write_tiny_boards(tmp_path / "data", pictures=12, groups=3, side_px=height)
    for picture in (tmp_path / "data").glob("*.png"):
        pixels = cv2.imread(str(picture), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(picture), cv2.copyMakeBorder(pixels, 0, 0, 0, width - height, cv2.BORDER_REPLICATE))
    run, bundle, figures = (str(tmp_path / name) for name in ("run", "part.bundle", "figures.json"))
    named = ["--out", bundle, "--name", "tiny", "--revision", "1"]
    dials = ["--epochs", "30", "--batch", "2", "--crop", "96", "--workers", "1", "--holdout", "family0"]
    assert main(["train", "--data", str(path), "--out", run, *dials]) == 0
    told = capsys.readouterr().err
    steps = max(json.loads(line)["step"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()) // 30
    assert f"it learns for 30 epochs of {steps} steps, judged after every 10 epochs; on " in told
    assert ", by 1 process of 1 thread; learning rate 0.003 at most; 15 % of the crops show good parts; seed 0" in told
    assert "crops vary by light_percent 20, contrast_percent 20, shadow_percent 40," in told
    assert "the net is nano, because 9 defective pictures are few\n" in told
    plain = ["--precisions", "f32", "--no-stress", "--golden", "4", "--few-golden", "a test"]
    assert main(["export", run, *named, *plain]) == 0
    judge = ["evaluate", "--bundle", bundle, "--data", str(path), "--json", figures]
    assert main(judge) == 0
    found = json.loads(Path(figures).read_text())
    assert (found["pictures"], found["seen"]["pictures"]) == (4, 8)
    cv2.imwrite(str(tmp_path / "data" / "lower.png"), np.full((41, width - 1), 120, np.uint8))
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"images": [*content["images"], {"id": 999, "file_name": "lower.png"}]}))
    assert main(judge) == 0
    assert json.loads(Path(figures).read_text())["pictures"] == 13
    written = read_bundle(Path(bundle))
    assert written.manifest.geometry.fit == "pad"
    assert any(image.detections for image in written.golden)


def test_a_net_that_finds_nothing_makes_no_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_tiny_boards(tmp_path / "data")
    run, bundle = str(tmp_path / "run"), str(tmp_path / "part.bundle")
    named = ["--out", bundle, "--name", "tiny", "--revision", "1"]
    dials = ["--epochs", "1", "--batch", "4", "--crop", "96", "--workers", "1", "--holdout", "family0"]
    assert main(["train", "--data", str(path), "--out", run, *dials]) == 0
    final = torch.load(tmp_path / "run" / "final.pt", weights_only=True)
    for name in [name for name in final["average"] if name.startswith("class_head") and name.endswith("bias")]:
        final["average"][name][:] = -40.0
    torch.save(final, tmp_path / "run" / "final.pt")
    assert main(["export", run, *named]) == 78
    assert "finds nothing" in capsys.readouterr().err
    assert not Path(bundle).exists()


def _owners(*boxes: tuple[float, float, float, float]) -> list[int]:
    labels = torch.zeros((1, len(boxes)), dtype=torch.int64)
    return assign(cell_centres(64, 64), torch.tensor([boxes]), labels)[0].tolist()


def test_a_box_between_the_cells_owns_the_nearest_one() -> None:
    owner = _owners((14.0, 15.0, 18.0, 19.0))  # a cell ends at 16, centres are at 12 and at 20
    assert owner.count(0) == 1
    centre = cell_centres(64, 64)[owner.index(0)]
    assert (centre - torch.tensor([16.0, 17.0])).abs().max() <= 4.0


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 60), st.floats(0, 60), st.floats(0.5, 30), st.floats(0.5, 30)), min_size=1, max_size=12
    )
)
def test_every_box_owns_a_cell(boxes: list[tuple[float, float, float, float]]) -> None:
    corners = [(x, y, min(64.0, x + width), min(64.0, y + height)) for x, y, width, height in boxes]
    assert set(_owners(*corners)) - {-1} == set(range(len(boxes)))


def test_padding_owns_nothing() -> None:
    boxes = torch.tensor([[[14.0, 15.0, 18.0, 19.0], [0.0, 0.0, 0.0, 0.0]]])
    assert 1 not in assign(cell_centres(64, 64), boxes, torch.tensor([[0, -1]]))[0].tolist()


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.lists(st.integers(0, 999), max_size=4), st.booleans()), min_size=1, max_size=12))
def test_the_limit_is_the_best_of_all_thousandths(parts: list[tuple[list[int], bool]]) -> None:
    judged = []
    for scores, is_bad in parts:
        boxes = np.array([[20 * i, 0, 20 * i + 10, 10] for i in range(len(scores))], np.float32).reshape(-1, 4)
        truth = np.array([[0, 0, 10, 10]] if is_bad else [], np.float32).reshape(-1, 4)
        values = np.array([(score + 0.5) / 1000 for score in scores], np.float32)
        judged.append(Judged(boxes, values, np.zeros(len(scores), np.int64), truth, np.zeros(len(truth), np.int64)))

    def worth(limit: float) -> tuple[float, float]:
        found = judge_parts(judged, limit)
        escapes, overkill = found.escapes / max(1, found.bad), found.overkill / max(1, found.good)
        of_targets = (escapes / TARGET_ESCAPES, overkill / TARGET_OVERKILL)
        return max(of_targets), sum(of_targets)

    best = min(worth(step / 1000) for step in range(round(LEAST_LIMIT * 1000), 1000))
    assert worth(choose_limit(judged)) == pytest.approx(best)


@pytest.mark.parametrize(
    ("bad", "good", "compares", "wanted"),
    [
        (3, 300, False, 2000),
        (25, 25, False, 2000),
        (90, 10, False, 3600),
        (230, 410, False, 9200),
        (999, 99, False, 10_000),
        (25, 25, True, 2000),
        (60, 10, True, 2400),
        (230, 410, True, 3000),
        (999, 99, True, 3996),
        (2600, 10, True, 10_000),
    ],
)
def test_a_run_that_nobody_measured_is_as_long_as_its_data_ask_for_in_epochs_worth_a_checkpoint(
    bad: int, good: int, compares: bool, wanted: int
) -> None:
    boxes = np.array([[0, 0, 20, 20]], np.float32)
    samples = [Sample(Path("p"), boxes, np.array([n % 2]), f"g{n % 3}", is_good=False) for n in range(bad)]
    samples += [Sample(Path("p"), boxes[:0], np.zeros(0, np.int64), "g1", is_good=True) for _ in range(good)]
    samples = [replace(sample, reference=Path("r") if compares else None) for sample in samples]
    half = Dataset(("a", "b"), tuple(samples))
    plan = complete(Plan(), Split(half, half), side_px=None, batch=None, reference="auto")
    assert plan.epochs is not None
    steps = plan.passes * steps_per_pass(half, plan)
    assert steps >= 50
    assert plan.epochs * steps == pytest.approx(wanted, rel=0.02)
    assert plan.epochs // plan.validate_every >= 15
    timed = complete(Plan(budget_minutes=40.0), Split(half, half), side_px=None, batch=None, reference="auto")
    assert (timed.passes, timed.epochs) == (plan.passes, None)


@pytest.mark.parametrize(("size", "side_px"), [((700, 200), 480), ((200, 390), 416), ((310, 200), 320)])
def test_crops_have_room_for_large_defects_of_a_rare_kind_and_above_320_are_no_larger_than_the_largest_picture(
    tmp_path: Path, size: tuple[int, int], side_px: int
) -> None:
    pictures = tmp_path / "small.png", tmp_path / "large.png"
    for path, (width, height) in zip(pictures, [(100, 100), size], strict=True):
        assert cv2.imwrite(str(path), np.zeros((height, width), np.uint8))
    small, large = (np.array([[0, 0, side, 20]], np.float32) for side in (30, 300))
    samples = [Sample(pictures[0], small, np.array([0]), "g", is_good=False)] * 95
    samples += [Sample(pictures[1], large, np.array([1]), "g", is_good=False)] * 5
    assert usual_side_px(Dataset(("a", "b"), tuple(samples))) == side_px
    assert usual_side_px(Dataset(("a", "b"), tuple(samples[:95]))) == 320
