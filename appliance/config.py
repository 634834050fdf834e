"""One station's configuration: what stands where (docs/configuration.md); what to inspect is the recipe's."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from appliance.bundle.manifest import Name
from appliance.documents import Document, LocatedPath, Section, read_document

MAX_THREADS = 64
"""What a runtime takes for one inference."""

MOST_INSTANCES = 16
"""Copies of a model in memory."""

MOST_PRODUCTS = 32
"""All of them are loaded at once."""

Segment = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
"""One name in a topic: letters, digits, _ . - only."""


def _has_a_type(section: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(section.get("type"), str):
        raise ValueError("the key `type` is missing; add it, such as `type: folder`")
    return section


CameraSection = Annotated[dict[str, Any], AfterValidator(_has_a_type)]
"""A camera's keys as written; `type` says which adapter's settings model they belong to."""


class DeviceSection(Section):
    """Who this device is, and its place in the plant (ISA-95); every topic begins with these names."""

    device_id: Segment
    enterprise: Segment
    site: Segment
    area: Segment
    line: Segment
    station: Segment


class LedgerSection(Section):
    """Where the record of every trigger and verdict lies; a local disk, never a network share.

    keep_days: acknowledged records older than this are purged; 0 keeps everything.
    """

    path: LocatedPath
    keep_days: Annotated[int, Field(ge=0, le=36_500)] = 0


class ImagesSection(Section):
    """Which pictures are kept and how much disk they may take.

    All rejects, reviews and faults are kept, and one in accept_one_in accepts (0: none). The oldest go first when the
    folder exceeds quota_mb or the disk has less than min_free_mb left.
    """

    directory: LocatedPath
    accept_one_in: Annotated[int, Field(ge=0, le=1_000_000)] = 100
    quota_mb: Annotated[int, Field(ge=10, le=100_000_000)] = 20_000
    min_free_mb: Annotated[int, Field(ge=0, le=100_000_000)] = 2_000
    format: Literal["png", "jpeg"] = "png"


_NOT_OF = {
    "onnx": ("engines", "dla_core"),
    "openvino": ("providers", "engines", "dla_core"),
    "tensorrt": ("threads", "providers", "pins_threads"),
}
"""Kind of runtime -> the keys that are other runtimes'."""


class RuntimeSection(Section):
    """What runs the model: ONNX Runtime anywhere, OpenVINO on Intel's processors, TensorRT on NVIDIA's accelerators.

    threads: 0 means one per core but one, at least 1 and at most 64: the rest of the station needs that core.
    instances: parts that are inspected at once, each by a copy of the model of its own; 0 means as many as the cores
    have room for, and one on an accelerator.
    providers: ONNX Runtime's, in order of preference. pins_threads: a pinned thread stays on one core; not TensorRT's.
    precision: auto takes the bundle's model that this runtime runs best here; fp16 and int8 are models of the bundle.
    bf16, OpenVINO's, computes the f32 model with less where the processor can. engines: TensorRT's, the folder of what
    this device builds for itself; None: `engines` beside the ledger. dla_core: TensorRT's, the Jetson's deep learning
    accelerator that computes what it can of a model with 16 or 8 bits; None: the GPU computes everything.
    """

    kind: Literal["onnx", "openvino", "tensorrt"] = "onnx"
    threads: Annotated[int, Field(ge=0, le=MAX_THREADS)] = 0
    instances: Annotated[int, Field(ge=0, le=MOST_INSTANCES)] = 0
    providers: Annotated[tuple[str, ...], Field(min_length=1, max_length=8)] = ("CPUExecutionProvider",)
    precision: Literal["auto", "f32", "bf16", "fp16", "int8"] = "auto"
    pins_threads: bool = False
    engines: LocatedPath | None = None
    dla_core: Literal[0, 1] | None = None

    @model_validator(mode="after")
    def _has_no_other_runtimes_keys(self) -> "RuntimeSection":
        for name in _NOT_OF[self.kind]:
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} means nothing to the runtime {self.kind}; remove it, or change kind")
        if self.precision == ("fp16" if self.kind == "openvino" else "bf16"):
            raise ValueError(f"precision {self.precision} is not for the runtime {self.kind}; configure auto")
        return self


class ProofSection(Section):
    """Where the certificates of what this device has proved lie; None: `certificates` beside the ledger."""

    certificates: LocatedPath | None = None


