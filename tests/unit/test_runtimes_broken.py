"""A runtime that is installed and does not load, as without one of its libraries, is told in words by every command."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.c_compiler import needs_cc
from tests.models import tiny_bundle
from tests.plant import write_station

ROOT = Path(__file__).parents[2]
BROKEN = "libtbb.so.12: cannot open shared object file: No such file or directory"


def broken(folder: Path, module: str, kind: str = "ImportError") -> Path:
    """Put a package there whose import fails."""
    package = folder.joinpath("packages", *module.split("."))
    package.mkdir(parents=True)
    for each in package.parents[: module.count(".")]:
        (each / "__init__.py").touch()
    (package / "__init__.py").write_text(f"raise {kind}({BROKEN!r})\n")
    return folder / "packages"


def run(packages: Path, *command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    before = [str(packages), os.environ.get("PYTHONPATH", "")]
    paths = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, before))} | environment
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=paths, capture_output=True, text=True, check=False, timeout=110
    )


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return tiny_bundle(tmp_path / "tiny.bundle")


def station(folder: Path, kind: str) -> Path:
    config = write_station(folder)
    config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | {"runtime": {"kind": kind, "threads": 1}}))
    return config


@pytest.mark.parametrize(
    ("kind", "package", "remedy"),
    [
        ("openvino", "openvino", "or configure kind: onnx"),
        ("onnx", "onnxruntime", "or configure kind: openvino"),
    ],
)
def test_prove_and_check_say_why_it_does_not_load_and_what_to_do(
    tmp_path: Path, bundle: Path, kind: str, package: str, remedy: str
) -> None:
    packages, config = broken(tmp_path, package), station(tmp_path, kind)
    says = f"does not load here: {BROKEN}; install what it lacks, or the package {package} once more, {remedy}"
    proved = run(packages, "-m", "appliance", "prove", "--config", str(config))
    assert proved.returncode == 78, proved.stderr
    assert says in proved.stderr
    assert "Traceback" not in proved.stderr
    checked = run(packages, "-m", "appliance", "check", "--config", str(config))
    assert checked.returncode == 1, checked.stderr
    assert BROKEN in checked.stdout
    assert remedy in checked.stdout
    assert "Traceback" not in checked.stderr


def test_check_needs_no_onnx_runtime_where_another_runtime_is_configured(tmp_path: Path, bundle: Path) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed (extra openvino)")
    config = station(tmp_path, "openvino")
    checked = run(broken(tmp_path, "onnxruntime"), "-m", "appliance", "check", "--config", str(config), "--json")
    (proof,) = (each for each in json.loads(checked.stdout) if each["what"] == "runtime and proof")
    assert proof["is_ok"], proof


@pytest.mark.parametrize(("package", "other"), [("openvino", "onnx"), ("onnxruntime", "openvino")])
def test_bench_goes_on_with_the_others(tmp_path: Path, bundle: Path, package: str, other: str) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed (extra openvino)")
    packages, told = broken(tmp_path, package), tmp_path / "bench.json"
    ended = run(
        packages, "-m", "appliance", "bench", "--bundle", str(bundle), "--rounds", "1", "--json", str(told)
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    document: dict[str, Any] = json.loads(told.read_text())
    assert document["proposed"]["kind"] == other
    assert all(BROKEN in each["refusal"] for each in document["candidates"] if each["kind"] != other)


def test_a_tensorrt_whose_own_libraries_are_gone_does_not_load(tmp_path: Path) -> None:
    program = "from appliance.runtimes.tensorrt_library import load_library; load_library()"
    broken(tmp_path, "tensorrt_rtx_bindings", "OSError")  # it may be installed here, for tests
    ended = run(broken(tmp_path, "tensorrt", "OSError"), "-c", program)
    assert f"ConfigError: runtime.kind: tensorrt does not load here ({BROKEN}" in ended.stderr


@needs_cc
def test_a_binding_of_cuda_that_does_not_load_is_a_matter_of_the_installation(tmp_path: Path) -> None:
    driver, packages = tmp_path / "driver", broken(tmp_path, "cuda.bindings.runtime")
    driver.mkdir()
    source = ROOT / "tests" / "cuda_stand_in.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", driver / "libcuda.so.1", source], check=True)
    program = "from appliance.runtimes.accelerator.binding import open_device; open_device()"
    ended = run(packages, "-c", program, LD_LIBRARY_PATH=str(driver))
    says = (
        f"ConfigError: the binding cuda.bindings does not load here: {BROKEN}; install what it lacks, or it once more"
    )
    assert says in ended.stderr
