"""Types for mypy, made of the TensorRT that is installed: its maker ships none, and what is made is never kept."""

import re
import subprocess
import sys
from pathlib import Path

from appliance.runtimes.tensorrt_library import RTX, TENSORRT

ROOT = Path(__file__).resolve().parent.parent

SETTINGS = f"""[mypy]
strict = true
python_version = 3.11
warn_unused_ignores = false
[mypy-{TENSORRT}]
ignore_errors = true
[mypy-cuda.*,pycuda.*,onnxruntime.*,openvino.*]
ignore_missing_imports = true
follow_imports = skip
"""

UNTOLD = {
    "class Dims:": "def __iter__(self) -> typing.Iterator[int]: ...",
    "class IHostMemory:": "def __buffer__(self, flags: int, /) -> memoryview: ...",
}


def write_types(folder: Path) -> Path:
    """Write tensorrt.pyi, and tensorrt_rtx_bindings.pyi with the same in it; returns the folder."""
    made = folder / "made"
    command = [sys.executable, "-m", "pybind11_stubgen", f"{RTX}_bindings.{RTX}", "-o", str(made)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    text = (made / f"{RTX}_bindings" / f"{RTX}.pyi").read_text(encoding="utf-8")
    types = folder / "types"
    types.mkdir()
    (types / f"{TENSORRT}.pyi").write_text(repaired(text), encoding="utf-8")
    (types / f"{RTX}_bindings.pyi").write_text(f"from {TENSORRT} import *\n__version__: str\n", encoding="utf-8")
    return types


def repaired(stub: str) -> str:
    """Mend what is no Python, and say what cannot be read off a binding: what turns into Dims, what is a buffer."""
    lines = []
    for line in stub.splitlines():
        if line.startswith("bool: "):  # hides the type of that name
            continue
        lines.append(repaired_function(line) if line.lstrip().startswith("def ") else line)
        lines += [f"    {UNTOLD[line]}"] if line in UNTOLD else []
    return "\n".join([*lines, "__version__: str", ""])


def repaired_function(line: str) -> str:
    """`in` is no name, nothing without a default follows a default, and Dims may be given as a tuple."""
    line = re.sub(r"\bin: ", "in_: ", line)
    line = line.replace("channel_axis: typing.SupportsInt)", "channel_axis: typing.SupportsInt = ...)")
    return re.sub(r"(?<!-> )\bDims\b(?=[,)])", "Dims | tuple[int, ...]", line)


def complaints(files: list[Path], types: Path) -> list[str]:
    """Return what mypy says against these files, given those types."""
    settings = types.parent / "mypy.ini"
    settings.write_text(SETTINGS, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--config-file", str(settings), "--cache-dir", str(types.parent / "cache"),
               "--no-error-summary", "--hide-error-context", *map(str, files)]  # fmt: skip
    path = f"{types}:{ROOT}"
    ended = subprocess.run(command, cwd=ROOT, env={"MYPYPATH": path, "PATH": "/usr/bin:/bin"}, capture_output=True,
                           text=True, check=False)  # fmt: skip
    if ended.returncode > 1 or ended.stderr.strip():
        raise AssertionError(ended.stdout + ended.stderr)
    return ended.stdout.splitlines()
