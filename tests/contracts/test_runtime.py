"""What every runtime promises, whatever engine is behind it."""

import importlib.util
from collections.abc import Callable, Iterator
from typing import Literal, TypeAlias

import numpy as np
import pytest

from appliance.bundle.manifest import Manifest
from appliance.errors import BundleFormatError, RuntimeFault
from appliance.ports import HasEngine, Runtime
from appliance.runtimes.onnx import OnnxRuntime
from tests.accelerator import engines, why_no_accelerator
from tests.models import Fault, spot_picture, tiny_manifest, tiny_model

Make: TypeAlias = Callable[[bytes, Manifest], Runtime]


def _onnx(model: bytes, manifest: Manifest) -> Runtime:
    return OnnxRuntime(model, manifest, threads=1)


def _openvino(model: bytes, manifest: Manifest) -> Runtime:
    from appliance.runtimes.openvino import OpenVinoRuntime

    return OpenVinoRuntime(model, manifest, threads=1)


def _tensorrt(model: bytes, manifest: Manifest) -> Runtime:
    from appliance.runtimes.tensorrt import TensorRtRuntime

    return TensorRtRuntime(model, manifest, engines=engines())


HAS_OPENVINO = importlib.util.find_spec("openvino") is not None
NEEDS_OPENVINO = pytest.mark.skipif(not HAS_OPENVINO, reason="openvino is not installed (extra openvino)")


NEEDS_TENSORRT = pytest.mark.skipif(bool(why_no_accelerator()), reason=f"no TensorRT here: {why_no_accelerator()}")


@pytest.fixture(
    params=[
        pytest.param(_onnx, id="onnx"),
        pytest.param(_openvino, id="openvino", marks=NEEDS_OPENVINO),
        pytest.param(_tensorrt, id="tensorrt", marks=NEEDS_TENSORRT),
    ]
)
def make(request: pytest.FixtureRequest) -> Make:
    chosen: Make = request.param
    return chosen


@pytest.fixture(params=[1, 3])
def channels(request: pytest.FixtureRequest) -> Literal[1, 3]:
    chosen: Literal[1, 3] = request.param
    return chosen


@pytest.fixture
def runtime(make: Make, channels: Literal[1, 3]) -> Iterator[Runtime]:
    runtime = make(tiny_model(96, 64, channels), tiny_manifest(96, 64, channels))
    yield runtime
    runtime.close()


def test_the_answer_has_the_contract_s_shapes_and_types(runtime: Runtime, channels: int) -> None:
    for count in (1, 3, 2):
        raw = runtime.infer(np.zeros((count, 64, 96, channels), np.uint8))
        assert raw.boxes.shape == (count, 100, 4)
        assert raw.scores.shape == raw.labels.shape == (count, 100)
        assert [str(item.dtype) for item in (raw.boxes, raw.scores, raw.labels)] == ["float32", "float32", "int64"]


def test_each_image_of_a_batch_gets_its_own_answer(runtime: Runtime, channels: int) -> None:
    spots = [(0, 0, 255), (5, 3, 204), (2, 1, 153)]
    batch = np.stack([spot_picture(96, 64, [spot], channels=channels) for spot in spots])
    raw = runtime.infer(batch)
    for row, (column, line, grey) in enumerate(spots):
        assert raw.boxes[row, 0].tolist() == [column * 16, line * 16, column * 16 + 16, line * 16 + 16]
        assert raw.scores[row, 0] == pytest.approx(grey / 255, abs=1e-5)
        assert raw.scores[row, 1] == 0.0


def test_an_answer_stays_what_it_was_when_the_next_one_comes(runtime: Runtime, channels: int) -> None:
    first = runtime.infer(spot_picture(96, 64, [(0, 0, 255)], channels=channels)[None])
    runtime.infer(spot_picture(96, 64, [(1, 1, 153)], channels=channels)[None])
    assert first.scores[0, 0] == pytest.approx(1.0)


