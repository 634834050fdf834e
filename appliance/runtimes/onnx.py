"""ONNX Runtime: runs anywhere; on the processor unless another provider is configured."""

import os
from collections.abc import Sequence
from typing import Any

from appliance.bundle.manifest import Manifest, Precision
from appliance.bundle.model import check_model
from appliance.errors import BundleFormatError, ConfigError, RuntimeFault
from appliance.events import Pixels
from appliance.ports import RawDetections
from appliance.runtimes.contract import (
    OUTPUTS,
    WARM_UP_RUNS,
    Port,
    blank_picture,
    check_answer,
    check_ports,
    check_threads,
    first_line,
)

# Newer releases tell Microsoft of this computer and each session, unless this is set when it is imported: a station
# tells nobody. (The second name is that of some releases.)
os.environ["ORT_DISABLE_TELEMETRY"] = os.environ["ORT_TELEMETRY_DISABLED"] = "1"
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as state

CPU = "CPUExecutionProvider"

_ENGINE_ERRORS: tuple[type[Exception], ...] = (
    state.EPFail,
    state.EngineError,
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.InvalidProtobuf,
    state.NoModel,
    state.NotImplemented,
    state.RuntimeException,
    RuntimeError,
    MemoryError,
    ValueError,
)
"""ONNX Runtime's own errors have no common parent; the last three come from its binding."""

_MODEL_ERRORS = (state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf, state.NotImplemented)
"""When they come at loading, the model is to blame."""

_KINDS = {"tensor(uint8)": "uint8", "tensor(float)": "float32", "tensor(int64)": "int64"}


def available_providers() -> list[str]:
    """Return what this installation could compute on; whether each really starts shows only when it is used."""
    return list(onnxruntime.get_available_providers())


class OnnxRuntime:
    """Runs a model of the appliance's contract; used by one thread."""

    def __init__(
        self,
        model_onnx: bytes,
        manifest: Manifest,
        *,
        threads: int = 1,
        providers: Sequence[str] = (CPU,),
        precision: Precision = "f32",
    ) -> None:
        """Load the model, hold it to the contract, and run it a few times.

        Args:
            model_onnx: the model file.
            manifest: geometry, classes and number of candidates that the model must have.
            threads: processor threads for one inference, 1..64.
            providers: ONNX Runtime's names of what may compute, the preferred one first; all of them must work.
            precision: of the model file; how it computes is in the file itself.

        Raises:
            ConfigError: this installation lacks a provider, or the threads are out of range.
            BundleFormatError: the model is not what contract and manifest say.
            RuntimeFault: the engine or the device behind a provider refused.
        """
        self._manifest = manifest
        self._threads = threads
        self._precision = precision
        _check_choice(threads, providers)
        check_model(model_onnx)
        try:
            self._session: Any = onnxruntime.InferenceSession(model_onnx, _options(threads), providers=list(providers))
        except _MODEL_ERRORS as error:
            raise BundleFormatError(
                f"ONNX Runtime {onnxruntime.__version__} cannot load the model: {first_line(error)}; export it again"
            ) from error
        except _ENGINE_ERRORS as error:
            raise RuntimeFault(f"ONNX Runtime could not start: {first_line(error)}; see `appliance check`") from error
        self._check_providers(providers)
        check_ports(_ports(self._session), manifest)
        blank = blank_picture(manifest)
        for _ in range(WARM_UP_RUNS):
            self.infer(blank)

    def infer(self, images: Pixels) -> RawDetections:
        """Run the model.

        Args:
            images: uint8, shape (N, height, width, channels) of the manifest's geometry.

        Returns:
            Finite boxes float32 (N, K, 4), scores float32 (N, K) 0..1, labels int64 (N, K) of known classes.

        Raises:
            RuntimeFault: closed, the engine failed, or it answered outside the contract.
        """
        if self._session is None:
            raise RuntimeFault("the ONNX runtime is closed; open the bundle again")
        try:
            answer = self._session.run(OUTPUTS, {"image": images})
        except _ENGINE_ERRORS as error:
            raise RuntimeFault(
                f"ONNX Runtime failed on images of shape {images.shape}: {first_line(error)}; the runtime is restarted"
            ) from error
        return check_answer(answer, len(images), self._manifest)

    def describe(self) -> str:
        """Return runtime, version, providers, precision and threads in one line, for the record."""
        providers = ",".join(self._providers)
        return f"onnxruntime {onnxruntime.__version__} {providers} {self._precision} threads={self._threads}"

    def close(self) -> None:
        """Free the device's memory; harmless when closed before."""
        self._session = None

    def _check_providers(self, providers: Sequence[str]) -> None:
        # A provider that cannot start is left out with a line on stderr only, and the processor computes instead.
        active = self._session.get_providers()
        if missing := [name for name in providers if name not in active]:
            raise RuntimeFault(
                f"{', '.join(missing)} did not start and ONNX Runtime fell back to {', '.join(active)}; "
                f"check the device's driver, or configure {CPU}"
            )
        self._providers = tuple(name.removesuffix("ExecutionProvider") for name in active)


def _options(threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3  # errors; what matters below that is checked here and raised
    # Waiting threads spin: waking sleeping ones costs more. In the whole line at 20 parts/s on 2 cores, medians of the
    # 640x640 demo model in one sitting: asleep 14.9 ms, spinning 11.7 ms, spinning only within a run 11.2 ms (p95 22).
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    return options


def _check_choice(threads: int, providers: Sequence[str]) -> None:
    check_threads(threads)
    available = onnxruntime.get_available_providers()
    missing = [name for name in providers if name not in available]
    if missing or not providers:
        raise ConfigError(
            f"this ONNX Runtime has no provider {', '.join(missing) or '(none named)'}; "
            f"configure one of {', '.join(available)}"
        )


def _ports(session: Any) -> dict[str, Port]:
    nodes = [*session.get_inputs(), *session.get_outputs()]
    sizes = {node.name: tuple(size if isinstance(size, int) else None for size in node.shape) for node in nodes}
    return {node.name: Port(_KINDS.get(node.type, node.type), sizes[node.name]) for node in nodes}
