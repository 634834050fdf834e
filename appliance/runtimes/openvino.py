"""OpenVINO: industrial PCs with Intel's processors; the extra `openvino` installs it."""

import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from appliance.bundle.manifest import Manifest
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
    check_images,
    check_ports,
    check_threads,
)
from appliance.runtimes.cores import refuse_too_few, usable_cores
from appliance.runtimes.pinning import asking, pinned_at_work

# Its package tells Google Analytics that it was imported, unless the part that does so cannot be. A station never does.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
import openvino  # noqa: E402

DEVICE = "CPU"
HINT = "LATENCY"
_VERSION = openvino.__version__.partition("-")[0]
_PRECISIONS = {"f32": "FP32", "bf16": "BF16", "int8": "INT8"}
"""Precision -> what the processor's capabilities call it."""

_PLACING = threading.Lock()
"""OpenVINO gives out cores as models are compiled, one at a time: see `_held`."""

_ENGINE_ERRORS = (RuntimeError, ValueError, TypeError, MemoryError)
"""What OpenVINO's binding raises; it has no errors of its own."""


@dataclass(frozen=True, slots=True)
class _SetUp:
    """What a compiled model computes with."""

    threads: int
    precision: str
    devices: tuple[str, ...]
    hint: str
    pins_threads: bool

    def __str__(self) -> str:
        """Return it in one line, for the record."""
        hint = "" if self.hint == HINT else f" hint={self.hint}"
        pinned = " pinned" if self.pins_threads else ""
        return f"{','.join(self.devices)} {self.precision} threads={self.threads}{pinned}{hint}"


class OpenVinoRuntime:
    """Runs a model of the appliance's contract on the processor; used by one thread."""

    def __init__(
        self,
        model_onnx: bytes,
        manifest: Manifest,
        *,
        threads: int = 1,
        precision: str = "f32",
        pins_threads: bool = False,
        copy: int = 0,
    ) -> None:
        """Compile the model for this processor, hold it to the contract, and run it a few times.

        Args:
            model_onnx: the model file.
            manifest: geometry, classes and number of candidates that the model must have.
            threads: processor threads for one inference, 1..64.
            precision: f32 as trained; bf16, where the processor has it, is faster and less exact: the proof decides.
                int8 is that of the model file: layers that it does not quantise compute with f32.
            pins_threads: each thread, the one that asks among them, stays on one core while the model runs.
            copy: which of the model's copies, from 0; pinned threads of two copies share no core.

        Raises:
            ConfigError: this processor lacks the precision or so many threads, or cores to pin them to.
            BundleFormatError: the model is not what contract and manifest say.
            RuntimeFault: the engine refused, or threads are not where they should stay.
        """
        self._manifest = manifest
        check_threads(threads)
        check_model(model_onnx)
        if pins_threads:
            refuse_too_few(threads, copy, usable_cores())
        core = _core(precision)
        wanted = _wanted(threads, precision, pins_threads)
        try:
            model = core.read_model(model=model_onnx)
        except _ENGINE_ERRORS as error:
            raise BundleFormatError(
                f"OpenVINO {_VERSION} cannot load the model: {_words(error)}; export it again"
            ) from error
        check_ports({port.get_any_name(): _port(port) for port in [*model.inputs, *model.outputs]}, manifest)
        try:
            with _held(core, wanted, threads * copy if pins_threads else 0):
                compiled = core.compile_model(model, DEVICE, wanted)
            self._request: Any = compiled.create_infer_request()
            self._set_up = _set_up(compiled)
        except _ENGINE_ERRORS as error:
            raise RuntimeFault(f"OpenVINO could not start: {_words(error)}; see `appliance check`") from error
        self._check_set_up(_SetUp(threads, precision, (DEVICE,), HINT, pins_threads))
        blank = blank_picture(manifest)
        for _ in range(WARM_UP_RUNS):
            self.infer(blank)
        if pins_threads:  # what the engine says of itself (_SetUp) is no proof
            pinned_at_work(lambda: self.infer(blank), threads)

    def infer(self, images: Pixels) -> RawDetections:
        """Run the model.

        Args:
            images: uint8, shape (N, height, width, channels) of the manifest's geometry.

        Returns:
            Finite boxes float32 (N, K, 4), scores float32 (N, K) 0..1, labels int64 (N, K) of known classes.

        Raises:
            RuntimeFault: closed, the engine failed, or it answered outside the contract.
        """
        if self._request is None:
            raise RuntimeFault("the OpenVINO runtime is closed; open the bundle again")
        check_images(images, self._manifest)  # OpenVINO itself takes a picture of any size
        try:
            with asking() if self._set_up.pins_threads else nullcontext():
                self._request.infer(
                    {"image": openvino.Tensor(np.require(images, requirements=("C", "W")), shared_memory=True)}
                )
            answer = [self._request.get_tensor(name).data.copy() for name in OUTPUTS]
        except _ENGINE_ERRORS as error:
            raise RuntimeFault(
                f"OpenVINO failed on images of shape {images.shape}: {_words(error)}; {REMEDY}"
            ) from error
        return check_answer(answer, len(images), self._manifest)

    def describe(self) -> str:
        """Return runtime, version, device, precision and threads in one line, for the record."""
        return f"openvino {_VERSION} {self._set_up}"

    def _check_set_up(self, wanted: _SetUp) -> None:
        if self._set_up == wanted:
            return
        if wanted.precision == "int8" and self._set_up == replace(wanted, precision="f32"):
            raise RuntimeFault("OpenVINO does not compute this model with int8 here; use the bundle's f32 model")
        raise ConfigError(
            f"OpenVINO was asked for {wanted} and computes with {self._set_up}; "
            "change the configuration's runtime section"
        )

    def close(self) -> None:
        """Free the engine's memory; harmless when closed before."""
        self._request = None