def test_a_batch_that_is_a_view_of_a_bigger_picture_is_taken(runtime: Runtime, channels: int) -> None:
    big = spot_picture(192, 128, [(6, 4, 255)], channels=channels)
    raw = runtime.infer(big[None, 64:, 96:])
    assert raw.scores[0, 0] == pytest.approx(1.0)


def test_pictures_that_nobody_may_change_are_taken(runtime: Runtime, channels: int) -> None:
    picture = spot_picture(96, 64, [(1, 1, 255)], channels=channels)
    picture.setflags(write=False)
    assert runtime.infer(picture[None]).scores[0, 0] == pytest.approx(1.0)


def test_images_of_another_size_are_a_fault_and_the_next_right_ones_are_not(runtime: Runtime, channels: int) -> None:
    with pytest.raises(RuntimeFault, match="shape"):
        runtime.infer(np.zeros((1, 64, 64, channels), np.uint8))
    assert runtime.infer(np.zeros((1, 64, 96, channels), np.uint8)).scores.max() == 0.0


def test_one_line_says_engine_version_and_provider(runtime: Runtime) -> None:
    line = runtime.describe()
    assert "\n" not in line
    assert any(character.isdigit() for character in line)


def test_a_runtime_that_runs_what_it_built_tells_which_engine_that_is(runtime: Runtime) -> None:
    takes_the_file_itself = runtime.describe().startswith(("onnxruntime ", "openvino "))
    assert isinstance(runtime, HasEngine) != takes_the_file_itself


def test_a_closed_runtime_answers_with_a_fault_and_closes_twice(runtime: Runtime, channels: int) -> None:
    runtime.close()
    runtime.close()
    with pytest.raises(RuntimeFault, match="closed"):
        runtime.infer(np.zeros((1, 64, 96, channels), np.uint8))


@pytest.mark.parametrize("fault", ["rank", "names", "float_input", "dynamic", "opset"])
def test_a_model_outside_the_contract_is_not_loaded(make: Make, fault: Fault) -> None:
    with pytest.raises(BundleFormatError, match="export"):
        make(tiny_model(64, 64, fault=fault), tiny_manifest())


@pytest.mark.parametrize(("fault", "word"), [("nan", "NaN"), ("label", "label")])
def test_an_answer_outside_the_contract_is_a_fault(make: Make, fault: Fault, word: str) -> None:
    with pytest.raises(RuntimeFault, match=word):
        make(tiny_model(64, 64, fault=fault), tiny_manifest())


def test_an_answer_of_another_shape_than_declared_is_refused(make: Make) -> None:
    with pytest.raises((RuntimeFault, BundleFormatError), match=r"shapes \(|\[N, 99\]"):  # seen when asked, or before
        make(tiny_model(64, 64, fault="short"), tiny_manifest())


def test_a_score_above_one_is_a_fault(make: Make) -> None:
    runtime = make(tiny_model(64, 64, fault="loud"), tiny_manifest())
    with pytest.raises(RuntimeFault, match=r"not within 0\.\.1"):
        runtime.infer(spot_picture(64, 64, [(1, 1, 255)])[None])


@pytest.mark.parametrize("size", [(64, 96), (96, 64)])
def test_a_model_of_another_size_than_the_manifest_s_is_not_loaded(make: Make, size: tuple[int, int]) -> None:
    with pytest.raises(BundleFormatError, match="image"):
        make(tiny_model(*size), tiny_manifest())


def test_a_model_with_another_number_of_candidates_is_not_loaded(make: Make) -> None:
    with pytest.raises(BundleFormatError, match="boxes"):
        make(tiny_model(64, 64, candidates=50), tiny_manifest())


@pytest.mark.parametrize("junk", [b"", b"not a model", b"\xff" * 50])
def test_junk_is_not_loaded(make: Make, junk: bytes) -> None:
    with pytest.raises(BundleFormatError):
        make(junk, tiny_manifest())


def test_a_cut_off_model_is_not_loaded(make: Make) -> None:
    whole = tiny_model(64, 64)
    with pytest.raises(BundleFormatError):
        make(whole[: len(whole) // 2], tiny_manifest())
