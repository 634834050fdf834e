"""The engine that judges: the configured runtime, with the bundle's model that it runs well, proved on this device."""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from appliance.bundle.archive import Bundle
from appliance.bundle.manifest import Precision
from appliance.bundle.proof import Proof, prove
from appliance.config import MAX_THREADS, RuntimeSection
from appliance.errors import BundleError, ConfigError, RuntimeFault
from appliance.optics.detector import Detector
from appliance.ports import Runtime
from appliance.processor import multiplies_int8
from appliance.runtimes.engines.progress import BuildProgress
from appliance.runtimes.onnx import OnnxRuntime
from appliance.runtimes.tensorrt import TensorRtRuntime

log = logging.getLogger(__name__)

Computed = Precision | Literal["bf16"]
"""bf16 has no model of its own: it is model.onnx, computed with less."""

Make: TypeAlias = Callable[[RuntimeSection, Bundle, Computed], Runtime]
"""Loads one of the bundle's models into the configured runtime."""


@dataclass(frozen=True, slots=True)
class Engine:
    """A runtime that was proved.

    Args:
        runtime: to be closed by whoever has the engine.
        precision: what it computes with.
        proof: what the proof measured.
        refused: why the model that this device would rather run does not judge here; empty if it does.
    """

    runtime: Runtime
    precision: Computed
    proof: Proof
    refused: str = ""

    def describe(self) -> str:
        """Return the runtime in one line, for every record; it says so if another model was refused."""
        return self.runtime.describe() + (" instead of a faster model that was refused" if self.refused else "")


def model_of(precision: Computed) -> Precision:
    """Return which of the bundle's models is computed."""
    return "f32" if precision == "bf16" else precision


def choose(settings: RuntimeSection, bundle: Bundle) -> Computed:
    """Choose what this device computes with.

    TensorRT takes fp16 where the bundle holds it. OpenVINO takes int8 where the bundle holds it and the processor
    multiplies it in hardware. ONNX Runtime stays with f32: on x86 it is slower with symmetric int8 than without.

    Args:
        settings: the configuration's runtime section.
        bundle: the release.

    Raises:
        ConfigError: the configuration asks for a model that the bundle does not hold.
    """
    if settings.precision == "auto" and settings.kind == "tensorrt":
        return "fp16" if "fp16" in bundle.variants else "f32"
    if settings.precision == "auto":
        is_worth_it = settings.kind == "openvino" and "int8" in bundle.variants and multiplies_int8()
        return "int8" if is_worth_it else "f32"
    if model_of(settings.precision) not in bundle.holds():
        raise ConfigError(
            f"runtime.precision: {settings.precision} is not in bundle {bundle.manifest.name} revision "
            f"{bundle.manifest.revision}, which holds {', '.join(bundle.holds())}; configure auto, or export it again"
        )
    return settings.precision


def prove_engine(
    settings: RuntimeSection,
    bundle: Bundle,
    budget_ms: Callable[[Runtime], float],
    limits: Mapping[str, float] | None = None,
    make: Make | None = None,
) -> Engine:
    """Load the model that this device should run and prove it; if that is refused, judge with model.onnx and say so.

    Args:
        settings: the configuration's runtime section.
        bundle: the release.
        budget_ms: tells of a runtime how long one picture may take.
        limits: class -> score from which the line rejects; None takes the manifest's.
        make: loads a model; None for make_runtime.

    Returns:
        The proved engine.

    Raises:
        ConfigError: the configuration does not fit this device or the bundle.
        BundleError, RuntimeFault: model.onnx may not judge here either.
    """
    wanted = choose(settings, bundle)
    try:
        return _proved(settings, bundle, wanted, budget_ms, limits, make or make_runtime)
    except (BundleError, RuntimeFault) as error:
        if model_of(wanted) == "f32":
            raise
        log.warning("the %s model may not judge here, the f32 model is tried instead: %s", wanted, error)
        engine = _proved(settings, bundle, "f32", budget_ms, limits, make or make_runtime)
        return Engine(engine.runtime, engine.precision, engine.proof, f"{wanted}: {error}")


def _proved(
    settings: RuntimeSection,
    bundle: Bundle,
    precision: Computed,
    budget_ms: Callable[[Runtime], float],
    limits: Mapping[str, float] | None,
    make: Make,
) -> Engine:
    runtime = make(settings, bundle, precision)
    try:
        proof = prove(
            bundle,
            Detector(runtime, bundle.manifest).detect,
            latency_budget_ms=budget_ms(runtime),
            precision=model_of(precision),
            limits=limits,
        )
    except (BundleError, RuntimeFault):
        runtime.close()
        raise
    return Engine(runtime, precision, proof)


def make_runtime(settings: RuntimeSection, bundle: Bundle, precision: Computed | None = None) -> Runtime:
    """Load one of the bundle's models into the configured runtime.

    Args:
        settings: which runtime, and how it computes.
        bundle: whose model is loaded.
        precision: what it computes with; None to choose.

    Raises:
        ConfigError, BundleFormatError, RuntimeFault, StorageError: see OnnxRuntime, OpenVinoRuntime, TensorRtRuntime.
    """
    threads = settings.threads or default_threads()
    precision = precision or choose(settings, bundle)
    if settings.kind == "tensorrt":
        return _make_tensorrt(settings, bundle, model_of(precision))
    if settings.kind == "openvino":
        return _make_openvino(settings, bundle, threads, precision)
    name = model_of(precision)
    return OnnxRuntime(
        bundle.model(name), bundle.manifest, threads=threads, providers=settings.providers, precision=name
    )


def _make_tensorrt(settings: RuntimeSection, bundle: Bundle, precision: Precision) -> Runtime:
    if settings.engines is None:
        raise ConfigError("nobody says where engines are kept; add runtime.engines, a folder of this device's own")
    return TensorRtRuntime(
        bundle.model(precision),
        bundle.manifest,
        engines=settings.engines,
        precision=precision,
        on_progress=BuildProgress(),
    )


def _make_openvino(settings: RuntimeSection, bundle: Bundle, threads: int, precision: Computed) -> Runtime:
    try:
        from appliance.runtimes.openvino import OpenVinoRuntime
    except ModuleNotFoundError as error:
        raise ConfigError(
            "runtime.kind: openvino is not installed here: pip install 'inspection-appliance[openvino]', or kind: onnx"
        ) from error
    return OpenVinoRuntime(
        bundle.model(model_of(precision)),
        bundle.manifest,
        threads=threads,
        precision=precision,
        pins_threads=settings.pins_threads,
    )


def default_threads(cores: int | None = None) -> int:
    """Return how many threads one inference gets: all cores but one, which the rest of the station needs.

    Args:
        cores: that this process may use; None asks the operating system.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(max(1, (cores or usable or 1) - 1), MAX_THREADS)
