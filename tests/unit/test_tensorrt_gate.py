"""A real TensorRT (for RTX) reads and builds what the project exports; it needs no accelerator for that, only to run.

What passes here may still be refused by an older TensorRT: JetPack 6.2's 10.3 takes fewer operators.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from appliance.__main__ import main as simulate
from appliance.bundle.archive import Bundle, read_bundle
from appliance.bundle.manifest import Precision
from appliance.demo.station import SHIPPED_BUNDLE
from appliance.errors import BundleFormatError, ConfigError, RuntimeFault
from appliance.runtimes.engines.build import Building
from appliance.runtimes.engines.key import BuildOptions
from appliance.runtimes.tensorrt_library import RTX, Library, load_engine, load_library
from benchmarks.gpu import PRECISIONS, model_of, pictures
from tests.accelerator import why_no_driver, why_no_rtx
from tests.models import tiny_model
from trainer.datasets.reading import read_dataset
from trainer.datasets.split import split_by_group
from trainer.evaluate import BundleRunner, judge_samples
from trainer.graph import ContractNet, to_onnx
from trainer.half import to_fp16
from trainer.model import Net
from trainer.quantise import observe, quantisable, to_int8
from trainer.score_calibration import ScoreMap
from trainer.sizes import TABLE, NetShape, SizeName
from trainer.turned import TurnedNorm
from trainer.variants import Gate, make_variants

pytestmark = [
    pytest.mark.gate,
    pytest.mark.skipif(bool(why_no_rtx()), reason=f"TensorRT for RTX is absent: {why_no_rtx()}"),
]
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


def exported(size: SizeName, channels: int, height: int, width: int) -> dict[str, bytes]:
    """Export a net that nobody trained as `trainer export` would: its graph is that of a trained one."""
    torch.manual_seed(0)
    net = Net(NetShape(channels, 3, TABLE[size].width, TABLE[size].depth, TABLE[size].detail))
    for module in net.modules():
        if isinstance(module, TurnedNorm):  # all alike, they would be written as one
            torch.nn.init.normal_(module.bias, std=0.01)
    model = to_onnx(ContractNet(net, ScoreMap(1.4, -0.2), height, width), channels)
    seen = list(np.random.default_rng(0).integers(0, 255, (2, height, width, channels), dtype=np.uint8))
    int8 = to_int8(model, observe(model, seen, "percentile"), quantisable(model))
    return {"f32": model, "fp16": to_fp16(model), "int8": int8}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_shipped_model_is_built_and_computes_with_the_precision_of_its_file(
    library: Library, bundle: Bundle, precision: Precision
) -> None:
    computed, size = built(library, model_of(bundle, precision))
    assert computed == precision
    assert size > 100_000


@pytest.mark.parametrize(
    ("size", "channels", "height", "width"),
    [("nano", 1, 96, 128), ("nano", 2, 96, 128), ("nano", 3, 96, 128), ("nano", 6, 96, 128),
     ("small", 1, 96, 128), ("small", 2, 640, 640), ("small", 3, 96, 128), ("small", 6, 640, 640),
     ("base", 1, 96, 128), ("base", 2, 96, 128), ("base", 3, 96, 128), ("base", 6, 96, 128)],
)  # fmt: skip
def test_what_the_trainer_exports_is_built_in_every_precision(
    library: Library, size: SizeName, channels: int, height: int, width: int
) -> None:
    models = exported(size, channels, height, width)
    assert {name: built(library, model)[0] for name, model in models.items()} == {name: name for name in PRECISIONS}


def test_what_the_trainer_s_own_gate_lets_into_a_bundle_is_built(
    library: Library, bundle: Bundle, tmp_path: Path
) -> None:
    assert simulate(["simulate", str(tmp_path), "--parts", "8", "--parts-per-family", "4", "--seed", "5"]) == 0
    dataset = read_dataset(tmp_path)
    split = split_by_group(dataset, dataset.groups()[:1])
    judged, _ = judge_samples(BundleRunner(bundle.model_onnx, bundle.manifest), split.validation, is_quiet=True)
    models = make_variants(Gate(bundle, split.validation, judged, at_once=2), split, ("fp16", "int8")).models()
    assert {name: built(library, model)[0] for name, model in models.items()} == {"fp16": "fp16", "int8": "int8"}


def test_int8_with_layers_that_stay_float_is_built(library: Library, bundle: Bundle) -> None:
    model, layers = bundle.model_onnx, quantisable(bundle.model_onnx)
    ranges = observe(model, pictures(bundle)[:2], "minmax")
    assert built(library, to_int8(model, ranges, layers[::2]))[0] == "int8"
    assert built(library, to_int8(model, ranges, layers[:1]))[0] == "int8"


@pytest.mark.parametrize("channels", [1, 3])
def test_the_tests_own_models_are_built(library: Library, channels: int) -> None:
    assert built(library, tiny_model(96, 64, channels))[0] == "f32"


def test_int8_as_onnx_runtime_makes_it_by_default_is_refused_with_the_reason(
    library: Library, bundle: Bundle, tmp_path: Path
) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static  # after runtimes.onnx

    class Pictures(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = [{"image": pictures(bundle)[0][None]}]

        def get_next(self) -> dict[str, Any] | None:
            return self.left.pop() if self.left else None

    before, after = tmp_path / "f32.onnx", tmp_path / "int8.onnx"
    before.write_bytes(bundle.model_onnx)
    quantize_static(str(before), str(after), Pictures(), quant_format=QuantFormat.QDQ, op_types_to_quantize=["Conv"])
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


@pytest.mark.parametrize("core", [0, 1])
def test_a_library_without_a_dla_refuses_to_build_for_one_and_says_what_to_do(library: Library, core: int) -> None:
    options = BuildOptions(max_batch=1, for_this_device=False, dla_core=core)
    with pytest.raises(ConfigError, match=rf"runtime.dla_core: {core} is asked for, and tensorrt_rtx .* finds 0 DLA c"):
        Building(library, tiny_model(96, 64)).plan(options, may_tell=False)


@pytest.mark.parametrize("model", [b"", b"junk" * 100, onnx.ModelProto().SerializeToString()])
def test_what_is_no_model_is_refused_and_does_not_crash(library: Library, model: bytes) -> None:
    with pytest.raises(BundleFormatError, match="cannot read the model"):
        Building(library, model)


def test_progress_is_told_line_by_line(bundle: Bundle, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from appliance.runtimes.engines.build import Building;"
        "from appliance.runtimes.engines.key import BuildOptions;"
        "from appliance.runtimes.tensorrt_library import load_library;"
        "building = Building(load_library(), Path(sys.argv[1]).read_bytes());"
        "building.plan(BuildOptions(for_this_device=False), quick_s=0.0)"
    )
    (tmp_path / "model.onnx").write_bytes(bundle.model_onnx)
    ended = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "model.onnx")], capture_output=True, text=True, check=True
    )
    told = [json.loads(line)["progress"] for line in ended.stdout.splitlines()]
    assert told == sorted(told)
    assert told[-1] == 1.0
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
