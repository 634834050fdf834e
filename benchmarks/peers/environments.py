"""The peers, and a virtual environment for each: what a user would install, apart from all else."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent / "scripts"
CONSTRAINTS = "torch==2.13.0\n"
"""The release that the trainer takes, too; which build of it, for the processor or for CUDA, pip's settings say."""


@dataclass(frozen=True, slots=True)
class Peer:
    """What a user would take instead.

    script: in `scripts`, and run by the peer's own Python. form: which model it gets (comparison.write_models).
    runtime: what computes the network. environment: variables that keep it from asking the internet.
    """

    name: str
    licence: str
    packages: tuple[str, ...]
    script: str
    form: str
    runtime: str
    environment: Mapping[str, str] = field(default_factory=dict)

    def variables(self, folder: Path) -> dict[str, str]:
        """Return the process's environment; what a peer writes down goes into its folder."""
        return {**os.environ, **self.environment, "YOLO_CONFIG_DIR": str(folder), "HOME": str(folder)}


def same(package: str) -> str:
    """Return the release of a package that the appliance uses here, so that a runtime is compared with itself."""
    return f"{package}=={version(package)}"


PEERS = (
    Peer(
        "plain loop", "MIT", (same("onnxruntime"), same("numpy"), same("opencv-python-headless")),
        "plain_onnxruntime.py", "rows.onnx", "onnxruntime",
    ),
    Peer(
        "ultralytics", "AGPL-3.0", ("ultralytics", "onnx", same("onnxruntime")),
        "ultralytics_predict.py", "ultralytics.onnx", "onnxruntime", {"YOLO_OFFLINE": "true"},
    ),
    Peer(
        "roboflow inference-models", "Apache-2.0", ("inference-models[onnx-cpu]",),
        "roboflow_models.py", "roboflow", "onnxruntime", {"OFFLINE_MODE": "true"},
    ),
    Peer(
        "anomalib", "Apache-2.0", ("anomalib", same("openvino")),
        "anomalib_openvino.py", "score.onnx", "openvino",
    ),
)  # fmt: skip


def python_of(peer: Peer, keep: Path) -> Path:
    """Return the Python of the peer's environment, which is made where it is missing.

    Raises:
        subprocess.CalledProcessError: it cannot be installed here.
    """
    folder = keep / peer.name.replace(" ", "-")
    python, ready = folder / "bin" / "python", folder / "ready"
    wanted = "\n".join(peer.packages)
    if ready.exists() and ready.read_text(encoding="utf-8") == wanted:
        return python
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True, capture_output=True, text=True)
    constraints = folder / "constraints.txt"
    constraints.write_text(CONSTRAINTS, encoding="utf-8")
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*command, "-c", str(constraints), *peer.packages], check=True, capture_output=True, text=True)
    ready.write_text(wanted, encoding="utf-8")
    return python
