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
    REMEDY,
    WARM_UP_RUNS,
    Port,
    blank_picture,
    check_answer,
    check_ports,
    check_threads,
    first_line,
)
from appliance.runtimes.cores import choose_cores, usable_cores
from appliance.runtimes.pinning import check_pinned, threads_now

# Newer releases tell Microsoft of this computer and each session, unless this is set when it is imported: a station
# tells nobody. (The second name is that of some releases.)
os.environ["ORT_DISABLE_TELEMETRY"] = os.environ["ORT_TELEMETRY_DISABLED"] = "1"
try:
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as state
except ImportError as error:  # such as one of its libraries that is gone
    raise ConfigError(
        f"runtime.kind: onnx does not load here: {error}; install what it lacks, or the package onnxruntime once more, "
        "or configure kind: openvino or tensorrt"
    ) from error

CPU = "CPUExecutionProvider"
_ELSEWHERE = frozenset({"AzureExecutionProvider"})
"""Providers that compute nothing here but ask a server, which no station does."""

_SUFFIX = "ExecutionProvider"

_NO_PROCESSOR = "session.disable_cpu_ep_fallback"
"""ONNX Runtime gives the processor what no provider takes, be it the whole model; with this it refuses."""

_LEFT_OVER = "assigned to the default CPU EP"
"""What it says then."""

_TELLS_WHO = "session.record_ep_graph_assignment_info"

_STAYS_ON = "session.intra_op_thread_affinities"
"""Cores of the threads but the one that asks, counted from 1. One that it may not use costs a line on stderr only."""

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
    """Runs a model of the appliance's contract; several threads may ask at once."""

    def __init__(
        self,
        model_onnx: bytes,
        manifest: Manifest,
        *,
        threads: int = 1,
        providers: Sequence[str] = (CPU,),
        precision: Precision = "f32",
        pins_threads: bool = False,
        copy: int = 0,
    ) -> None:
        """Load the model, hold it to the contract, and run it a few times.

        Args:
            model_onnx: the model file.
            manifest: geometry, classes and number of candidates that the model must have.
            threads: processor threads for one inference, 1..64.
            providers: ONNX Runtime's names of what may compute, the preferred one first; all of them must work, and
                nothing else computes: the processor does only if it is named.
            precision: of the model file; how it computes is in the file itself.
            pins_threads: each thread but the one that asks stays on one core.
            copy: which of the model's copies, from 0; pinned threads of two copies share no core.

        Raises:
            ConfigError: this installation lacks a provider, the threads are out of range, there are too few cores to
                pin them to, or the providers leave a part of the model to the processor, which is not one of them.
            BundleFormatError: the model is not what contract and manifest say.
            RuntimeFault: the engine or the device behind a provider refused, or threads are not where they should stay.
        """
        self._manifest = manifest
        self._threads = threads
        self._precision = precision
        _check_choice(threads, providers)
        check_model(model_onnx)
        cores = choose_cores(threads, copy, usable_cores()) if pins_threads else ()
        self._pinned = " pinned" if cores else ""
        self._session: Any = _open(model_onnx, threads, cores, providers)
        self._providers = _in_words(self._session, providers)
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
                f"ONNX Runtime failed on images of shape {images.shape}: {first_line(error)}; {REMEDY}"
            ) from error
        return check_answer(answer, len(images), self._manifest)

    def describe(self) -> str:
        """Return runtime, version, providers, precision and threads in one line, for the record."""
        threads = f"threads={self._threads}{self._pinned}"
        return f"onnxruntime {onnxruntime.__version__} {self._providers} {self._precision} {threads}"

    def close(self) -> None:
        """Free the device's memory; harmless when closed before."""
        self._session = None


class _LeftToTheProcessor(ConfigError):
    pass


