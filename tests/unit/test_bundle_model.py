"""The head of a model file tells what an engine would do with it, before one sees it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

from appliance.bundle.baseline import make_baseline
from appliance.bundle.model import check_model
from appliance.errors import BundleFormatError
from appliance.optics.statistics import measure
from tests.models import spot_picture, tiny_model


def _model(domains: dict[str, int], weights: TensorProto | None = None) -> bytes:
    graph = helper.make_graph([], "g", [], [], [weights] if weights else [])
    model: ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid(*it) for it in domains.items()])
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("opset", [17, 18])
def test_the_supported_operator_sets_are_taken(opset: int) -> None:
    assert check_model(_model({"": opset})).opset == opset
    assert check_model(_model({"ai.onnx": opset})).opset == opset


@pytest.mark.parametrize("opset", [1, 16, 19, 300])
def test_other_operator_sets_are_refused(opset: int) -> None:
    with pytest.raises(BundleFormatError, match=f"operator set {opset}; export it with 17 or 18"):
        check_model(_model({"": opset}))


def test_custom_operators_are_refused() -> None:
    with pytest.raises(BundleFormatError, match=r"com\.evil"):
        check_model(_model({"": 17, "com.evil": 1}))


def test_weights_outside_of_the_file_are_refused() -> None:
    weights = numpy_helper.from_array(np.zeros(4, np.float32), "w")
    assert check_model(_model({"": 17}, weights)).opset == 17
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="/etc/passwd")
    with pytest.raises(BundleFormatError, match="weights in another file"):
        check_model(_model({"": 17}, weights))


@given(st.binary(max_size=200))
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(BundleFormatError):
        check_model(noise)


@given(place=st.integers(0, 2000), value=st.integers(0, 255))
def test_a_damaged_model_is_taken_or_refused_but_never_a_crash(place: int, value: int) -> None:
    data = bytearray(tiny_model(64, 64))
    data[place % len(data)] = value
    try:
        assert check_model(bytes(data)).opset in (17, 18)
    except BundleFormatError as error:
        assert "export" in str(error)


def test_a_baseline_holds_mean_and_spread_of_each_statistic() -> None:
    grey = make_baseline([measure(spot_picture(64, 64, background=level)) for level in (90, 110)])
    assert grey.count == 2
    assert grey.statistics["brightness_mean"].mean == pytest.approx(100)
    assert grey.statistics["brightness_mean"].spread == pytest.approx(10)
    assert "red_green_ratio" not in grey.statistics
    colour = make_baseline([measure(spot_picture(64, 64, channels=3))])
    assert colour.statistics["red_green_ratio"].mean == pytest.approx(1.0)


def test_a_baseline_of_nothing_is_refused() -> None:
    with pytest.raises(BundleFormatError, match="add good parts"):
        make_baseline([])
