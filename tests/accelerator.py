"""Whether this computer has what TensorRT needs; tests that lack it are skipped with the reason."""

import tempfile
from functools import cache
from pathlib import Path

from appliance.errors import ApplianceError
from appliance.runtimes.accelerator.driver import ask_driver
from appliance.runtimes.tensorrt import why_not_here
from appliance.runtimes.tensorrt_library import load_library


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
def why_no_tensorrt() -> str:
    """Return why no engine can be built here, or nothing; TensorRT for RTX builds without an accelerator."""
    try:
        load_library()
    except ApplianceError as error:
        return str(error)
    return ""


@cache
def engines() -> Path:
    """Return a folder in which the tests of one run keep what they built."""
    return Path(tempfile.mkdtemp(prefix="engines-"))
