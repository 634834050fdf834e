"""Without a driver everything is refused in words, and nothing crashes."""

import importlib.metadata
import importlib.util
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ConfigError, RuntimeFault
from appliance.runtimes.accelerator.binding import BINDINGS, describe_bindings, installed_bindings, open_device
from appliance.runtimes.accelerator.driver import ask_driver, release_of
from tests.accelerator import why_no_driver

needs_no_driver = pytest.mark.skipif(not why_no_driver(), reason="this computer has an accelerator")
needs_binding = pytest.mark.skipif(
    importlib.util.find_spec("cuda") is None, reason="cuda-bindings is not installed (extra jetson)"
)

RELEASE = "# R36 (release), REVISION: 4.0, GCID: 37537400, BOARD: generic, EABI: aarch64\n"
DRIVER = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (dvs-builder@U22)\n"
    "GCC version:  gcc version 12.3.0 (Ubuntu 12.3.0-1ubuntu1~22.04)\n"
)


@needs_no_driver
def test_without_a_driver_the_refusal_says_what_to_do() -> None:
    with pytest.raises(RuntimeFault, match=r"no NVIDIA driver .*or configure runtime\.kind: onnx"):
        ask_driver()


@needs_no_driver
@needs_binding
def test_no_device_is_opened_without_a_driver() -> None:
    with pytest.raises(RuntimeFault, match="no NVIDIA driver"):
        open_device()


@needs_no_driver
@needs_binding
@pytest.mark.parametrize("take", ["CudaBuffer", "CudaPinnedBuffer", "CudaStream"])
def test_what_cuda_refuses_is_a_fault_that_names_the_error(take: str) -> None:
    from appliance.runtimes.accelerator import cuda_python

    arguments = () if take == "CudaStream" else (16,)
    with pytest.raises(RuntimeFault, match=r"CUDA could not .*: cudaErrorInsufficientDriver; see `appliance check`"):
        getattr(cuda_python, take)(*arguments)


@needs_binding
def test_the_bindings_are_told_with_their_versions_also_without_a_driver() -> None:
    assert f"cuda-bindings {importlib.metadata.version('cuda-bindings')}" in describe_bindings()


@needs_no_driver
def test_a_binding_that_is_not_installed_is_a_matter_of_the_installation() -> None:
    missing = [name for name in BINDINGS if name not in installed_bindings()]
    for name in missing:
        with pytest.raises(ConfigError, match=r"lacks the binding .*pip install 'inspection-appliance\[jetson\]'"):
            open_device(name)


def test_the_board_s_release_comes_before_the_driver_s(tmp_path: Path) -> None:
    board, driver, none = tmp_path / "board", tmp_path / "driver", tmp_path / "none"
    board.write_text(RELEASE)
    driver.write_text(DRIVER)
    assert release_of(board, driver) == ["L4T R36.4.0"]
    assert release_of(none, driver) == ["driver 580.65.06"]
    assert release_of(none, none) == []


@given(st.text(), st.booleans())
def test_a_release_file_in_another_form_is_no_crash(text: str, is_board: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, none = Path(folder) / "file", Path(folder) / "none"
        path.write_text(text, encoding="utf-8")
        assert len(release_of(*(path, none) if is_board else (none, path))) <= 1
