"""TensorRT: NVIDIA's boards and cards; JetPack brings the library, the extra `jetson` the binding."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from appliance.bundle.manifest import Manifest
from appliance.bundle.model import check_model
from appliance.errors import ApplianceError, RuntimeFault
from appliance.events import Pixels
from appliance.ports import RawDetections
from appliance.runtimes.accelerator.binding import installed_bindings, open_device
from appliance.runtimes.accelerator.device import Device
from appliance.runtimes.accelerator.driver import ask_driver
from appliance.runtimes.contract import WARM_UP_RUNS, blank_picture, check_answer, check_images, check_ports
from appliance.runtimes.engines.cache import EngineCache
from appliance.runtimes.engines.child import ignore, never
from appliance.runtimes.engines.key import BuildOptions, EngineKey, model_digest
from appliance.runtimes.engines.session import EngineSession
from appliance.runtimes.engines.workshop import find_or_build
from appliance.runtimes.tensorrt_library import Library, load_engine, load_library


def why_not_here() -> str:
    """Return why no engine can run on this computer, or nothing if it looks as if one can."""
    try:
        ask_driver()
        load_library()
        return "" if installed_bindings() else "this installation lacks a binding of CUDA"
    except ApplianceError as error:
        return str(error)


def describe_accelerator() -> str:
    """Return accelerator, driver, binding and library in one line.

    Raises:
        ConfigError: TensorRT or a binding of CUDA is not installed.
        RuntimeFault: there is no driver or no accelerator.
    """
    device = open_device()
    library, identity = load_library(), device.identity()
    capability = ".".join(map(str, identity.compute_capability))
    return f"{identity.name} ({capability}), {identity.driver}, {device.binding}, {library.name} {library.version}"


class TensorRtRuntime:
    """Runs a model of the appliance's contract on an NVIDIA accelerator; used by one thread at a time."""

    def __init__(
        self,
        model_onnx: bytes,
        manifest: Manifest,
        *,
        engines: Path,
        precision: str = "f32",
        options: BuildOptions = BuildOptions(),  # noqa: B008  frozen
        wants_graph: bool = True,
        binding: str | None = None,
        may_build: bool = True,
        on_progress: Callable[[float], None] = ignore,
        is_cancelled: Callable[[], bool] = never,
    ) -> None:
        """Find or build the engine, hold it to the contract, take all memory, and run it a few times.

        Building takes seconds to minutes and happens once for a model and a device; the engine stays in `engines`.

        Args:
            model_onnx: the model file; its own types are what is computed with.
            manifest: geometry, classes and number of candidates that the model must have.
            engines: folder of the engines that this device built.
            precision: that of the model file, for the record.
            options: what the builder is told.
            wants_graph: False starts each layer on its own, which is slower.
            binding: of CUDA (accelerator.binding.BINDINGS); None takes the preferred one that is installed.
            may_build: False takes only an engine that is kept.
            on_progress: told 0..1 while an engine is built.
            is_cancelled: asked while an engine is built; true ends that.

        Raises:
            Cancelled: is_cancelled said so.
            ConfigError: TensorRT or a binding of CUDA is not installed, or a DLA is asked for that is not there.
            BundleFormatError: the model is not what contract and manifest say, or TensorRT does not take it.
            RuntimeFault: there is no driver, accelerator or engine that may be had, or engine or device refused.
            StorageError: the folder of the engines cannot be used.
        """
        self._manifest = manifest
        self._session: EngineSession | None = None
        check_model(model_onnx)
        library = load_library()
        device = open_device(binding)
        identity = device.identity()
        key = EngineKey(model_digest(model_onnx), library.name, library.version, identity, precision, options)
        engine = find_or_build(
            EngineCache(engines), key, model_onnx,
            may_build=may_build, on_progress=on_progress, is_cancelled=is_cancelled,
        )  # fmt: skip
        loaded = load_engine(library, engine.plan, options.dla_core)
        check_ports(loaded.ports, manifest)
        self.built = engine.identity(key)
        self._session = EngineSession(loaded, device, options.max_batch, wants_graph=wants_graph)
        self._words = self._in_words(library, device, engine.precision, options)
        try:
            self._warm_up(options.max_batch)
        except RuntimeFault:
            self.close()
            raise

    def _in_words(self, library: Library, device: Device, precision: str, options: BuildOptions) -> str:
        why, identity = self._session.why_no_graph if self._session else "", device.identity()
        on_dla = "" if options.dla_core is None else f" DLA {options.dla_core}"
        return (
            f"{library.name} {library.version} {identity.name}{on_dla} {precision} batch={options.max_batch} "
            f"{f'no graph ({why})' if why else 'graph'}, {device.binding}, {identity.driver}"
        )

    def _warm_up(self, max_batch: int) -> None:
        blank = blank_picture(self._manifest)
        for count in range(1, max_batch + 1):
            for _ in range(WARM_UP_RUNS):
                self.infer(np.repeat(blank, count, axis=0))

    def infer(self, images: Pixels) -> RawDetections:
        """Run the model, on as many pictures at once as the engine was built for.

        Args:
            images: uint8, shape (N, height, width, channels) of the manifest's geometry.

        Returns:
            Finite boxes float32 (N, K, 4), scores float32 (N, K) 0..1, labels int64 (N, K) of known classes.

        Raises:
            RuntimeFault: closed, the engine failed, or it answered outside the contract.
        """
        session = self._session
        if session is None:
            raise RuntimeFault("the TensorRT runtime is closed; open the bundle again")
        check_images(images, self._manifest)
        answers = [
            session.ask(images[first : first + session.max_batch]) for first in range(0, len(images), session.max_batch)
        ]
        answer = answers[0] if len(answers) == 1 else [np.concatenate(parts) for parts in zip(*answers, strict=True)]
        return check_answer(answer, len(images), self._manifest)

    def device_ms(self, images: Pixels, runs: int) -> float:
        """Return the accelerator's own milliseconds for one asking, copies included, over a number of askings.

        Raises:
            RuntimeFault: closed, or the engine failed.
        """
        if self._session is None:
            raise RuntimeFault("the TensorRT runtime is closed; open the bundle again")
        return self._session.device_ms(images, runs)

    def describe(self) -> str:
        """Return library, version, device, precision, graph, binding and driver in one line, for the record."""
        return self._words

    def close(self) -> None:
        """Free the accelerator's memory; harmless when closed before."""
        session, self._session = self._session, None
        if session is not None:
            session.close()
