"""What the appliance asks of TensorRT is there in the release that is installed, by name and by type."""

from pathlib import Path

import pytest

from tests.accelerator import why_no_rtx
from tests.tensorrt_types import ROOT, complaints, write_types

pytestmark = [
    pytest.mark.gate,
    pytest.mark.timeout(400),
    pytest.mark.skipif(bool(why_no_rtx()), reason=f"TensorRT for RTX is absent: {why_no_rtx()}"),
]
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


@pytest.fixture(scope="module")
def types(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_types(tmp_path_factory.mktemp("tensorrt"))


def test_what_uses_tensorrt_fits_the_types_of_the_installed_one(types: Path) -> None:
    assert {path.name for path in USERS} >= {"tensorrt_library.py", "tensorrt.py", "build.py", "session.py"}
    assert complaints(USERS, types) == []


def test_names_that_newer_releases_lack_are_found(types: Path, tmp_path: Path) -> None:
    (tmp_path / "outdated.py").write_text(OUTDATED)
    said = "\n".join(complaints([tmp_path / "outdated.py"], types))
    assert '"TensorRt" has no attribute "Logger"' in said
    assert '"type[BuilderFlag]" has no attribute "FP16"' in said
    assert '"IBuilderConfig" has no attribute "int8_calibrator"' in said
    assert '"IExecutionContext" has no attribute "execute_async_v2"' in said
    assert 'No overload variant of "set_input_shape"' in said
