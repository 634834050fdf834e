"""What an engine was built of and for: it runs where all of this is the same, and nowhere else."""

import hashlib
import json
from dataclasses import asdict, dataclass

from appliance.runtimes.accelerator.device import DeviceIdentity


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """What the builder is told; a change makes another engine.

    max_batch: pictures that may be asked about at once. workspace_mib: device memory that one layer may take.
    allows_tf32: float32 with a mantissa of 10 bits, faster and less exact. for_this_device: TensorRT for RTX could also
    build for a range of cards, and does so where there is none; TensorRT itself always builds for the one that is here.
    dla_core: number of the Jetson's deep learning accelerator that computes what it can; None for the GPU alone.
    """

    max_batch: int = 4
    workspace_mib: int = 1024
    allows_tf32: bool = False
    for_this_device: bool = True
    dla_core: int | None = None


@dataclass(frozen=True, slots=True)
class EngineKey:
    """Everything that a built engine depends on.

    model_digest: SHA-256 of the ONNX file. precision: that the configuration asks for.
    """

    model_digest: str
    library: str
    library_version: str
    device: DeviceIdentity
    precision: str
    options: BuildOptions

    def as_json(self) -> str:
        """Return the key in one way only."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    def digest(self) -> str:
        """Return the name under which the engine is kept; SHA-256 of the whole key."""
        return hashlib.sha256(self.as_json().encode()).hexdigest()

    def timing_digest(self) -> str:
        """Return the name of what the builder has measured; it holds for every model on this device."""
        parts = json.dumps([self.library, self.library_version, asdict(self.device)], sort_keys=True)
        return hashlib.sha256(parts.encode()).hexdigest()


def model_digest(model_onnx: bytes) -> str:
    """Return the SHA-256 of a model file."""
    return hashlib.sha256(model_onnx).hexdigest()
