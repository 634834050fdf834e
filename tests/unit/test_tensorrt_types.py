"""What the appliance asks of TensorRT is there, by name and by type: 10.3, 10.16, 11 and the one for RTX."""

from pathlib import Path

import pytest

from tests.accelerator import why_no_rtx
from tests.tensorrt_types import RELEASES, ROOT, complaints, why_no_types, write_rtx_types, write_types

pytestmark = [pytest.mark.gate, pytest.mark.timeout(400)]
USERS = sorted(path for path in (ROOT / "appliance" / "runtimes").rglob("*.py") if "tensorrt" in path.read_text())

OUTDATED = """
from appliance.runtimes.tensorrt_library import Library, LoadedEngine


def build(library: Library) -> None:
    builder = library.module.Builder(library.module.Logger())
    config = builder.create_builder_config()
    config.set_flag(library.module.BuilderFlag.FP16)
    config.int8_calibrator = None


def ask(loaded: LoadedEngine) -> bool:
    context = loaded.engine.create_execution_context()
    return context.set_input_shape("image", 7) and context.execute_async_v2([], 0)
"""

OF_SOME_RELEASES = """
import tensorrt

flag = tensorrt.BuilderFlag.FP16


def of_the_engine(engine: tensorrt.ICudaEngine) -> object:
    return engine.create_runtime_config()
"""

RTX_ONLY = """
import tensorrt

from appliance.runtimes.tensorrt_library import RtxConfig, RtxModule

module: RtxModule = tensorrt
current = tensorrt.ComputeCapability.CURRENT


def config_of(builder: tensorrt.Builder) -> RtxConfig:
    return builder.create_builder_config()
"""


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all releases' types."""
    return tmp_path_factory.mktemp("tensorrt")


@pytest.fixture(scope="module")
def rtx(beside: Path) -> Path:
    if why := why_no_rtx():
        pytest.skip(f"TensorRT for RTX is absent: {why}")
    return write_rtx_types(new(beside / "rtx"))


@pytest.fixture(scope="module", params=RELEASES)
def types(request: pytest.FixtureRequest, beside: Path) -> Path:
    if why := why_no_types(request.param):
        pytest.skip(why)
    return write_types(new(beside / request.param), request.param)


def new(folder: Path) -> Path:
    folder.mkdir()
    return folder


def said(text: str, types: Path, folder: Path) -> str:
    (folder / "asked.py").write_text(text)
    return "\n".join(complaints([folder / "asked.py"], types))


def test_what_uses_tensorrt_fits_each_release_of_it(types: Path) -> None:
    assert complaints(USERS, types) == []


def test_what_uses_tensorrt_fits_the_one_for_rtx(rtx: Path, tmp_path: Path) -> None:
    assert {path.name for path in USERS} >= {"tensorrt_library.py", "tensorrt.py", "build.py", "session.py"}
    assert complaints(USERS, rtx) == []
    assert said(RTX_ONLY, rtx, tmp_path) == ""


def test_what_only_the_one_for_rtx_has_is_found_in_no_other(types: Path, tmp_path: Path) -> None:
    told = said(RTX_ONLY, types, tmp_path)
    assert 'variable has type "RtxModule"' in told
    assert 'Module has no attribute "ComputeCapability"' in told
    assert 'got "IBuilderConfig", expected "RtxConfig"' in told


def test_what_one_release_lacks_and_another_has_is_told_apart(types: Path, tmp_path: Path) -> None:
    told = said(OF_SOME_RELEASES, types, tmp_path)
    lacks = {name for name in ("FP16", "create_runtime_config") if f'has no attribute "{name}"' in told}
    assert (
        lacks == {"10.3.0": {"create_runtime_config"}, "10.16.1.11": set(), "11.4.0.106": {"FP16"}}[types.parent.name]
    )


def test_names_that_newer_releases_lack_are_found(rtx: Path, tmp_path: Path) -> None:
    told = said(OUTDATED, rtx, tmp_path)
    assert '"TensorRt" has no attribute "Logger"' in told
    assert '"type[BuilderFlag]" has no attribute "FP16"' in told
    assert '"IBuilderConfig" has no attribute "int8_calibrator"' in told
    assert '"IExecutionContext" has no attribute "execute_async_v2"' in told
    assert 'No overload variant of "set_input_shape"' in told
