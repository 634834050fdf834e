"""Invariant 7: what the trainer evaluates is what the device runs, picture by picture, tiles included."""

from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.bundle.archive import Bundle, read_bundle
from appliance.demo.station import Scene, write_station
from appliance.events import Detection, Frame, Pixels, utc_now
from appliance.inspection import PartInspection
from appliance.ports import RawDetections
from appliance.recipe import BoundRecipe, Recipe, load_recipe
from appliance.runtimes.onnx import OnnxRuntime
from appliance.stages.infer import Inference
from tests.inspections import make_document, view_document
from tests.models import spot_picture, tiny_bundle
from tests.references import board, laid_down, reference_section, with_defect, write_picture
from trainer.datasets.sample import Sample
from trainer.evaluate import BundleRunner
from trainer.references import load_input

OVERLAP_PX = 16


def on_the_line(folder: Path, pixels: Pixels) -> tuple[Detection, ...]:
    """Run a picture through correct, infer and decide as the station does."""
    bundle = read_bundle(tiny_bundle(folder / "tiny.bundle"))
    height, width = pixels.shape[:2]
    changes = {"width_px": width, "height_px": height}
    if (width, height) != (64, 64):
        changes["tiles"] = {"overlap_px": OVERLAP_PX}  # type: ignore[assignment]
    document = make_document(view_document(**changes))
    return inspected(pixels, document.into(Recipe).bind(bundle.manifest, document), bundle)


def inspected(pixels: Pixels, recipe: BoundRecipe, bundle: Bundle) -> tuple[Detection, ...]:
    runtime = OnnxRuntime(bundle.model_onnx, bundle.manifest)
    inspect = PartInspection(recipe, Inference(recipe, bundle.manifest, runtime))
    _, views = inspect({"top": Frame("top", 1, pixels, utc_now(), 0)}, {})
    return views[0].detections


def at_the_trainer(folder: Path, pixels: Pixels) -> tuple[Detection, ...]:
    bundle = read_bundle(tiny_bundle(folder / "tiny.bundle"))
    return BundleRunner(bundle.model_onnx, bundle.manifest, overlap_px=OVERLAP_PX).detect(pixels)


@given(seed=st.integers(0, 2**16), width=st.sampled_from([64, 112, 160]), height=st.sampled_from([64, 112]))
def test_trainer_and_station_find_the_same_on_any_picture(
    tmp_path_factory: pytest.TempPathFactory, seed: int, width: int, height: int
) -> None:
    if (width == 64) != (height == 64):
        height = width
    rng = np.random.default_rng(seed)
    spots = [(int(rng.integers(width // 16)), int(rng.integers(height // 16)), int(rng.integers(120, 256)))
             for _ in range(4)]  # fmt: skip
    folder = tmp_path_factory.mktemp("bundle")
    pixels = spot_picture(width, height, spots)
    found = on_the_line(folder, pixels)
    assert found == at_the_trainer(folder, pixels)
    assert found


@pytest.mark.parametrize(("tile", "size"), [((640, 32), (1000, 50)), ((512, 512), (957, 701))])
def test_trainer_and_replay_cut_a_large_picture_into_the_same_tiles(
    tmp_path: Path, tile: tuple[int, int], size: tuple[int, int]
) -> None:
    rng = np.random.default_rng(1)
    cells = [(column, row, int(rng.integers(256))) for column in range(size[0] // 16) for row in range(size[1] // 16)]
    pixels = spot_picture(*size, [cells[at] for at in rng.choice(len(cells), len(cells) // 16, replace=False)])
    (tmp_path / "recorded").mkdir()
    cv2.imwrite(str(tmp_path / "recorded" / "0.png"), pixels)
    path = tiny_bundle(tmp_path / "tiny.bundle", *tile)
    bundle = read_bundle(path)
    write_station(tmp_path / "station", path, bundle, Scene.recorded(tmp_path / "recorded"), port=None)
    recipe, document = load_recipe(tmp_path / "station" / "recipe.yaml")
    found = inspected(pixels, recipe.bind(bundle.manifest, document), bundle)
    assert found == BundleRunner(bundle.model_onnx, bundle.manifest).detect(pixels)
    assert len(found) > 2


class WatchedRuntime:
    """Keeps what the model was shown."""

    def __init__(self, runtime: OnnxRuntime) -> None:
        self._runtime = runtime
        self.shown: list[Pixels] = []

    def infer(self, images: Pixels) -> RawDetections:
        self.shown.append(images.copy())
        return self._runtime.infer(images)

    def describe(self) -> str:
        return self._runtime.describe()

    def close(self) -> None:
        self._runtime.close()


@pytest.mark.parametrize(("channels", "size"), [(2, 320), (6, 320), (2, 448)])
@pytest.mark.parametrize("max_shift_px", [9, 20, 64])
@pytest.mark.parametrize(("shift", "turn_deg"), [((0.0, 0.0), 0.0), ((7.25, -4.5), 0.3)])
def test_a_model_that_compares_is_shown_the_same_by_trainer_and_by_stations_of_any_limit(
    tmp_path: Path,
    channels: Literal[2, 6],
    size: int,
    shift: tuple[float, float],
    turn_deg: float,
    max_shift_px: int,
) -> None:
    good = board(1, size, channels // 2)
    part = laid_down(with_defect(good, 4, 5), shift, turn_deg)
    write_picture(tmp_path / "part.png", part)
    view = view_document(width_px=size, height_px=size, channels=channels // 2)
    view["reference"] = reference_section(tmp_path, good, max_shift_px=max_shift_px)
    if size > 320:
        view["tiles"] = {"overlap_px": OVERLAP_PX}
    document = make_document(view)
    bundle = read_bundle(tiny_bundle(tmp_path / "tiny.bundle", 320, 320, channels))
    recipe = document.into(Recipe).bind(bundle.manifest, document)
    runtime = WatchedRuntime(OnnxRuntime(bundle.model_onnx, bundle.manifest))
    inspect = PartInspection(recipe, Inference(recipe, bundle.manifest, runtime))
    _, views = inspect({"top": Frame("top", 1, part, utc_now(), 0)}, {})

    nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    sample = Sample(tmp_path / "part.png", *nothing, "board", False, tmp_path / "good_0.png")
    at_the_trainer = load_input(sample, channels)
    assert np.array_equal(runtime.shown[0][0], at_the_trainer[:320, :320])
    runner = BundleRunner(bundle.model_onnx, bundle.manifest, overlap_px=OVERLAP_PX)
    assert views[0].detections == runner.detect(at_the_trainer)
    assert views[0].detections
