"""What only the ONNX Runtime adapter must get right: providers, threads, steady memory."""

from pathlib import Path

import numpy as np
import pytest

from appliance.errors import ConfigError
from appliance.runtimes.onnx import OnnxRuntime, available_providers
from tests.models import tiny_manifest, tiny_model

AZURE = "AzureExecutionProvider"
"""In every wheel of ONNX Runtime for processors, and able to start anywhere."""


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096


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


@pytest.mark.skipif(AZURE not in available_providers(), reason="this ONNX Runtime has one provider only")
def test_the_record_names_every_provider_so_that_a_certificate_does() -> None:
    both = OnnxRuntime(tiny_model(64, 64), tiny_manifest(), providers=["CPUExecutionProvider", AZURE])
    assert both.describe().endswith(" CPU,Azure f32 threads=1")


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
