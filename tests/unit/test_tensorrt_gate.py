"""A real TensorRT (for RTX) reads and builds what the project exports; it needs no accelerator for that, only to run.

What passes here may still be refused by an older TensorRT: JetPack 6.2's 10.3 takes fewer operators.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantFormat, quantize_static

from appliance.bundle.archive import Bundle, read_bundle
from appliance.demo.station import SHIPPED_BUNDLE
from appliance.errors import BundleFormatError, RuntimeFault
from appliance.runtimes.engines.build import Building
from appliance.runtimes.engines.key import BuildOptions
from appliance.runtimes.tensorrt_library import RTX, Library, load_engine, load_library
from benchmarks.gpu import pictures
from benchmarks.precisions import CalibrationPictures, as_fp16, as_int8
from tests.accelerator import why_no_driver, why_no_rtx
from tests.models import tiny_model
from trainer.graph import ContractNet, to_onnx
from trainer.model import Net, NetShape
from trainer.score_calibration import ScoreMap

pytestmark = pytest.mark.skipif(bool(why_no_rtx()), reason=f"TensorRT for RTX is absent: {why_no_rtx()}")
OPTIONS = BuildOptions(for_this_device=False)


@pytest.fixture(scope="module")
def library() -> Library:
    return load_library()


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return read_bundle(SHIPPED_BUNDLE)


def built(library: Library, model: bytes) -> tuple[str, int]:
    building = Building(library, model)
    return building.precision(), len(building.plan(OPTIONS, may_tell=False))


def test_the_shipped_model_is_built_in_its_own_precision(library: Library, bundle: Bundle) -> None:
    precision, size = built(library, bundle.model_onnx)
    assert precision == "f32"
    assert size > 100_000


def test_the_shipped_model_as_fp16_is_built_and_computes_with_it(library: Library, bundle: Bundle) -> None:
    assert built(library, as_fp16(bundle.model_onnx))[0] == "fp16"


def test_the_shipped_model_as_symmetric_int8_is_built_and_computes_with_it(library: Library, bundle: Bundle) -> None:
    assert built(library, as_int8(bundle.model_onnx, pictures(bundle)))[0] == "int8"


@pytest.mark.parametrize("channels", [1, 3, 2, 6])
@pytest.mark.parametrize(("height", "width"), [(96, 128), (640, 640)])
def test_what_the_trainer_exports_is_built(library: Library, channels: int, height: int, width: int) -> None:
    model = ContractNet(Net(NetShape(channels, 3, 32)), ScoreMap(1.4, -0.2), height, width)
    assert built(library, to_onnx(model, channels))[0] == "f32"


@pytest.mark.parametrize("channels", [1, 3])
def test_the_tests_own_models_are_built(library: Library, channels: int) -> None:
    assert built(library, tiny_model(96, 64, channels))[0] == "f32"


def test_int8_as_onnx_runtime_makes_it_by_default_is_refused_with_the_reason(
    library: Library, bundle: Bundle, tmp_path: Path
) -> None:
    before, after = tmp_path / "f32.onnx", tmp_path / "int8.onnx"
    before.write_bytes(bundle.model_onnx)
    reader = CalibrationPictures(pictures(bundle)[:1])
    quantize_static(str(before), str(after), reader, quant_format=QuantFormat.QDQ, op_types_to_quantize=["Conv"])
    with pytest.raises(BundleFormatError, match=r"cannot read the model: .*Int32.*; export it again"):
        Building(library, after.read_bytes())


def test_suppression_in_the_graph_is_refused_with_the_reason(library: Library) -> None:
    most = numpy_helper.from_array(np.array([10], np.int64), "most")
    node = helper.make_node("NonMaxSuppression", ["boxes", "scores", "most"], ["kept"])
    graph = helper.make_graph(
        [node], "g",
        [helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, 50, 4]),
         helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 1, 50])],
        [helper.make_tensor_value_info("kept", TensorProto.INT64, ["n", 3])], [most],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(BundleFormatError, match="export it again"):
        Building(library, model.SerializeToString()).plan(OPTIONS, may_tell=False)


@pytest.mark.parametrize("model", [b"", b"junk" * 100, onnx.ModelProto().SerializeToString()])
def test_what_is_no_model_is_refused_and_does_not_crash(library: Library, model: bytes) -> None:
    with pytest.raises(BundleFormatError, match="cannot read the model"):
        Building(library, model)


def test_progress_is_told_line_by_line(bundle: Bundle, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from appliance.runtimes.engines.build import Building;"
        "from appliance.runtimes.engines.key import BuildOptions;"
        "from appliance.runtimes.tensorrt_library import load_library;"
        "Building(load_library(), Path(sys.argv[1]).read_bytes()).plan(BuildOptions(for_this_device=False))"
    )
    (tmp_path / "model.onnx").write_bytes(bundle.model_onnx)
    ended = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "model.onnx")], capture_output=True, text=True, check=True
    )
    told = [json.loads(line)["progress"] for line in ended.stdout.splitlines()]
    assert told == sorted(told)
    assert len(told) > 2


@pytest.mark.skipif(not why_no_driver(), reason="this computer has an accelerator")
def test_without_an_accelerator_an_engine_is_refused_in_words(library: Library) -> None:
    plan = Building(library, tiny_model(96, 64)).plan(OPTIONS, may_tell=False)
    with pytest.raises(RuntimeFault, match=r"tensorrt_rtx .* refuses the engine: .*driver version is insufficient"):
        load_engine(library, plan)


def test_the_interface_that_runs_an_engine_is_there(library: Library) -> None:
    trt = library.module
    wanted = {
        trt.Runtime: ("deserialize_cuda_engine",),
        trt.ICudaEngine: ("num_io_tensors", "get_tensor_name", "get_tensor_shape", "get_tensor_dtype",
                          "create_execution_context"),
        trt.IExecutionContext: ("set_input_shape", "get_tensor_shape", "set_tensor_address", "execute_async_v3"),
    }  # fmt: skip
    assert library.name == RTX
    assert [name for kind, names in wanted.items() for name in names if not hasattr(kind, name)] == []
