"""What of the TensorRT adapter shows without an accelerator: refusals in words, by those who must act."""

import json
import subprocess
import sys
from enum import Enum
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from pydantic import ValidationError

from appliance.bundle.archive import read_bundle
from appliance.config import RuntimeSection, load_config
from appliance.engine import make_runtime
from appliance.errors import BundleFormatError, ConfigError, EngineFault, RuntimeFault
from appliance.runtimes.accelerator.binding import describe_bindings
from appliance.runtimes.engines.child import Cancelled
from appliance.runtimes.tensorrt import TensorRtRuntime, describe_accelerator, why_not_here
from appliance.runtimes.tensorrt_library import Library, TensorRt, load_engine
from tests.accelerator import why_no_accelerator, why_no_driver, why_no_rtx
from tests.models import tiny_bundle, tiny_manifest, tiny_model
from tests.plant import write_station

needs_no_driver = pytest.mark.skipif(not why_no_driver(), reason="this computer has an accelerator")
needs_library = pytest.mark.skipif(bool(why_no_rtx()), reason=f"TensorRT for RTX is absent: {why_no_rtx()}")


@pytest.fixture
def station(tmp_path: Path) -> Path:
    """A station whose runtime is TensorRT; returns its configuration."""
    path = write_station(tmp_path)
    tiny_bundle(tmp_path / "tiny.bundle")
    config = yaml.safe_load(path.read_text()) | {"runtime": {"kind": "tensorrt"}, "bundle": "tiny.bundle"}
    path.write_text(yaml.safe_dump(config))
    return path


def appliance(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "appliance", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=90)


def test_engines_lie_beside_the_ledger_unless_the_configuration_says_otherwise(station: Path) -> None:
    config, _ = load_config(station)
    assert config.runtime.engines == config.ledger.path.parent / "engines"
    document = yaml.safe_load(station.read_text())
    document["runtime"]["engines"] = "elsewhere"
    station.write_text(yaml.safe_dump(document))
    assert load_config(station)[0].runtime.engines == station.parent / "elsewhere"


def test_without_a_folder_nothing_is_built(tmp_path: Path) -> None:
    bundle = read_bundle(tiny_bundle(tmp_path / "tiny.bundle"))
    with pytest.raises(ConfigError, match=r"add runtime\.engines"):
        make_runtime(RuntimeSection(kind="tensorrt"), bundle)


@pytest.mark.parametrize(
    ("section", "name"),
    [
        ({"kind": "tensorrt", "threads": 2}, "threads"),
        ({"kind": "tensorrt", "providers": ("CUDAExecutionProvider",)}, "providers"),
        ({"kind": "tensorrt", "pins_threads": True}, "pins_threads"),
        ({"kind": "onnx", "engines": Path("/engines")}, "engines"),
        ({"kind": "openvino", "engines": Path("/engines")}, "engines"),
    ],
)
def test_a_key_of_another_runtime_is_refused(section: dict[str, object], name: str) -> None:
    with pytest.raises(ValidationError, match=f"{name} means nothing to the runtime"):
        RuntimeSection.model_validate(section)


@needs_no_driver
@needs_library
def test_without_a_driver_the_runtime_is_refused_before_anything_is_built(tmp_path: Path) -> None:
    with pytest.raises(RuntimeFault, match="no NVIDIA driver"):
        TensorRtRuntime(tiny_model(64, 64), tiny_manifest(), engines=tmp_path / "engines")
    assert not (tmp_path / "engines").exists()


@pytest.mark.skipif(bool(why_no_accelerator()), reason=f"no engine can be built: {why_no_accelerator()}")
def test_a_build_that_is_cancelled_ends_and_keeps_nothing(tmp_path: Path) -> None:
    bundle = read_bundle(tiny_bundle(tmp_path / "tiny.bundle"))
    settings = RuntimeSection(kind="tensorrt", engines=tmp_path / "engines")
    with pytest.raises(Cancelled):
        make_runtime(settings, bundle, is_cancelled=lambda: True)
    assert not list((tmp_path / "engines").iterdir())


@needs_library
def test_a_model_that_is_none_is_refused_before_anything_else(tmp_path: Path) -> None:
    with pytest.raises(BundleFormatError, match="not an ONNX file"):
        TensorRtRuntime(b"\xff" * 50, tiny_manifest(), engines=tmp_path)


@needs_no_driver
def test_a_computer_without_an_accelerator_says_so() -> None:
    assert "no NVIDIA driver" in why_not_here()
    with pytest.raises((RuntimeFault, ConfigError), match=r"no NVIDIA driver|lacks"):
        describe_accelerator()


@needs_no_driver
def test_check_says_what_is_missing_and_what_to_do(station: Path) -> None:
    ended = appliance("check", "--config", str(station), "--json")
    assert ended.returncode == 1
    findings = {finding["what"]: finding for finding in json.loads(ended.stdout)}
    assert not findings["accelerator"]["is_ok"]
    assert findings["accelerator"]["seen"].endswith(f"; binding of CUDA: {describe_bindings()}")
    assert findings["accelerator"]["remedy"]
    assert not findings["runtime and proof"]["is_ok"]


@needs_no_driver
def test_check_of_a_station_without_tensorrt_names_the_accelerator_all_the_same(station: Path) -> None:
    document = yaml.safe_load(station.read_text())
    del document["runtime"]
    station.write_text(yaml.safe_dump(document))
    findings = json.loads(appliance("check", "--config", str(station), "--json").stdout)
    assert {
        "what": "accelerator",
        "is_ok": True,
        "seen": f"none for TensorRT, binding of CUDA: {describe_bindings()}; runtime.kind is onnx",
        "remedy": "",
    } in findings


@needs_no_driver
@needs_library
def test_a_station_without_its_accelerator_ends_with_a_device_s_exit_code(station: Path) -> None:
    ended = appliance("run", "--config", str(station))
    assert ended.returncode == 69
    assert "no NVIDIA driver" in ended.stderr
    assert "Traceback" not in ended.stderr


class RefusingTensorRt:
    """A TensorRT that loads no plan and complains of it with the plan's own words."""

    class ILogger:
        """What it complains to."""

        Severity = Enum("Severity", ["INTERNAL_ERROR", "ERROR"])

    class Runtime:
        """Its loader of plans."""

        def __init__(self, logger: Any) -> None:
            self._logger = logger

        def deserialize_cuda_engine(self, plan: bytes) -> None:
            self._logger.log(RefusingTensorRt.ILogger.Severity.ERROR, plan.decode())


@pytest.mark.parametrize(
    ("complaint", "is_the_engines_fault"),
    [("Version tag does not match", True), ("Error Code 1: Cuda Runtime (out of memory)", False)],
)
def test_an_engine_is_not_to_blame_where_there_is_too_little_memory_to_load_it(
    complaint: str, is_the_engines_fault: bool
) -> None:
    library = Library(cast(TensorRt, RefusingTensorRt), "tensorrt", "10.3.0")
    with pytest.raises(RuntimeFault) as raised:
        load_engine(library, complaint.encode())
    assert complaint in str(raised.value)
    assert isinstance(raised.value, EngineFault) is is_the_engines_fault
