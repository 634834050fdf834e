"""One part's pictures: measured beside the model, each part by its own picture, whatever happened to the one before."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from appliance.errors import RuntimeFault
from appliance.events import Frame
from appliance.inspection import PartInspection
from appliance.stages.infer import Inference
from tests.inspections import SIDE_PX, bind, make_frame, make_manifest, view_document
from tests.unit.test_infer import SpotRuntime


@pytest.fixture
def runtime() -> SpotRuntime:
    return SpotRuntime()


@pytest.fixture
def inspect(runtime: SpotRuntime) -> Iterator[PartInspection]:
    recipe = bind(view_document())
    inspection = PartInspection(recipe, Inference(recipe, make_manifest(), runtime))
    yield inspection
    inspection.close()


def grey(level: int) -> Frame:
    return replace(make_frame(), pixels=np.full((SIDE_PX, SIDE_PX, 1), level, np.uint8))


def brightness(inspect: PartInspection, level: int) -> float:
    _, (view,) = inspect({"top": grey(level)}, {})
    assert view.statistics is not None
    return view.statistics.brightness_mean


def test_a_part_is_measured_by_its_own_picture_after_one_at_which_the_model_failed(
    inspect: PartInspection, runtime: SpotRuntime
) -> None:
    assert brightness(inspect, 60) == 60
    runtime.fails = True
    with pytest.raises(RuntimeFault, match="view top: the engine is gone"):
        inspect({"top": grey(200)}, {})
    runtime.fails = False
    assert [brightness(inspect, level) for level in (100, 120)] == [100, 120]
