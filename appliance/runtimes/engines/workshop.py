"""From a model file to an engine that is known to run here: kept, or built and tried in child processes."""

import logging
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from appliance.bundle.whole_file import write_whole
from appliance.errors import ApplianceError, BundleFormatError, ConfigError, EngineFault, RuntimeFault
from appliance.runtimes.engines.cache import BuiltEngine, EngineCache
from appliance.runtimes.engines.child import TookTooLong, ignore, never, run_child
from appliance.runtimes.engines.key import BuildOptions, EngineKey

log = logging.getLogger(__name__)

BUILD_LIMIT_S = 3600.0
TRIAL_LIMIT_S = 300.0
BUILDER = "appliance.runtimes.engines.build"
TRIAL = "appliance.runtimes.engines.trial"


def find_or_build(
    cache: EngineCache,
    key: EngineKey,
    model_onnx: bytes,
    *,
    may_build: bool = True,
    on_progress: Callable[[float], None] = ignore,
    is_cancelled: Callable[[], bool] = never,
    builder: str = BUILDER,
    trial: str = TRIAL,
) -> BuiltEngine:
    """Return the engine of a model for this device, after a child process has loaded and asked it.

    Args:
        cache: where engines are kept.
        key: of exactly this model, library and device.
        model_onnx: the model file.
        may_build: whether there is time to build one; without, only one that is kept will do.
        on_progress: told 0..1 while it is built, and the same again and again while it is tried.
        is_cancelled: asked often while it is built and tried; true ends that.
        builder: module of the child process that builds.
        trial: module of the child process that loads and asks.

    Raises:
        Cancelled: is_cancelled said so; what was not built to its end is not kept.
        BundleFormatError: TensorRT does not take the model.
        ConfigError: a DLA is asked for that is not there, or that can compute nothing of the model.
        EngineFault: the builder crashes, or the engine does or is refused; such a one is not kept.
        RuntimeFault: it cannot build here or may not, or the device fails while it is tried; one that is not new is
            kept all the same, unless its time was over.
        StorageError: the folder cannot be used.
    """
    engine = cache.find(key)
    is_new = engine is None
    if engine is None:
        if not may_build:
            raise RuntimeFault(
                f"this device keeps no engine of its {key.precision} model, and none is built while parts are inspected"
            )
        log.info("%s %s builds an engine for %s", key.library, key.library_version, key.device.name)
        engine = _build(cache, key, model_onnx, builder, on_progress, is_cancelled)
        cache.keep(key, engine)
    try:
        try_apart(
            engine.plan, trial, key.options, is_cancelled,
            on_progress=lambda _: on_progress(float(is_new)),
            goes_last=not may_build,  # then it is of a release, beside a line; a start waits for nothing but this
        )  # fmt: skip
    except RuntimeFault as error:  # what a device cannot do just now says nothing of an engine that was good before
        if is_new or isinstance(error, EngineFault | TookTooLong):
            cache.forget(key)
        raise
    return engine


def _build(
    cache: EngineCache,
    key: EngineKey,
    model_onnx: bytes,
    builder: str,
    on_progress: Callable[[float], None],
    is_cancelled: Callable[[], bool],
) -> BuiltEngine:
    timing = cache.timing_path(key)
    cache.make_folder()
    with tempfile.TemporaryDirectory() as folder:
        model, plan, measured = (Path(folder) / name for name in ("model.onnx", "engine", "timing"))
        model.write_bytes(model_onnx)
        if timing.exists():
            measured.write_bytes(timing.read_bytes())
        options = key.options
        arguments = [
            "--model", str(model), "--engine", str(plan), "--timing", str(measured),
            "--max-batch", str(options.max_batch), "--workspace-mib", str(options.workspace_mib),
            *(["--allow-tf32"] if options.allows_tf32 else []),
            *([] if options.for_this_device else ["--for-any-device"]),
            *([] if options.dla_core is None else ["--dla-core", str(options.dla_core)]),
        ]  # fmt: skip
        build = partial(
            run_child, builder, arguments, limit_s=BUILD_LIMIT_S, on_progress=on_progress, is_cancelled=is_cancelled,
            goes_last=True,  # a line may be running beside it
        )  # fmt: skip
        try:
            result = build()
        except TookTooLong:
            raise
        except RuntimeFault as error:
            if not timing.exists():
                raise
            log.warning("%s goes, and the engine is built once more without what was measured: %s", timing, error)
            for path in (timing, measured):
                path.unlink(missing_ok=True)
            result = build()
        if refused := result.get("refused"):
            raise _kind_of(result)(refused)
        if measured.exists():
            write_whole(timing, measured.read_bytes())
        return BuiltEngine(plan.read_bytes(), str(result["precision"]))


def _kind_of(result: dict[str, Any]) -> type[ApplianceError]:
    if result.get("is_the_configurations_fault"):
        return ConfigError
    return BundleFormatError if result.get("is_the_models_fault") else RuntimeFault


def try_apart(
    plan: bytes, trial: str, options: BuildOptions, is_cancelled: Callable[[], bool] = never, *,
    on_progress: Callable[[float], None] = ignore, goes_last: bool = False,
) -> None:  # fmt: skip
    """Load an engine in a child process and ask it about empty pictures, of each number that it was built for.

    Args:
        plan: the engine.
        trial: module of the child process.
        options: what the engine was built with.
        is_cancelled: asked often; true ends that.
        on_progress: told again and again that it goes on.
        goes_last: it takes the processor only when nobody else wants it.

    Raises:
        Cancelled: is_cancelled said so.
        EngineFault: it crashed there, or is none that this device takes.
        RuntimeFault: the device failed, the process was ended, or it took too long.
    """
    with tempfile.NamedTemporaryFile(suffix=".engine") as file:
        file.write(plan)
        file.flush()
        on_dla = [] if options.dla_core is None else ["--dla-core", str(options.dla_core)]
        arguments = ["--max-batch", str(options.max_batch), *on_dla, "--engine", file.name]
        result = run_child(
            trial, arguments, limit_s=TRIAL_LIMIT_S, on_progress=on_progress, is_cancelled=is_cancelled,
            goes_last=goes_last,
        )  # fmt: skip
    if refused := result.get("refused"):
        raise (EngineFault if result.get("is_the_engines_fault") else RuntimeFault)(str(refused))
