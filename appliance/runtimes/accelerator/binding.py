"""Which binding of CUDA is used: NVIDIA's own where it is installed, else PyCUDA."""

import importlib.metadata
import importlib.util

from appliance.errors import ConfigError
from appliance.runtimes.accelerator.device import Device
from appliance.runtimes.accelerator.driver import ask_driver

BINDINGS = ("cuda.bindings", "pycuda")
"""In order of preference: only the first records graphs, which start the whole model with one call."""

_PACKAGES = {"cuda.bindings": "cuda-bindings", "pycuda": "pycuda"}


def installed_bindings() -> list[str]:
    """Return the bindings that this installation has, the preferred one first."""
    return [name for name in BINDINGS if _is_installed(name)]


def describe_bindings() -> str:
    """Return the bindings that this installation has with their versions, the preferred one first, or `none`."""
    return ", ".join(map(_with_version, installed_bindings())) or "none"


def open_device(binding: str | None = None) -> Device:
    """Take the first accelerator of this computer.

    Args:
        binding: one of BINDINGS; None takes the preferred one.

    Raises:
        ConfigError: this installation lacks the binding, or any.
        RuntimeFault: there is no driver, no accelerator, or it refused.
    """
    here = installed_bindings()
    chosen = binding or next(iter(here), None)
    if chosen not in here:
        missing = f"the binding {chosen}" if chosen else "a binding of CUDA"
        raise ConfigError(f"this installation lacks {missing}: pip install 'inspection-appliance[jetson]'")
    ask_driver()  # PyCUDA cannot even be imported without
    if chosen == "pycuda":
        return _open_pycuda()
    return _open_cuda_python()


def _open_cuda_python() -> Device:
    try:
        from appliance.runtimes.accelerator.cuda_python import CudaPythonDevice
    except ImportError as error:
        raise ConfigError(
            f"the binding cuda.bindings does not load here: {error}; install what it lacks, or it once more: "
            "pip install --force-reinstall cuda-bindings"
        ) from error
    return CudaPythonDevice()


def _open_pycuda() -> Device:
    try:
        from appliance.runtimes.accelerator.pycuda import PycudaDevice
    except ImportError as error:
        raise ConfigError(
            f"PyCUDA does not fit this computer's CUDA: {error}; build it again here, or install the extra `jetson`"
        ) from error
    return PycudaDevice()


def _with_version(name: str) -> str:
    package = _PACKAGES[name]
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:  # put there by hand
        return package


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of the package that it would be in
        return False
