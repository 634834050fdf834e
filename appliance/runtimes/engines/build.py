"""The child process that builds: a model file -> an engine for this accelerator."""

import argparse
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appliance.errors import ApplianceError, BundleFormatError, ConfigError, RuntimeFault
from appliance.runtimes.accelerator.driver import ask_driver
from appliance.runtimes.engines.child import say
from appliance.runtimes.engines.key import BuildOptions
from appliance.runtimes.engines.phases import QUICK_S, Phases
from appliance.runtimes.tensorrt_library import RTX, Journal, Library, build_for_this_device, load_library

if TYPE_CHECKING:
    from appliance.runtimes.tensorrt_library import tensorrt

MEBIBYTE = 1 << 20
TOLD_STEP = 0.002
INPUT = "image"


class Building:
    """One network on its way to an engine; needs no accelerator until `plan`, and TensorRT for RTX not even then."""

    def __init__(self, library: Library, model_onnx: bytes) -> None:
        """Read a model.

        Args:
            library: TensorRT.
            model_onnx: the model file, of the appliance's contract.

        Raises:
            BundleFormatError: TensorRT does not take it.
            RuntimeFault: TensorRT does not start.
        """
        trt = library.module
        self._library = library
        self._journal = Journal()
        self._logger = self._journal.logger(library)
        try:
            self._builder = trt.Builder(self._logger)
        except (RuntimeError, TypeError) as error:
            raise RuntimeFault(f"{library.name} {library.version} does not start: {error}") from error
        self._network = self._builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        self._parser = trt.OnnxParser(self._network, self._logger)
        is_read = self._parser.parse(model_onnx)
        if not (is_read and self._network.num_inputs == 1 and self._network.num_outputs):  # an empty file is read, too
            reason = self._parser.get_error(0).desc() if self._parser.num_errors else self._journal.last()
            words = " ".join(reason.splitlines()[:2])[:300]  # first the node, then what is wrong with it
            raise BundleFormatError(f"{library.name} {library.version} cannot read the model: {words}; export it again")

    def precision(self) -> str:
        """Return what the network computes with: int8, fp16, bf16 or f32, the smallest that occurs."""
        network, kinds = self._network, set()
        for number in range(network.num_layers):
            layer = network.get_layer(number)
            kinds |= {layer.get_output(place).dtype.name for place in range(layer.num_outputs)}
        names = {"INT8": "int8", "HALF": "fp16", "BF16": "bf16"}
        return next((names[kind] for kind in names if kind in kinds), "f32")

    def plan(
        self, options: BuildOptions, timing: Path | None = None, *, may_tell: bool = True, quick_s: float = QUICK_S
    ) -> bytes:
        """Build the engine; minutes on a small device.

        Args:
            options: what the builder is told.
            timing: what it measured earlier; written again afterwards. None measures everything.
            may_tell: whether progress goes to the parent process.
            quick_s: what the builder does within so many seconds is no progress.

        Raises:
            BundleFormatError: no kernel does what the model asks for.
            ConfigError: a DLA is asked for, and there is none or it can compute nothing of this model.
            RuntimeFault: the accelerator refused.
        """
        config = self._config(options)
        if may_tell:
            config.progress_monitor = monitor = _monitor(self._library, quick_s)  # noqa: F841  it must live as long as the build
        cache = self._timing_cache(config, timing)
        plan = self._builder.build_serialized_network(self._network, config)
        if plan is None:
            reason = f"{self._library.name} {self._library.version} cannot build the model: {self._journal.last()}"
            if any(word in reason.lower() for word in ("cuda", "memory")):
                raise RuntimeFault(f"{reason}; see `appliance check`, and what else runs on this device")
            raise BundleFormatError(f"{reason}; export it again")
        if timing is not None and cache is not None:
            timing.write_bytes(bytes(cache.serialize()))
        if may_tell:
            say(progress=1.0)
        return bytes(plan)

    def _config(self, options: BuildOptions) -> "tensorrt.IBuilderConfig":
        trt = self._library.module
        config = self._builder.create_builder_config()
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib * MEBIBYTE)
        if not options.allows_tf32:
            config.clear_flag(trt.BuilderFlag.TF32)
        if options.for_this_device:
            build_for_this_device(self._library, config)
        profile = self._builder.create_optimization_profile()
        _, *size = self._network.get_input(0).shape
        # One picture is what most views are; a view of tiles shows up to max_batch.
        profile.set_shape(INPUT, (1, *size), (1, *size), (options.max_batch, *size))
        config.add_optimization_profile(profile)
        if options.dla_core is not None:
            self._use_dla(config, options.dla_core)
        return config

    def _use_dla(self, config: "tensorrt.IBuilderConfig", core: int) -> None:
        """Let a DLA compute what it can; what it cannot stays with the GPU.

        Source:
            TensorRT documentation, "Working with DLA": default device type, DLA core, GPU fallback mode.
        """
        trt, name = self._library.module, f"{self._library.name} {self._library.version}"
        if core >= (cores := getattr(self._builder, "num_DLA_cores", 0)):  # some releases of 11 know no DLA at all
            raise ConfigError(
                f"runtime.dla_core: {core} is asked for, and {name} finds {cores} DLA cores here; remove the key, or "
                "take a Jetson and a TensorRT that have one"
            )
        config.default_device_type = trt.DeviceType.DLA
        config.DLA_core = core
        config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
        layers = [self._network.get_layer(number) for number in range(self._network.num_layers)]
        if not any(config.can_run_on_DLA(layer) for layer in layers):
            raise ConfigError(
                f"runtime.dla_core: {name} finds no layer of this {self.precision()} model that DLA core {core} can "
                "compute; remove the key, or configure precision: fp16"
            )

    def _timing_cache(self, config: "tensorrt.IBuilderConfig", timing: Path | None) -> "tensorrt.ITimingCache | None":
        if timing is None or self._library.name == RTX:  # which measures on the device when the engine is loaded
            return None
        kept = timing.read_bytes() if timing.exists() else b""
        cache = config.create_timing_cache(kept)
        if cache is None or not config.set_timing_cache(cache, False):
            cache = config.create_timing_cache(b"")  # of another release: measured again
            if cache is None or not config.set_timing_cache(cache, False):
                return None
        return cache


