"""The engine: the configured runtime with the bundle's model that it runs well; appliance.activation proves it."""

import os
from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias

from appliance.bundle.archive import Bundle
from appliance.bundle.manifest import Precision
from appliance.certification.certificate import Computed
from appliance.config import MAX_THREADS, RuntimeSection
from appliance.errors import ConfigError
from appliance.ports import Runtime
from appliance.processor import multiplies_int8
from appliance.runtimes.engines.child import never
from appliance.runtimes.engines.key import BuildOptions
from appliance.runtimes.engines.progress import BuildProgress
from appliance.runtimes.tensorrt import TensorRtRuntime

with suppress(ConfigError):  # told by whoever uses it; loaded here all the same, before anybody waits or interrupts
    import appliance.runtimes.onnx  # noqa: F401

MOST_AT_ONCE = 2
"""Parts, unless the configuration says more: one comes while the one before is still looked at."""

Make: TypeAlias = Callable[[RuntimeSection, Bundle, Computed, bool, int], Runtime]
"""Loads one of the bundle's models into the configured runtime; the last: an engine may be built for it, which copy."""


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
        ConfigError: the configuration asks for a model that the bundle does not hold, or for a DLA with 32 bits.
    """
    chosen = _choose(settings, bundle)
    if settings.dla_core is not None and chosen == "f32":
        raise ConfigError(
            f"runtime.dla_core: a DLA computes with 16 or 8 bits, and bundle {bundle.manifest.name} revision "
            f"{bundle.manifest.revision} would run its f32 model; export it with fp16, configure precision, or remove "
            "the key"
        )
    return chosen


def _choose(settings: RuntimeSection, bundle: Bundle) -> Computed:
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


def candidates(settings: RuntimeSection, bundle: Bundle) -> tuple[Computed, ...]:
    """Return what this device computes with, the best first: each next one is for where the one before is refused.

    Args:
        settings: the configuration's runtime section.
        bundle: the release.

    Raises:
        ConfigError: the configuration asks for a model that the bundle does not hold.
    """
    wanted = choose(settings, bundle)
    if model_of(wanted) == "f32":
        return (wanted,)
    if wanted == "int8" and "fp16" in bundle.variants and settings.kind != "openvino":
        return ("int8", "fp16", "f32")
    return (wanted, "f32")


def make_runtime(
    settings: RuntimeSection,
    bundle: Bundle,
    precision: Computed | None = None,
    may_build: bool = True,
    copy: int = 0,
    *,
    on_progress: Callable[[float], None] | None = None,
    is_cancelled: Callable[[], bool] = never,
) -> Runtime:
    """Load one of the bundle's models into the configured runtime.

    Args:
        settings: which runtime, and how it computes.
        bundle: whose model is loaded.
        precision: what it computes with; None to choose.
        may_build: whether there is time to build an engine, where one is needed and none is kept.
        copy: which of the model's copies that work at once, from 0.
        on_progress: told how far an engine is that is built, 0..1; None tells the log.
        is_cancelled: asked often while an engine is built; true ends that.

    Raises:
        ConfigError, BundleFormatError, RuntimeFault, StorageError: see OnnxRuntime, OpenVinoRuntime, TensorRtRuntime.
        Cancelled: is_cancelled said so.
    """
    threads = settings.threads or default_threads()
    precision = precision or choose(settings, bundle)
    if settings.kind == "tensorrt":
        tell = on_progress or BuildProgress()
        return _make_tensorrt(settings, bundle, model_of(precision), may_build, tell, is_cancelled)
    if settings.kind == "openvino":
        return _make_openvino(settings, bundle, threads, precision, copy)
    return _make_onnx(settings, bundle, threads, model_of(precision), copy)


def _make_onnx(settings: RuntimeSection, bundle: Bundle, threads: int, precision: Precision, copy: int) -> Runtime:
    from appliance.runtimes.onnx import OnnxRuntime

    return OnnxRuntime(
        bundle.model(precision),
        bundle.manifest,
        threads=threads,
        providers=settings.providers,
        precision=precision,
        pins_threads=settings.pins_threads,
        copy=copy,
    )


def _make_tensorrt(
    settings: RuntimeSection,
    bundle: Bundle,
    precision: Precision,
    may_build: bool,
    on_progress: Callable[[float], None],
    is_cancelled: Callable[[], bool],
) -> Runtime:
    if settings.engines is None:
        raise ConfigError("nobody says where engines are kept; add runtime.engines, a folder of this device's own")
    return TensorRtRuntime(
        bundle.model(precision),
        bundle.manifest,
        engines=settings.engines,
        precision=precision,
        options=_build_options(None if precision == "f32" else settings.dla_core),
        may_build=may_build,
        on_progress=on_progress,
        is_cancelled=is_cancelled,
    )


def _build_options(dla_core: int | None) -> BuildOptions:
    """Return what the builder is told; a DLA takes no number of pictures that changes, so one at a time."""
    return BuildOptions() if dla_core is None else BuildOptions(max_batch=1, dla_core=dla_core)


def _make_openvino(settings: RuntimeSection, bundle: Bundle, threads: int, precision: Computed, copy: int) -> Runtime:
    try:
        from appliance.runtimes.openvino import OpenVinoRuntime
    except ModuleNotFoundError as error:
        raise ConfigError(
            "runtime.kind: openvino is not installed here: pip install 'inspection-appliance[openvino]', or kind: onnx"
        ) from error
    except ImportError as error:  # such as one of its libraries that is gone
        raise ConfigError(
            f"runtime.kind: openvino does not load here: {error}; install what it lacks, or the package openvino once "
            "more, or configure kind: onnx"
        ) from error
    return OpenVinoRuntime(
        bundle.model(model_of(precision)),
        bundle.manifest,
        threads=threads,
        precision=precision,
        pins_threads=settings.pins_threads,
        copy=copy,
    )


def default_threads(cores: int | None = None) -> int:
    """Return how many threads one inference gets: all cores but one, which the rest of the station needs.

    Args:
        cores: that this process may use; None asks the operating system.
    """
    return min(max(1, (cores or usable_cores()) - 1), MAX_THREADS)


def instances(settings: RuntimeSection, cores: int | None = None) -> int:
    """Return how many parts are inspected at once: on the processor as many as it has threads for, else one.

    Args:
        settings: the configuration's runtime section.
        cores: that this process may use; None asks the operating system.
    """
    if settings.instances:
        return settings.instances
    if settings.kind == "tensorrt" or settings.providers != RuntimeSection().providers:
        return 1
    room = (cores or usable_cores()) // (settings.threads or default_threads(cores))
    return min(max(1, room), MOST_AT_ONCE)


def usable_cores() -> int:
    """Return how many cores this process may use."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return usable or 1