def _open(model_onnx: bytes, threads: int, cores: Sequence[int], providers: Sequence[str]) -> Any:
    """Open a session in which nothing computes but the providers, now and later."""
    options = _options(threads, cores)
    before = threads_now() if cores else {}
    if CPU not in providers:
        options.add_session_config_entry(_NO_PROCESSOR, "1")
    try:
        session = _load(model_onnx, options, providers)
    except _LeftToTheProcessor:
        _check_started(_load(model_onnx, _options(threads), providers), providers)  # if one did not, that is why
        raise
    _check_started(session, providers)
    check_pinned(cores, before)
    return session


def _load(model_onnx: bytes, options: Any, providers: Sequence[str]) -> Any:
    try:
        return open_session(model_onnx, options, providers)
    except _MODEL_ERRORS as error:
        if _LEFT_OVER in str(error):
            raise _LeftToTheProcessor(
                f"runtime.providers: {', '.join(providers)} cannot compute all of this model, and the processor may "
                f"not compute the rest, as {CPU} is not configured; add it, or configure it alone"
            ) from error
        raise BundleFormatError(
            f"ONNX Runtime {onnxruntime.__version__} cannot load the model: {first_line(error)}; export it again"
        ) from error
    except _ENGINE_ERRORS as error:
        raise RuntimeFault(f"ONNX Runtime could not start: {first_line(error)}; see `appliance check`") from error


def open_session(model_onnx: bytes, options: Any, providers: Sequence[str]) -> Any:
    """Open a session that never changes by itself what computes.

    ONNX Runtime's Python part would answer a provider that fails, even at a part's picture long after the proof, by
    printing that, making a session on the processor, and asking that.

    Args:
        model_onnx: the model file.
        options: ONNX Runtime's SessionOptions.
        providers: its names of what may compute.
    """
    session = onnxruntime.InferenceSession(model_onnx, options, providers=list(providers), enable_fallback=0)
    session.disable_fallback()  # some older releases do not know the argument
    return session


def _check_started(session: Any, providers: Sequence[str]) -> None:
    # A provider that cannot start is left out with a line on stderr only, and the processor computes instead.
    active = session.get_providers()
    if missing := [name for name in providers if name not in active]:
        raise RuntimeFault(
            f"{', '.join(missing)} did not start and ONNX Runtime fell back to {', '.join(active)}; "
            f"check the device's driver, or configure {CPU}"
        )


def _in_words(session: Any, providers: Sequence[str]) -> str:
    """Return the providers, and which of them compute, if there are several."""
    named = ",".join(name.removesuffix(_SUFFIX) for name in providers)
    if len(providers) == 1:
        return named
    if not hasattr(session, "get_provider_graph_assignment_info"):  # before 1.24
        return f"{named} (not told which computes)"
    used = {part.ep_name for part in session.get_provider_graph_assignment_info()}
    return f"{named} (computed by {','.join(name.removesuffix(_SUFFIX) for name in providers if name in used)})"


def _options(threads: int, cores: Sequence[int] = ()) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry(_TELLS_WHO, "1")
    options.log_severity_level = 3  # errors; what matters below that is checked here and raised
    # Waiting threads spin: waking sleeping ones costs more. In the whole line at 20 parts/s on 2 cores, medians of the
    # 640x640 demo model in one sitting: asleep 14.9 ms, spinning 11.7 ms, spinning only within a run 11.2 ms (p95 22).
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    if cores:
        options.add_session_config_entry(_STAYS_ON, ";".join(str(core + 1) for core in cores))
    return options


def _check_choice(threads: int, providers: Sequence[str]) -> None:
    check_threads(threads)
    available = onnxruntime.get_available_providers()
    missing = [name for name in providers if name not in available]
    if missing or not providers:
        raise ConfigError(
            f"this ONNX Runtime has no provider {', '.join(missing) or '(none named)'}; "
            f"configure one of {', '.join(name for name in available if name not in _ELSEWHERE)}"
        )


def _ports(session: Any) -> dict[str, Port]:
    nodes = [*session.get_inputs(), *session.get_outputs()]
    sizes = {node.name: tuple(size if isinstance(size, int) else None for size in node.shape) for node in nodes}
    return {node.name: Port(_KINDS.get(node.type, node.type), sizes[node.name]) for node in nodes}
