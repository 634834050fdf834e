"""What only the ONNX Runtime adapter must get right: providers, threads, steady memory."""

import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper
from onnxruntime.capi import onnxruntime_pybind11_state as state

from appliance.errors import ConfigError
from appliance.runtimes.onnx import OnnxRuntime, available_providers, open_session
from tests.c_compiler import needs_cc
from tests.models import tiny_manifest, tiny_model

AZURE = "AzureExecutionProvider"
"""In every wheel of ONNX Runtime for processors, and able to start anywhere; it computes nothing of our models."""

needs_azure = pytest.mark.skipif(AZURE not in available_providers(), reason="this ONNX Runtime has one provider only")


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096


def lost_device() -> bytes:
    """A model of tests/failing_provider.c."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Fail", ["x"], ["y"], domain="faults")], "lost", ends[:1], ends[1:])
    versions = [helper.make_opsetid("", 17), helper.make_opsetid("faults", 1)]
    return bytes(helper.make_model(graph, opset_imports=versions, ir_version=8).SerializeToString())


def test_a_provider_that_is_not_installed_is_a_matter_of_configuration() -> None:
    with pytest.raises(ConfigError, match=r"TensorrtExecutionProvider.*configure one of.*CPUExecutionProvider"):
        OnnxRuntime(
            tiny_model(64, 64), tiny_manifest(), providers=["TensorrtExecutionProvider", "CPUExecutionProvider"]
        )


def test_no_provider_at_all_is_a_matter_of_configuration() -> None:
    with pytest.raises(ConfigError, match="none named"):
        OnnxRuntime(tiny_model(64, 64), tiny_manifest(), providers=[])


@pytest.mark.parametrize("threads", [0, -1, 65])
def test_a_foolish_number_of_threads_is_a_matter_of_configuration(threads: int) -> None:
    with pytest.raises(ConfigError, match="threads"):
        OnnxRuntime(tiny_model(64, 64), tiny_manifest(), threads=threads)


def test_the_record_names_provider_and_threads() -> None:
    line = OnnxRuntime(tiny_model(64, 64), tiny_manifest(), threads=2).describe()
    assert line.startswith("onnxruntime ")
    assert line.endswith(" CPU f32 threads=2")


@needs_azure
@pytest.mark.parametrize("providers", [("CPUExecutionProvider", AZURE), (AZURE, "CPUExecutionProvider")])
def test_the_record_names_every_provider_and_which_of_them_compute(providers: tuple[str, ...]) -> None:
    runtime = OnnxRuntime(tiny_model(64, 64), tiny_manifest(), providers=providers)
    names = ",".join(name.removesuffix("ExecutionProvider") for name in providers)
    is_told = hasattr(onnxruntime.InferenceSession, "get_provider_graph_assignment_info")  # since 1.24
    words = "computed by CPU" if is_told else "not told which computes"
    assert runtime.describe().endswith(f" {names} ({words}) f32 threads=1")


@needs_azure
def test_the_processor_computes_nothing_that_it_was_not_asked_for() -> None:
    says = (
        rf"runtime\.providers: {AZURE} cannot compute all of this model.*CPUExecutionProvider is not configured; add it"
    )
    with pytest.raises(ConfigError, match=says):
        OnnxRuntime(tiny_model(64, 64), tiny_manifest(), providers=[AZURE])


@needs_cc
def test_a_provider_that_fails_at_a_picture_is_not_replaced_in_silence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    library = tmp_path / "failing.so"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-o", library, Path(__file__).parents[1] / "failing_provider.c"], check=True
    )
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(str(library))
    by_itself = onnxruntime.InferenceSession(lost_device(), options, providers=["CPUExecutionProvider"])
    for session, falls_back in (
        (by_itself, True),
        (open_session(lost_device(), options, ["CPUExecutionProvider"]), False),
    ):
        with pytest.raises(state.EPFail, match="the device is lost"):
            session.run(None, {"x": np.zeros(1, np.float32)})
        assert ("Falling back to" in capfd.readouterr().out) is falls_back


def test_memory_does_not_grow_with_the_number_of_inferences() -> None:
    runtime = OnnxRuntime(tiny_model(320, 320), tiny_manifest(320, 320))
    images = np.zeros((2, 320, 320, 1), np.uint8)
    for _ in range(200):
        runtime.infer(images)
    before = _resident_bytes()
    for _ in range(2000):
        runtime.infer(images)
        runtime.infer(images[:1])
    assert _resident_bytes() - before < 0.01 * before


def test_of_what_an_unknown_provider_may_be_replaced_with_all_compute_here() -> None:
    with pytest.raises(ConfigError, match=r"has no provider TpuExecutionProvider; configure one of .*CPUEx") as raised:
        OnnxRuntime(tiny_model(64, 64), tiny_manifest(), providers=["TpuExecutionProvider"])
    assert AZURE not in str(raised.value), "that one asks a server"
