"""The TensorRT of this computer: JetPack's or the plant's own, or else TensorRT for RTX, which has the same interface.

One way of asking fits 10.3 (JetPack 6.2) to 11: networks are strongly typed, so that precision stands in the model file
and no flag of the builder chooses it; tensors go by name. Precision flags and bindings by number are gone since.

NVIDIA ships no types. Where none are made of a release of the library (tests/tensorrt_types.py does), every object of
its own is Any.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast

from appliance.errors import ConfigError, EngineFault, RuntimeFault
from appliance.runtimes.contract import Port

if TYPE_CHECKING:
    import tensorrt

    __all__ = [
        "RTX",
        "TENSORRT",
        "Journal",
        "Library",
        "LoadedEngine",
        "build_for_this_device",
        "load_engine",
        "load_library",
        "tensorrt",
    ]

TENSORRT, RTX = "tensorrt", "tensorrt_rtx"

OLDEST = (10, 3)
"""JetPack 6.2's; older ones lack what is used here."""

_KINDS = {"UINT8": "uint8", "FLOAT": "float32", "INT64": "int64", "HALF": "float16", "INT32": "int32"}


class TensorRt(Protocol):
    """All that the appliance uses of the library, whichever it is: the classes that the module has at its top."""

    Builder: "type[tensorrt.Builder]"
    BuilderFlag: "type[tensorrt.BuilderFlag]"
    DeviceType: "type[tensorrt.DeviceType]"
    ILogger: "type[tensorrt.ILogger]"
    IProgressMonitor: "type[tensorrt.IProgressMonitor]"
    MemoryPoolType: "type[tensorrt.MemoryPoolType]"
    NetworkDefinitionCreationFlag: "type[tensorrt.NetworkDefinitionCreationFlag]"
    OnnxParser: "type[tensorrt.OnnxParser]"
    Runtime: "type[tensorrt.Runtime]"


class RtxModule(Protocol):
    """What TensorRT for RTX has besides, and TensorRT itself has in no release."""

    ComputeCapability: Any


class RtxConfig(Protocol):
    """The same of the builder's configuration."""

    num_compute_capabilities: int

    def set_compute_capability(self, compute_capability: Any, index: int) -> bool:
        """Name one of the accelerators to build for."""
        ...


@dataclass(frozen=True, slots=True)
class Library:
    """TensorRT as installed: the module itself, its name and its version."""

    module: TensorRt
    name: str
    version: str


@dataclass(frozen=True, slots=True)
class LoadedEngine:
    """An engine in this process, with everything that must live as long as it does."""

    engine: "tensorrt.ICudaEngine"
    runtime: "tensorrt.Runtime"
    journal: "Journal"
    ports: dict[str, Port]


@dataclass(slots=True)
class Journal:
    """What the library complained about; it tells reasons nowhere else."""

    errors: list[str] = field(default_factory=list)

    def last(self) -> str:
        """Return the newest complaint in one line, or that there is none."""
        return self.errors[-1].strip().partition("\n")[0][:300] if self.errors else "it gives no reason"

    def tells_of_memory(self) -> bool:
        """Whether the newest complaint is that there is too little memory, which is nobody's fault but the moment's."""
        words = self.last().lower()
        return any(each in words for each in ("out of memory", "outofmemory", "allocat"))

    def logger(self, library: Library) -> "tensorrt.ILogger":
        """Return an object that the library complains to."""
        parent: Any = library.module.ILogger
        severities = library.module.ILogger.Severity
        grave, errors = (severities.INTERNAL_ERROR, severities.ERROR), self.errors

        class Complaints(parent):  # type: ignore[misc]
            def __init__(self) -> None:
                parent.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                if severity in grave:
                    errors.append(message)

        complaints: tensorrt.ILogger = Complaints()
        return complaints


def load_library() -> Library:
    """Import TensorRT; no accelerator is touched.

    Raises:
        ConfigError: neither TensorRT nor TensorRT for RTX is installed and loads, or it is older than JetPack 6.2's.
    """
    name, version, module = _import()
    if name == TENSORRT and tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        raise ConfigError(
            f"TensorRT {version} is older than {OLDEST[0]}.{OLDEST[1]}; install JetPack 6.2 or newer, or kind: onnx"
        )
    return Library(module, name, version)


def _import() -> tuple[str, str, TensorRt]:
    reasons = []
    try:
        import tensorrt

        if hasattr(tensorrt, "Runtime"):  # a package without its libraries may import and be empty
            return TENSORRT, tensorrt.__version__, tensorrt
        reasons.append("tensorrt is there without its library")
    except (ImportError, OSError) as error:  # the latter of its own libraries
        reasons.append(str(error))
    try:
        import tensorrt_rtx_bindings

        return RTX, tensorrt_rtx_bindings.__version__, tensorrt_rtx_bindings
    except (ImportError, OSError) as error:  # the latter of its own libraries
        reasons.append(str(error))
    raise ConfigError(
        f"runtime.kind: tensorrt does not load here ({'; '.join(reasons)}); on a Jetson install JetPack's "
        "python3-libnvinfer and make the environment with --system-site-packages, or configure kind: onnx"
    )


def build_for_this_device(library: Library, config: "tensorrt.IBuilderConfig") -> None:
    """Let TensorRT for RTX build for the accelerator that is here alone; TensorRT itself always does.

    Args:
        library: TensorRT.
        config: of the builder.
    """
    if library.name == RTX:
        module, its = cast(RtxModule, library.module), cast(RtxConfig, config)
        its.num_compute_capabilities = 1
        its.set_compute_capability(module.ComputeCapability.CURRENT, 0)


def load_engine(library: Library, plan: bytes, dla_core: int | None = None) -> LoadedEngine:
    """Make an engine of a built plan; the driver must have been asked before (accelerator.driver.ask_driver).

    A plan is code of a kind: only one that this device built itself is ever loaded, and the host code that a plan may
    carry is not (engine_host_code_allowed stays off).

    Args:
        library: TensorRT.
        plan: the engine as it was built.
        dla_core: that it was built for; None for none.

    Raises:
        EngineFault: the library refuses the plan.
        RuntimeFault: the library does not start, or finds no memory.
    """
    journal = Journal()
    logger = journal.logger(library)
    try:
        runtime = library.module.Runtime(logger)
        if runtime is not None and dla_core is not None:
            runtime.DLA_core = dla_core
        engine = runtime.deserialize_cuda_engine(plan) if runtime is not None else None
    except (RuntimeError, TypeError) as error:
        raise RuntimeFault(
            f"{library.name} {library.version} does not start: {error}; see `appliance check`"
        ) from error
    if engine is None and journal.tells_of_memory():
        raise RuntimeFault(
            f"{library.name} {library.version} cannot load the engine: {journal.last()}; look what else runs on this "
            "device, then restart the station"
        )
    if engine is None:
        raise EngineFault(
            f"{library.name} {library.version} refuses the engine: {journal.last()}; remove the folder of the engines, "
            "then restart the station"
        )
    return LoadedEngine(engine, runtime, journal, _ports(engine))


def _ports(engine: "tensorrt.ICudaEngine") -> dict[str, Port]:
    ports = {}
    for number in range(engine.num_io_tensors):
        name = engine.get_tensor_name(number)
        shape = tuple(size if size >= 0 else None for size in engine.get_tensor_shape(name))
        kind = engine.get_tensor_dtype(name).name
        ports[name] = Port(_KINDS.get(kind, kind), shape)
    return ports