def _monitor(library: Library, quick_s: float) -> "tensorrt.IProgressMonitor":
    """Return the builder's listener: it tells how far the phases are."""
    parent: Any = library.module.IProgressMonitor

    class Monitor(parent):  # type: ignore[misc]
        def __init__(self) -> None:
            parent.__init__(self)
            self.phases, self.told = Phases(quick_s), 0.0
            self.lock = threading.Lock()  # the builder has threads of its own

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            with self.lock:
                self.phases.start(phase_name, parent_phase, num_steps, time.monotonic())

        def phase_finish(self, phase_name: str) -> None:
            with self.lock:
                self.phases.finish(phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            with self.lock:
                share = self.phases.complete(phase_name, step, time.monotonic())
                if share >= self.told + TOLD_STEP:
                    self.told = share
                    say(progress=round(share, 4))
            return True

    monitor: tensorrt.IProgressMonitor = Monitor()
    return monitor


def main() -> int:
    """Build what the command line says; the result goes to the parent process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="the ONNX file")
    parser.add_argument("--engine", type=Path, required=True, help="where the engine goes")
    parser.add_argument("--timing", type=Path, required=True, help="what the builder measured before")
    parser.add_argument("--max-batch", type=int, required=True)
    parser.add_argument("--workspace-mib", type=int, required=True)
    parser.add_argument("--allow-tf32", action="store_true")
    parser.add_argument("--for-any-device", action="store_true", help="TensorRT for RTX only")
    parser.add_argument("--dla-core", type=int)
    given = parser.parse_args()
    options = BuildOptions(
        given.max_batch, given.workspace_mib, given.allow_tf32, not given.for_any_device, given.dla_core
    )
    try:
        library = load_library()
        ask_driver()
        building = Building(library, given.model.read_bytes())
        given.engine.write_bytes(building.plan(options, given.timing))
    except ApplianceError as error:
        say(
            result={
                "refused": str(error),
                "is_the_models_fault": isinstance(error, BundleFormatError),
                "is_the_configurations_fault": isinstance(error, ConfigError),
            }
        )
        return 0
    say(result={"precision": building.precision()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
