"""Whether this computer has what TensorRT needs; tests that lack it are skipped with the reason."""

import tempfile
from functools import cache
from pathlib import Path

from appliance.errors import ApplianceError
from appliance.runtimes.accelerator.driver import ask_driver
from appliance.runtimes.tensorrt import why_not_here
from appliance.runtimes.tensorrt_library import RTX, load_library


@cache
def why_no_accelerator() -> str:
    """Return what is missing to run an engine here, or nothing."""
    return why_not_here()


@cache
def why_no_driver() -> str:
    """Return why there is no accelerator here, or nothing."""
    try:
        ask_driver()
    except ApplianceError as error:
        return str(error)
    return ""


@cache
def why_no_rtx() -> str:
    """Return why TensorRT for RTX is not what builds here, or nothing; it builds without an accelerator."""
    try:
        library = load_library()
    except ApplianceError:
        return "install the extra rtx-gate"
    return "" if library.name == RTX else f"{library.name} is used here"


@cache
def engines() -> Path:
    """Return a folder in which the tests of one run keep what they built."""
    return Path(tempfile.mkdtemp(prefix="engines-"))