def _wanted(threads: int, precision: str, pins_threads: bool) -> dict[str, Any]:
    return {
        "PERFORMANCE_HINT": HINT,
        "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_HYPER_THREADING": True,  # else, and without the next, it takes fewer threads than it is asked for
        "SCHEDULING_CORE_TYPE": "ANY_CORE",
        "INFERENCE_PRECISION_HINT": "f32" if precision == "int8" else precision,
        "ENABLE_CPU_PINNING": pins_threads,
    }


@contextmanager
def _held(core: Any, wanted: Mapping[str, Any], cores: int) -> Iterator[None]:
    """Keep OpenVINO from giving a model's threads the first so many cores: those are the copies' before.

    It would pin each copy to the same ones, from the first on. A model that does nothing has them reserved meanwhile.
    """
    with _PLACING:
        if not cores:
            yield
            return
        image = openvino.opset8.parameter([1], np.float32)
        reserved = {**wanted, "INFERENCE_NUM_THREADS": cores, "ENABLE_CPU_RESERVATION": True}
        holder = core.compile_model(openvino.Model([openvino.opset8.relu(image)], [image]), DEVICE, reserved)
        try:
            yield
        finally:
            del holder


def _core(precision: str) -> Any:
    try:
        with ThreadPoolExecutor(1) as soon_gone:
            core, able = soon_gone.submit(_start).result()
    except _ENGINE_ERRORS as error:
        raise RuntimeFault(f"OpenVINO could not start: {_words(error)}; see `appliance check`") from error
    known = [name for name, capability in _PRECISIONS.items() if capability in able]
    if precision not in known:
        raise ConfigError(f"this processor does not compute with {precision}; set precision to {' or '.join(known)}")
    return core


def _start() -> tuple[Any, list[str]]:
    """Return an engine and what it can compute with; to be called in a thread that ends before the engine does.

    The engine gives the thread that starts it a stack for signals and takes it away when it is done away with, but in
    another thread without telling the kernel: the next signal that the first one heard, even SIGTERM, would end the
    process without a word.

    Source:
        OpenVINO 2026.4, src/plugins/intel_cpu/src/sigstack_manager.cpp.
    """
    core = openvino.Core()
    return core, core.get_property(DEVICE, "OPTIMIZATION_CAPABILITIES")


def _set_up(compiled: Any) -> _SetUp:
    names = {"float32": "f32", "bfloat16": "bf16"}
    kind = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    return _SetUp(
        int(compiled.get_property("INFERENCE_NUM_THREADS")),
        "int8" if _convolves_integers(compiled) else names.get(kind, kind),
        tuple(compiled.get_property("EXECUTION_DEVICES")),
        str(compiled.get_property("PERFORMANCE_HINT")),
        bool(compiled.get_property("ENABLE_CPU_PINNING")),
    )


def _convolves_integers(compiled: Any) -> bool:
    """Tell whether the plan that will be executed has a convolution of 8-bit integers."""
    told = (operation.get_rt_info() for operation in compiled.get_runtime_model().get_ops())
    return any(
        info["layerType"].value == "Convolution" and info["runtimePrecision"].value in ("i8", "u8") for info in told
    )


def _port(port: Any) -> Port:
    shape = tuple(None if size.is_dynamic else size.get_length() for size in port.get_partial_shape())
    return Port(str(port.get_element_type().to_dtype()), shape)


def _words(error: Exception) -> str:
    """Return the first line that is more than a place in OpenVINO's source."""
    lines = [line.strip() for line in str(error).splitlines()]
    return next((line for line in lines if line and not line.startswith("Exception from")), "no reason given")[:300]
