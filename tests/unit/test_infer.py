from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import RuntimeFault
from appliance.events import Frame, Pixels
from appliance.ports import RawDetections
from appliance.recipe import BoundRecipe
from appliance.stages.infer import Inference, pictures_at_once
from tests.inspections import SIDE_PX, bind, make_frame, make_manifest, view_document


class SpotRuntime:
    """Finds the bright pixels of each image as one box of class 0."""

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails
        self.shapes: list[tuple[int, ...]] = []

    def infer(self, images: Pixels) -> RawDetections:
        if self.fails:
            raise RuntimeFault("the engine is gone; restart the appliance")
        self.shapes.append(images.shape)
        boxes = np.zeros((len(images), 1, 4), np.float32)
        scores = np.zeros((len(images), 1), np.float32)
        for row, image in enumerate(images):
            ys, xs = np.nonzero(image[:, :, 0] > 250)
            if len(ys):
                boxes[row, 0] = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
                scores[row, 0] = 0.75
        return RawDetections(boxes, scores, np.zeros((len(images), 1), np.int64))

    def describe(self) -> str:
        return "bright spots"

    def close(self) -> None:
        return None


def spot(recipe: BoundRecipe, box: tuple[int, int, int, int]) -> Frame:
    view = recipe.views[0]
    frame = make_frame(width=view.width_px, height=view.height_px)
    pixels = frame.pixels.copy()
    pixels[box[1] : box[3], box[0] : box[2]] = 255
    return replace(frame, pixels=pixels)


@pytest.mark.parametrize(
    ("changes", "box"),
    [
        ({}, (10, 20, 30, 40)),
        ({"width_px": 200, "height_px": 100, "crop": {"x_px": 100, "y_px": 30, "width_px": 64, "height_px": 64}},
         (110, 40, 130, 60)),
        ({"width_px": 200, "height_px": 150, "tiles": {"overlap_px": 24}}, (55, 55, 75, 75)),
        ({"width_px": 200, "height_px": 150, "tiles": {"overlap_px": 24}}, (190, 140, 200, 150)),
        ({"width_px": 300, "height_px": 150, "tiles": {"overlap_px": 24},
          "crop": {"x_px": 100, "y_px": 10, "width_px": 150, "height_px": 130}}, (150, 70, 165, 85)),
    ],
)  # fmt: skip
def test_a_spot_is_found_once_in_pixels_of_the_frame(changes: dict[str, Any], box: tuple[int, int, int, int]) -> None:
    recipe = bind(view_document(**changes))
    found = Inference(recipe, make_manifest(), SpotRuntime()).infer(spot(recipe, box))
    assert [item.label for item in found] == ["short"]
    assert found[0].box == pytest.approx(box)
    assert found[0].score == pytest.approx(0.75)


def test_what_lies_outside_the_crop_is_not_seen() -> None:
    crop = {"x_px": 100, "y_px": 30, "width_px": 64, "height_px": 64}
    recipe = bind(view_document(width_px=200, height_px=100, crop=crop))
    assert Inference(recipe, make_manifest(), SpotRuntime()).infer(spot(recipe, (10, 10, 30, 30))) == ()


def test_the_model_only_ever_gets_its_own_size() -> None:
    recipe = bind(view_document(width_px=200, height_px=150, tiles={"overlap_px": 24}))
    runtime = SpotRuntime()
    Inference(recipe, make_manifest(), runtime).infer(spot(recipe, (10, 10, 30, 30)))
    assert {shape[1:] for shape in runtime.shapes} == {(SIDE_PX, SIDE_PX, 1)}


@given(
    width_px=st.integers(SIDE_PX, 5 * SIDE_PX), height_px=st.integers(SIDE_PX, 5 * SIDE_PX),
    overlap_px=st.integers(0, SIDE_PX // 2),
)  # fmt: skip
def test_a_proof_asks_about_as_many_pictures_at_once_as_the_line_does(
    width_px: int, height_px: int, overlap_px: int
) -> None:
    recipe = bind(view_document(width_px=width_px, height_px=height_px, tiles={"overlap_px": overlap_px}))
    runtime = SpotRuntime()
    Inference(recipe, make_manifest(), runtime).infer(make_frame(width=width_px, height=height_px))
    assert {1, *pictures_at_once(recipe, make_manifest())} == {1, *(shape[0] for shape in runtime.shapes)}


def test_a_failing_runtime_is_reported_with_its_view() -> None:
    recipe = bind()
    with pytest.raises(RuntimeFault, match="view top: the engine is gone"):
        Inference(recipe, make_manifest(), SpotRuntime(fails=True)).infer(spot(recipe, (1, 1, 3, 3)))