class ProcessorSection(Section):
    """How the processor waits for the next part; wake_up_us None: as the operating system decides.

    wake_up_us: how long it may take to wake up; 0: it never sleeps, which costs power and saves milliseconds.
    """

    wake_up_us: Annotated[int, Field(ge=0, le=100_000)] | None = 0


class ShadowSection(Section):
    """What a candidate may take that judges beside the line, in a process of its own.

    memory_mb: more, and it ends. hang_s: it ends when it says nothing about a part for so long, not counting the time
    in which it rests because the line inspects; it goes last on this device, so leave it time.
    """

    memory_mb: Annotated[int, Field(ge=100, le=1_000_000)] = 2000
    hang_s: Annotated[int, Field(ge=1, le=3600)] = 60


class ProductSection(Section):
    """The files of one product; every product's recipe has the same views, those that have a camera."""

    recipe: LocatedPath
    bundle: LocatedPath


class Config(Section):
    """The whole file. cameras: view -> that camera's keys; mqtt: the link's keys, or absent for none.

    Either bundle and recipe, or products with the product that a station begins with whose ledger knows of none.
    queue_size: parts that may wait per view before the next is a FAULT(queue_full).
    releases: the folder of bundles that may be put in force while the station runs; None: only those named here.
    max_capture_delay_ms: a picture taken later than this after its trigger may show the next part and is refused.
    """

    schema_: Literal["vi.config/1"] = Field(alias="schema")
    device: DeviceSection
    bundle: LocatedPath | None = None
    recipe: LocatedPath | None = None
    products: Annotated[dict[Name, ProductSection], Field(min_length=1, max_length=MOST_PRODUCTS)] | None = None
    product: Name | None = None
    ledger: LedgerSection
    images: ImagesSection
    cameras: Annotated[dict[Name, CameraSection], Field(min_length=1, max_length=32)]
    mqtt: dict[str, Any] | None = None
    runtime: RuntimeSection = RuntimeSection()
    proof: ProofSection = ProofSection()
    releases: LocatedPath | None = None
    shadow: ShadowSection = ShadowSection()
    processor: ProcessorSection = ProcessorSection()
    queue_size: Annotated[int, Field(ge=1, le=1000)] = 4
    max_capture_delay_ms: Annotated[int, Field(ge=1, le=60_000)] = 200
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @model_validator(mode="after")
    def _has_one_product_or_several(self) -> "Config":
        one, several = ("bundle", "recipe"), ("products", "product")
        given = [key for key in (*one, *several) if getattr(self, key) is not None]
        if given not in ([*one], [*several]):
            said = ", ".join(f"`{key}`" for key in given) or "no product"
            raise ValueError(
                f"the file has {said}; name `bundle` and `recipe` for one product, or `products` and `product`, the "
                "one to begin with, for several, and nothing of both"
            )
        if self.product is not None and self.product not in (self.products or {}):
            known = ", ".join(self.products or {})
            raise ValueError(f"`product` is {self.product}, but `products` has {known}; name one of these")
        return self

    @model_validator(mode="after")
    def _keeps_engines_beside_the_ledger(self) -> "Config":
        if self.runtime.kind != "tensorrt" or self.runtime.engines:
            return self
        runtime = self.runtime.model_copy(update={"engines": self.ledger.path.parent / "engines"})
        return self.model_copy(update={"runtime": runtime})

    @property
    def certificates(self) -> Path:
        """The folder of what this device has proved."""
        return self.proof.certificates or self.ledger.path.parent / "certificates"

    def product_files(self) -> dict[str, ProductSection]:
        """Return each product's files; where there is one only, its name is empty here: it is the recipe's."""
        if self.products is not None:
            return dict(self.products)
        return {"": ProductSection.model_validate({"recipe": self.recipe, "bundle": self.bundle})}


def load_config(path: Path) -> tuple[Config, Document]:
    """Read a station's configuration; nothing comes from the environment.

    Args:
        path: the YAML file; paths in it are relative to its folder.

    Returns:
        The configuration, and its document: for the digest, and so that wiring can validate the sections `cameras`
        and `mqtt` with their adapters' own settings models (Document.section).

    Raises:
        ConfigError: a person must correct the file; each mistake with line, key and remedy.
    """
    document = read_document(path)
    return document.into(Config), document
