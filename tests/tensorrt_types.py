"""Types for mypy, made of a release of TensorRT: its maker ships none, and what is made is never kept.

They are read off the Python module itself. That of TensorRT for RTX is installed with its library (`make rtx-gate`). Of
TensorRT the registry has the module and not the library, so it is imported beside libraries that hold nothing: enough
to read names and types, and nothing of it can run. `make trt-types`, which is this file, fetches the modules.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from appliance.runtimes.tensorrt_library import RTX, TENSORRT

ROOT = Path(__file__).resolve().parent.parent

RELEASES = ("10.3.0", "10.16.1.11", "11.4.0.106")
"""Of TensorRT: JetPack 6.2's, the nearest to JetPack 7.2's 10.16.2, and the newest."""

WHEELS = Path(sys.prefix) / "tensorrt-bindings"
BINDINGS = "tensorrt_bindings"

LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
FUNCTIONS = ("createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL", "createInferRuntime_INTERNAL",
             "createNvOnnxParserRefitter_INTERNAL", "createNvOnnxParser_INTERNAL", "getBuilderPluginRegistry",
             "getNvOnnxParserVersion", "getPluginRegistry", "initLibNvInferPlugins")  # fmt: skip
"""All that the module wants of them to be imported."""

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


def fetch() -> None:
    """Download the module of each release for this Python; say which cannot be had."""
    for release in RELEASES:
        wanted = f"tensorrt-cu12-bindings=={release}"
        command = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps",
                   "--only-binary=:all:", "-d", str(WHEELS), wanted]  # fmt: skip
        if subprocess.run(command, check=False, capture_output=True).returncode:
            print(f"{wanted} cannot be fetched here: its types are not checked")  # noqa: T201


def wheel_of(release: str) -> Path | None:
    """Return the module of a release of TensorRT for this Python, if it was fetched."""
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    return next(WHEELS.glob(f"*-{release}-{python}-*.whl"), None)


def why_no_types(release: str) -> str:
    """Return what is missing to make types of a release of TensorRT here, or nothing."""
    if importlib.util.find_spec("pybind11_stubgen") is None:
        return "pybind11-stubgen is absent: make trt-types"
    if wheel_of(release) is None:
        return f"the module of TensorRT {release} is not here for this Python: make trt-types"
    return "" if shutil.which("cc") else "cc is not installed"


def write_rtx_types(folder: Path) -> Path:
    """Write the types of the TensorRT for RTX that is installed; returns their folder."""
    return _write(folder, f"{RTX}_bindings.{RTX}", dict(os.environ))


def write_types(folder: Path, release: str) -> Path:
    """Write the types of a release of TensorRT (why_no_types); returns their folder."""
    wheel, libraries = wheel_of(release), folder / "libraries"
    assert wheel is not None, why_no_types(release)
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder / "module")
    libraries.mkdir()
    source = "".join(f"void *{name}(void) {{ return 0; }}\n" for name in FUNCTIONS)
    for name in LIBRARIES:
        target = libraries / f"lib{name}.so.{release.partition('.')[0]}"
        subprocess.run(["cc", "-shared", "-fPIC", "-o", target, "-xc", "-"], input=source, check=True, text=True)
    paths = {"PYTHONPATH": str(folder / "module"), "LD_LIBRARY_PATH": str(libraries)}
    return _write(folder, f"{BINDINGS}.{TENSORRT}", os.environ | paths)


def _write(folder: Path, module: str, environment: dict[str, str]) -> Path:
    """Write tensorrt.pyi, and tensorrt_rtx_bindings.pyi with the same in it."""
    made = folder / "made"
    command = [sys.executable, "-m", "pybind11_stubgen", module, "-o", str(made)]
    subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    text = made.joinpath(*module.split(".")).with_suffix(".pyi").read_text(encoding="utf-8")
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
    line = re.sub(r"(= None, channel_axis: [\w.]+)\)", r"\1 = ...)", line)
    return re.sub(r"(?<!-> )\bDims\b(?=[,)])", "Dims | tuple[int, ...]", line)


def complaints(files: list[Path], types: Path) -> list[str]:
    """Return what mypy says against these files, given those types."""
    settings = types.parent / "mypy.ini"
    settings.write_text(SETTINGS, encoding="utf-8")
    cache = types.parents[1] / "mypy_cache"  # the types of other releases lie beside these: most files are the same
    command = [sys.executable, "-m", "mypy", "--config-file", str(settings), "--cache-dir", str(cache),
               "--no-error-summary", "--hide-error-context", *map(str, files)]  # fmt: skip
    path = f"{types}:{ROOT}"
    ended = subprocess.run(command, cwd=ROOT, env={"MYPYPATH": path, "PATH": "/usr/bin:/bin"}, capture_output=True,
                           text=True, check=False)  # fmt: skip
    if ended.returncode > 1 or ended.stderr.strip():
        raise AssertionError(ended.stdout + ended.stderr)
    return ended.stdout.splitlines()


if __name__ == "__main__":
    fetch()
